//! Bodies that are held until they are whole: for programs that give each request a process of its own, which a slow client
//! would keep busy, and one that leaves would have carry out what it said half of.
//!
//! What is small is kept in memory, as for another try; the rest of a large one goes to a file without a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;

use super::body::Body;
use super::clock::Elapsed;
use super::connection::Exchange;
use super::exchange::{Done, LATE, go_on, unread};

/// What is read of a file at once, in bytes.
const PIECE: usize = 64 * 1024;
/// Bytes that all bodies together may take on disk.
const MOST: u64 = 1 << 30;
/// What they take.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A body in a file.
pub(super) struct Held {
    file: Arc<File>,
    length: u64,
}

impl Held {
    /// An empty one.
    pub async fn begin() -> io::Result<Self> {
        let file = run(create).await?;
        Ok(Self {
            file: Arc::new(file),
            length: 0,
        })
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Appends a piece.
    pub async fn add(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let more = piece.len() as u64;
        if TAKEN.fetch_add(more, Relaxed) + more > MOST {
            TAKEN.fetch_sub(more, Relaxed);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let (file, at) = (self.file.clone(), self.length);
        self.length += more;
        run(move || file.write_all_at(&piece, at)).await
    }

    /// The bytes from `at` on, some of them.
    pub async fn piece(&self, at: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length - at).unwrap_or(PIECE);
        let file = self.file.clone();
        run(move || {
            let mut piece = vec![0; left.min(PIECE)];
            file.read_exact_at(&mut piece, at)?;
            Ok(piece)
        })
        .await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.length, Relaxed);
    }
}

/// On a thread that may wait for a disk.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A file without a name, where it is likely to be on a disk.
fn create() -> io::Result<File> {
    let lasting = Path::new("/var/tmp");
    let usual = std::env::temp_dir();
    let open = |dir: &Path| {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)
    };
    let opened = open(lasting).or_else(|_| open(&usual))?;
    Ok(opened.into())
}

/// Reads a request's body until it is whole.
pub(super) async fn hold(x: &mut Exchange<'_>, body: &mut Body<'_>) -> Result<(), Done> {
    let (conn, limit) = (x.conn, x.snapshot.config.timeouts.body);
    go_on(x, body).await?;
    while !body.is_complete() {
        match conn.clock.limit(limit, body.hold(&conn.client)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unread(error)),
            Err(Elapsed) => return Err(LATE),
        }
    }
    body.release();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_added_is_read_and_counts_until_it_is_dropped() {
        let before = TAKEN.load(Relaxed);
        let mut held = Held::begin().await.unwrap();
        let all: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        for piece in all.chunks(70_000) {
            held.add(piece.to_vec()).await.unwrap();
        }
        assert_eq!(
            (held.len(), TAKEN.load(Relaxed) - before),
            (200_000, 200_000)
        );
        let mut read = Vec::new();
        while (read.len() as u64) < held.len() {
            read.extend(held.piece(read.len() as u64).await.unwrap());
        }
        assert!(read == all);
        TAKEN.fetch_add(MOST, Relaxed);
        assert!(held.add(vec![1]).await.is_err(), "there is no room");
        TAKEN.fetch_sub(MOST, Relaxed);
        drop(held);
        assert_eq!(TAKEN.load(Relaxed), before);
    }
}
