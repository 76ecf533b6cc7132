//! Tasks, time and randomness: the machine's own, or in tests the simulation's.
//!
//! Nothing else in this crate starts a task, reads a clock, waits for a time or draws a random number, so that the
//! simulation (`sim`, in test builds only) runs all of it under a clock and a chance of its own, and replays it exactly.

use std::time::Duration;

#[cfg(not(test))]
mod own {
    use std::io;

    pub use openraft::TokioRuntime as Runtime;
    pub use tandem_net::cluster::Link;
    pub use tokio::spawn;
    pub use tokio::time::{Instant, sleep, sleep_until, timeout};

    /// Runs what takes long off the thread that serves.
    pub async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)?
    }

    /// A random number that nobody can foretell.
    pub fn random() -> io::Result<u64> {
        getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
    }
}

#[cfg(not(test))]
pub use own::*;

/// How long ago a moment is that openraft has recorded.
pub fn age<I: openraft::Instant>(at: &impl std::ops::Deref<Target = I>) -> Duration {
    at.elapsed()
}

#[cfg(test)]
pub use crate::sim::runtime::*;
