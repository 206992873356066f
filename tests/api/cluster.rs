//! A PostgreSQL of a test's own, which it may kill and set up as it likes.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Cluster(PathBuf);

impl Cluster {
    /// Starts one. The name is fixed for a test: the next run removes what an interrupted one has left there.
    pub fn start(name: &str) -> Self {
        let cluster = Self(Path::new(env!("CARGO_MANIFEST_DIR")).join(".local").join(name));
        cluster.run("remove", &[]);
        cluster.run("start", &[]);
        cluster
    }

    /// Starts a standby of another one.
    pub fn follow(name: &str, primary: &Self) -> Self {
        let standby = Self(Path::new(env!("CARGO_MANIFEST_DIR")).join(".local").join(name));
        standby.run("remove", &[]);
        standby.run("follow", &[&primary.0.to_string_lossy()]);
        standby
    }

    /// Runs a command of `scripts/postgres`; `start` takes settings.
    pub fn run(&self, command: &str, settings: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres");
        let status = Command::new(script).arg(command).arg(&self.0).args(settings).status().expect("the script");
        assert!(status.success(), "scripts/postgres {command}");
    }

    pub fn url(&self) -> String {
        std::fs::read_to_string(self.0.join("url")).expect("a URL").trim().to_owned()
    }

    /// The folder of its data, which belongs to the server's user.
    pub fn data(&self) -> PathBuf {
        self.0.join("data").canonicalize().expect("a folder")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("remove", &[]);
    }
}
