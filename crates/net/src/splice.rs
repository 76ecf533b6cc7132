//! Moving bytes from one socket to another without copying them through this process (splice(2)).
//!
//! It pays for streams: a pipe takes two descriptors, and a small message costs as many system calls this way as the
//! other. So a caller copies until a read has filled its buffer, and gives the pipe back when it has to wait.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::Socket;

/// What is asked of the kernel for one pipe, in bytes; it may give less.
const SIZE: usize = 256 * 1024;
/// Pipes that a worker keeps for the next stream.
const KEPT: usize = 8;
/// Pipes of a worker: peers that take nothing may hold so many, full, and what else streams is copied meanwhile.
const MOST: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    /// Pipes of this worker, free or in use.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// A pipe on the way from one plain socket to another.
#[derive(Debug)]
pub struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
    /// Bytes in it.
    held: usize,
    /// It is counted by the worker that made it.
    stays: PhantomData<Rc<()>>,
}

impl Pipe {
    /// Descriptors that the pipes of one worker may take.
    pub const DESCRIPTORS: usize = 2 * MOST;

    /// A pipe of this worker's, or a new one; to be given back by [`keep`](Self::keep). `None` when the worker has as
    /// many as it may, or the process is out of descriptors: bytes can be copied instead.
    pub fn take() -> Option<Self> {
        if let Some(pipe) = FREE.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if OPEN.get() >= MOST {
            return None;
        }
        let (from, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Above the user's share of pipe memory it stays at what it is, which does as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&to, SIZE);
        OPEN.set(OPEN.get() + 1);
        Some(Self {
            from,
            to,
            held: 0,
            stays: PhantomData,
        })
    }

    /// Gives it back. One with bytes in it is closed.
    pub fn keep(self) {
        if self.held == 0 {
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(self);
                }
            });
        }
    }

    /// Whether bytes can be moved between these sockets: what is enciphered has to pass through this process.
    pub fn suits(a: &Socket, b: &Socket) -> bool {
        !a.is_tls() && !b.is_tls()
    }

    /// Takes what can be read from a socket now, `most` bytes at most, into the empty pipe. `None` when it would have to
    /// wait; 0 is the end.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn fill(&mut self, socket: &Socket, most: u64) -> io::Result<Option<usize>> {
        debug_assert_eq!(self.held, 0, "it is emptied first");
        let most = usize::try_from(most).unwrap_or(SIZE).min(SIZE);
        let n = socket.splice_from(&self.to, most)?;
        self.held = n.unwrap_or(0);
        Ok(n)
    }

    /// Writes all that is in the pipe; `progress` is told of each part.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn empty(
        &mut self,
        socket: &Socket,
        mut progress: impl FnMut(usize),
    ) -> io::Result<()> {
        while self.held > 0 {
            let n = poll_fn(|cx| socket.poll_splice_to(cx, &self.from, self.held)).await?;
            self.held -= n;
            progress(n);
        }
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
    }
}

/// How pipes are spliced: never waiting, whatever the other end is.
pub(crate) const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::new(ours.into()).unwrap(), theirs)
    }

    #[tokio::test]
    async fn bytes_pass_whole_and_in_order_whatever_the_pipe_takes() {
        let ((a, mut from), (b, mut to)) = (pair(), pair());
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || {
            from.write_all(&sent).unwrap();
        });
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            to.read_to_end(&mut got).unwrap();
            got
        });
        let mut pipe = Pipe::take().unwrap();
        loop {
            poll_fn(|cx| a.poll_readable(cx)).await.unwrap();
            match pipe.fill(&a, u64::MAX).unwrap() {
                Some(0) => break,
                Some(_) => pipe.empty(&b, |_| {}).await.unwrap(),
                None => {}
            }
        }
        pipe.keep();
        b.finish();
        writer.join().unwrap();
        assert!(reader.join().unwrap() == expected);
    }

    #[tokio::test]
    async fn a_pipe_with_bytes_in_it_is_not_used_again() {
        let ((a, mut from), (b, mut to)) = (pair(), pair());
        from.write_all(b"of someone else").unwrap();
        let mut pipe = Pipe::take().unwrap();
        poll_fn(|cx| a.poll_readable(cx)).await.unwrap();
        assert_eq!(pipe.fill(&a, u64::MAX).unwrap(), Some(15));
        pipe.keep();
        let mut next = Pipe::take().unwrap();
        from.write_all(b"mine").unwrap();
        poll_fn(|cx| a.poll_readable(cx)).await.unwrap();
        assert_eq!(next.fill(&a, u64::MAX).unwrap(), Some(4));
        next.empty(&b, |_| {}).await.unwrap();
        let mut got = [0; 4];
        to.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"mine");
    }

    #[tokio::test]
    async fn what_is_behind_a_body_stays_where_it_is() {
        let ((a, mut from), (b, mut to)) = (pair(), pair());
        from.write_all(b"body and more").unwrap();
        let mut pipe = Pipe::take().unwrap();
        poll_fn(|cx| a.poll_readable(cx)).await.unwrap();
        assert_eq!(pipe.fill(&a, 4).unwrap(), Some(4));
        pipe.empty(&b, |_| {}).await.unwrap();
        let mut got = [0; 4];
        to.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"body");
        let mut rest = [0; 16];
        let n = a.read(&mut rest).await.unwrap();
        assert_eq!(&rest[..n], b" and more");
    }

    #[test]
    fn a_worker_has_only_so_many_pipes_and_keeps_fewer() {
        let pipes: Vec<_> = std::iter::from_fn(Pipe::take).collect();
        assert_eq!(pipes.len(), MOST);
        assert!(Pipe::take().is_none());
        pipes.into_iter().for_each(Pipe::keep);
        assert_eq!((OPEN.get(), FREE.with_borrow(Vec::len)), (KEPT, KEPT));
        assert!(Pipe::take().is_some());
    }
}
