//! Putting on record which tier serves this agent, for when none of it runs and blank nodes ask.

use std::time::Duration;

use super::Agent;
use crate::rt::{Instant, sleep};
use crate::served::Tier;
use crate::wire::{Request, Response};

/// How often the leader is asked. What changes in between is known to other agents, or to the nodes that voted.
const EVERY: Duration = Duration::from_secs(2);
/// How long it has to answer.
const ASK: Duration = Duration::from_millis(500);

impl Agent {
    /// Keeps the record up to date, for as long as it is polled.
    pub async fn remember(&self) {
        loop {
            if !self.0.route.sight().is_lost()
                && let Some(tier) = self.serving().await
            {
                self.put_on_record(tier).await;
            }
            sleep(EVERY).await;
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

    async fn put_on_record(&self, tier: Tier) {
        let now = (tier.cluster, tier.names());
        // What cannot be written now is tried again.
        if let Ok(Some(before)) = self.0.served.keep(tier).await {
            let (cluster, names) = now;
            let what = format!(
                "the tier {cluster:016x} of {names} serves, and before it was {:016x} of {}: what was stored there is here only if \
                 a node of it went on alone",
                before.cluster,
                before.names()
            );
            self.0.events.warning("sessions/agent", what);
        }
    }
}
