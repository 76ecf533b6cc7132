//! Bytes that the kernel moves from one plain socket to another, where they come in streams: in TCP mode, and in large
//! bodies that nobody has to read.

use tandem_net::{Pipe, Socket};

/// The rest of a body that is worth a pipe, in bytes: bodies of 100 KiB cost as much either way, those of 10 MiB two thirds.
pub(super) const WORTH: u64 = 128 * 1024;
/// A piece of a stream, in bytes: what comes in smaller ones is better copied.
pub(super) const PIECE: usize = 16 * 1024;

/// Which side broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    From,
    To,
}

/// What there is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// All that was wanted was moved.
    All,
    /// The stream has ended before.
    Ended,
    /// More has to be waited for. It comes in a stream, or in pieces that are better copied.
    Waits { streams: bool },
}

/// Moves what can be read of `from` now, at most what is `left`, through a pipe that is then given back. `taken` is told of
/// what was taken out of `from`, `passed` of what `to` took of it.
pub(super) async fn stream(
    from: &Socket,
    to: &Socket,
    mut pipe: Pipe,
    left: &mut u64,
    mut taken: impl FnMut(usize),
    mut passed: impl FnMut(usize),
) -> Result<Moved, End> {
    let mut moved: usize = 0;
    let end = loop {
        if *left == 0 {
            break Moved::All;
        }
        match pipe.fill(from, *left).map_err(|_| End::From)? {
            None => {
                let streams = moved >= PIECE;
                break Moved::Waits { streams };
            }
            Some(0) => break Moved::Ended,
            Some(n) => {
                *left -= n as u64;
                moved += n;
                taken(n);
                let emptied = pipe.empty(to, &mut passed).await;
                emptied.map_err(|_| End::To)?;
            }
        }
    };
    pipe.keep();
    Ok(end)
}
