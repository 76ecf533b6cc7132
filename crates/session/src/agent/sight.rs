//! Whether the agent reaches a leader: for those who can send users to another node, and for those who wait.
//!
//! Operations say so while there are some; when there are none the agent asks for nothing, now and then.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

use super::Agent;
use super::route::DEADLINE;
use crate::rt::{Instant, sleep};
use crate::wire::{Request, Response};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);
/// Without an answer of a leader for so long the agent is cut off: longer than an election takes.
const CUT_OFF: Duration = Duration::from_millis(1_500);
/// So long it waits for the first one: nodes that start together find a leader together.
const AT_FIRST: Duration = Duration::from_secs(5);
/// How long an operation may take once all that came within [`DEADLINE`] found no leader: whoever asks again and again
/// must not hold a program's threads for that long each time. Enough to ask all replicas.
const BRIEFLY: Duration = Duration::from_millis(500);

/// What the operations and the looks found.
#[derive(Default)]
pub(super) struct Sight {
    /// A leader answered since the last look.
    answered: AtomicBool,
    /// None did for as long as an operation may take.
    lost: AtomicBool,
}

impl Sight {
    /// A leader answered.
    pub fn answered(&self) {
        // Read by many and written by many, mostly to what it is.
        if !self.answered.load(Relaxed) {
            self.answered.store(true, Relaxed);
        }
    }

    /// Whether no leader was reached for long.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// How long an operation that begins now may take.
    pub fn limit(&self) -> Duration {
        if self.lost.load(Relaxed) {
            BRIEFLY
        } else {
            DEADLINE
        }
    }
}

impl Agent {
    /// Keeps `reached` true while a leader is reached, for as long as it is polled.
    pub async fn look(&self, reached: watch::Sender<bool>) {
        let sight = self.0.route.sight();
        let (mut last, mut patience) = (Instant::now(), AT_FIRST);
        loop {
            if sight.answered.swap(false, Relaxed) || self.asks_for_nothing().await {
                (last, patience) = (Instant::now(), CUT_OFF);
            }
            let away = last.elapsed();
            let tell = |is: &mut bool| std::mem::replace(is, away < patience) != *is;
            reached.send_if_modified(tell);
            sight.lost.store(away >= DEADLINE, Relaxed);
            sleep(LOOK).await;
        }
    }

    /// Whether a leader answers a question about no key.
    async fn asks_for_nothing(&self) -> bool {
        let deadline = Instant::now() + LOOK;
        let answer = self
            .0
            .route
            .ask_uncounted(deadline, || Request::Read(Vec::new()));
        matches!(
            answer.await.map(|answered| answered.response),
            Ok(Response::Items { .. })
        )
    }
}
