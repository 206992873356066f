//! Query strings, and the pages that they ask for.

use roomward::api::paging::{self, Page, Params};
use serde_json::Value;

pub fn target(text: &str) {
    // HTTP carries no other.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let params = Params::parse(text);

    let mut url = reqwest::Url::parse("http://localhost/").expect("a URL");
    url.set_query(Some(text));
    let given: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let echo = serde_json::to_string(&params).expect("JSON");
    let echoed: Value = serde_json::from_str(&echo).expect("JSON");
    let echoed = echoed.as_object().expect("an object");
    assert_eq!(echoed.values().map(|values| values.as_array().map_or(0, Vec::len)).sum::<usize>(), given.len(), "{echo}");
    for (key, value) in &given {
        assert!(echoed[key].as_array().expect("a list").contains(&Value::from(&**value)), "{key} is not echoed: {echo}");
    }
    for (key, values) in echoed {
        assert_eq!(params.first(key), values[0].as_str());
    }

    for (page, least, most) in
        [(Page::of(&params), 0, 1000), (Page::of_at_least_one(&params, 10), 1, 1000), (Page::in_camel_case(&params, 50), 1, 50)]
    {
        assert!(page.skip >= 0 && (least..=most).contains(&page.size), "{page:?}");
    }
    assert!((1..=1000).contains(&paging::limit(&params, 100, paging::MAX_LIMIT)));
    assert_ne!(paging::searched(&params), Some(""));
    let known = ["limit", "cursor"];
    assert_eq!(params.only(&known).is_ok(), given.iter().all(|(key, _)| known.contains(&&**key)));
}
