//! Brings an app in straight out of a service that speaks the same API, several rooms at once, and compares both afterwards.
//!
//! What the API does not tell cannot come along: passwords, the moments at which members came, the ends of blocks and of the
//! mute of a whole room, reasons, and who has set an attribute (the owner counts as the setter).

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Failure;
use super::format::{Room, RoomPart};
use super::import::{BATCH, Importer};
use super::report::{Kind, Refusal};
use super::source::{DETAILS, Page, Source};
use super::verify::Verifier;

/// How the source is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// How many rooms at once.
    pub parallel: usize,
    /// Whether rooms that are there with as many members are passed over without being read.
    pub resumes: bool,
}

/// Brings in all of an app. What cannot be brought in is in the report; an error ends the import.
pub async fn import(importer: &Importer, source: &Source, reading: Reading) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let page = source.users(cursor.as_deref()).await?;
        importer.users(page.entries).await?;
        let Some(next) = page.cursor else { break };
        cursor = Some(next);
    }
    let mut cursor = None;
    loop {
        let Page { mut entries, cursor: next } = source.rooms(cursor.as_deref()).await?;
        if reading.resumes {
            let mut left = Vec::new();
            for summary in entries {
                if !importer.passes_over(&summary.id, summary.member_count).await? {
                    left.push(summary);
                }
            }
            entries = left;
        }
        let ids: Vec<String> = entries.into_iter().map(|summary| summary.id).collect();
        rooms(source, &ids, reading.parallel, async |room| {
            for part in room.cut(BATCH) {
                importer.room(part).await?;
            }
            Ok(())
        })
        .await?
        .into_iter()
        .for_each(|id| gone(importer, &id));
        let Some(next) = next else { break };
        cursor = Some(next);
    }
    importer.super_admins(source.super_admins().await?).await?;
    for mute in source.global_mutes().await? {
        importer.global_mute(mute).await?;
    }
    Ok(())
}

fn gone(importer: &Importer, id: &str) {
    let why = "the source does not have it any more, or does not show it".into();
    importer.report.refuse(Refusal { kind: Kind::Room, room: None, name: id.into(), why });
}

/// Compares the source with what is there, room by room.
pub async fn verify(verifier: &mut Verifier, source: &Source, parallel: usize) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let page = source.users(cursor.as_deref()).await?;
        verifier.users(page.entries).await?;
        let Some(next) = page.cursor else { break };
        cursor = Some(next);
    }
    let mut cursor = None;
    loop {
        let page = source.rooms(cursor.as_deref()).await?;
        let ids: Vec<String> = page.entries.into_iter().map(|summary| summary.id).collect();
        for details in ids.chunks(DETAILS) {
            let found = source.details(details).await?;
            let read = stream::iter(found).map(|(room, count)| source.room(room, count)).buffered(parallel.max(1));
            let read: Vec<Option<RoomPart>> = read.try_collect().await?;
            for room in read.into_iter().flatten() {
                verifier.room(room).await?;
            }
        }
        let Some(next) = page.cursor else { break };
        cursor = Some(next);
    }
    for admin in source.super_admins().await? {
        verifier.super_admin(&admin);
    }
    for mute in source.global_mutes().await? {
        verifier.global_mute(mute);
    }
    Ok(verifier.finish(false).await?)
}

/// Reads rooms, `parallel` at once, and hands each on as soon as it is whole. Returns those that are gone.
async fn rooms(
    source: &Source,
    ids: &[String],
    parallel: usize,
    take: impl AsyncFn(RoomPart) -> Result<(), Failure>,
) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    for ids in ids.chunks(DETAILS) {
        let details = source.details(ids).await?;
        missing.extend(ids.iter().filter(|id| details.iter().all(|(room, _)| room.id != **id)).cloned());
        let one = async |(room, count): (Room, Option<i64>)| {
            let id = room.id.clone();
            match source.room(room, count).await? {
                Some(room) => take(room).await.map(|()| None),
                None => Ok::<_, Failure>(Some(id)),
            }
        };
        let read = stream::iter(details).map(one).buffer_unordered(parallel.max(1));
        let gone: Vec<Option<String>> = read.try_collect().await?;
        missing.extend(gone.into_iter().flatten());
    }
    Ok(missing)
}
