//! A state directory belongs to one replica at a time, and to what that has begun in the background.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The directory is not another's for as long as one of these is there. Cheap to clone.
///
/// Threads that write and read snapshots outlive the runtime that began them: they hold one too, and look whether they
/// shall go on.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    _lock: File,
    over: AtomicBool,
}

impl Hold {
    /// Takes the directory, which is another process's, or another replica's of this one, if the lock is.
    pub fn take(directory: &Path, lock: &str) -> io::Result<Self> {
        let lock = File::create(directory.join(lock))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another process uses {}", directory.display()),
            ),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self(Arc::new(Inner {
            _lock: lock,
            over: AtomicBool::new(false),
        })))
    }

    /// The replica has stopped: nobody needs what is done in the background.
    pub fn end(&self) {
        self.0.over.store(true, Relaxed);
    }

    /// An error once the replica has stopped.
    pub fn go_on(&self) -> io::Result<()> {
        if self.0.over.load(Relaxed) {
            return Err(io::Error::other("the replica has stopped"));
        }
        Ok(())
    }

    /// Whether this is the last one.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// Whether a process holds the directory, as far as the kernel tells this one. It is not tried: that would keep out for a moment
/// whoever takes it.
pub fn is_held(directory: &Path, lock: &str) -> bool {
    let inode = std::fs::metadata(directory.join(lock)).map(|found| found.ino());
    let locks = std::fs::read_to_string("/proc/locks");
    let (Ok(inode), Ok(locks)) = (inode, locks) else {
        return false;
    };
    let end = format!(":{inode}");
    // Of each: its number, how it was taken, two words more, a process, and device and file.
    let is_it = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK") && words.nth(3).is_some_and(|file| file.ends_with(&end))
    };
    locks.lines().any(is_it)
}
