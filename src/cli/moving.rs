//! `roomward export` and `roomward import`: an app out of the service, and into it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use roomward::config::Settings;
use roomward::moving::import::Importer;
use roomward::moving::report::Report;
use roomward::moving::service::{self, Reading};
use roomward::moving::source::Source;
use roomward::moving::verify::Verifier;
use roomward::moving::{self, export, file};
use secrecy::SecretString;

use super::Failure;
use super::apps::find;
use super::database::connect_patiently;

/// Where the secret of the source may be, so that it stands on no command line.
const SECRET: &str = "ROOMWARD_IMPORT_CLIENT_SECRET";

/// How often a terminal shows how far a move has come.
const SHOW_EVERY: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub struct ExportArguments {
    /// The app, as ORG/APP.
    app: String,
    /// Where to; only its owner may read it. Without it: standard output.
    file: Option<PathBuf>,
    /// Also the hashes of passwords, so that users can go on signing in. Keep the file as a secret then.
    #[arg(long)]
    with_password_hashes: bool,
}

#[derive(clap::Args)]
pub struct ImportArguments {
    /// The app, as ORG/APP. `roomward app create` makes it.
    app: String,
    /// A file of `roomward export`.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    file: Option<PathBuf>,
    /// Instead of a file: the URL of an app on a service with the same API, such as <https://a1.easemob.com/ORG/APP>.
    #[arg(long, requires = "client_id")]
    from: Option<String>,
    /// The client id of that app.
    #[arg(long, requires = "from")]
    client_id: Option<String>,
    /// The file that holds its client secret. Without it: the environment's `ROOMWARD_IMPORT_CLIENT_SECRET`.
    #[arg(long, requires = "from")]
    client_secret_file: Option<PathBuf>,
    /// How many rooms at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// The most calls a second to the source; the hosted service allows 100 of most, and 50 of some.
    #[arg(long, default_value_t = 50, requires = "from", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Pass over rooms that are here with as many members as there: after an import that was broken off.
    #[arg(long, requires = "from")]
    resume: bool,
    /// Only tell what would be brought in, and what refused.
    #[arg(long)]
    dry_run: bool,
    /// Write each refusal to this file, as NDJSON; those of `--verify` among them.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Compare both sides afterwards, list by list, and tell each difference.
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
}

pub async fn export(settings: &Settings, arguments: ExportArguments) -> Result<ExitCode, Failure> {
    let db = connect_patiently(settings, 1).await?;
    let app = find(&db, &arguments.app).await?;
    let out: Box<dyn Write> = match &arguments.file {
        Some(path) => Box::new(create(path)?),
        None => Box::new(io::stdout().lock()),
    };
    let lines = export::export(&db, &app, arguments.with_password_hashes, &mut BufWriter::new(out)).await;
    let lines = lines.map_err(moving::Failure::from)?;
    eprintln!("{lines} lines");
    Ok(ExitCode::SUCCESS)
}

/// Makes a file that only its owner may read.
fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Exits with 1 if something was refused, or differs.
pub async fn import(settings: &Settings, arguments: ImportArguments) -> Result<ExitCode, Failure> {
    // A connection for each room that is under way, and one for what is read beside.
    let db = connect_patiently(settings, u32::from(arguments.parallel) + 1).await?;
    let app = find(&db, &arguments.app).await?;
    let source = match &arguments.from {
        Some(from) => Some(open_source(from, &arguments)?),
        None => None,
    };
    let sink = match &arguments.report {
        Some(path) => Some(Box::new(BufWriter::new(create(path)?)) as Box<dyn Write + Send>),
        None => None,
    };
    let (parallel, members_per_room) = (usize::from(arguments.parallel), settings.limits.members_per_room);
    let report = Arc::new(Report::new(sink));
    let importer = Importer::new(db.clone(), app.id, members_per_room, arguments.dry_run, report.clone());
    let brought_in = shown("rows", &report, async {
        match (&source, &arguments.file) {
            (Some(source), _) => service::import(&importer, source, Reading { parallel, resumes: arguments.resume }).await,
            (None, Some(path)) => file::import(&importer, open(path)?, parallel).await,
            (None, None) => Ok(()),
        }
    })
    .await;
    let mut is_good = show(&report, if arguments.dry_run { "would be new" } else { "new" });
    report.finish()?;
    brought_in?;
    if arguments.verify {
        // The same file goes on.
        let compared = Arc::new(report.continued());
        let mut verifier = Verifier::new(db, app.id, compared.clone());
        let outcome = shown("rows compared", &compared, async {
            match (&source, &arguments.file) {
                (Some(source), _) => service::verify(&mut verifier, source, parallel).await,
                (None, Some(path)) => file::verify(&mut verifier, open(path)?).await,
                (None, None) => Ok(()),
            }
        })
        .await;
        println!("compared:");
        is_good &= show(&compared, "new");
        compared.finish()?;
        outcome?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open(path: &Path) -> Result<BufReader<File>, moving::Failure> {
    let file = File::open(path).map_err(|error| moving::Failure::Unreadable(format!("{}: {error}", path.display())))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn open_source(from: &str, arguments: &ImportArguments) -> Result<Source, Failure> {
    let secret = match &arguments.client_secret_file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => std::env::var(SECRET).unwrap_or_default(),
    };
    let secret = SecretString::from(secret.trim_end_matches(['\r', '\n']));
    if secrecy::ExposeSecret::expose_secret(&secret).is_empty() {
        return Err(format!("the client secret is missing: --client-secret-file, or {SECRET} in the environment").into());
    }
    let client_id = arguments.client_id.clone().unwrap_or_default();
    Ok(Source::new(from, client_id, secret, arguments.rate)?)
}

/// Shows how many rows were dealt with while something is done, if a terminal is there to show it.
async fn shown<T>(what: &str, report: &Report, work: impl Future<Output = T>) -> T {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    let mut ticks = tokio::time::interval(SHOW_EVERY);
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => bar.set_position(report.rows()),
        }
    };
    bar.finish_and_clear();
    done
}

/// Prints what came of it. `false`: something was refused.
fn show(report: &Report, new: &str) -> bool {
    for (kind, count) in report.counts() {
        let mut line = format!("{}: ", kind.text());
        let parts = [(count.new, new), (count.present, "there already"), (count.ended, "ended"), (count.refused, "refused")];
        let parts: Vec<String> =
            parts.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{rows} {what}")).collect();
        line.push_str(&if parts.is_empty() { "0".to_owned() } else { parts.join(", ") });
        println!("{line}");
    }
    let (shown, refusals) = report.refusals();
    for refusal in &shown {
        let room = refusal.room.as_ref().map(|room| format!(" of room {room}")).unwrap_or_default();
        println!("{}{room}: {}: {}", refusal.kind.text(), refusal.name, refusal.why);
    }
    let more = refusals - u64::try_from(shown.len()).unwrap_or(0);
    if more > 0 {
        println!("and {more} more (--report FILE has all)");
    }
    refusals == 0
}
