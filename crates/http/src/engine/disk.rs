//! Parts of files that the kernel may have to fetch from a disk first: no worker waits for one.
//!
//! `sendfile` takes what is in the page cache without waiting, and has no way to say that it would have to wait. So a
//! part is asked for first, a byte in each stretch of it, with `preadv2` and `RWF_NOWAIT`; what is not there is read by
//! another thread, and then sent.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};
use tandem_net::Moment;

use crate::apart::Apart;

/// What the kernel fetches at once, in bytes (its usual readahead), and so what a byte speaks for.
const STRETCH: u64 = 128 * 1024;
/// Threads of the process that wait for disks at the same time.
const WAITING: usize = 64;
/// How long a connection waits for a disk.
const WITHIN: Duration = Duration::from_secs(10);
/// What is fetched at once, in bytes.
pub(super) const FETCHED: u64 = 512 * 1024;
/// How long what was there is taken to be there.
const BELIEVED: Duration = Duration::from_secs(1);
/// Files that this is remembered of.
const REMEMBERED: usize = 256;

/// Why a part of a file cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ends before.
    Short,
    /// The disk fails.
    Error(Errno),
    /// The disk does not answer.
    Silent,
}

/// Files whose beginning was in memory a moment ago, by where their descriptors are kept: up to which byte, and when. A
/// wrong answer costs a wait.
pub(super) struct Warm([Option<(usize, u64, Moment)>; REMEMBERED]);

impl Default for Warm {
    fn default() -> Self {
        Self([None; REMEMBERED])
    }
}

impl Warm {
    /// Whether all bytes before `end` were in memory lately.
    pub fn has(&self, file: &Arc<OwnedFd>, end: u64, now: Moment) -> bool {
        let (place, slot) = Self::place(file);
        self.0[slot].is_some_and(|(known, warm, since)| {
            known == place && end <= warm && now.since(since) < BELIEVED
        })
    }

    /// All bytes before `end` are in memory.
    pub fn add(&mut self, file: &Arc<OwnedFd>, end: u64, now: Moment) {
        let (place, slot) = Self::place(file);
        self.0[slot] = Some((place, end, now));
    }

    fn place(file: &Arc<OwnedFd>) -> (usize, usize) {
        let place = Arc::as_ptr(file).addr();
        (place, place / size_of::<[usize; 4]>() % REMEMBERED)
    }
}

/// How many of `count` bytes from `offset` can be sent without waiting for a disk.
pub(super) fn at_hand(file: &OwnedFd, offset: u64, count: u64) -> u64 {
    let mut known = 0;
    while known < count {
        let length = STRETCH.min(count - known);
        // The last byte of a stretch speaks for it, the first one for where the disk would be asked first.
        let first = known > 0 || has(file, offset);
        if !first || !has(file, offset + known + length - 1) {
            break;
        }
        known += length;
    }
    known
}

fn has(file: &OwnedFd, at: u64) -> bool {
    let mut byte = [0];
    loop {
        let slice = &mut [IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(file, slice, at, ReadWriteFlags::NOWAIT) {
            // Behind its end nothing is waited for.
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            // It would wait; or the file system cannot say; or it fails, which is told where it is read.
            Err(_) => return false,
        }
    }
}

/// Reads what there is without waiting for a disk. How much.
pub(super) fn read_at_hand(file: &OwnedFd, into: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while done < into.len() {
        let slice = &mut [IoSliceMut::new(&mut into[done..])];
        let at = offset + done as u64;
        match rustix::io::preadv2(file, slice, at, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    done
}

/// Has another thread bring `count` bytes from `offset` into memory, and has the kernel begin with as many after them.
pub(super) async fn fetch(file: Arc<OwnedFd>, offset: u64, count: u64) -> Result<(), Fault> {
    read(file, offset, count, |_| {}).await
}

/// As [`fetch`]; returns the bytes.
pub(super) async fn fetched(file: Arc<OwnedFd>, offset: u64, count: u64) -> Result<Vec<u8>, Fault> {
    let (send, receive) = std::sync::mpsc::channel();
    let keep = move |bytes: &[u8]| drop(send.send(bytes.to_vec()));
    read(file, offset, count, keep).await?;
    Ok(receive.try_iter().collect::<Vec<_>>().concat())
}

async fn read(
    file: Arc<OwnedFd>,
    offset: u64,
    count: u64,
    mut with: impl FnMut(&[u8]) + Send + 'static,
) -> Result<(), Fault> {
    static DISK: LazyLock<Apart> = LazyLock::new(|| Apart::new(WAITING, WITHIN));
    let done = DISK
        .run(move || bring(&file, offset, count, &mut with))
        .await;
    done.unwrap_or(Err(Fault::Silent))
}

fn bring(
    file: &OwnedFd,
    mut offset: u64,
    count: u64,
    with: &mut impl FnMut(&[u8]),
) -> Result<(), Fault> {
    // Advice may be declined.
    let length = std::num::NonZeroU64::new(count * 2);
    let _ = rustix::fs::fadvise(file, offset, length, Advice::WillNeed);
    let end = offset + count;
    let mut room = vec![0; count.min(STRETCH) as usize];
    while offset < end {
        let wanted = (end - offset).min(room.len() as u64) as usize;
        match rustix::io::pread(file, &mut room[..wanted], offset) {
            Ok(0) => return Err(Fault::Short),
            Ok(n) => {
                with(&room[..n]);
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::Error(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn temporary(size: usize) -> Arc<OwnedFd> {
        let name = format!("tandem-disk-{}-{size}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(&vec![7; size]).unwrap();
        file.sync_all().unwrap();
        Arc::new(file.into())
    }

    #[tokio::test]
    async fn what_was_dropped_from_memory_is_seen_and_fetched_by_another_thread() {
        let file = temporary(1 << 20);
        let all = 1 << 20;
        assert_eq!(fetch(file.clone(), 0, all).await, Ok(()));
        // The kernel keeps what somebody is about to look at: it may have to be asked again.
        let drop_it = || {
            for _ in 0..1_000 {
                rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
                if at_hand(&file, 0, all) == 0 {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        };
        if at_hand(&file, 0, all) != all {
            eprintln!("skipped: this file system cannot say what is in memory");
            return;
        }
        drop_it();
        if at_hand(&file, 0, all) == all {
            eprintln!("skipped: this file system is memory");
            return;
        }
        assert_eq!(fetch(file.clone(), 0, all).await, Ok(()));
        assert_eq!(at_hand(&file, 0, all), all);
        drop_it();
        assert_eq!(read_at_hand(&file, &mut [0; 10], 50), 0);
        assert_eq!(fetched(file.clone(), 50, 10).await, Ok(vec![7; 10]));
        assert_eq!(read_at_hand(&file, &mut [0; 10], 50), 10);
    }

    #[tokio::test]
    async fn a_file_that_ends_before_is_short() {
        let file = temporary(1_000);
        assert_eq!(fetch(file.clone(), 500, 501).await, Err(Fault::Short));
        assert_eq!(fetched(file.clone(), 0, 1_000).await, Ok(vec![7; 1_000]));
        assert_eq!(read_at_hand(&file, &mut [0; 600], 500), 500);
        assert_eq!(at_hand(&file, 5_000, 1), 1, "nothing to wait for");
    }

    #[test]
    fn a_warm_file_is_forgotten_after_a_while() {
        let (file, other) = (temporary(1), temporary(2));
        let (mut warm, now) = (Warm::default(), Moment::now());
        assert!(!warm.has(&file, 1, now));
        warm.add(&file, 10, now);
        assert!(warm.has(&file, 10, now) && !warm.has(&other, 1, now));
        assert!(
            !warm.has(&file, 11, now),
            "of what follows nothing is known"
        );
        assert!(!warm.has(&file, 10, now + BELIEVED));
    }
}
