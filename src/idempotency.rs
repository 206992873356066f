//! Calls that may be sent twice and are made once: the first to come claims the call's key, and its answer is kept for
//! those who repeat it.
//!
//! A claim is a row, committed before the call begins, so that of any number of repetitions on any number of instances one
//! makes the call. Its answer is written into the row in the transaction that makes the change, and that of a call that
//! changes nothing afterwards. An instance that dies in between leaves a claim without an answer: the call was not made,
//! and the key is free again after `claim_seconds`.

mod nodes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::config::Idempotency;
use crate::db::{Db, Transaction};
use crate::error::Error;
use crate::names::Scope;

/// How long the first and the longest pause is between two looks at a call that is under way elsewhere.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A call that carries a key.
pub struct KeyedCall {
    /// The room that the call names, or else the app: the same key means another call in another room.
    pub scope: Scope,
    /// The key, in the caller's words.
    pub key: String,
    /// What tells this call from any other.
    pub print: [u8; 32],
}

/// What came of claiming a call.
pub enum Claimed {
    /// The call is to be made.
    New(Claim),
    /// The call was made before, with this answer.
    Repeated(Answer),
}

/// An answer as it was given.
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Every byte of its body.
    pub body: Vec<u8>,
}

/// Whether a repetition should get the answer of that status again: not if it may well get a better one.
pub fn worth_keeping(status: u16) -> bool {
    status < 500 && !matches!(status, 401 | 408 | 409 | 413 | 429)
}

/// The right to make a call, and to say what its answer is.
#[derive(Clone)]
pub struct Claim {
    call: Arc<KeyedCall>,
    id: Uuid,
    until: Instant,
}

/// Claims a call. If another request is making it, waits up to `wait_ms` for the answer, without a connection.
pub async fn claim(db: &Db, call: KeyedCall, settings: &Idempotency) -> Result<Claimed, Error> {
    let patience = Instant::now() + Duration::from_millis(settings.wait_ms);
    let mut pause = FIRST_PAUSE;
    loop {
        match read(db, &call, settings).await? {
            None => {
                // Counted from before the claim is made: others count from after it.
                let until = Instant::now() + Duration::from_secs(settings.claim_seconds.into());
                let id = Uuid::new_v4();
                if try_claim(db, &call, id, settings).await? {
                    return Ok(Claimed::New(Claim { call: Arc::new(call), id, until }));
                }
                // Another request was quicker.
                continue;
            }
            Some(kept) if kept.print != call.print => return Err(Error::IdempotencyKeyReused),
            Some(Kept { answer: Some(answer), .. }) => return Ok(Claimed::Repeated(answer)),
            Some(_) if Instant::now() >= patience => return Err(Error::IdempotencyKeyBusy),
            Some(_) => {}
        }
        sleep_until(patience.min(Instant::now() + pause)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// What is kept of a call: `answer` is missing while it is being made.
struct Kept {
    print: Vec<u8>,
    answer: Option<Answer>,
}

/// What is kept under a key. A key that is free again counts as absent, even if its row is still there.
async fn read(db: &Db, call: &KeyedCall, settings: &Idempotency) -> Result<Option<Kept>, Error> {
    let row = sqlx::query!(
        "select print, status, body from idempotency_keys
         where app = $1 and scope = $2 and key = $3
           and claimed_at > now() - case when status is null then make_interval(secs => $4) else make_interval(hours => $5) end",
        call.scope.app(),
        call.scope.chatroom(),
        call.key,
        f64::from(settings.claim_seconds),
        hours(settings),
    )
    .fetch_optional(db.pool())
    .await?;
    Ok(row.map(|row| Kept {
        print: row.print,
        answer: row.status.zip(row.body).map(|(status, body)| Answer { status: status.unsigned_abs(), body }),
    }))
}

/// Takes a key that is free: unused, or too old to be kept, or claimed by an instance that has died. Of several requests
/// that try, one succeeds: each looks again at the row that it has waited for.
async fn try_claim(db: &Db, call: &KeyedCall, id: Uuid, settings: &Idempotency) -> Result<bool, Error> {
    if db.layout().await?.is_distributed() {
        return Ok(nodes::claim_unused(db, call, id).await? || nodes::claim_old(db, call, id, settings).await?);
    }
    let claimed = sqlx::query!(
        "insert into idempotency_keys as kept (app, scope, key, print, claim) values ($1, $2, $3, $4, $5)
         on conflict (app, scope, key) do update
         set print = excluded.print, claim = excluded.claim, claimed_at = excluded.claimed_at, status = null, body = null
         where kept.claimed_at
             <= now() - case when kept.status is null then make_interval(secs => $6) else make_interval(hours => $7) end",
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

/// Locks the claims that still hold, and returns them: no other request can take those calls over until the transaction
/// is over.
pub async fn hold(transaction: &mut Transaction, claims: &[&Claim]) -> Result<HashSet<Uuid>, Error> {
    let (apps, scopes, keys, ids) = columns(claims);
    if let (true, Some(claim)) = (transaction.layout().is_distributed(), claims.first()) {
        return nodes::hold(transaction, &claim.call.scope, &keys, &ids).await;
    }
    let held = sqlx::query_scalar!(
        r#"select kept.claim from unnest($1::integer[], $2::text[], $3::text[], $4::uuid[]) given (app, scope, key, claim)
           join idempotency_keys kept using (app, scope, key, claim)
           order by app, scope, key for no key update of kept"#,
        &apps,
        &scopes as &[&str],
        &keys as &[&str],
        &ids,
    )
    .fetch_all(&mut **transaction)
    .await?;
    Ok(held.into_iter().collect())
}

/// Keeps the answers of calls in the transaction that makes them, and returns how many claims still hold: all that are
/// [held](hold).
pub async fn keep(transaction: &mut Transaction, answers: &[(&Claim, &Answer)]) -> Result<usize, Error> {
    let claims: Vec<&Claim> = answers.iter().map(|(claim, _)| *claim).collect();
    let (apps, scopes, keys, ids) = columns(&claims);
    let statuses: Vec<i16> = answers.iter().map(|(_, answer)| answer.status.cast_signed()).collect();
    let bodies: Vec<&[u8]> = answers.iter().map(|(_, answer)| &*answer.body).collect();
    if let (true, Some(claim)) = (transaction.layout().is_distributed(), claims.first()) {
        return nodes::keep(transaction, &claim.call.scope, &keys, &ids, &statuses, &bodies).await;
    }
    let kept = sqlx::query!(
        "update idempotency_keys kept set status = given.status, body = given.body
         from unnest($1::integer[], $2::text[], $3::text[], $4::uuid[], $5::smallint[], $6::bytea[])
             given (app, scope, key, claim, status, body)
         where kept.app = given.app and kept.scope = given.scope and kept.key = given.key and kept.claim = given.claim",
        &apps,
        &scopes as &[&str],
        &keys as &[&str],
        &ids,
        &statuses,
        &bodies as &[&[u8]],
    )
    .execute(&mut **transaction)
    .await?;
    Ok(usize::try_from(kept.rows_affected()).unwrap_or(usize::MAX))
}

/// A change that is a transaction of its own, made but for its COMMIT: the answer to its call can be kept with it.
#[must_use = "it is undone unless it is committed"]
pub struct Uncommitted<T> {
    outcome: T,
    transaction: Transaction,
    db: Db,
}

impl<T> Uncommitted<T> {
    /// What was done in a transaction. What has failed is undone.
    pub async fn new(db: &Db, transaction: Transaction, done: Result<T, Error>) -> Result<Self, Error> {
        match done {
            Ok(outcome) => Ok(Self { outcome, transaction, db: db.clone() }),
            Err(error) => {
                transaction.undo().await;
                Err(error)
            }
        }
    }

    /// What comes of it, and the rest of it.
    pub fn split(self) -> (T, Uncommitted<()>) {
        (self.outcome, Uncommitted { outcome: (), transaction: self.transaction, db: self.db })
    }

    /// Keeps what was done.
    pub async fn commit(self) -> Result<T, Error> {
        let outcome = self.transaction.end(Ok(self.outcome)).await?;
        self.db.events_committed();
        Ok(outcome)
    }

    /// The same together with the answer to its call. If another request has taken the call over, it is undone.
    pub async fn commit_with(mut self, claim: &Claim, answer: &Answer) -> Result<T, Error> {
        let kept = keep(&mut self.transaction, &[(claim, answer)]).await;
        let is_ours = kept.and_then(|kept| if kept > 0 { Ok(()) } else { Err(Error::IdempotencyKeyBusy) });
        Self::new(&self.db, self.transaction, is_ours.map(|()| self.outcome)).await?.commit().await
    }

    /// Keeps nothing of what was done.
    pub async fn undo(self) {
        self.transaction.undo().await;
    }
}

fn columns<'a>(claims: &[&'a Claim]) -> (Vec<i32>, Vec<&'a str>, Vec<&'a str>, Vec<Uuid>) {
    let apps = claims.iter().map(|claim| claim.call.scope.app()).collect();
    let scopes = claims.iter().map(|claim| claim.call.scope.chatroom()).collect();
    let keys = claims.iter().map(|claim| &*claim.call.key).collect();
    (apps, scopes, keys, claims.iter().map(|claim| claim.id).collect())
}

impl Claim {
    /// Until when no other request makes the call, by our own clock.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Which claim it is.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Keeps the answer for repetitions of the call, unless another request has taken the call over.
    pub async fn keep(self, db: &Db, answer: &Answer) -> Result<(), Error> {
        let KeyedCall { scope, key, .. } = &*self.call;
        sqlx::query!(
            "update idempotency_keys set status = $5, body = $6 where app = $1 and scope = $2 and key = $3 and claim = $4",
            scope.app(),
            scope.chatroom(),
            key,
            self.id,
            answer.status.cast_signed(),
            answer.body,
        )
        .execute(db.pool())
        .await?;
        Ok(())
    }

    /// Frees the key at once: there is no answer that would be worth repeating.
    pub async fn give_up(self, db: &Db) -> Result<(), Error> {
        let KeyedCall { scope, key, .. } = &*self.call;
        sqlx::query!(
            "delete from idempotency_keys where app = $1 and scope = $2 and key = $3 and claim = $4 and status is null",
            scope.app(),
            scope.chatroom(),
            key,
            self.id,
        )
        .execute(db.pool())
        .await?;
        Ok(())
    }
}

/// Removes up to `batch` keys that are free by now, the oldest first. Returns the number removed.
pub async fn forget(db: &Db, settings: &Idempotency, batch: i64) -> Result<u64, Error> {
    if db.layout().await?.is_distributed() {
        return nodes::forget(db, settings, batch).await;
    }
    let forgotten = sqlx::query!(
        "delete from idempotency_keys where ctid = any(array(
             select ctid from idempotency_keys
             where claimed_at < now() - greatest(make_interval(hours => $1), make_interval(secs => $2))
             order by claimed_at limit $3 for update skip locked
         ))",
        hours(settings),
        f64::from(settings.claim_seconds),
        batch,
    )
    .execute(db.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

/// How long answers are kept; no longer than one can count back from today.
fn hours(settings: &Idempotency) -> i32 {
    const FOR_EVER: i32 = 24_000_000;
    i32::try_from(settings.keep_hours).unwrap_or(FOR_EVER).min(FOR_EVER)
}
