//! What lies in `deploy/` speaks of figures, tasks and settings by name: each is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

/// The words of letters, digits and `_` in a text that start so.
fn words<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| word.starts_with(start)).collect()
}

/// The names under which Prometheus knows the figures, each with the figure's own.
fn figures() -> Vec<(String, String)> {
    let source = text("src/figures.rs");
    let mut figures = Vec::new();
    for entry in source.lines().filter_map(|line| line.trim().strip_prefix("(\"")) {
        let (name, rest) = entry.split_once("\", ").expect("a name");
        if rest.starts_with("Kind::Histogram") {
            figures.extend(["_bucket", "_sum", "_count"].map(|part| (format!("{name}{part}"), name.to_owned())));
        } else {
            figures.push((name.to_owned(), name.to_owned()));
        }
    }
    assert!(figures.len() > 20, "{figures:?}");
    figures
}

/// Every expression of the dashboard's panels.
fn expressions() -> String {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/roomward.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("an expression")).collect::<Vec<_>>().join("\n")
}

#[test]
fn alerts_and_dashboard_ask_for_figures_that_are_told() {
    let figures = figures();
    for (file, text) in [
        ("rules", text("deploy/prometheus/rules.yml")),
        ("their test", text("deploy/prometheus/rules.test.yml")),
        ("dashboard", expressions()),
    ] {
        let named = words(&text, "roomward_");
        assert!(!named.is_empty(), "{file}");
        for name in named {
            assert!(figures.iter().any(|(told, _)| told == name), "{file}: {name} is no figure");
        }
    }
}

#[test]
fn the_dashboard_shows_every_figure() {
    let expressions = expressions();
    let shown = words(&expressions, "roomward_");
    let figures = figures();
    let missing: BTreeSet<_> = figures
        .iter()
        .map(|(_, figure)| figure)
        .filter(|figure| !figures.iter().any(|(told, of)| of == *figure && shown.contains(told.as_str())))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_background_task_has_an_alert_for_its_silence() {
    let rules = text("deploy/prometheus/rules.yml");
    let watched: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| {
            line.split_once("task_last_success_timestamp_seconds{task")?.1.trim_start_matches(['=', '~', '"']).split_once('"')
        })
        .flat_map(|(tasks, _)| tasks.split('|'))
        .filter(|task| !task.starts_with('!'))
        .collect();
    let sources: Vec<String> = files("src").iter().map(|path| fs::read_to_string(path).expect("readable")).collect();
    let tasks: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split("Task::new(\"").skip(1))
        .map(|rest| rest.split_once('"').expect("a name").0)
        .collect();
    assert_eq!(watched, tasks);
}

#[test]
fn packages_set_settings_that_are_there() {
    let mut settings = BTreeSet::new();
    let mut section = String::new();
    let defaults = text("config/default.toml");
    for line in defaults.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_uppercase();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            settings.insert(format!("ROOMWARD__{section}__{}", key.to_uppercase()));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut packages = files("deploy");
    packages.extend([root.join("Dockerfile"), root.join("docker-compose.yml")]);
    let mut found = 0;
    for path in packages {
        let text = fs::read_to_string(&path).expect("readable");
        // A sentence may speak of any setting.
        let text: String = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
        for name in words(&text, "ROOMWARD__") {
            found += 1;
            assert!(settings.contains(name), "{}: {name} is no setting", path.display());
        }
    }
    assert!(found > 20, "only {found}");
}
