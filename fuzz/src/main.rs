//! libFuzzer on one of the targets of `tests/api/fuzz`: the one that `FUZZ_TARGET` names.

#![no_main]
#![allow(dead_code, reason = "most of the stage is for other tests")]

#[path = "../../tests/api/app.rs"]
mod app;
#[path = "../../tests/api/fuzz/mod.rs"]
mod fuzz;
#[path = "../../tests/api/openapi"]
mod openapi {
    pub mod forms;
}

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};

static TARGET: LazyLock<fn(&str)> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    fuzz::find(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // What is kept is text, so that a change of it can be read.
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    TARGET(text);
    Corpus::Keep
});
