//! The same on a cluster, where keys lie beside their rooms.

use std::collections::HashSet;

use uuid::Uuid;

use super::{KeyedCall, hours};
use crate::config::Idempotency;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::names::Scope;

/// Takes a key that is unused. Citus lets no clock decide what is done about a conflict: so it is one statement for each way.
pub(super) async fn claim_unused(db: &Db, call: &KeyedCall, id: Uuid) -> Result<bool, Error> {
    let claimed = sqlx::query!(
        "insert into idempotency_keys (app, scope, key, print, claim) values ($1, $2, $3, $4, $5)
         on conflict (app, scope, key) do nothing",
        call.scope.app(),
        call.scope.chatroom(),
        call.key,
        &call.print,
        id,
    )
    .execute(db.pool())
    .await?;
    Ok(claimed.rows_affected() > 0)
}

/// Takes a key that is free again.
pub(super) async fn claim_old(db: &Db, call: &KeyedCall, id: Uuid, settings: &Idempotency) -> Result<bool, Error> {
    let claimed = sqlx::query!(
        "update idempotency_keys set print = $4, claim = $5, claimed_at = now(), status = null, body = null
         where app = $1 and scope = $2 and key = $3 and claimed_at
             <= now() - case when status is null then make_interval(secs => $6) else make_interval(hours => $7) end",
        call.scope.app(),
        call.scope.chatroom(),
        call.key,
        &call.print,
        id,
        f64::from(settings.claim_seconds),
        hours(settings),
    )
    .execute(db.pool())
    .await?;
    Ok(claimed.rows_affected() > 0)
}

/// The claims of a batch are of one room, on its node.
pub(super) async fn hold(
    transaction: &mut Transaction,
    scope: &Scope,
    keys: &[&str],
    ids: &[Uuid],
) -> Result<HashSet<Uuid>, Error> {
    let held = sqlx::query_scalar!(
        "select claim from idempotency_keys
         where app = $1 and scope = $2 and key = any($3::text[]) and claim = any($4::uuid[]) order by key for no key update",
        scope.app(),
        scope.chatroom(),
        keys as &[&str],
        ids,
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(held.into_iter().collect())
}

/// The answers of a batch are of one room, too.
pub(super) async fn keep(
    transaction: &mut Transaction,
    scope: &Scope,
    keys: &[&str],
    ids: &[Uuid],
    statuses: &[i16],
    bodies: &[&[u8]],
) -> Result<usize, Error> {
    let kept = sqlx::query!(
        "update idempotency_keys kept set status = given.status, body = given.body
         from unnest($3::text[], $4::uuid[], $5::smallint[], $6::bytea[]) given (key, claim, status, body)
         where kept.app = $1 and kept.scope = $2 and kept.key = given.key and kept.claim = given.claim",
        scope.app(),
        scope.chatroom(),
        keys as &[&str],
        ids,
        statuses,
        bodies as &[&[u8]],
    )
    .execute(&mut **transaction)
    .await?;
    Ok(usize::try_from(kept.rows_affected()).unwrap_or(usize::MAX))
}

/// On all nodes, whose rows cannot be locked together. One that another instance removes is waited for.
pub(super) async fn forget(db: &Db, settings: &Idempotency, batch: i64) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "with old as materialized (
             select app, scope, key, claim from idempotency_keys
             where claimed_at < now() - greatest(make_interval(hours => $1), make_interval(secs => $2))
             order by claimed_at limit $3
         )
         delete from idempotency_keys kept using old
         where kept.app = old.app and kept.scope = old.scope and kept.key = old.key and kept.claim = old.claim",
        hours(settings),
        f64::from(settings.claim_seconds),
        batch,
    )
    .execute(db.pool())
    .await?;
    Ok(forgotten.rows_affected())
}
