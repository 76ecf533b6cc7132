//! The store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use crate::client::{Client, Stored as Outcome, is_connection};
use crate::error::{ErrorKind, StoreError};
use crate::merge::merge;
use crate::record::{Base, Stored, attach, detach, exptime};

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
/// when nothing was changed, `OutcomeUnknown` when it may have been. Cheap to clone. A session that cannot be read is an error, never an absent session.
#[derive(Clone, Debug)]
pub struct TandemStore {
    client: Arc<Client>,
    prefix: String,
}

impl TandemStore {
    /// A store at `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            client: Arc::new(Client::new(address.into())),
            prefix: "tower.sess.".into(),
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
        let key = self.key(record.id);
        Ok(self.client.touch(&key, exptime(record)).await?)
    }

    fn key(&self, id: Id) -> String {
        format!("{}{id}", self.prefix)
    }

    async fn fetch(&self, id: Id) -> Result<Option<Base>> {
        let found = self.client.get(&self.key(id)).await.map_err(backend)?;
        found
            .map(|found| {
                Ok(Base {
                    cas: found.cas,
                    data: Stored::decode(&found.value)?.data,
                })
            })
            .transpose()
    }
}

#[async_trait]
impl SessionStore for TandemStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let (data, _) = detach(record);
        let bytes = Stored::new(record, data.clone()).encode()?;
        let mut breaks = 0;
        loop {
            match self
                .client
                .add(&self.key(record.id), exptime(record), &bytes)
                .await
            {
                Ok(Outcome::Yes) => break,
                Ok(_) => {
                    // Ours, if an earlier try was stored and only its answer was lost; else another's: take a new id.
                    let there = self
                        .client
                        .get(&self.key(record.id))
                        .await
                        .map_err(backend)?;
                    if breaks > 0 && there.is_some_and(|found| found.value == bytes) {
                        break;
                    }
                    record.id = Id::default();
                }
                Err(error) => pause(&mut breaks, error).await?,
            }
        }
        // The version is read at the next load; a second save of this record merges instead.
        attach(record, &Base { cas: 0, data });
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let (mine, base) = detach(record);
        let key = self.key(record.id);
        let (mut breaks, mut conflicts) = (0, 0);
        let mut current = match &base {
            Some(base) if base.cas != 0 => base.clone(),
            _ => match self.fetch(record.id).await? {
                Some(current) => current,
                None => return Ok(()),
            },
        };
        loop {
            let merged = match &base {
                Some(base) => merge(&base.data, &mine, current.data),
                // Cleared: what the request leaves is all that is to be.
                None => mine.clone(),
            };
            let bytes = Stored::new(record, merged).encode()?;
            match self
                .client
                .cas(&key, exptime(record), &bytes, current.cas)
                .await
            {
                // Deleted by another request: a logout is not undone.
                Ok(Outcome::Yes | Outcome::Gone) => return Ok(()),
                Ok(Outcome::No) if conflicts == MAX_CONFLICTS => {
                    let text =
                        format!("the session was changed {conflicts} times while it was saved");
                    return Err(StoreError::new(ErrorKind::Conflicts, text).into());
                }
                Ok(Outcome::No) => conflicts += 1,
                // Whether or not it was stored: merging the same changes again changes nothing.
                Err(error) => pause(&mut breaks, error).await?,
            }
            current = match self.fetch(record.id).await? {
                Some(current) => current,
                None => return Ok(()),
            };
        }
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.client.get(&self.key(*id)).await.map_err(backend)?;
        found
            .map(|found| Stored::decode(&found.value)?.into_record(*id, found.cas))
            .transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.client.delete(&self.key(*id)).await.map_err(backend)?;
        Ok(())
    }
}

fn backend(error: io::Error) -> Error {
    StoreError::from(error).into()
}

/// Waits before another try when the connection broke; any other error, or one break too many, is the caller's.
async fn pause(breaks: &mut u32, error: io::Error) -> Result<()> {
    *breaks += 1;
    if *breaks > MAX_BREAKS || !is_connection(&error) {
        return Err(backend(error));
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}
