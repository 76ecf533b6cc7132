//! Time limits of a connection, and the Date field of a worker.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tandem_net::Moment;
use time::OffsetDateTime;
use tokio::time::Sleep;

/// A limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed;

/// The one timer of a connection.
///
/// It is armed only when something has to wait, and only when it would fire too late: moving a deadline further away
/// costs nothing until the old one has passed. A busy connection thus arms it about once per limit, not once per read.
///
/// It is also what tells the time there: once between two waits, as a reading costs more than most of what is timed by it.
pub(super) struct Clock {
    sleep: RefCell<Pin<Box<Sleep>>>,
    deadline: Cell<Moment>,
    /// What the timer is set to.
    armed: Cell<Moment>,
    /// Whose waker the timer has: where its data lies.
    waits: Cell<*const ()>,
    /// The time, if it was read since the last wait.
    now: Cell<Option<Moment>>,
}

impl Clock {
    /// A timer that is first armed for `limit` from now.
    pub fn new(limit: Duration) -> Self {
        let at = Moment::now() + limit;
        Self {
            sleep: RefCell::new(Box::pin(tokio::time::sleep(limit))),
            deadline: Cell::new(at),
            armed: Cell::new(at),
            waits: Cell::new(std::ptr::null()),
            now: Cell::new(None),
        }
    }

    /// The time: what it was when it was first asked for since the last wait.
    pub fn now(&self) -> Moment {
        self.now.get().unwrap_or_else(|| self.read())
    }

    /// The time at this moment.
    pub fn read(&self) -> Moment {
        let now = Moment::now();
        self.now.set(Some(now));
        now
    }

    /// Sets the limit: so long from now.
    pub fn allow(&self, limit: Duration) {
        self.deadline.set(self.now() + limit);
    }

    /// What is left until the limit.
    pub fn left(&self) -> Duration {
        self.deadline.get().since(self.now())
    }

    /// Ready when the limit is reached. Whoever waits asks.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        self.now.set(None);
        let mut sleep = self.sleep.borrow_mut();
        let deadline = self.deadline.get();
        // Until it fires the timer holds on to the waker that it has, so that no other one can lie where that lies.
        let waits = cx.waker().data();
        if waits == self.waits.get() && deadline >= self.armed.get() && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        if deadline < self.armed.get() {
            self.arm(sleep.as_mut(), deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            self.waits.set(std::ptr::null());
            if Moment::now() >= deadline {
                return Poll::Ready(Elapsed);
            }
            self.arm(sleep.as_mut(), deadline);
        }
        self.waits.set(waits);
        Poll::Pending
    }

    fn arm(&self, sleep: Pin<&mut Sleep>, deadline: Moment) {
        self.armed.set(deadline);
        sleep.reset(tokio::time::Instant::now() + (deadline - Moment::now()));
    }

    /// `future`, for at most `limit` from when it first has to wait.
    pub async fn limit<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        self.limit_from(&mut None, limit, future).await
    }

    /// As [`limit`](Self::limit); several waits share one limit through `deadline`.
    pub async fn limit_from<F: Future>(
        &self,
        deadline: &mut Option<Moment>,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.deadline
                .set(*deadline.get_or_insert_with(|| Moment::now() + limit));
            self.poll(cx).map(Err)
        })
        .await
    }
}

/// The Date field's value (RFC 9110 section 5.6.7), worked out once a second.
#[derive(Default)]
pub(super) struct Date {
    second: Cell<u64>,
    text: RefCell<String>,
}

impl Date {
    /// Appends the field's line.
    pub fn line(&self, out: &mut Vec<u8>) {
        let now = tandem_net::coarse_time().as_secs();
        if self.second.replace(now) != now {
            *self.text.borrow_mut() = line(now);
        }
        out.extend_from_slice(self.text.borrow().as_bytes());
    }
}

fn line(second: u64) -> String {
    let t = i64::try_from(second)
        .ok()
        .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "Date: {}, {:02} {} {:04} {:02}:{:02}:{:02} GMT\r\n",
        &t.weekday().to_string()[..3],
        t.day(),
        &t.month().to_string()[..3],
        t.year(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_rfc() {
        assert_eq!(line(784_111_777), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    }

    #[tokio::test]
    async fn the_time_stands_still_until_somebody_waits() {
        let clock = Clock::new(Duration::from_mins(1));
        let now = clock.now();
        while Moment::now() == now {}
        assert_eq!(clock.now(), now);
        let read = clock.read();
        assert!(read > now && clock.now() == read);
        let waited = std::future::poll_fn(|cx| Poll::Ready(clock.poll(cx).is_pending()));
        assert!(waited.await);
        while Moment::now() == read {}
        assert!(clock.now() > read);
    }

    #[tokio::test]
    async fn a_limit_that_was_moved_away_holds_from_the_last_move() {
        let clock = Clock::new(Duration::from_millis(5));
        clock.allow(Duration::from_millis(60));
        let begun = Moment::now();
        std::future::poll_fn(|cx| clock.poll(cx)).await;
        assert!(begun.elapsed() >= Duration::from_millis(50));
        let waited = clock.limit(Duration::from_millis(5), std::future::pending::<()>());
        assert_eq!(waited.await, Err(Elapsed));
        assert_eq!(clock.limit(Duration::ZERO, async { 7 }).await, Ok(7));
    }
}
