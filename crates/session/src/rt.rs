//! Tasks, time and randomness: the machine's own, or in tests the simulation's.
//!
//! Nothing else in this crate starts a task, reads a clock, waits for a time or draws a random number, so that the
//! simulation (`sim`, in test builds only) runs all of it under a clock and a chance of its own, and replays it exactly.

use std::time::Duration;

#[cfg(not(test))]
mod own {
    use std::time::Duration;
    use std::{io, thread};

    use tokio::sync::oneshot;

    use crate::home::Hold;

    pub use openraft::TokioRuntime as Runtime;
    pub use tandem_net::cluster::Link;
    pub use tokio::spawn;
    pub use tokio::time::{Instant, sleep, sleep_until, timeout};

    /// How much those that serve come before work in the background, on `nice`'s scale: where all cores are busy such
    /// work gets a quarter of one, and it is interrupted whenever there is something to serve.
    const BEHIND: i32 = 6;

    /// Runs what takes long on a thread of its own, behind those that serve.
    pub async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (tell, told) = oneshot::channel();
        let work = move || {
            // Of this thread alone (on Linux). Where it is not allowed, the work is done all the same.
            let _ = rustix::process::nice(BEHIND);
            let _ = tell.send(work());
        };
        thread::Builder::new()
            .name("background".into())
            .spawn(work)?;
        told.await.map_err(io::Error::other)?
    }

    /// Has something large freed on a thread of its own, behind those that serve.
    pub fn let_go<T: Send + 'static>(what: T) {
        let work = move || {
            let _ = rustix::process::nice(BEHIND);
            drop(what);
        };
        // Without a thread it is freed here.
        let _ = thread::Builder::new().name("background".into()).spawn(work);
    }

    /// How fast long work goes.
    pub struct Pace(Option<(std::time::Instant, Hold)>);

    impl Pace {
        /// As fast as it can, when nobody is served yet.
        pub fn at_once() -> Self {
            Self(None)
        }

        /// Behind those who are served meanwhile, and as long as the replica runs whose directory this is.
        pub fn behind(hold: &Hold) -> Self {
            Self(Some((std::time::Instant::now(), hold.clone())))
        }

        /// Between two parts of the work: as long as the last one took is left to others. A thread that only comes after
        /// others would still keep its core until its turn is over, which is some milliseconds. An error when nobody needs
        /// the work any more.
        pub fn rest(&mut self) -> io::Result<()> {
            if let Some((begun, hold)) = &mut self.0 {
                hold.go_on()?;
                thread::sleep(begun.elapsed());
                *begun = std::time::Instant::now();
            }
            Ok(())
        }
    }

    /// For how long this machine has been suspended since it was started. In this order: a machine that falls asleep
    /// between the two looks at its clocks is seen.
    pub fn slept() -> Duration {
        let at = |clock| Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default();
        let awake = at(rustix::time::ClockId::Monotonic);
        at(rustix::time::ClockId::Boottime).saturating_sub(awake)
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
