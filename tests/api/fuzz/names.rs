//! The names of users, the ids of rooms, and the beginnings of names that searches ask for.

use std::collections::HashSet;

use roomward::names::{Names, RoomKey, is_username};
use roomward::search::Prefix;

/// Names with commas between them, as paths have them.
pub fn target(text: &str) {
    let given: Vec<&str> = text.split(',').collect();
    let names = Names::new(given.iter().copied());

    let distinct: HashSet<String> = given.iter().map(|name| name.to_ascii_lowercase()).collect();
    assert_eq!(names.given().iter().cloned().collect::<HashSet<_>>(), distinct);
    assert_eq!(names.len(), distinct.len(), "each once");
    assert_eq!(Names::new(names.given().iter().cloned()), names, "folded once is folded for ever");
    for name in names.given() {
        let is_legal = is_made_of(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");
        assert_eq!((is_username(name), names.usernames().contains(name)), (is_legal, is_legal), "{name:?}");
    }

    match RoomKey::parse(1, text) {
        Some(room) => assert_eq!((room.id(), is_made_of(text, "abcdefghijklmnopqrstuvwxyz0123456789")), (text, true)),
        None => assert!(!is_made_of(text, "abcdefghijklmnopqrstuvwxyz0123456789"), "{text:?}"),
    }

    let (beginning, rest) = text.split_once(',').unwrap_or((text, ""));
    if let Some(prefix) = Prefix::new(beginning) {
        let name = format!("{beginning}{rest}").to_ascii_lowercase();
        assert!(prefix.from <= name && name < prefix.to, "{name:?} begins so, and is outside of {prefix:?}");
    }
}

fn is_made_of(name: &str, letters: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|letter| letters.contains(letter))
}
