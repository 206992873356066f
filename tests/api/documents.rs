//! The documents: what they link to is there.

use std::fs;
use std::path::{Path, PathBuf};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join("docs"), root.join("deploy"), root.join("examples")] {
        let files = fs::read_dir(folder).into_iter().flatten().map(|file| file.expect("a file").path());
        found.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The anchors of a document, as the usual hosts make them of its headings.
fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(|letter| letter.is_alphanumeric() || "- _".contains(*letter)).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a text");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("http") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { document.parent().expect("a folder").join(path) };
            assert!(target.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target).expect("a text"));
                assert!(anchors.contains(&anchor.to_owned()), "{}: {link}: {anchors:?}", document.display());
            }
        }
    }
}

#[test]
fn every_test_that_the_promises_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    let mut folders = vec![root.join("tests"), root.join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &fs::read_to_string(path).expect("a text");
            }
        }
    }
    let promises = fs::read_to_string(root.join("docs/reliability.md")).expect("a text");
    let names: Vec<&str> = promises.split('`').filter(|word| word.matches('_').count() > 3).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(code.contains(&format!("fn {name}()")), "there is no test {name}");
    }
}
