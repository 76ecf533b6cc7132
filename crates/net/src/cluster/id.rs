//! Which cluster a node is part of.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The identity of the cluster that what a node keeps is part of, as the node knows it now: none as long as it keeps
/// nothing, or where nobody gave the cluster one. Cheap to clone; all clones change together.
#[derive(Clone, Debug, Default)]
pub struct ClusterId(Arc<AtomicU64>);

impl ClusterId {
    /// The identity.
    pub fn get(&self) -> Option<u64> {
        known(self.0.load(SeqCst))
    }

    /// From now on it is this one, or none.
    pub fn set(&self, id: Option<u64>) {
        self.0.store(said(id), SeqCst);
    }
}

/// What one who connects thinks of the cluster that the other side is part of: why it is not to be asked, in words, if it is not.
#[derive(Clone)]
pub struct Accepts(Arc<dyn Fn(u64) -> Result<(), String> + Send + Sync>);

impl Accepts {
    /// By this rule.
    pub fn by(rule: impl Fn(u64) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// Whether it may be asked.
    pub fn check(&self, cluster: u64) -> Result<(), String> {
        self.0(cluster)
    }
}

impl fmt::Debug for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepts(by a rule)")
    }
}

/// As it goes over a connection: 0 is none.
pub(super) fn said(id: Option<u64>) -> u64 {
    id.unwrap_or(0)
}

pub(super) fn known(said: u64) -> Option<u64> {
    (said != 0).then_some(said)
}
