//! One cycle: lock, load, decide, save, commit.

use std::collections::BTreeMap;

use super::Shared;
use super::queue::Batch;
use crate::db::{CommitError, Transaction};
use crate::error::Error;
use crate::idempotency::{self, Answer, Claim};
use crate::names::RoomKey;
use crate::rooms::expiry::{TAKEN_ALONG, end_what_has_ended};
use crate::rooms::state::{Needs, State};
use crate::rooms::store::load::{self, Held};
use crate::rooms::store::save;

/// Why a batch was not made, or may not have been.
pub(super) enum Failure {
    /// Nothing of it was kept.
    Undone(Error),
    /// The answer to the commit was lost.
    Unknown(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Undone(error)
    }
}

impl Shared {
    /// Makes a batch, without answering. Rooms that are held are taken out of it and returned; after a failure they are in it
    /// again, so that they are answered with it.
    pub(super) async fn attempt(&self, batch: &mut Batch, held: Held) -> Result<Batch, Failure> {
        let mut left = Batch::new();
        let made = self.transact(batch, &mut left, held).await;
        if made.is_err() {
            batch.append(&mut left);
        }
        made.map(|()| left)
    }

    async fn transact(&self, batch: &mut Batch, left: &mut Batch, held: Held) -> Result<(), Failure> {
        let mut transaction = self.db.begin().await?;
        match self.db.in_time(self.work(&mut transaction, batch, left, held)).await {
            Ok(true) => {
                transaction.commit().await?;
                self.db.events_committed();
                Ok(())
            }
            Ok(false) => {
                transaction.undo().await;
                Ok(())
            }
            Err(error) => {
                transaction.undo().await;
                Err(Failure::Undone(error))
            }
        }
    }

    /// Does all of it but the commit. Whether there is anything to commit.
    async fn work(&self, transaction: &mut Transaction, batch: &mut Batch, left: &mut Batch, held: Held) -> Result<bool, Error> {
        let keys: Vec<RoomKey> = batch.keys().cloned().collect();
        let locks = load::lock(transaction, &keys, held).await?;
        if held == Held::Wait {
            // Others have come while these waited, and some of these have gone.
            for (key, jobs) in batch.iter_mut() {
                jobs.retain(|job| job.is_wanted());
                jobs.extend(self.queue.take_more(key));
            }
        }
        let loaded = load::load(transaction, &needs(batch), &locks).await?;
        left.extend(loaded.held.iter().filter_map(|key| batch.remove_entry(key)));
        refuse_lost_claims(transaction, batch).await?;

        let before = loaded.state;
        let mut after = before.clone();
        end_expired(&mut after);
        for job in batch.values_mut().flatten().filter(|job| !job.is_refused()) {
            job.decide(&mut after);
        }

        let is_same = save::is_same(&before, &after);
        if !is_same {
            save::save(transaction, &before, &after).await?;
        }
        let answers: Vec<(&Claim, &Answer)> = batch.values().flatten().filter_map(|job| job.kept()).collect();
        if !answers.is_empty() {
            idempotency::keep(transaction, &answers).await?;
        }
        Ok(!is_same || !answers.is_empty())
    }
}

fn needs(batch: &Batch) -> BTreeMap<RoomKey, Needs> {
    let mut all = BTreeMap::new();
    for (key, jobs) in batch {
        let mut needs = Needs { ended: TAKEN_ALONG, ..Needs::default() };
        for job in jobs {
            job.needs(&mut needs);
        }
        all.insert(key.clone(), needs);
    }
    all
}

fn end_expired(state: &mut State) {
    let keys: Vec<RoomKey> = state.rooms.keys().cloned().collect();
    for key in keys {
        let changes = state.rooms.get_mut(&key).map(end_what_has_ended).unwrap_or_default();
        state.apply(&key, changes);
    }
}

/// Holds the claims of calls that must not be made twice. A call whose claim another instance has taken over is not made.
async fn refuse_lost_claims(transaction: &mut Transaction, batch: &mut Batch) -> Result<(), Error> {
    let claims: Vec<&Claim> = batch.values().flatten().filter_map(|job| job.claim()).collect();
    if claims.is_empty() {
        return Ok(());
    }
    let held = idempotency::hold(transaction, &claims).await?;
    for job in batch.values_mut().flatten() {
        if job.claim().is_some_and(|claim| !held.contains(&claim.id())) {
            job.refuse(Error::IdempotencyKeyBusy);
        }
    }
    Ok(())
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(error) => Self::Undone(error),
            CommitError::Lost(error) => Self::Unknown(error),
        }
    }
}
