//! Cursors, and the positions in them: in lists, in events and in searches.

use std::fmt::Debug;
use std::str::FromStr;

use roomward::api::cursor::Cursors;
use roomward::events::cursor::EventCursor;
use roomward::search::SearchCursor;

/// A position, or a cursor.
pub fn target(text: &str) {
    prints_back::<i64>(text);
    prints_back::<EventCursor>(text);
    prints_back::<SearchCursor>(text);

    let cursors = Cursors::new(&["a secret"]);
    if let Ok(position) = cursors.open::<String>("list", text) {
        assert_eq!(cursors.write("list", &position), text, "what was never handed out");
    }
    let cursor = cursors.write("list", &text);
    assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{cursor} is not safe in a URL");
    assert_eq!(cursors.open::<String>("list", &cursor).ok().as_deref(), Some(text));
    assert!(cursors.open::<String>("list of another", &cursor).is_err());
    assert!(Cursors::new(&["another secret"]).open::<String>("list", &cursor).is_err());
    assert_eq!(cursors.open::<EventCursor>("list", &cursor).ok(), text.parse().ok());
    // One letter of it is another, which one depends on the text.
    let (at, letter) = (text.len() * 7 % cursor.len(), if text.len().is_multiple_of(2) { "A" } else { "b" });
    let mut touched = cursor.clone();
    touched.replace_range(at..=at, letter);
    assert!(touched == cursor || cursors.open::<String>("list", &touched).is_err(), "{touched} was {cursor}");
}

fn prints_back<P: FromStr + ToString + PartialEq + Debug>(text: &str) {
    if let Ok(position) = text.parse::<P>() {
        assert_eq!(position.to_string().parse::<P>().ok(), Some(position), "{text:?}");
    }
}
