//! Work that may wait for a disk: on other threads, so many at once, and for no longer than a client may be made to wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// Threads for work of one kind. A disk that hangs takes no more of them than that.
pub struct Apart {
    turns: Arc<Semaphore>,
    within: Duration,
}

/// Why work has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It has not ended in time, or had no turn; it may end yet.
    Late,
    /// It panicked.
    Failed,
}

impl Apart {
    /// For so many at once, each of which is waited for as long.
    pub fn new(at_once: usize, within: Duration) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            within,
        }
    }

    /// Does something on a thread that may wait.
    ///
    /// # Errors
    /// When there is no result in time. The turn is over when the work is, also when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let done = async {
            // Never closed.
            let turn = self.turns.clone().acquire_owned().await;
            let turn = turn.map_err(|_| Undone::Late)?;
            let work = tokio::task::spawn_blocking(move || {
                let done = work();
                drop(turn);
                done
            });
            work.await.map_err(|_| Undone::Failed)
        };
        let done = tokio::time::timeout(self.within, done).await;
        done.unwrap_or(Err(Undone::Late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_keeps_its_turn_and_nobody_waits_for_it() {
        let patient = Apart::new(1, Duration::from_mins(1));
        let hasty = Apart {
            turns: patient.turns.clone(),
            within: Duration::from_millis(1),
        };
        assert_eq!(patient.run(|| 7).await, Ok(7));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let endless = hasty.run(move || ended.recv().is_ok());
        assert_eq!(endless.await, Err(Undone::Late));
        assert_eq!(hasty.run(|| 8).await, Err(Undone::Late), "no turn");
        drop(end);
        assert_eq!(patient.run(|| 9).await, Ok(9));
        let panics = patient.run(|| panic!("of the test")).await;
        assert_eq!(panics, Err::<(), _>(Undone::Failed));
    }
}
