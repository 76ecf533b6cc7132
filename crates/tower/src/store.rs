//! The store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use crate::client::{Client, Stored as Outcome, is_connection};
use crate::ends::{MOVING, alias, carry, over};
use crate::error::{ErrorKind, StoreError};
use crate::merge::merge;
use crate::record::{Left, Stored, detach, exptime};

/// Where the agent is when nothing says otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:11211";
/// Saves that lose against others this often in a row give up: others made progress each time.
const MAX_CONFLICTS: u32 = 100;
/// Tries of a change whose connection broke before its answer came.
const MAX_BREAKS: u32 = 3;
/// Between such tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A session store on the machine's agent, or on any memcached.
///
/// tower-sessions hands errors on as a text ([`Error::Backend`]); [`StoreError::of`] says which kind it was: `NotStored`
/// when nothing was changed, `OutcomeUnknown` when it may have been, `Over` when the session was ended or got another id
/// meanwhile. Cheap to clone. A session that cannot be read is an error, never an absent session.
///
/// A loaded record has another `id` than it was loaded by, which only this store and its clones understand: by it
/// `cycle_id` is told from a logout. [`Session::id`](tower_sessions::Session::id) is the real one.
#[derive(Clone, Debug)]
pub struct TandemStore {
    pub(crate) client: Arc<Client>,
    prefix: String,
    /// Makes [aliases](alias).
    mask: i128,
}

/// What is stored under an id.
pub(crate) struct Item {
    pub cas: u64,
    pub stored: Stored,
}

impl TandemStore {
    /// A store at `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            client: Arc::new(Client::new(address.into())),
            prefix: "tower.sess.".into(),
            mask: Id::default().0,
        }
    }

    /// A store at `TANDEM_SESSIONS`, which Tandem sets for the applications it runs, else at 127.0.0.1:11211.
    pub fn from_env() -> Self {
        Self::new(std::env::var("TANDEM_SESSIONS").unwrap_or_else(|_| DEFAULT_ADDRESS.into()))
    }

    /// Puts another prefix before the session ids (`tower.sess.` unless set): applications that share a tier and a
    /// prefix share their sessions. At most 200 bytes, no spaces or control characters.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Makes a session live until the record's expiry without changing it. False when it is gone.
    ///
    /// # Errors
    ///
    /// What the session tier said, or that it did not.
    pub async fn touch(&self, record: &Record) -> std::result::Result<bool, StoreError> {
        let id = detach(record).1.map_or(record.id, |base| base.id);
        let key = self.key(id);
        let found = self.client.get(&key).await?;
        // A marker is not prolonged; what cannot be read is as it was.
        let is_left =
            |value: &[u8]| Stored::decode(value).is_ok_and(|stored| stored.left.is_some());
        if found.is_none_or(|found| is_left(&found.value)) {
            return Ok(false);
        }
        Ok(self.client.touch(&key, exptime(record)).await?)
    }

    pub(crate) fn key(&self, id: Id) -> String {
        format!("{}{id}", self.prefix)
    }

    pub(crate) async fn fetch(&self, id: Id) -> Result<Option<Item>> {
        let found = self.client.get(&self.key(id)).await.map_err(backend)?;
        found
            .map(|found| {
                let stored = Stored::decode(&found.value)?;
                let cas = found.cas;
                Ok(Item { cas, stored })
            })
            .transpose()
    }

    /// Which id a record without a base stands for, and what is there: it was cleared after it was loaded, or before.
    async fn resolve(&self, id: Id) -> Result<(Id, Option<Item>)> {
        match self.fetch(id).await? {
            Some(item) => Ok((id, Some(item))),
            None => {
                let real = alias(self.mask, id);
                Ok((real, self.fetch(real).await?))
            }
        }
    }
}

#[async_trait]
impl SessionStore for TandemStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let (data, base) = detach(record);
        if let Some(base) = base {
            // Loaded or made before, and created again: `cycle_id`. Refused, the record keeps its base, for the next try.
            return self.finish_move(record, &data, &base).await;
        }
        self.put(record, &data, true).await?;
        carry(record);
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let (mine, base) = detach(record);
        let (mut breaks, mut conflicts) = (0, 0);
        let (id, mut current) = match &base {
            Some(base) if base.cas != 0 => {
                let (cas, data) = (base.cas, base.data.clone());
                let stored = Stored::new(record, data);
                (base.id, Some(Item { cas, stored }))
            }
            Some(base) => (base.id, self.fetch(base.id).await?),
            None => self.resolve(record.id).await?,
        };
        loop {
            let (moving, cas, data) = match current {
                Some(Item { cas, stored }) if stored.left.is_none() => (false, cas, stored.data),
                // It takes this change along.
                Some(Item { cas, stored }) if stored.left == Some(Left::Moving) => {
                    (true, cas, stored.data)
                }
                other => {
                    let left = other.and_then(|item| item.stored.left);
                    let moved = matches!(left, Some(Left::Moved(_)));
                    // Nothing is lost with what was ended; but a cookie that a login replaced must not be set again.
                    let lost = base
                        .as_ref()
                        .map_or(!mine.is_empty(), |base| base.data != mine);
                    if !lost && !moved {
                        return Ok(());
                    }
                    return Err(over(left.as_ref()).into());
                }
            };
            let merged = match &base {
                Some(base) => merge(&base.data, &mine, data),
                // Cleared: what the request leaves is all that is to be.
                None => mine.clone(),
            };
            let (stored, exptime) = if moving {
                let expires = record.expiry_date.unix_timestamp();
                (Stored::left(Left::Moving, expires, merged), MOVING)
            } else {
                (Stored::new(record, merged), exptime(record))
            };
            let bytes = stored.encode()?;
            match self.client.cas(&self.key(id), exptime, &bytes, cas).await {
                Ok(Outcome::Yes) => return Ok(()),
                Ok(Outcome::Gone) => {}
                Ok(Outcome::No) if conflicts == MAX_CONFLICTS => {
                    let text =
                        format!("the session was changed {conflicts} times while it was saved");
                    return Err(StoreError::new(ErrorKind::Conflicts, text).into());
                }
                Ok(Outcome::No) => conflicts += 1,
                // Whether or not it was stored: merging the same changes again changes nothing.
                Err(error) => pause(&mut breaks, error).await?,
            }
            current = self.fetch(id).await?;
        }
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        match self.fetch(*id).await? {
            Some(Item { cas, stored }) if stored.left.is_none() => {
                let alias = alias(self.mask, *id);
                Ok(Some(stored.into_record(*id, alias, cas)?))
            }
            _ => Ok(None),
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        if self.end(*id).await? {
            return Ok(());
        }
        self.begin_move(alias(self.mask, *id)).await
    }
}

pub(crate) fn backend(error: io::Error) -> Error {
    StoreError::from(error).into()
}

/// Waits before another try when the connection broke; any other error, or one break too many, is the caller's.
pub(crate) async fn pause(breaks: &mut u32, error: io::Error) -> Result<()> {
    *breaks += 1;
    if *breaks > MAX_BREAKS || !is_connection(&error) {
        return Err(backend(error));
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}
