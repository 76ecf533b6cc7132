//! Workers: threads with an event loop each, that share nothing on the request path.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::privilege;

/// Where a worker's future runs. Tasks are made with `tokio::task::spawn_local`; a panic in one ends that task.
#[derive(Clone)]
pub struct WorkerCx {
    /// Which worker this is, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Told when the workers are to end.
    pub stop: Stop,
}

/// The order to end, as a worker sees it.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits for the order.
    pub async fn ordered(&mut self) {
        // A dropped sender is an order too: nobody is left who could give one.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether it was given.
    pub fn is_ordered(&self) -> bool {
        *self.0.borrow()
    }
}

/// Running workers.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<usize>,
}

/// Workers that had not ended at the deadline, or ended by a panic of their own future.
#[derive(Debug, PartialEq, Eq)]
pub struct Unclean {
    /// Still running.
    pub stuck: usize,
    /// Panicked.
    pub panicked: usize,
}

/// The time blocking calls (opening a cold file) have when their worker ends.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);
/// Threads for blocking calls of one worker.
const BLOCKING_THREADS: usize = 8;

/// Starts `count` threads named `NAME-INDEX`; each runs the future that `make` returns on it until it ends.
///
/// # Errors
/// When a thread or its event loop cannot be made; those already started are stopped.
pub fn start<F, Fut>(name: &str, count: usize, make: F) -> io::Result<Workers>
where
    F: Fn(WorkerCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let make = Arc::new(make);
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = mpsc::channel();
    let mut workers = Workers {
        threads: Vec::with_capacity(count),
        stop,
        ended,
    };
    for index in 0..count {
        let cx = WorkerCx {
            index,
            count,
            stop: Stop(stopped.clone()),
        };
        let (make, end) = (make.clone(), end.clone());
        let (told, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("{name}-{index}"))
            .spawn(move || {
                let _end = Ended(index, end);
                privilege::let_go();
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(BLOCKING_THREADS)
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = told.send(Ok(()));
                        runtime.block_on(async move { make(cx).await });
                        runtime.shutdown_timeout(BLOCKING_GRACE);
                    }
                    Err(e) => {
                        let _ = told.send(Err(e));
                    }
                }
            })?;
        workers.threads.push(thread);
        started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a worker ended before it began")))?;
    }
    Ok(workers)
}

/// Tells that a worker's thread is about to end, however it ends.
struct Ended(usize, mpsc::Sender<usize>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

impl Workers {
    /// Orders all workers to end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for all of them, at most until `within` has passed. Threads that are stuck are left behind.
    ///
    /// # Errors
    /// When some did not end, or ended by a panic.
    pub fn join(mut self, within: Duration) -> Result<(), Unclean> {
        let deadline = Instant::now() + within;
        let mut unclean = Unclean {
            stuck: self.threads.len(),
            panicked: 0,
        };
        let mut threads: Vec<_> = self.threads.drain(..).map(Some).collect();
        while unclean.stuck > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(index) = self.ended.recv_timeout(left) else {
                break;
            };
            unclean.stuck -= 1;
            if let Some(thread) = threads.get_mut(index).and_then(Option::take) {
                unclean.panicked += usize::from(thread.join().is_err());
            }
        }
        if unclean.stuck + unclean.panicked == 0 {
            Ok(())
        } else {
            Err(unclean)
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn workers_run_under_their_names_until_they_are_stopped() {
        let names = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = names.clone();
        let workers = start("w", 2, move |mut cx| {
            let seen = seen.clone();
            async move {
                let name = std::thread::current().name().unwrap_or("").to_owned();
                seen.lock().unwrap().push((cx.index, name));
                cx.stop.ordered().await;
            }
        })
        .unwrap();
        workers.stop();
        assert_eq!(workers.join(Duration::from_secs(10)), Ok(()));
        let mut names = names.lock().unwrap().clone();
        names.sort();
        assert_eq!(names, [(0, "w-0".into()), (1, "w-1".into())]);
    }

    #[test]
    fn a_panic_ends_its_task_and_not_the_worker() {
        let after = Arc::new(AtomicUsize::new(0));
        let count = after.clone();
        let workers = start("w", 1, move |_| {
            let count = count.clone();
            async move {
                let task = tokio::task::spawn_local(async { panic!("on purpose") });
                assert!(task.await.is_err());
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert_eq!(workers.join(Duration::from_secs(10)), Ok(()));
        assert_eq!(after.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_worker_that_does_not_end_is_told_of() {
        let workers = start("w", 1, |_| std::future::pending()).unwrap();
        assert_eq!(
            workers.join(Duration::from_millis(1)),
            Err(Unclean {
                stuck: 1,
                panicked: 0
            })
        );
    }
}
