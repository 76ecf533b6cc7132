//! What a node remembers of the tier that served it last: which one that is, and who voted.
//!
//! Session nodes that are blank cannot know whether others that do not run hold what is stored. Nodes that used it know: an
//! agent puts on record who served it, and its node says so when blank ones ask.
//!
//! The tiers that it served before, and that another took the place of, are on record too: what they hold is from before, with
//! sessions that were ended since. They are not asked again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tandem_telemetry::Events;

use crate::log::files;
use crate::rt::blocking;
use crate::types::{Member, invalid};
use crate::wire::Holder;

/// So many tiers that were given up are remembered, the last ones.
const GIVEN_UP: usize = 64;

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

/// What is on the disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    tier: Tier,
    /// Those that served before it, the last one at the end.
    given_up: Vec<u64>,
}

impl Record {
    /// The record at `path`, of an older version too, which had no more than the tier.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        files::read(path).or_else(|error| {
            let tier = files::read(path).map_err(|_| error)?;
            let given_up = Vec::new();
            Ok(tier.map(|tier| Self { tier, given_up }))
        })
    }

    /// The record when this tier serves.
    fn then(&self, tier: Tier) -> Self {
        let mut given_up = self.given_up.clone();
        if tier.cluster != self.tier.cluster {
            given_up.push(self.tier.cluster);
            given_up.drain(..given_up.len().saturating_sub(GIVEN_UP));
        }
        Self { tier, given_up }
    }
}

/// The record of one node, on its disk. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Served(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Where it is on disk. None: it lives as long as the process.
    path: Option<PathBuf>,
    known: Mutex<Known>,
    /// How often a tier was given up in this process.
    given_up: AtomicU64,
}

#[derive(Clone, Debug, Default)]
enum Known {
    /// None ever served.
    #[default]
    Nothing,
    /// One did, and the record of it at this path cannot be read.
    Damaged(String),
    This(Record),
}

impl Served {
    /// The record at `path`. That it cannot be read is an event: some tier served this node, and nobody knows here which, until
    /// one does again.
    pub fn open(path: &Path, events: &Events) -> Self {
        let known = match Record::read(path) {
            Ok(Some(record)) => Known::This(record),
            Ok(None) => Known::Nothing,
            Err(error) => {
                let path = path.display();
                let what = format!(
                    "which tier of session nodes served this node last is not known any more: cannot read {path}: {error}. It is \
                     written anew when one serves it; until then blank session nodes that ask here form none"
                );
                events.error("sessions/agent", what);
                Known::Damaged(path.to_string())
            }
        };
        Self(Arc::new(Inner {
            path: Some(path.into()),
            known: Mutex::new(known),
            given_up: AtomicU64::default(),
        }))
    }

    fn known(&self) -> Known {
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is remembered.
    pub(crate) fn get(&self) -> Option<Tier> {
        match self.known() {
            Known::This(record) => Some(record.tier),
            Known::Nothing | Known::Damaged(_) => None,
        }
    }

    /// What this node says when it is asked who holds what is stored.
    pub(crate) fn holder(&self) -> Option<Holder> {
        match self.known() {
            Known::Nothing => None,
            Known::Damaged(path) => Some(Holder::Forgot(path)),
            Known::This(record) => Some(Holder::Remembers(record.tier)),
        }
    }

    /// Whether a replica of this tier may be asked; why not, in words.
    pub(crate) fn accepts(&self, cluster: u64) -> Result<(), String> {
        let Known::This(Record { tier, given_up }) = self.known() else {
            return Ok(());
        };
        if !given_up.contains(&cluster) {
            return Ok(());
        }
        let path = self.0.path.as_deref().unwrap_or(Path::new("the record"));
        Err(format!(
            "it is of the tier {cluster:016x}, which was given up here: {:016x} of {} served after it, and sessions that were ended since \
             are in the old one as they were. Stop that node, remove `sessions` in its state directory and start it; or, if the old one is to \
             be gone back to, remove {} on this node and start this one again",
            tier.cluster,
            tier.names(),
            path.display()
        ))
    }

    /// Which tiers may be asked is another matter than it was whenever this number is.
    pub(crate) fn times_given_up(&self) -> u64 {
        self.0.given_up.load(SeqCst)
    }

    /// This one serves now. On the disk when this returns. What was remembered before, if it was another tier.
    pub(crate) async fn keep(&self, tier: Tier) -> io::Result<Option<Tier>> {
        // By a replica of an older version, which does not say of which tier it is before it is asked.
        self.accepts(tier.cluster).map_err(|why| invalid(&why))?;
        let (record, replaced) = match self.known() {
            Known::This(before) => {
                let is_same = before.tier.cluster == tier.cluster;
                if is_same && (before.tier.decided > tier.decided || before.tier == tier) {
                    return Ok(None);
                }
                let record = before.then(tier);
                (record, (!is_same).then_some(before.tier))
            }
            Known::Nothing | Known::Damaged(_) => {
                let given_up = Vec::new();
                (Record { tier, given_up }, None)
            }
        };
        let inner = self.0.clone();
        let is_another = replaced.is_some();
        // Elsewhere: a disk that is busy may take seconds.
        blocking(move || {
            if let Some(path) = &inner.path {
                files::write(path, &record, true)?;
            }
            let mut known = inner.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Known::This(record);
            if is_another {
                inner.given_up.fetch_add(1, SeqCst);
            }
            Ok(())
        })
        .await?;
        Ok(replaced)
    }
}

#[cfg(test)]
mod tests {
    use tandem_telemetry::Telemetry;
    use tandem_telemetry::event::Log;

    use super::*;

    fn tier(cluster: u64, decided: u64, names: &[&str]) -> Tier {
        let voter = |name: &&str| Member {
            name: (*name).into(),
            address: "10.0.0.1:7411".into(),
        };
        Tier {
            cluster,
            decided,
            voters: names.iter().map(voter).collect(),
        }
    }

    #[test]
    fn what_served_last_is_kept_over_a_start_and_what_was_decided_before_it_does_not_replace_it() {
        let name = format!("tandem-served-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let at = path.clone();
        let telemetry = Telemetry::new("app", 1, Log::Silent);
        let events = telemetry.events.clone();
        let told = telemetry.events.clone();
        crate::sim::alone(async move {
            let open = || Served::open(&at, &events);
            let served = open();
            assert_eq!(served.holder(), None);
            let (first, later) = (tier(7, 3, &["a", "b"]), tier(7, 9, &["b", "c"]));
            for (kept, is) in [(&first, &first), (&later, &later), (&first, &later)] {
                assert_eq!(served.keep(kept.clone()).await.unwrap(), None);
                assert_eq!(served.get().as_ref(), Some(is));
                assert_eq!(open().get().as_ref(), Some(is));
            }
            // Another one, whatever was decided there: it is said which was replaced.
            let other = tier(8, 0, &["d"]);
            assert_eq!(served.keep(other.clone()).await.unwrap(), Some(later));
            assert_eq!(open().holder(), Some(Holder::Remembers(other.clone())));
            // The one before is given up from now on.
            for served in [&served, &open()] {
                assert_eq!(served.accepts(8), Ok(()));
                assert_eq!(served.accepts(9), Ok(()));
                let why = served.accepts(7).unwrap_err();
                assert!(why.contains("0000000000000008 of d served"), "{why}");
                assert!(served.keep(first.clone()).await.is_err());
                assert_eq!(served.get(), Some(other.clone()));
            }
            for next in 100..100 + GIVEN_UP as u64 {
                served.keep(tier(next, 0, &["e"])).await.unwrap();
            }
            assert!(open().accepts(8).is_err() && open().accepts(7).is_ok());
            // A record of an older version.
            files::write(&at, &first, true).unwrap();
            assert_eq!(open().get(), Some(first));
        });
        assert!(told.last(usize::MAX).is_empty());
        // Any damage is seen, and told.
        let mut bytes = std::fs::read(&path).unwrap();
        let forgot = Some(Holder::Forgot(path.display().to_string()));
        for i in 0..bytes.len() {
            bytes[i] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Served::open(&path, &told).holder(), forgot, "byte {i}");
            bytes[i] ^= 1;
            std::fs::write(&path, &bytes[..i]).unwrap();
            assert_eq!(Served::open(&path, &told).holder(), forgot, "{i} bytes");
        }
        let events = told.last(1);
        assert!(events[0].what.contains("cannot read"), "{events:?}");
        // Whoever serves replaces it.
        let (damaged, path_of) = (Served::open(&path, &told), path.clone());
        let serves = tier(9, 1, &["e"]);
        crate::sim::alone(async move {
            assert_eq!(damaged.keep(serves.clone()).await.unwrap(), None);
            let remembers = Some(Holder::Remembers(serves));
            assert_eq!(damaged.holder(), remembers);
            assert_eq!(Served::open(&path_of, &told).holder(), remembers);
        });
        std::fs::remove_file(&path).unwrap();
    }
}
