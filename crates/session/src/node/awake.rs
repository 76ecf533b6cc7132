//! Whether this machine slept a moment ago.
//!
//! The monotonic clock stands still while a machine is suspended. By it a leader that slept for an hour heard from its
//! voters just now, and meanwhile they have elected another. So for as long as a lease lasts after it woke up a leader
//! does not go by its lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rt::{Instant, slept};

/// What is shorter is no sleep: the two clocks are not read at the same moment.
const LEAST: Duration = Duration::from_millis(10);

/// What is known of the machine's sleep since this was made. Cheap to clone.
#[derive(Clone)]
pub struct Awake(Arc<Mutex<Known>>);

struct Known {
    slept: Duration,
    /// When it was seen that it had slept.
    woke: Option<Instant>,
}

impl Awake {
    pub fn new() -> Self {
        let known = Known {
            slept: slept(),
            woke: None,
        };
        Self(Arc::new(Mutex::new(known)))
    }

    /// Whether it has been awake for so long.
    pub fn for_at_least(&self, time: Duration) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = slept();
        if now > known.slept + LEAST {
            known.woke = Some(Instant::now());
            known.slept = now;
        } else {
            // Less: a process that was stopped between its looks at the two clocks saw too much.
            known.slept = known.slept.min(now);
        }
        known.woke.is_none_or(|woke| woke.elapsed() >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::sleep;
    use crate::sim::{alone, world};

    #[test]
    fn a_machine_that_slept_is_awake_only_since_it_is_seen() {
        alone(async {
            let (tell, told) = tokio::sync::oneshot::channel();
            world::spawn_on(1, async move {
                let (awake, lease) = (Awake::new(), Duration::from_millis(200));
                // The other one has it suspended meanwhile.
                sleep(Duration::from_millis(50)).await;
                assert!(!awake.for_at_least(lease));
                sleep(Duration::from_millis(199)).await;
                assert!(!awake.for_at_least(lease));
                sleep(Duration::from_millis(1)).await;
                assert!(awake.for_at_least(lease));
                let _ = tell.send(());
            });
            sleep(Duration::from_millis(10)).await;
            world::suspend(1, true);
            sleep(Duration::from_secs(5)).await;
            world::suspend(1, false);
            told.await.unwrap();
        });
    }
}
