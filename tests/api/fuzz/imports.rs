//! Files of moves, line by line, and what comes of them in an app.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use roomward::accounts::apps::App;
use roomward::db::Db;
use roomward::moving::format::Line;
use roomward::moving::import::Importer;
use roomward::moving::report::{Count, Kind, Report};
use roomward::moving::{Failure, file};
use uuid::Uuid;

use super::service::{self, Service};
use crate::app::new_app;

const MEMBERS_PER_ROOM: u32 = 100;

/// A file; or its lines without the first and the last, which any text becomes a file by.
pub fn target(text: &str) {
    for line in text.lines() {
        if let Ok(read) = serde_json::from_str::<Line>(line) {
            let written = serde_json::to_string(&read).expect("JSON");
            assert_eq!(serde_json::from_str::<Line>(&written).expect("a line"), read);
        }
    }
    service::with(|service| {
        let app = service.wait(new_app(&service.app.db, "import", &Uuid::new_v4().simple().to_string()));
        let Ok((trial, refusals)) = import(service, &app, text, true) else {
            assert!(import(service, &app, text, false).is_err(), "the trial could not be made, but the import");
            return;
        };
        let first = import(service, &app, text, false).expect("as the trial");
        assert_eq!(first, (trial, refusals), "the trial said so");
        if refusals == 0 {
            let (second, _) = import(service, &app, text, false).expect("as before");
            assert!(second.values().all(|count| count.new == 0), "{second:?} the second time");
        }
    });
}

/// What came of it, or why it is no file. The database never fails.
fn import(service: &Service, app: &App, text: &str, is_trial: bool) -> Result<(BTreeMap<Kind, Count>, u64), String> {
    let report = Arc::new(Report::new(None));
    let importer = Importer::new(Db::new(service.app.db.clone()), app.id, MEMBERS_PER_ROOM, is_trial, report.clone());
    match service.wait(file::import(&importer, Cursor::new(text.to_owned()), 2)) {
        Ok(()) => Ok((report.counts(), report.refusals().1)),
        Err(Failure::Unreadable(why)) => Err(why),
        Err(failure) => panic!("{failure}"),
    }
}
