//! The pid file: who runs, and a lock that ends with its process.
//!
//! A number alone proves nothing: the process may be gone and its number be another's. A node therefore holds a lock
//! on its pid file for as long as it lives, which the kernel takes back however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::is_dying;

/// Longer than anyone holds the lock who only looks.
const LOOKING: Duration = Duration::from_millis(200);

/// A file with the process's number, removed when dropped.
pub struct PidFile {
    path: PathBuf,
    /// Open, and locked if it was asked for.
    file: File,
    /// There was none before.
    made: bool,
}

/// What a pid file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There is no file, or an empty one: it ended in order.
    Nobody,
    /// The file is there, but whoever wrote it is gone.
    Gone,
    /// This process holds it.
    Runs(u32),
}

impl PidFile {
    /// Opens it, whatever is there, which stays until [`claim`](Self::claim): whoever is named there serves until then.
    pub fn open(path: &Path) -> io::Result<Self> {
        let made = !path.exists();
        let file = open(path)?;
        let path = path.to_owned();
        Ok(Self { path, file, made })
    }

    /// Writes it, whatever was there.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = Self::open(path)?;
        file.claim()?;
        Ok(file)
    }

    /// Locks it, whatever it says, which stays until [`claim`](Self::claim).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when a living process holds it.
    pub fn lock(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let begun = Instant::now();
        // Whoever only looks, as `status` does, holds it for a moment.
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK || begun.elapsed() > LOOKING {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            made: false,
        })
    }

    /// Takes over the lock of another process, whose number stays until [`claim`](Self::claim).
    pub fn take_over(path: PathBuf, file: OwnedFd) -> Self {
        let file = file.into();
        Self {
            path,
            file,
            made: false,
        }
    }

    /// From now on it has this process's number. At no moment it has none.
    pub fn claim(&self) -> io::Result<()> {
        let text = format!("{}\n", std::process::id());
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }

    /// Gives it to a user: the file that is open here, whatever has its name by now.
    pub fn give(&self, uid: u32, gid: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.file, Some(uid), Some(gid))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its lock, for another process: it holds until both have ended.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }
}

/// A node that starts as root writes where the user may that it becomes: a link that this user left there would lead it
/// anywhere.
fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    opened.map_err(|error| {
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            io::Error::other("it is a symbolic link, which a pid file must not be: remove it")
        } else {
            error
        }
    })
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have taken the place meanwhile.
        let mut text = String::new();
        let read = self
            .file
            .rewind()
            .and_then(|()| self.file.read_to_string(&mut text));
        let ours = text.trim() == std::process::id().to_string() || self.made && text.is_empty();
        if read.is_ok() && ours {
            // Whoever dropped privileges may not remove it any more, but may still empty it.
            let _ = self.file.set_len(0);
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How long a process may take from its lock to its number, from taking back its number to its end, and from its death to the
/// end of its lock.
const BETWEEN: Duration = Duration::from_secs(2);

/// Who holds a pid file that is locked by its process.
pub fn holder(path: &Path) -> io::Result<Holder> {
    let begun = Instant::now();
    loop {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => match text.trim().parse() {
                // It is about to let go.
                Ok(pid) if is_dying(pid) && begun.elapsed() < BETWEEN => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(pid) => return Ok(Holder::Runs(pid)),
                // It is about to write it, or about to end.
                Err(_) if begun.elapsed() < BETWEEN => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(_) => {
                    return Err(io::Error::other(
                        "a process holds it but has not written its number (is its disk full?)",
                    ));
                }
            },
            Err(error) => return Err(error.into()),
            Ok(()) if text.trim().is_empty() => return Ok(Holder::Nobody),
            Ok(()) => return Ok(Holder::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &Path) -> PidFile {
        let held = PidFile::lock(path).unwrap();
        held.claim().unwrap();
        held
    }

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tandem-pid-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_locked_file_names_its_process_until_it_ends() {
        let path = place("lock");
        let held = held(&path);
        assert_eq!(holder(&path).unwrap(), Holder::Runs(std::process::id()));
        let second = PidFile::lock(&path).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
    }

    #[test]
    fn a_lock_that_is_handed_over_outlives_whoever_had_it() {
        let path = place("handed");
        let first = held(&path);
        let second = PidFile::take_over(path.clone(), first.share().unwrap());
        // As another process, which has written its number.
        fs::write(&path, "1\n").unwrap();
        drop(first);
        assert_eq!(holder(&path).unwrap(), Holder::Runs(1));
        second.claim().unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Runs(std::process::id()));
        drop(second);
        assert_eq!(holder(&path).unwrap(), Holder::Nobody);
    }

    #[test]
    fn a_link_leads_nowhere() {
        let (path, other) = (place("link"), place("linked"));
        fs::write(&other, "of somebody else").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        for refused in [PidFile::lock(&path), PidFile::create(&path)] {
            let error = refused.err().unwrap().to_string();
            assert!(error.contains("symbolic link"), "{error}");
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
        fs::remove_file(&path).unwrap();
        fs::remove_file(&other).unwrap();
    }

    #[test]
    fn a_file_left_behind_names_nobody() {
        let path = place("left");
        fs::write(&path, "1\n").unwrap();
        assert_eq!(holder(&path).unwrap(), Holder::Gone);
        fs::remove_file(&path).unwrap();
    }
}
