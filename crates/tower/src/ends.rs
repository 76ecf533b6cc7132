//! How a session ends, and how it gets another id.
//!
//! tower-sessions' `cycle_id` deletes the old id, and later creates a record with what the request has loaded. By these
//! two calls alone nobody could tell it from a logout, and whoever cycles last would undo one. So a loaded record has an
//! [alias](alias) for its id: `cycle_id` deletes by the alias, a logout by the id itself. And a record that is created
//! but carries a base is one that moves: it takes the place of what it was loaded from, or is refused.
//!
//! At the old id a marker stays for a while:
//!
//! | marker | by | a save | a logout | another `cycle_id` |
//! |---|---|---|---|---|
//! | moving | `cycle_id` | is merged, and moves along | ends it: the move is refused | is refused |
//! | moved | the save after it | is refused | ends the session under its new id | is refused |
//! | ended | a logout | is refused | is done | is refused |
//!
//! It must never let the data of a session that was ended live on under another id.

use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use crate::client::Stored as Outcome;
use crate::error::{ErrorKind, StoreError};
use crate::merge::{Data, merge};
use crate::record::{Base, Left, Stored, attach, exptime};
use crate::store::{TandemStore, backend, pause};

/// Seconds that a request may take from `cycle_id` to its save.
pub const MOVING: i64 = 600;
/// Seconds that is known what became of an id, for requests that were under way.
const LINGER: i64 = 60;

/// The other name of an id, and back. Only this process knows the mask, and no item has such a key.
pub fn alias(mask: i128, id: Id) -> Id {
    Id(id.0 ^ mask)
}

/// The error of a request whose session has this marker, or is gone without one: its changes have nowhere to go.
pub fn over(left: Option<&Left>) -> StoreError {
    let what = match left {
        Some(Left::Moved(_) | Left::Moving) => "the session got another id",
        Some(Left::Ended | Left::EndedBefore) | None => "the session was ended",
    };
    StoreError::new(
        ErrorKind::Over,
        format!("{what} while this request used it; nothing that the request changed is stored"),
    )
}

impl TandemStore {
    /// Ends the session that has this id, or had it until a moment ago. False when there is no trace of it.
    pub(crate) async fn end(&self, mut id: Id) -> Result<bool> {
        let (mut breaks, mut found, mut mark) = (0, false, Left::Ended);
        loop {
            let there = self.client.get(&self.key(id)).await.map_err(backend)?;
            let Some(there) = there else {
                return Ok(found);
            };
            found = true;
            let Ok(stored) = Stored::decode(&there.value) else {
                // Not ours, or damaged: it cannot be kept, either.
                self.client.delete(&self.key(id)).await.map_err(backend)?;
                return Ok(true);
            };
            match &stored.left {
                Some(Left::Moved(to)) => {
                    id = to
                        .parse()
                        .map_err(|_| Error::Decode(format!("'{to}' is no session's id")))?;
                    mark = Left::EndedBefore;
                    continue;
                }
                Some(Left::EndedBefore) => return Ok(true),
                Some(Left::Ended) if mark == Left::Ended => return Ok(true),
                Some(Left::Ended | Left::Moving) | None => {}
            }
            let ended = Stored::left(mark.clone(), stored.expires(), Data::new());
            match self.leave(id, &ended, LINGER, there.cas).await {
                Ok(Outcome::Yes | Outcome::Gone) => return Ok(true),
                // Changed meanwhile: it may have another id by now.
                Ok(Outcome::No) => {}
                Err(error) if is_full(&error) => {
                    // No room for a marker, and a logout needs none.
                    self.client.delete(&self.key(id)).await.map_err(backend)?;
                    return Ok(true);
                }
                Err(error) => pause(&mut breaks, error).await?,
            }
        }
    }

    /// The first half of `cycle_id`: from now on the id leads nowhere.
    pub(crate) async fn begin_move(&self, id: Id) -> Result<()> {
        let mut breaks = 0;
        loop {
            let Some(item) = self.fetch(id).await? else {
                // Nothing to keep. If a record that was loaded is created now, it is refused.
                return Ok(());
            };
            match item.stored.left {
                None => {}
                // Ours, when the answer to an earlier try was lost.
                Some(Left::Moving) if breaks > 0 => return Ok(()),
                left => return Err(over(left.as_ref()).into()),
            }
            let expires = item.stored.expires();
            let moving = Stored::left(Left::Moving, expires, item.stored.data);
            match self.leave(id, &moving, MOVING, item.cas).await {
                Ok(Outcome::Yes) => return Ok(()),
                Ok(Outcome::Gone) => return Err(over(None).into()),
                Ok(Outcome::No) => {}
                Err(error) => pause(&mut breaks, error).await?,
            }
        }
    }

    /// The second half: what the request has, with what others changed until now, under the record's id; and the old id
    /// leads there. Stored under the new id first, which nobody knows yet: what decides is the change of the old one.
    pub(crate) async fn finish_move(
        &self,
        record: &mut Record,
        mine: &Data,
        base: &Base,
    ) -> Result<()> {
        // Made by this request: `cycle_id` has ended it by its own id, which nobody else knows.
        let own = base.cas == 0;
        let (mut breaks, mut stored) = (0, None);
        loop {
            let item = self.fetch(base.id).await?;
            let left = item.as_ref().and_then(|item| item.stored.left.clone());
            let (current, cas) = match (item, left) {
                (Some(item), None | Some(Left::Moving)) => (item.stored.data, Some(item.cas)),
                (Some(item), Some(Left::Ended)) if own => (base.data.clone(), Some(item.cas)),
                (None, _) if own => (base.data.clone(), None),
                // Ours, and only its answer was lost.
                (_, Some(Left::Moved(to))) if stored.is_some() && to == record.id.to_string() => {
                    break;
                }
                (_, left) => {
                    if stored.is_some() {
                        let new = self.key(record.id);
                        self.client.delete(&new).await.map_err(backend)?;
                    }
                    return Err(over(left.as_ref()).into());
                }
            };
            let merged = merge(&base.data, mine, current);
            if stored.as_ref() != Some(&merged) {
                let first = stored.is_none();
                self.put(record, &merged, first).await?;
                stored = Some(merged);
            }
            let Some(cas) = cas else {
                break;
            };
            let to = Left::Moved(record.id.to_string());
            let expires = record.expiry_date.unix_timestamp();
            let moved = Stored::left(to, expires, Data::new());
            match self.leave(base.id, &moved, LINGER, cas).await {
                Ok(Outcome::Yes) => break,
                Ok(_) => {}
                Err(error) => pause(&mut breaks, error).await?,
            }
        }
        record.data = stored.unwrap_or_default();
        carry(record);
        Ok(())
    }

    /// Stores data under the record's id, which is another one afterwards if somebody has it.
    pub(crate) async fn put(&self, record: &mut Record, data: &Data, first: bool) -> Result<()> {
        let bytes = Stored::new(record, data.clone()).encode()?;
        let mut breaks = 0;
        loop {
            let key = self.key(record.id);
            let outcome = if first {
                self.client.add(&key, exptime(record), &bytes).await
            } else {
                self.client.set(&key, exptime(record), &bytes).await
            };
            match outcome {
                Ok(Outcome::Yes) => return Ok(()),
                Ok(_) => {
                    // Ours, if an earlier try was stored and only its answer was lost; else another's: take a new id.
                    let there = self.client.get(&key).await.map_err(backend)?;
                    if breaks > 0 && there.is_some_and(|found| found.value == bytes) {
                        return Ok(());
                    }
                    record.id = Id::default();
                }
                Err(error) => pause(&mut breaks, error).await?,
            }
        }
    }

    async fn leave(
        &self,
        id: Id,
        left: &Stored,
        exptime: i64,
        cas: u64,
    ) -> std::io::Result<Outcome> {
        let bytes = left.encode().map_err(std::io::Error::other)?;
        self.client.cas(&self.key(id), exptime, &bytes, cas).await
    }
}

/// Makes a record that was stored under its id carry this as its base. Its version is read at the next load; a second save
/// of it merges instead.
pub fn carry(record: &mut Record) {
    let (id, data) = (record.id, record.data.clone());
    attach(record, &Base { id, cas: 0, data });
}

fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Other && error.to_string().contains("out of memory")
}
