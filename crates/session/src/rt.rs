//! Tasks, time and randomness: the machine's own, or in tests the simulation's.
//!
//! Nothing else in this crate starts a task, reads a clock, waits for a time or draws a random number, so that the
//! simulation (`sim`, in test builds only) runs all of it under a clock and a chance of its own, and replays it exactly.

use std::time::Duration;

#[cfg(not(test))]
mod own {
    use std::time::Duration;
    use std::{io, thread};

    use openraft::{AsyncRuntime, TokioRuntime};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use crate::home::Hold;
    use crate::watched::watched;

    pub use tandem_net::cluster::Link;
    pub use tokio::time::{Instant, sleep, sleep_until, timeout};

    /// How much those that serve come before work in the background, on `nice`'s scale: where all cores are busy such
    /// work gets a quarter of one, and it is interrupted whenever there is something to serve.
    const BEHIND: i32 = 6;

    /// Starts a task, whose panic ends the replica.
    pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(watched(future))
    }

    /// What openraft runs on: tokio, and its tasks are watched as our own are.
    #[derive(Debug)]
    pub struct Runtime(TokioRuntime);

    type OfTokio = TokioRuntime;

    impl AsyncRuntime for Runtime {
        type JoinError = <OfTokio as AsyncRuntime>::JoinError;
        type JoinHandle<T: Send + 'static> = JoinHandle<T>;
        type Sleep = <OfTokio as AsyncRuntime>::Sleep;
        type Instant = <OfTokio as AsyncRuntime>::Instant;
        type TimeoutError = <OfTokio as AsyncRuntime>::TimeoutError;
        type Timeout<R, T: Future<Output = R> + Send> = <OfTokio as AsyncRuntime>::Timeout<R, T>;
        type ThreadLocalRng = <OfTokio as AsyncRuntime>::ThreadLocalRng;
        type Mpsc = <OfTokio as AsyncRuntime>::Mpsc;
        type Watch = <OfTokio as AsyncRuntime>::Watch;
        type Oneshot = <OfTokio as AsyncRuntime>::Oneshot;
        type Mutex<T: Send + 'static> = <OfTokio as AsyncRuntime>::Mutex<T>;

        fn spawn<T>(future: T) -> JoinHandle<T::Output>
        where
            T: Future + Send + 'static,
            T::Output: Send + 'static,
        {
            spawn(future)
        }

        fn sleep(duration: Duration) -> Self::Sleep {
            OfTokio::sleep(duration)
        }

        fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
            OfTokio::sleep_until(deadline)
        }

        fn timeout<R, F: Future<Output = R> + Send>(
            duration: Duration,
            future: F,
        ) -> Self::Timeout<R, F> {
            OfTokio::timeout(duration, future)
        }

        fn timeout_at<R, F: Future<Output = R> + Send>(
            deadline: Self::Instant,
            future: F,
        ) -> Self::Timeout<R, F> {
            OfTokio::timeout_at(deadline, future)
        }

        fn is_panic(error: &Self::JoinError) -> bool {
            OfTokio::is_panic(error)
        }

        fn thread_rng() -> Self::ThreadLocalRng {
            OfTokio::thread_rng()
        }

        fn new(threads: usize) -> Self {
            Self(OfTokio::new(threads))
        }

        fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
            self.0.block_on(future)
        }

        async fn spawn_blocking<F, T>(work: F) -> io::Result<T>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            OfTokio::spawn_blocking(work).await
        }
    }

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
