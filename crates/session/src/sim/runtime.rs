//! What [`crate::rt`] is in a simulation, and openraft's runtime with it.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use openraft::{AsyncRuntime, TokioRuntime};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

pub use super::network::Link;
use super::world;
use crate::home::Hold;

/// A moment of the clock of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    pub fn now() -> Self {
        Self(world::clock())
    }

    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0 + by.as_nanos() as u64)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0 - by.as_nanos() as u64)
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0 - earlier.0)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, by: Duration) {
        *self = *self - by;
    }
}

impl openraft::Instant for Instant {
    fn now() -> Self {
        Instant::now()
    }
}

/// Ends when the clock of its host shows its time.
pub struct Sleep {
    until: Instant,
    timer: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = self.timer.take() {
            world::cancel(timer);
        }
        self.timer = world::timer(self.until.0, cx.waker());
        match self.timer {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            world::cancel(timer);
        }
    }
}

pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

pub fn sleep_until(until: Instant) -> Sleep {
    Sleep { until, timer: None }
}

/// The time is over.
#[derive(Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        ready!(Pin::new(&mut self.sleep).poll(cx));
        Poll::Ready(Err(Elapsed))
    }
}

pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout {
        future: Box::pin(future),
        sleep: sleep(limit),
    }
}

/// The task was ended with its host.
#[derive(Debug)]
pub struct Killed;

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host crashed")
    }
}

pub struct JoinHandle<T>(oneshot::Receiver<T>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Killed>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| Killed)
    }
}

/// Starts a task on the host that asks.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (done, joined) = oneshot::channel();
    world::spawn_on(world::here(), async move {
        // Nobody may wait for it.
        let _ = done.send(future.await);
    });
    JoinHandle(joined)
}

/// As fast as can be: the simulation's clock stands still meanwhile.
pub struct Pace(Option<Hold>);

impl Pace {
    pub fn at_once() -> Self {
        Self(None)
    }

    pub fn behind(hold: &Hold) -> Self {
        Self(Some(hold.clone()))
    }

    pub fn rest(&mut self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), Hold::go_on)
    }
}

/// Something that takes long on a disk: other tasks go on before and after it.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let slow = if world::chance(200) { 300_000 } else { 2_000 };
    sleep(Duration::from_micros(world::below(slow))).await;
    let result = super::disk::beside(work);
    sleep(Duration::from_micros(world::below(slow))).await;
    result
}

/// Has something freed.
pub fn let_go<T: Send + 'static>(what: T) {
    drop(what);
}

/// For how long the machine of the host that asks has slept.
pub fn slept() -> Duration {
    Duration::from_nanos(world::slept())
}

/// A random number of the seed's.
#[expect(clippy::unnecessary_wraps, reason = "the machine's own can fail")]
pub fn random() -> io::Result<u64> {
    Ok(world::random())
}

/// What openraft runs on.
#[derive(Debug)]
pub struct Runtime;

impl AsyncRuntime for Runtime {
    type JoinError = Killed;
    type JoinHandle<T: Send + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Timeout<F> {
        timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Instant, future: F) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: sleep_until(deadline),
        }
    }

    fn is_panic(_: &Killed) -> bool {
        // A panic ends the simulation.
        false
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(world::random())
    }

    fn new(_: usize) -> Self {
        Self
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, _: F) -> T {
        unreachable!("openraft does not start runtimes")
    }

    async fn spawn_blocking<F, T>(work: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        blocking(move || Ok(work())).await
    }
}
