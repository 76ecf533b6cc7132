//! A connection between two requests.
//!
//! For a moment after an answer it holds what the state of a request takes, as a busy client soon asks again; then it waits
//! with its socket, its timer and little else.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::client::Wire as _;
use super::clock::Elapsed;
use super::connection::Conn;
use super::{Draining, Shared};

/// How long a connection holds the state of its last request for the next one: longer than a busy client waits, and
/// shorter than a reader.
const SOON: Duration = Duration::from_millis(250);
/// Connections of a worker that may: some 5 KiB each, which must not count beside what thousands of idle ones take.
const MOST_EXPECTING: usize = 64;
/// As many more may whose last request came as soon.
const MOST_BUSY: usize = 1024;

/// How soon requests follow one another on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// There was no second one yet.
    #[default]
    New,
    /// The last one did not come soon.
    Slow,
    /// It did.
    Busy,
}

impl Conn {
    /// Whether it ends without another request.
    fn is_ended(&self) -> bool {
        self.shared().draining.get() == Draining::Idle || self.door.closed.get()
    }

    /// Whether it was answered before, and its place is one that others may wait for.
    fn is_kept(&self) -> bool {
        self.pace.get() != Pace::New && self.admitted.is_some()
    }

    /// Waits for the next request. `false` when none may come any more. Holds no buffer.
    pub async fn next(&self) -> bool {
        self.clock.allow(self.idle());
        let comes = self.comes::<true>().await;
        // The first one comes soon after the connection, whatever the client is.
        if self.pace.get() != Pace::New {
            self.set_pace(comes && self.clock.left() + SOON > self.idle());
        }
        comes
    }

    /// Waits a little for the next request; `false` when none came. It does not end for one that waits for its place, as it was
    /// told with the answer if that was so then: a client that asks now and then must not meet its end with something that
    /// cannot be sent again. Holds what a request's state takes, so that a busy
    /// connection does not make it anew each time; so many of a worker's connections may.
    pub async fn soon(&self) -> bool {
        let Some(_place) = Expecting::new(self) else {
            self.set_pace(self.pace.get() == Pace::Busy);
            return false;
        };
        self.clock.allow(SOON.min(self.idle()));
        let comes = self.comes::<false>().await;
        self.set_pace(comes);
        comes
    }

    fn set_pace(&self, is_busy: bool) {
        self.pace.set(if is_busy { Pace::Busy } else { Pace::Slow });
    }

    fn idle(&self) -> Duration {
        self.door.seen.borrow().config.timeouts.idle
    }

    /// Waits until the limit. With `YIELDS` it ends for one that waits for its place. Holds next to nothing meanwhile: this is
    /// what an idle connection is.
    async fn comes<const YIELDS: bool>(&self) -> bool {
        self.door
            .kept
            .set(self.door.kept.get() + u32::from(self.is_kept()));
        let comes = poll_fn(|cx| match self.client.poll_readable(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.is_ok()),
            Poll::Pending if self.is_ended() => Poll::Ready(false),
            Poll::Pending if YIELDS && self.is_kept() && self.makes_room() => Poll::Ready(false),
            Poll::Pending => self.clock.poll(cx).map(|Elapsed| false),
        })
        .await;
        self.door
            .kept
            .set(self.door.kept.get() - u32::from(self.is_kept()));
        comes
    }
}

/// A place among the connections that hold the state of their last request.
struct Expecting<'a>(&'a Shared);

impl<'a> Expecting<'a> {
    fn new(conn: &'a Conn) -> Option<Self> {
        let shared = &*conn.shared;
        let expecting = shared.expecting.get();
        let most = if conn.pace.get() == Pace::Busy {
            MOST_EXPECTING + MOST_BUSY
        } else {
            MOST_EXPECTING
        };
        (expecting < most).then(|| {
            shared.expecting.set(expecting + 1);
            Self(shared)
        })
    }
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        self.0.expecting.set(self.0.expecting.get() - 1);
    }
}
