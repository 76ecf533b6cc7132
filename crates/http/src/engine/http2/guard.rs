//! What a client may send that carries nothing.
//!
//! h2 bounds what is held for a peer: headers, continuations, streams that are reset before they are taken. It does not
//! bound how long a peer keeps the worker busy with frames that cost it nothing: PING, SETTINGS, PRIORITY, resets,
//! empty DATA. The guard stands between the wire and h2, reads the nine bytes of each frame as they pass, and keeps
//! an account: such frames cost, time and traffic in both directions earn. A client that has nothing left is sent
//! away (RFC 9113 section 10.5).

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;

/// What a client begins with and never has more of. A page of a browser that cancels all of its hundred requests
/// spends a quarter of it.
const MOST: u64 = 2_000;
/// What a second earns.
const A_SECOND: u64 = 20;
/// What costs a stream that is reset: it was opened, looked at and perhaps passed on.
const RESET: u64 = 5;
/// So many bytes, either way, earn one: a window update for each kibibyte is more than anyone needs.
const EARNING: u64 = 1024;
/// The length of a frame's head.
const HEAD: usize = 9;
/// The length of what a connection begins with (section 3.4).
const PREFACE: usize = 24;

/// The account of one connection.
pub(super) struct Account {
    credit: Cell<u64>,
    earned_at: Cell<Instant>,
    traffic: Cell<u64>,
    /// Since when a part of something other than DATA is there, and not the rest.
    begun: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

impl Account {
    fn new() -> Self {
        Self {
            credit: Cell::new(MOST),
            earned_at: Cell::new(Instant::now()),
            traffic: Cell::new(0),
            begun: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// Whether all of it is spent.
    pub fn is_spent(&self) -> bool {
        self.credit.get() == 0
    }

    /// Since when the client owes the rest of a head.
    pub fn owes_since(&self) -> Option<Instant> {
        self.begun.get()
    }

    /// Whom to wake when it is spent, or a head is begun.
    pub fn watch(&self, waker: &Waker) {
        let mut watching = self.waker.borrow_mut();
        if !watching.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *watching = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn spend(&self, cost: u64) {
        if cost == 0 {
            return;
        }
        let now = Instant::now();
        let since = now.duration_since(self.earned_at.get());
        let mut earned = (since.as_millis() as u64).saturating_mul(A_SECOND) / 1000;
        if earned > 0 {
            self.earned_at.set(now);
        }
        earned += self.traffic.take() / EARNING;
        let credit = (self.credit.get() + earned).min(MOST);
        self.credit.set(credit.saturating_sub(cost));
        if self.is_spent() {
            self.wake();
        }
    }

    fn carried(&self, bytes: usize) {
        self.traffic.set(self.traffic.get() + bytes as u64);
    }
}

/// Follows the frames in what a client sends, in any pieces.
#[derive(Default)]
struct Frames {
    preface: usize,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// In a header block that goes on in the next frame.
    open: bool,
    /// What was begun before has come to its end in what was read last.
    ended: bool,
}

impl Frames {
    /// Whether what was read last ended in the middle of something that is not DATA.
    fn is_within(&self) -> bool {
        let data = self.have == HEAD && self.head[3] == 0;
        self.open || self.preface < PREFACE || (self.have > 0 && !data)
    }

    /// Returns how many bytes were of DATA; `spend` gets what each frame costs.
    fn follow(&mut self, mut bytes: &[u8], spend: impl Fn(u64)) -> usize {
        let mut data = 0;
        let skip = bytes.len().min(PREFACE - self.preface);
        self.ended = skip > 0;
        self.preface += skip;
        bytes = &bytes[skip..];
        while !bytes.is_empty() {
            if self.have < HEAD {
                let n = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have < HEAD {
                    return data;
                }
                let [a, b, c, kind, flags, ..] = self.head;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                spend(self.cost(kind, flags));
            }
            let n = bytes.len().min(self.left);
            self.left -= n;
            bytes = &bytes[n..];
            if self.head[3] == 0 {
                data += n;
            }
            if self.left == 0 {
                self.have = 0;
                self.ended |= !self.open;
            }
        }
        data
    }

    /// What a frame costs that begins.
    fn cost(&mut self, kind: u8, flags: u8) -> u64 {
        let ends_headers = flags & 0x4 != 0;
        let ends_stream = flags & 0x1 != 0;
        match kind {
            // DATA: nothing in it, and it does not end anything.
            0x0 => u64::from(self.left == 0 && !ends_stream),
            // HEADERS are counted as requests.
            0x1 => {
                self.open = !ends_headers;
                0
            }
            0x3 => RESET,
            // CONTINUATION
            0x9 => {
                self.open = !ends_headers;
                1
            }
            // PRIORITY, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, and what nobody knows
            _ => 1,
        }
    }
}

/// A connection under guard.
pub(super) struct Guarded {
    wire: Rc<Wire>,
    frames: Frames,
    account: Rc<Account>,
}

impl Guarded {
    pub fn new(wire: Rc<Wire>) -> (Self, Rc<Account>) {
        let account = Rc::new(Account::new());
        let guarded = Self {
            wire,
            frames: Frames::default(),
            account: account.clone(),
        };
        (guarded, account)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            wire,
            frames,
            account,
        } = &mut *self;
        if account.is_spent() {
            // Nothing more is heard of it; the connection's task ends it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(wire.poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        let data = frames.follow(read, |cost| account.spend(cost));
        account.carried(data);
        match (frames.is_within(), account.begun.get()) {
            (true, None) => {
                account.begun.set(Some(Instant::now()));
                account.wake();
            }
            // It is another one: who sends much, one after the other, owes none of them for long.
            (true, Some(_)) if frames.ended => account.begun.set(Some(Instant::now())),
            (false, Some(_)) => account.begun.set(None),
            _ => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(self.wire.poll_write(cx, bufs))?;
        self.account.carried(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 asks for this after each answer; what it has written is sent when it has nothing more to write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_send(cx))?;
        self.wire.finish();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    /// A header block of one byte, and what follows in it.
    const HEADERS: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    const CONTINUATION: &[u8] = &[0, 0, 1, 9, 0, 0, 0, 0, 1, 0x82];

    #[tokio::test]
    async fn a_head_has_its_time_from_where_it_begins() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let wire = Wire::new(tandem_net::Socket::new(ours.into()).unwrap());
        let (mut guarded, account) = Guarded::new(Rc::new(wire));
        let mut owes_after = async |bytes: &[u8]| {
            theirs.write_all(bytes).unwrap();
            let (mut room, mut read) = ([0; 256], 0);
            while read < bytes.len() {
                let mut buf = ReadBuf::new(&mut room);
                let mut guarded = Pin::new(&mut guarded);
                poll_fn(|cx| guarded.as_mut().poll_read(cx, &mut buf))
                    .await
                    .unwrap();
                read += buf.filled().len();
            }
            account.owes_since()
        };
        let first = owes_after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0").await;
        assert!(first.is_some());
        // It has come, and the beginning of the next.
        let second = owes_after(&[&SETTINGS[3..], &SETTINGS[..3]].concat()).await;
        assert!(second > first);
        assert_eq!(owes_after(&SETTINGS[3..]).await, None);
        // One that goes on in frame after frame has begun once.
        let block = owes_after(HEADERS).await;
        assert!(block.is_some());
        assert_eq!(owes_after(CONTINUATION).await, block);
        assert_eq!(owes_after(&CONTINUATION[..5]).await, block);
    }
}
