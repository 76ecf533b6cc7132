//! Putting on record which tier serves this agent, for when none of it runs and blank nodes ask.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Agent;
use crate::rt::{Instant, timeout};
use crate::served::Tier;
use crate::wire::{Request, Response};

/// How often the leader is asked. What changes in between is known to other agents, or to the nodes that voted.
const EVERY: Duration = Duration::from_secs(2);
/// The same, while somebody waits for it.
const AGAIN: Duration = Duration::from_millis(50);
/// and so often at most.
const TRIES: usize = 10;
/// How long it has to answer.
const ASK: Duration = Duration::from_millis(500);
/// What was stored is acknowledged so much later at most: a disk that takes nothing must not stop the service.
const WAIT: Duration = Duration::from_millis(500);

/// Whether who serves now is to be put on record before anything is acknowledged.
#[derive(Default)]
pub(super) struct Due {
    /// Somebody does that.
    is_kept: AtomicBool,
    is: watch::Sender<bool>,
    /// Another leader was reached than before.
    another: Notify,
}

impl Due {
    /// Another leader was reached than before, perhaps of another tier: then it is due.
    pub fn is_another(&self, of_another_tier: bool) {
        if of_another_tier && self.is_kept.load(Relaxed) {
            self.is.send_replace(true);
        }
        self.another.notify_one();
    }

    /// Waits until it is on record who serves, if that is due, and not for long.
    pub async fn on_record(&self, deadline: Instant) {
        if !*self.is.borrow() {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut watched = self.is.subscribe();
        let done = watched.wait_for(|is_due| !is_due);
        if timeout(WAIT.min(left), Box::pin(done)).await.is_err() {
            // Nobody else waits for the same.
            self.is_over();
        }
    }

    /// It is on record, or cannot be now.
    fn is_over(&self) {
        self.is.send_replace(false);
    }
}

impl Agent {
    /// Keeps the record up to date, for as long as it is polled.
    pub async fn remember(&self) {
        let due = self.0.route.due();
        due.is_kept.store(true, Relaxed);
        let (mut told, mut tries) = (None, 0);
        loop {
            // Where it is due a leader was reached just now, which the next look finds.
            let may_answer = *due.is.borrow() || !self.0.route.sight().is_lost();
            if may_answer && let Some(tier) = self.serving().await {
                self.put_on_record(tier, &mut told).await;
                due.is_over();
            }
            tries = if *due.is.borrow() { tries + 1 } else { 0 };
            if tries > TRIES {
                // A leader of an older version does not say it.
                due.is_over();
            }
            let pause = if *due.is.borrow() { AGAIN } else { EVERY };
            // Whichever comes first.
            let _ = timeout(pause, Box::pin(due.another.notified())).await;
        }
    }

    /// The tier that serves. None says of itself who it is that is led by an older version.
    async fn serving(&self) -> Option<Tier> {
        let deadline = Instant::now() + ASK;
        let answer = self.0.route.ask_uncounted(deadline, || Request::Tier).await;
        match answer.ok()?.response {
            Response::Tier(tier) => tier,
            _ => None,
        }
    }

    /// What cannot be written now is tried again; `told` is what was said of it.
    async fn put_on_record(&self, tier: Tier, told: &mut Option<String>) {
        let (cluster, names) = (tier.cluster, tier.names());
        match self.0.served.keep(tier).await {
            Ok(Some(before)) => {
                let what = format!(
                    "the tier {cluster:016x} of {names} serves, and before it was {:016x} of {}: what was stored there is here \
                     only if a node of it went on alone",
                    before.cluster,
                    before.names()
                );
                self.0.events.warning("sessions/agent", what);
                *told = None;
            }
            Ok(None) => *told = None,
            Err(error) => {
                let what = format!(
                    "cannot put on record which tier serves, {cluster:016x} of {names}: {error}; it is tried again. Until then blank \
                     session nodes do not learn of it here when none of it runs"
                );
                if told.as_ref() != Some(&what) {
                    self.0.events.error("sessions/agent", what.clone());
                    *told = Some(what);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::{sleep, spawn};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_stored_waits_for_the_record_of_who_serves_for_a_bounded_time_and_once() {
        crate::sim::alone(async {
            let due = std::sync::Arc::new(Due::default());
            let waited = async |left: Duration| {
                let begun = Instant::now();
                due.on_record(begun + left).await;
                begun.elapsed()
            };
            let long = 5_000 * MS;
            // Nobody keeps it.
            due.is_another(true);
            assert!(waited(long).await < MS);
            due.is_kept.store(true, Relaxed);
            // Another leader, of the same tier most likely.
            due.is_another(false);
            assert!(waited(long).await < MS);
            let written = due.clone();
            spawn(async move {
                sleep(20 * MS).await;
                written.is_over();
            });
            due.is_another(true);
            let took = waited(long).await;
            assert!(took >= 20 * MS && took < 30 * MS, "{took:?}");
            // A disk that takes nothing: those after the first do not wait.
            due.is_another(true);
            assert!(waited(long).await >= WAIT);
            assert!(waited(long).await < MS);
            // Nor does an operation take longer than it may.
            due.is_another(true);
            assert!(waited(10 * MS).await < 20 * MS);
        });
    }
}
