//! TLS to a PostgreSQL that lets no one in without it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use roomward::migrations;
use serde_json::Value;
use uuid::Uuid;

use crate::app::{Instance, SECRET, TestApp, settings};
use crate::cluster::Cluster;

/// Who may sign certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key.
    fn sign(&self, common_name: &str, hosts: &[&str]) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }
}

/// A PostgreSQL with a certificate for `localhost`. The database `postgres` asks for a password, `certified` for a
/// certificate and nothing else.
struct Secured {
    cluster: Cluster,
    authority: Authority,
    files: PathBuf,
}

impl Secured {
    fn start(name: &str) -> Self {
        let (cluster, authority) = (Cluster::start(name), Authority::new("authority"));
        let (certificate, key) = authority.sign("server", &["localhost"]);
        let data = cluster.data();
        let owner = fs::metadata(&data).expect("a folder");
        for (name, text) in [
            ("server.crt", &*certificate),
            ("server.key", &key),
            ("ca.crt", &authority.pem),
            (
                "pg_hba.conf",
                "hostssl postgres all 127.0.0.1/32 scram-sha-256\n\
                 hostssl certified all 127.0.0.1/32 cert\n",
            ),
        ] {
            let file = data.join(name);
            fs::write(&file, text).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("mode");
            chown(&file, Some(owner.uid()), Some(owner.gid())).expect("owner");
        }
        cluster.run("stop", &[]);
        cluster.run("start", &["ssl=on", "ssl_ca_file=ca.crt"]);
        let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{}", Uuid::new_v4().simple()));
        fs::create_dir(&files).expect("a folder");
        Self { cluster, authority, files }
    }

    /// A file that a URL may name.
    fn file(&self, name: &str, text: &str) -> String {
        let file = self.files.join(name);
        fs::write(&file, text).expect("written");
        file.to_str().expect("a text").to_owned()
    }

    /// The URL by the name that the certificate has.
    fn url(&self, parameters: &str) -> String {
        format!("{}?{parameters}", self.cluster.url().replace("@127.0.0.1:", "@localhost:"))
    }

    /// By its address, which the certificate does not have.
    fn url_by_address(&self, parameters: &str) -> String {
        format!("{}?{parameters}", self.cluster.url())
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.files);
    }
}

fn migration_status(url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomward"))
        .args(["migrate", "--status"])
        .env("ROOMWARD__DATABASE__URL", url)
        .env("ROOMWARD__AUTH__SECRET", SECRET)
        .stdin(Stdio::null())
        .output()
        .expect("the binary")
}

#[track_caller]
fn assert_refused(url: &str, why: &str) {
    let output = migration_status(url);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty() && said.contains(why), "{why}: {said}");
}

#[track_caller]
fn assert_let_in(url: &str) {
    let output = migration_status(url);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_reached_by_tls_and_only_if_it_is_the_right_one() {
    let secured = Secured::start("tls-pg");
    let ca = secured.file("ca.pem", &secured.authority.pem);
    let other_ca = secured.file("other-ca.pem", &Authority::new("another authority").pem);
    let verified = secured.url(&format!("sslmode=verify-full&sslrootcert={ca}"));
    migrations::run(&verified).await.expect("migrated");

    // A service, each of whose connections is encrypted.
    let instance = Instance::start(settings(&verified));
    let app = TestApp::on(instance.address, &verified).await;
    let room = app.room_with("ann", &["bob"]).await;
    assert_eq!(app.members(&room).await, ["ann", "bob"]);
    let (all, encrypted): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where ssl) from pg_stat_ssl join pg_stat_activity using (pid)
         where application_name = 'roomward'",
    )
    .fetch_one(&app.db)
    .await
    .expect("a row");
    assert!(all > 0 && all == encrypted, "{encrypted} of {all}");

    // One that trusts another authority has no database, and tells its clients no more than that.
    let misled = Instance::start(settings(&secured.url(&format!("sslmode=verify-full&sslrootcert={other_ca}"))));
    let answer = reqwest::get(format!("http://{}/org/app/users/ann", misled.address)).await.expect("an answer");
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["error_description"], "Service Unavailable");

    assert_let_in(&verified);
    assert_refused(&secured.url(&format!("sslmode=verify-full&sslrootcert={other_ca}")), "UnknownIssuer");
    assert_refused(&secured.url(&format!("sslmode=verify-ca&sslrootcert={other_ca}")), "UnknownIssuer");
    assert_refused(&secured.url("sslmode=verify-full"), "UnknownIssuer");
    assert_refused(&secured.url_by_address(&format!("sslmode=verify-full&sslrootcert={ca}")), "not valid for name");
    assert_let_in(&secured.url_by_address(&format!("sslmode=verify-ca&sslrootcert={ca}")));
    assert_refused(&secured.url("sslmode=disable"), "no encryption");
    // What these two do not ask for, they do not get.
    assert_let_in(&secured.url_by_address("sslmode=require"));
    assert_let_in(&secured.url_by_address("sslmode=prefer"));
    // A server without TLS is not talked to by one who asks for it.
    let server = crate::app::server_url();
    let server = server.split('?').next().expect("a URL");
    assert_refused(&format!("{server}?sslmode=verify-full"), "server does not support TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_takes_the_place_of_a_password() {
    let secured = Secured::start("certificates-pg");
    let ca = secured.file("ca.pem", &secured.authority.pem);
    let verified = secured.url(&format!("sslmode=verify-full&sslrootcert={ca}"));
    let db = sqlx::PgPool::connect(&verified).await.expect("the database");
    sqlx::raw_sql("create database certified").execute(&db).await.expect("a database");
    db.close().await;

    // The same server without a password in the URL, and with a certificate for that user, another, or none.
    let (_, server) = verified.split_once('@').expect("a password");
    let server = format!("postgres://roomward@{}", server.replace("/postgres?", "/certified?"));
    let certified = |name: &str, authority: &Authority| {
        let (certificate, key) = authority.sign(name, &[]);
        let (certificate, key) = (secured.file("client.crt", &certificate), secured.file("client.key", &key));
        format!("{server}&sslcert={certificate}&sslkey={key}")
    };
    let url = certified("roomward", &secured.authority);
    migrations::run(&url).await.expect("migrated");
    assert_let_in(&url);
    assert_refused(&certified("another", &secured.authority), "certificate authentication failed");
    assert_refused(&certified("roomward", &Authority::new("another authority")), "UnknownCA");
    assert_refused(&server, "connection requires a valid client certificate");
}
