//! The query string, and the pages that it asks for: by number, or by a cursor and a limit.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::error::Error;

/// The query string: keys in the seed's order, each with all its values, as texts.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct Params(Vec<(String, Vec<String>)>);

impl Params {
    /// Reads a query string. Every text is one.
    pub fn parse(query: &str) -> Self {
        let mut params: Vec<(String, Vec<String>)> = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match params.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value.into_owned()),
                None => params.push((key.into_owned(), vec![value.into_owned()])),
            }
        }
        params.sort_by_key(|(key, _)| match key.as_str() {
            "pagesize" => 0,
            "pagenum" => 1,
            _ => 2,
        });
        Self(params)
    }

    /// The first value of a key.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).and_then(|(_, values)| values.first()).map(String::as_str)
    }

    /// The same parameters if all of them are `known`. Only for calls that the hosted service does not have: its own ignore
    /// what they do not know.
    pub fn only(self, known: &[&str]) -> Result<Self, Error> {
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(Error::InvalidParameter(format!("unknown parameter {key}"))),
            None => Ok(self),
        }
    }

    /// The same parameters if `key` is none of them.
    pub fn without(self, key: &str) -> Result<Self, Error> {
        match self.first(key) {
            Some(_) => Err(Error::InvalidParameter(format!("unknown parameter {key}"))),
            None => Ok(self),
        }
    }

    /// Whether there was no query string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, values) in &self.0 {
            map.serialize_entry(key, values)?;
        }
        map.end()
    }
}

/// The largest page, and the one served where no size is named.
const MAX_PAGE_SIZE: u64 = 1000;

/// A page: how many entries it has at most, and how many come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Entries before this page.
    pub skip: i64,
    /// Entries on this page, at most.
    pub size: i64,
}

impl Page {
    /// The same for lists whose pages have at least one entry, and `default` where no size is named.
    pub fn of_at_least_one(params: &Params, default: u64) -> Self {
        Self::sized(params, number(params.first("pagesize")).filter(|size| *size > 0).unwrap_or(default))
    }

    /// The page that `pagenum` and `pagesize` name. No value is an error: what makes no sense counts as absent.
    pub fn of(params: &Params) -> Self {
        Self::sized(params, number(params.first("pagesize")).unwrap_or(MAX_PAGE_SIZE))
    }

    /// The same by the names `pageNum` and `pageSize`, of lists whose pages have one to `max` entries: `max` where no size is
    /// named.
    pub fn in_camel_case(params: &Params, max: u64) -> Self {
        let size = number(params.first("pageSize")).filter(|size| *size > 0).unwrap_or(max);
        Self::numbered(params.first("pageNum"), size.min(max))
    }

    fn sized(params: &Params, size: u64) -> Self {
        Self::numbered(params.first("pagenum"), size.min(MAX_PAGE_SIZE))
    }

    fn numbered(page: Option<&str>, size: u64) -> Self {
        let page = number(page).unwrap_or(1).max(1);
        let skip = (page - 1).saturating_mul(size);
        let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self { skip: bounded(skip), size: bounded(size) }
    }
}

/// The most entries that a page by cursor has, and how many it has where no limit is named.
pub const MAX_LIMIT: i64 = 1000;

/// Whether a list is asked for by cursor: with a `limit`, a `cursor`, or both.
pub fn is_by_cursor(params: &Params) -> bool {
    params.first("limit").is_some() || params.first("cursor").is_some()
}

/// Whether all that is known is asked for; entries of a list then come by cursor.
pub fn wants_detail(params: &Params) -> bool {
    params.first("detail") == Some("true")
}

/// How many entries a page by cursor has: `limit`, but at most `max`. No value is an error: what makes no sense counts
/// as absent.
pub fn limit(params: &Params, default: i64, max: i64) -> i64 {
    let wanted = number(params.first("limit")).filter(|limit| *limit > 0);
    wanted.map_or(default, |limit| i64::try_from(limit).unwrap_or(i64::MAX)).min(max)
}

/// The number in `key`, but at most `max`, which it is where none is named. No value is an error: what makes no sense counts as
/// absent.
pub fn at_most(params: &Params, key: &str, max: u32) -> u32 {
    number(params.first(key)).map_or(max, |wanted| u32::try_from(wanted).unwrap_or(max).min(max))
}

/// Cuts a page that was read with one entry more than `limit`. Returns its last entry if that told that more follow.
pub fn cut<T>(entries: &mut Vec<T>, limit: i64) -> Option<&T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    entries.last().filter(|_| more)
}

/// What a search is for: `q`, the beginning of names. What is empty counts as absent.
pub fn searched(params: &Params) -> Option<&str> {
    params.first("q").filter(|text| !text.is_empty())
}

/// Digits of any length; more than 64 bits hold is as good as endless.
fn number(text: Option<&str>) -> Option<u64> {
    let text = text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_numbers_say_within_their_range() {
        for (query, skip, size) in [
            ("", 0, 1000),
            ("pagenum=2&pagesize=2", 2, 2),
            ("pagesize=0", 0, 0),
            ("pagenum=3&pagesize=0", 0, 0),
            ("pagesize=1001&pagenum=2", 1000, 1000),
            ("pagenum=0", 0, 1000),
            ("pagenum=-1&pagesize=-5", 0, 1000),
            ("pagenum=x&pagesize=y", 0, 1000),
            ("pagenum=99999999999999999999999", i64::MAX, 1000),
        ] {
            assert_eq!(Page::of(&Params::parse(query)), Page { skip, size }, "{query}");
        }
    }

    #[test]
    fn a_page_in_camel_case_has_one_entry_at_least() {
        for (query, skip, size) in [
            ("", 0, 50),
            ("pageNum=2&pageSize=10", 10, 10),
            ("pageNum=3&pageSize=51", 100, 50),
            ("pageNum=0&pageSize=0", 0, 50),
            ("pageNum=x&pageSize=-1", 0, 50),
            ("pagenum=2&pagesize=10", 0, 50),
        ] {
            assert_eq!(Page::in_camel_case(&Params::parse(query), 50), Page { skip, size }, "{query}");
        }
    }

    #[test]
    fn params_are_echoed_as_lists_of_texts_in_the_seeds_order() {
        let echo = |query| serde_json::to_string(&Params::parse(query)).expect("JSON");
        assert_eq!(echo("pagenum=2&pagesize=2"), r#"{"pagesize":["2"],"pagenum":["2"]}"#);
        assert_eq!(echo("b=1&a=%E5%BC%A0&pagenum=x&b=2"), r#"{"pagenum":["x"],"b":["1","2"],"a":["张"]}"#);
        assert!(Params::parse("").is_empty());
    }
}
