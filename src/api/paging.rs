//! Pages, as lists are asked for them: by number, or by a cursor and a limit.

use super::reply::Params;

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
    pub fn of_at_least_one(params: &Params, default: i64) -> Self {
        let size = number(params.first("pagesize")).filter(|size| *size > 0);
        if size.is_some() {
            return Self::of(params);
        }
        let page = number(params.first("pagenum")).unwrap_or(1).max(1);
        Self { skip: i64::try_from(page - 1).unwrap_or(i64::MAX).saturating_mul(default), size: default }
    }

    /// The page that `pagenum` and `pagesize` name. No value is an error: what makes no sense counts as absent.
    pub fn of(params: &Params) -> Self {
        let size = number(params.first("pagesize")).unwrap_or(MAX_PAGE_SIZE).min(MAX_PAGE_SIZE);
        let page = number(params.first("pagenum")).unwrap_or(1).max(1);
        let skip = (page - 1).saturating_mul(size);
        let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self { skip: bounded(skip), size: bounded(size) }
    }
}

/// How many entries a page by cursor has: `limit`, but at most `max`. No value is an error: what makes no sense counts
/// as absent.
pub fn limit(params: &Params, default: i64, max: i64) -> i64 {
    let wanted = number(params.first("limit")).filter(|limit| *limit > 0);
    wanted.map_or(default, |limit| i64::try_from(limit).unwrap_or(i64::MAX)).min(max)
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
}
