//! The custom attributes of a room: texts by name, each belonging to the member who has set it.

use std::collections::HashMap;

use crate::db::Db;
use crate::error::Error;
use crate::events::log::Actor;
use crate::names::{Names, RoomKey};
use crate::rooms::change::{Change, change};

/// The most attributes of a room.
pub const MAX_ATTRIBUTES: usize = 100;

/// Who asks for a change.
pub struct Operator {
    /// The user's name.
    pub name: Names,
    /// Whether attributes of others may be changed as well.
    pub forced: bool,
}

/// Why an attribute was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It belongs to somebody else.
    NotYours,
    /// The room has as many as it may have.
    RoomIsFull,
    /// There is none of that name.
    Missing,
}

/// What became of each key, in the order asked for.
pub type Outcome = Vec<(String, Result<(), Refusal>)>;

/// Sets attributes, one by one. The operator must be in the room. With `leave`, they go when the operator leaves.
pub async fn set(
    db: &Db,
    key: &RoomKey,
    operator: &Operator,
    attributes: &[(String, String)],
    leave: bool,
) -> Result<Outcome, Error> {
    change(db, key, &Actor::client(), async |change| {
        require_member(change, operator).await?;
        let setter = &operator.name.stored()[0];
        let setters = setters(change).await?;
        let mut number = setters.len();
        let mut outcome = Outcome::new();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (name, value) in attributes {
            let fate = match setters.get(name) {
                Some(other) if other != setter && !operator.forced => Err(Refusal::NotYours),
                Some(_) => Ok(()),
                None if number >= MAX_ATTRIBUTES => Err(Refusal::RoomIsFull),
                None => {
                    number += 1;
                    Ok(())
                }
            };
            if fate.is_ok() {
                keys.push(name.clone());
                values.push(value.clone());
            }
            outcome.push((name.clone(), fate));
        }
        sqlx::query!(
            "insert into attributes (app, chatroom, key, value, setter, leaves_with)
             select $1, $2, key, value, $5, $6 from unnest($3::text[], $4::text[]) given (key, value)
             on conflict (app, chatroom, key) do update
                 set value = excluded.value, setter = excluded.setter, leaves_with = excluded.leaves_with",
            key.app,
            key.id(),
            &keys,
            &values,
            setter,
            leave.then_some(setter.as_str()),
        )
        .execute(change.connection())
        .await?;
        Ok(outcome)
    })
    .await
}

/// Deletes attributes, one by one. The operator must be in the room, unless the call is forced.
pub async fn delete(db: &Db, key: &RoomKey, operator: &Operator, keys: &[String]) -> Result<Outcome, Error> {
    change(db, key, &Actor::client(), async |change| {
        if !operator.forced {
            require_member(change, operator).await?;
        }
        let setters = setters(change).await?;
        let fate = |name: &String| match setters.get(name) {
            None => Err(Refusal::Missing),
            Some(other) if *other != operator.name.stored()[0] && !operator.forced => Err(Refusal::NotYours),
            Some(_) => Ok(()),
        };
        let outcome: Outcome = keys.iter().map(|name| (name.clone(), fate(name))).collect();
        let gone: Vec<String> = outcome.iter().filter(|(_, fate)| fate.is_ok()).map(|(name, _)| name.clone()).collect();
        sqlx::query!(
            "delete from attributes where app = $1 and chatroom = $2 and key = any($3::text[])",
            key.app,
            key.id(),
            &gone,
        )
        .execute(change.connection())
        .await?;
        Ok(outcome)
    })
    .await
}

async fn require_member(change: &mut Change, operator: &Operator) -> Result<(), Error> {
    let is_member = change.standing(&operator.name).await?[0].member;
    if is_member { Ok(()) } else { Err(Error::AttributeSetterOutside) }
}

/// Whose each attribute of the room is.
async fn setters(change: &mut Change) -> Result<HashMap<String, String>, Error> {
    let key = change.key.clone();
    let rows = sqlx::query!("select key, setter from attributes where app = $1 and chatroom = $2", key.app, key.id())
        .fetch_all(change.connection())
        .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.setter)).collect())
}
