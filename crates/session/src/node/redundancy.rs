//! For how long changes were not on all voters, as the leader knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rt::Instant;

/// Written by whoever watches the voters, read by whoever asks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redundancy(Arc<Mutex<Times>>);

#[derive(Default)]
struct Times {
    /// Degraded times that are over.
    before: Duration,
    since: Option<Instant>,
}

impl Redundancy {
    /// Changes are not on all voters from now on.
    pub fn lost(&self) {
        let mut times = self.lock();
        times.since.get_or_insert_with(Instant::now);
    }

    /// They are again, or another one leads and knows. For how long they were not.
    pub fn regained(&self) -> Duration {
        let mut times = self.lock();
        let lasted = lasted(times.since.take());
        times.before += lasted;
        lasted
    }

    /// Whether changes are not on all voters, as far as this replica leads and knows.
    pub fn is_degraded(&self) -> bool {
        self.lock().since.is_some()
    }

    /// All degraded times together.
    pub fn degraded(&self) -> Duration {
        let times = self.lock();
        times.before + lasted(times.since)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lasted(since: Option<Instant>) -> Duration {
    match since {
        Some(since) => since.elapsed(),
        None => Duration::ZERO,
    }
}
