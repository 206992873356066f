//! Reads the file of a move, a piece at a time: a thread reads ahead while the database works on what was read before.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Failure;
use super::format::{GlobalMute, Line, Moderator, RoomPart, SuperAdmin, User, VERSION};
use super::import::{BATCH, Importer};
use super::report::{Kind, Refusal, Report};
use super::verify::Verifier;
use crate::error::Error;

/// How many pieces are read ahead.
const READ_AHEAD: usize = 2;

/// Lines that belong together.
enum Piece {
    Users(Vec<User>),
    Room(RoomPart),
    SuperAdmin(SuperAdmin),
    Moderator(Moderator),
    GlobalMute(GlobalMute),
}

/// Brings in a file, up to `parallel` rooms at once. What cannot be brought in is in the report; an error ends the import.
pub async fn import(importer: &Importer, input: impl BufRead + Send + 'static, parallel: usize) -> Result<(), Failure> {
    let mut pieces = Pieces::read(input, BATCH, importer.report.clone());
    let mut rooms = FuturesUnordered::new();
    // The parts of a room come one after another: each begins when the one before is there.
    let mut before: Option<oneshot::Receiver<()>> = None;
    loop {
        let piece = tokio::select! {
            Some(done) = rooms.next(), if !rooms.is_empty() => {
                done?;
                continue;
            }
            piece = pieces.next(), if rooms.len() < parallel.max(1) => piece,
        };
        if !matches!(piece, Some(Piece::Room(_))) {
            while let Some(done) = rooms.next().await {
                done?;
            }
        }
        match piece {
            // One piece after another: users keep the order in which they came.
            Some(Piece::Users(users)) => importer.users(users).await?,
            Some(Piece::Room(part)) => {
                let (done, is_done) = oneshot::channel();
                let former = before.replace(is_done).filter(|_| part.continues);
                rooms.push(async move {
                    if let Some(former) = former {
                        // Without an answer the part before has failed, which ends the import.
                        let _ = former.await;
                    }
                    importer.room(part).await?;
                    let _ = done.send(());
                    Ok::<_, Failure>(())
                });
            }
            Some(Piece::SuperAdmin(admin)) => importer.super_admins(vec![admin]).await?,
            Some(Piece::Moderator(moderator)) => importer.moderator(moderator).await?,
            Some(Piece::GlobalMute(mute)) => importer.global_mute(mute).await?,
            None => return pieces.end().await,
        }
    }
}

/// Compares a file with what is there, room by room. A room is in memory as a whole.
pub async fn verify(verifier: &mut Verifier, input: impl BufRead + Send + 'static) -> Result<(), Failure> {
    let mut pieces = Pieces::read(input, usize::MAX, verifier.report.clone());
    while let Some(piece) = pieces.next().await {
        match piece {
            Piece::Users(users) => verifier.users(users).await?,
            Piece::Room(room) => verifier.room(room).await?,
            Piece::SuperAdmin(admin) => verifier.super_admin(&admin),
            Piece::Moderator(moderator) => verifier.moderator(moderator),
            Piece::GlobalMute(mute) => verifier.global_mute(mute),
        }
    }
    pieces.end().await?;
    Ok(verifier.finish(true).await?)
}

/// The pieces of a file, as a thread reads them.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    reader: JoinHandle<Result<(), Failure>>,
}

impl Pieces {
    fn read(input: impl BufRead + Send + 'static, size: usize, report: Arc<Report>) -> Self {
        let (send, pieces) = mpsc::channel(READ_AHEAD);
        let reader =
            tokio::task::spawn_blocking(move || Reader { send, size, report, room: None, seen: BTreeSet::new() }.read(input));
        Self { pieces, reader }
    }

    /// The next one; `None`: the file is at its end, or cannot be read any further.
    async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// Tells why the file could not be read.
    async fn end(self) -> Result<(), Failure> {
        drop(self.pieces);
        self.reader.await.map_err(|error| Error::Internal(error.into()))?
    }
}

struct Reader {
    send: mpsc::Sender<Piece>,
    size: usize,
    report: Arc<Report>,
    /// The room whose rows come.
    room: Option<RoomPart>,
    /// The rooms so far, and who stands above them.
    seen: BTreeSet<(Kind, String)>,
}

impl Reader {
    fn read(mut self, mut input: impl BufRead) -> Result<(), Failure> {
        let (mut text, mut number, mut is_whole) = (String::new(), 0u64, false);
        let mut users = Vec::new();
        loop {
            text.clear();
            if input.read_line(&mut text).map_err(unreadable)? == 0 {
                break;
            }
            number += 1;
            let line = match serde_json::from_str(&text) {
                Ok(line) => line,
                Err(error) if number == 1 => return Err(unreadable(format!("it is no file of `roomward export`: {error}"))),
                Err(error) => {
                    self.refuse(number, &error.to_string());
                    // What follows a room that cannot be read is not of the room before.
                    if !is_row(&text) {
                        self.end_room();
                    }
                    continue;
                }
            };
            match (number, &line) {
                (1, Line::Roomward(header)) if header.version == VERSION => continue,
                (1, Line::Roomward(header)) => {
                    return Err(unreadable(format!("its version {} is not {VERSION}", header.version)));
                }
                (1, _) => return Err(unreadable("it is no file of `roomward export`: its first line does not say so")),
                _ => {}
            }
            if !matches!(line, Line::User(_)) && !users.is_empty() {
                self.send(Piece::Users(std::mem::take(&mut users)));
            }
            match line {
                Line::User(user) => {
                    self.end_room();
                    users.push(user);
                    if users.len() >= BATCH {
                        self.send(Piece::Users(std::mem::take(&mut users)));
                    }
                }
                Line::End { lines } => is_whole = lines == number - 1,
                line => self.take(number, line),
            }
            if self.send.is_closed() {
                return Ok(());
            }
        }
        if !users.is_empty() {
            self.send(Piece::Users(users));
        }
        self.end_room();
        if !is_whole {
            self.refuse(number, "the file is cut off here, or lines are missing");
        }
        Ok(())
    }

    /// Takes a line that is no user.
    fn take(&mut self, number: u64, line: Line) {
        let line = match &mut self.room {
            Some(room) => match room.take(line) {
                None => {
                    if room.len() >= self.size {
                        let rest = room.rest();
                        let part = RoomPart { is_last: false, ..std::mem::replace(room, rest) };
                        self.send(Piece::Room(part));
                    }
                    return;
                }
                Some(line) => line,
            },
            None => line,
        };
        let about = match &line {
            Line::Room(room) => Some((Kind::Room, room.id.clone())),
            Line::SuperAdmin(admin) => Some((Kind::SuperAdmin, admin.user.to_ascii_lowercase())),
            Line::Moderator(moderator) => Some((Kind::Moderator, moderator.user.to_ascii_lowercase())),
            Line::GlobalMute(mute) => Some((Kind::GlobalMute, mute.user.to_ascii_lowercase())),
            _ => None,
        };
        // Which of two rooms that are brought in beside each other comes first would be chance, and a trial could not tell.
        if about.is_some_and(|about| !self.seen.insert(about)) {
            self.end_room();
            self.refuse(number, "it came before");
            return;
        }
        match line {
            Line::Room(room) => {
                self.end_room();
                self.room = Some(RoomPart::new(room));
            }
            Line::SuperAdmin(admin) => self.send_behind_rooms(Piece::SuperAdmin(admin)),
            Line::Moderator(moderator) => self.send_behind_rooms(Piece::Moderator(moderator)),
            Line::GlobalMute(mute) => self.send_behind_rooms(Piece::GlobalMute(mute)),
            Line::Roomward(_) => self.refuse(number, "the file begins again here"),
            _ => self.refuse(number, "the row belongs to no room that could be read"),
        }
    }

    fn send_behind_rooms(&mut self, piece: Piece) {
        self.end_room();
        self.send(piece);
    }

    /// Sends the room whose rows came, if there is one.
    fn end_room(&mut self) {
        if let Some(part) = self.room.take() {
            self.send(Piece::Room(part));
        }
    }

    fn send(&self, piece: Piece) {
        // None listens any more: the import has failed, and tells why.
        let _ = self.send.blocking_send(piece);
    }

    fn refuse(&self, line: u64, why: &str) {
        self.report.refuse(Refusal { kind: Kind::Source, room: None, name: format!("line {line}"), why: why.into() });
    }
}

/// Whether a line that cannot be read looks like a row of a room.
fn is_row(text: &str) -> bool {
    let name = text.trim_start_matches(|letter: char| !letter.is_ascii_lowercase());
    ["member\"", "admin\"", "whitelist\"", "block\"", "mute\"", "attribute\""].iter().any(|row| name.starts_with(row))
}

fn unreadable(why: impl std::fmt::Display) -> Failure {
    Failure::Unreadable(format!("the file cannot be read: {why}"))
}
