//! The custom attributes of a room: texts by name, each belonging to the member who has set it.

use super::changes::Change;
use super::operation::{Decision, Operation};
use super::state::{Attribute, Facts, Needs, RoomView};
use crate::error::Error;
use crate::names::Names;

/// The most attributes of a room.
pub const MAX_ATTRIBUTES: usize = 100;

/// The longest key and the longest value, in characters.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 4096;

/// Whether an attribute may be called so; else why not.
pub fn legal(key: &str) -> Result<(), String> {
    if key.chars().count() > MAX_KEY {
        return Err(format!("properties key '{key}' is exceeding maximum limit {MAX_KEY}"));
    }
    let legal = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if legal { Ok(()) } else { Err(format!("properties key '{key}' is not Legal")) }
}

/// The value, if it is a text that can be stored under that key; else why not.
pub fn legal_value<'v>(key: &str, value: Option<&'v str>) -> Result<&'v str, String> {
    legal(key)?;
    let value = value.filter(|value| !value.contains('\0'));
    let value = value.ok_or_else(|| format!("properties key '{key}' is not Legal"))?;
    if value.chars().count() > MAX_VALUE {
        return Err(format!("properties value of key '{key}' is exceeding maximum limit {MAX_VALUE}"));
    }
    Ok(value)
}

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
    /// It belongs to another user.
    NotYours,
    /// The room has as many as it may have.
    RoomIsFull,
    /// There is none of that name.
    Missing,
}

/// What became of each key, in the order asked for.
pub type Outcome = Vec<(String, Result<(), Refusal>)>;

/// Sets attributes, one by one. The operator must be in the room.
pub struct Set {
    /// Who sets them.
    pub operator: Operator,
    /// The names and their texts.
    pub attributes: Vec<(String, String)>,
    /// Whether they go when the operator leaves.
    pub leaves_with_setter: bool,
}

impl Operation for Set {
    type Outcome = Outcome;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.operator.name, Facts::MEMBER);
        needs.attributes = true;
    }

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Outcome> {
        require_member(view, &self.operator)?;
        let setter = self.operator.name.given().first();
        let mut number = view.room.attributes.as_ref().map_or(0, std::collections::BTreeMap::len);
        let (mut outcome, mut changes) = (Outcome::new(), Vec::new());
        for (name, value) in &self.attributes {
            let fate = match attribute(view, name) {
                Some(of) if of.setter.as_ref() != setter && !self.operator.forced => Err(Refusal::NotYours),
                Some(_) => Ok(()),
                None if number >= MAX_ATTRIBUTES => Err(Refusal::RoomIsFull),
                None => {
                    number += 1;
                    Ok(())
                }
            };
            if fate.is_ok() {
                let (value, setter, leaves_with_setter) = (value.clone(), setter.cloned(), self.leaves_with_setter);
                changes.push(Change::SetAttribute(name.clone(), Attribute { value, setter, leaves_with_setter }));
            }
            outcome.push((name.clone(), fate));
        }
        Ok((outcome, changes))
    }
}

/// Deletes attributes, one by one. The operator must be in the room, unless the call is forced.
pub struct Delete {
    /// Who deletes them.
    pub operator: Operator,
    /// Their names.
    pub keys: Vec<String>,
}

impl Operation for Delete {
    type Outcome = Outcome;

    fn needs(&self, needs: &mut Needs) {
        needs.users(&self.operator.name, Facts::MEMBER);
        needs.attributes = true;
    }

    fn targets(&self) -> Option<&Names> {
        None
    }

    fn decide(&self, view: &RoomView<'_>) -> Decision<Outcome> {
        if !self.operator.forced {
            require_member(view, &self.operator)?;
        }
        let fate = |name: &String| match attribute(view, name) {
            None => Err(Refusal::Missing),
            Some(of) if of.setter.as_ref() != self.operator.name.given().first() && !self.operator.forced => {
                Err(Refusal::NotYours)
            }
            Some(_) => Ok(()),
        };
        let outcome: Outcome = self.keys.iter().map(|name| (name.clone(), fate(name))).collect();
        let gone = outcome.iter().filter(|(_, fate)| fate.is_ok());
        let changes = gone.map(|(name, _)| Change::RemoveAttribute(name.clone())).collect();
        Ok((outcome, changes))
    }
}

fn require_member(view: &RoomView<'_>, operator: &Operator) -> Result<(), Error> {
    if operator.name.given().first().is_some_and(|name| view.is_member(name)) {
        Ok(())
    } else {
        Err(Error::AttributeSetterOutside)
    }
}

fn attribute<'a>(view: &'a RoomView<'_>, name: &str) -> Option<&'a Attribute> {
    debug_assert!(view.room.attributes.is_some(), "the attributes were not asked for");
    view.room.attributes.as_ref()?.get(name)
}
