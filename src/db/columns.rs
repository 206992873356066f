//! How columns are read that sqlx would read piece by piece.

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};

use crate::names::NameList;

impl Type<Postgres> for NameList {
    fn type_info() -> PgTypeInfo {
        <Vec<String> as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <Vec<String> as Type<Postgres>>::compatible(ty)
    }
}

/// `text[]` in PostgreSQL's binary form: the number of dimensions, flags, the type of the elements; for each dimension its
/// length and where it begins; and the elements, each behind its length.
impl Decode<'_, Postgres> for NameList {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() != PgValueFormat::Binary {
            return Err("a list of names comes in binary form only".into());
        }
        let mut bytes = value.as_bytes()?;
        let dimensions = number(&mut bytes)?;
        let (_flags, _type) = (number(&mut bytes)?, number(&mut bytes)?);
        match dimensions {
            0 => return Ok(Self::default()),
            1 => {}
            _ => return Err("a list of names has one dimension".into()),
        }
        let (names, _first) = (usize::try_from(number(&mut bytes)?)?, number(&mut bytes)?);
        // Each name has its length before it; what comes is no more than what is there.
        let mut list = Self::with_capacity(names.min(bytes.len() / 4), bytes.len().saturating_sub(4 * names));
        for _ in 0..names {
            // No name is null: its length would be negative.
            let length = usize::try_from(number(&mut bytes)?)?;
            let (name, rest) = bytes.split_at_checked(length).ok_or("a list of names is cut off")?;
            list.push(std::str::from_utf8(name)?);
            bytes = rest;
        }
        Ok(list)
    }
}

/// Takes a number off the front.
fn number(bytes: &mut &[u8]) -> Result<i32, BoxDynError> {
    let (number, rest) = bytes.split_first_chunk().ok_or("a list of names is cut off")?;
    *bytes = rest;
    Ok(i32::from_be_bytes(*number))
}
