//! What a node remembers of the tier that served it last: which one that is, and who voted.
//!
//! Session nodes that are blank cannot know whether others that do not run hold what is stored. Nodes that used it know: an
//! agent puts on record who served it, and its node says so when blank ones ask.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::log::files;
use crate::rt::blocking;
use crate::types::Member;

/// A tier as its leader described it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its identity.
    pub cluster: u64,
    /// The place in its log at which its voters were decided: of two descriptions the one with the later place is true.
    pub decided: u64,
    /// Those that vote.
    pub voters: Vec<Member>,
}

impl Tier {
    /// Its voters' names.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.voters.iter().map(|voter| &*voter.name).collect();
        names.join(", ")
    }
}

/// The record of one node, on its disk. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Served(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Where it is on disk. None: it lives as long as the process.
    path: Option<PathBuf>,
    known: Mutex<Option<Tier>>,
}

impl Served {
    /// The record at `path`. What cannot be read is as good as none: whoever serves this node says it again.
    pub fn open(path: &Path) -> Self {
        Self(Arc::new(Inner {
            path: Some(path.into()),
            known: Mutex::new(files::read(path).ok().flatten()),
        }))
    }

    /// What is remembered.
    pub(crate) fn get(&self) -> Option<Tier> {
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This one serves now. On the disk when this returns. What was remembered before, if it was another tier.
    pub(crate) async fn keep(&self, tier: Tier) -> io::Result<Option<Tier>> {
        let before = self.get();
        if let Some(before) = &before
            && before.cluster == tier.cluster
            && (before.decided > tier.decided || *before == tier)
        {
            return Ok(None);
        }
        let inner = self.0.clone();
        let replaced = before.filter(|before| before.cluster != tier.cluster);
        // Elsewhere: a disk that is busy may take seconds.
        blocking(move || {
            if let Some(path) = &inner.path {
                files::write(path, &tier, true)?;
            }
            let mut known = inner.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(tier);
            Ok(())
        })
        .await?;
        Ok(replaced)
    }
}
