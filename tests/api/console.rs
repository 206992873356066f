//! The moderators' console, as far as the service serves it; what it does in a browser is tested in one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Response;

use crate::app::{Instance, TestApp, migrated_database, settings};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Every file of the console, by its path below the folder, and what is in it.
fn files() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/console");
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        let entries: Vec<PathBuf> =
            fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).expect("below").to_str().expect("a name").to_owned();
                found.push((name, fs::read(&path).expect("readable")));
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

fn header<'r>(answer: &'r Response, name: &str) -> &'r str {
    answer.headers().get(name).map_or("", |value| value.to_str().expect("a text"))
}

#[tokio::test]
async fn every_file_of_the_console_is_served_with_its_media_type_and_the_policy() {
    let app = TestApp::new().await;
    for (name, content) in files() {
        let media = match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        let answer = app.client.get(app.url(&format!("/console/{name}"))).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "content-type")), (200, media), "{name}");
        assert_eq!(header(&answer, "content-security-policy"), POLICY, "{name}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{name}");
        assert_eq!(header(&answer, "referrer-policy"), "no-referrer", "{name}");
        assert_eq!(answer.bytes().await.expect("a body"), content, "{name}");
    }
    let page = app.client.get(app.url("/console/index.html")).send().await.expect("an answer").text().await.expect("a page");
    for path in ["/console", "/console/"] {
        let answer = app.client.get(app.url(path)).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "content-security-policy")), (200, POLICY));
        assert_eq!(answer.text().await.expect("a page"), page);
    }
}

#[tokio::test]
async fn what_a_reader_has_of_the_console_is_not_sent_again_and_what_is_sent_is_compressed() {
    let app = TestApp::new().await;
    let get = || app.client.get(app.url("/console/main.js"));
    let answer = get().header("accept-encoding", "br, gzip").send().await.expect("an answer");
    assert_eq!((header(&answer, "content-encoding"), header(&answer, "vary")), ("gzip", "accept-encoding"));
    assert_eq!(header(&answer, "cache-control"), "no-cache");
    let tag = header(&answer, "etag").to_owned();
    assert_eq!(answer.bytes().await.expect("a body")[..2], [0x1f, 0x8b], "gzip");
    let answer = get().header("if-none-match", &tag).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (304, &*tag));
    assert!(answer.bytes().await.expect("a body").is_empty());
    let answer = get().header("if-none-match", "W/\"another\"").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn the_console_asks_no_other_host_and_has_no_script_or_style_within_its_page() {
    for (name, content) in files().into_iter().filter(|(name, _)| !name.starts_with("vendor/")) {
        let text = String::from_utf8(content).expect("a text");
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("://"), "{name}");
        assert!(!text.contains("dangerouslySetInnerHTML") && !text.contains("innerHTML"), "{name}");
    }
    let page = include_str!("../../assets/console/index.html");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" on"), "{page}");
    assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"/console/").count(), "{page}");
}

#[tokio::test]
async fn the_first_page_leads_to_the_console_where_it_is_served_and_nothing_of_it_is_where_it_is_not() {
    let app = TestApp::new().await;
    let home = app.client.get(app.url("/")).send().await.expect("an answer").text().await.expect("a page");
    assert!(home.contains("href=\"/console\"") && !home.contains("CONSOLE"), "{home}");

    let url = migrated_database().await;
    let mut settings = settings(&url);
    settings.console.enabled = false;
    let off = Instance::start(settings);
    let get = async |path: &str| app.client.get(format!("http://{}{path}", off.address)).send().await.expect("an answer");
    let home = get("/").await.text().await.expect("a page");
    assert!(!home.to_lowercase().contains("console"), "{home}");
    for path in ["/console", "/console/", "/console/index.html", "/console/main.js", "/console/vendor/preact.js"] {
        assert_eq!(get(path).await.status(), 404, "{path}");
    }
}

#[test]
fn both_languages_of_the_console_say_the_same_things() {
    let keys = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| line.starts_with("  ") && !line.starts_with("  //") && line.contains(": "));
        lines.map(|line| line.trim().split(": ").next().expect("a key").trim_matches('"').to_owned()).collect()
    };
    let (english, chinese) =
        (keys(include_str!("../../assets/console/words/en.js")), keys(include_str!("../../assets/console/words/zh.js")));
    assert!(english.len() > 100, "{english:?}");
    assert_eq!(english, chinese);
}
