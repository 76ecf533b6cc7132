//! A running node, and how it ends.
//!
//! Doors are closed, requests in flight finish or are cut when their time is over, applications stop, the agent ends, the
//! replica hands leadership over. Processes whose place this one took, and that drain still, have the same time and are
//! waited for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tandem_model::Program;

use super::doors::{Closing, GRACE};
use super::reload::Running;
use super::succession::Line;

/// How long a node may take that has nothing more in flight, apart from its applications: the sessions' leadership is
/// handed over.
const REST: Duration = Duration::from_secs(10);

impl Running {
    /// How long it takes at most to stop, when what is in flight has `within`.
    pub fn ends_within(&self, within: Duration) -> Duration {
        let apps = self.plan.apps.iter().map(|app| match &app.program {
            Program::Run { stop_timeout, .. } => *stop_timeout,
            Program::Proxy(_) => Duration::ZERO,
        });
        let apps = apps.max().unwrap_or_default();
        within.saturating_add(GRACE + apps + REST)
    }

    /// What is said to whoever ordered it to stop.
    pub fn last_words(&self, within: Duration) -> Value {
        json!({
            "done": format!("stops; what is in flight has {} s", within.as_secs()),
            "pid": std::process::id(),
            "ends_within": self.ends_within(within).as_secs(),
        })
    }

    /// Stops everything, in order; what is in flight may finish within this time.
    pub async fn stop(self, within: Duration) {
        let earlier = ended(self.earlier, within);
        let doors = self.doors.stop(Closing::Within(within), &self.telemetry);
        let (cut, ()) = tokio::join!(doors, earlier);
        if cut > 0 {
            let what = cut_off(cut as u64, within);
            self.telemetry.events.warning("node", what);
        }
        self.checks.abort();
        self.apps.stop().await;
        self.sessions.stop().await;
    }
}

/// What is said of connections that were cut. Where another process listens, idle ones were kept for one more answer.
pub fn cut_off(count: u64, within: Duration) -> String {
    let connections = if count == 1 {
        "connection"
    } else {
        "connections"
    };
    format!(
        "{count} {connections} cut: not at an end within {} s",
        within.as_secs()
    )
}

/// Tells the processes that drain how long they have, and waits until they have ended.
async fn ended(earlier: Vec<Line>, within: Duration) {
    let begun = Instant::now();
    let most = within.saturating_add(GRACE);
    for line in &earlier {
        line.stops(within);
    }
    let wait = move || {
        for line in earlier {
            line.wait_for_end(most.saturating_sub(begun.elapsed()));
        }
    };
    let _ = tokio::task::spawn_blocking(wait).await;
}
