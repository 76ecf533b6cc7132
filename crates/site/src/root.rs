//! Step 6a: the directory of a site, and the only way into it.
//!
//! Names are resolved by the kernel, which refuses to leave the directory (`openat2` with `RESOLVE_BENEATH`), whatever
//! happens to symbolic links meanwhile. [`walk`](crate::walk) does the same step by step for kernels without it, and
//! for links with an absolute target below the root, which the kernel refuses too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tandem_http::Moment;

use crate::walk::walk;

/// How long the directory itself and a file of it are believed to be what they were. A change shows within twice this
/// time at most, that is within a second: a new directory first, then its files.
pub(crate) const BELIEVED: Duration = Duration::from_millis(500);

/// How often a name is tried again when something was renamed while it was resolved.
const TRIES: usize = 8;

/// Files are opened so that neither a FIFO nor a terminal can hold or take us.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Whether the caller may be made to wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// No: only what the kernel has in memory.
    None,
    /// Yes.
    Disk,
}

/// Why nothing was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It needs [`Patience::Disk`].
    Patience,
    /// There is no such file.
    Missing,
    /// It is a directory without an index, whose names are nobody's business.
    Unlisted,
    /// This process may not read it, or not enter a directory on the way.
    Denied,
    /// It leads out of the root.
    Outside,
    /// There are too many open files, or no memory.
    Busy,
    /// The disk or the file system fails.
    Failed,
}

impl From<Errno> for Closed {
    fn from(errno: Errno) -> Self {
        match errno {
            // NXIO and NODEV: a socket, a device without a driver. INVAL and ILSEQ: no name of this file system.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::NAMETOOLONG
            | Errno::LOOP
            | Errno::NXIO
            | Errno::NODEV
            | Errno::INVAL
            | Errno::ILSEQ => Self::Missing,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::XDEV => Self::Outside,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN => Self::Busy,
            _ => Self::Failed,
        }
    }
}

/// What a name led to.
pub(crate) enum Opened {
    /// A regular file, open for reading, and whether its name leads there without a symbolic link. That is said only
    /// when it was asked for.
    File(OwnedFd, Stat, bool),
    /// A directory.
    Directory,
}

/// What the kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// `openat2`, and it can say that it would have to wait (Linux 5.12).
    Cached,
    /// `openat2` (Linux 5.6).
    Beneath,
    /// Neither, or a sandbox hides them.
    Walk,
}

/// The root of a site.
pub(crate) struct Root {
    path: PathBuf,
    resolver: Resolver,
    held: ArcSwap<Held>,
}

/// The directory that the root's path led to, and when.
pub(crate) struct Held {
    directory: Result<OwnedFd, Errno>,
    /// Device and inode of the directory.
    identity: Option<(u64, u64)>,
    since: Moment,
}

impl Root {
    /// Opens the directory. It must be there and allow a look inside.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let path = std::path::absolute(path).map_err(|_| Errno::NOENT)?;
        let directory = rustix::fs::open(&path, LOOK | OFlags::DIRECTORY, Mode::empty())?;
        let probe = |flags| rustix::fs::openat2(&directory, ".", LOOK, Mode::empty(), flags);
        let resolver = match probe(BENEATH | ResolveFlags::CACHED) {
            Ok(_) | Err(Errno::AGAIN) => Resolver::Cached,
            Err(Errno::ACCESS) => return Err(Errno::ACCESS),
            Err(_) if probe(BENEATH).is_ok() => Resolver::Beneath,
            Err(_) => Resolver::Walk,
        };
        if resolver == Resolver::Walk {
            rustix::fs::openat(&directory, ".", LOOK, Mode::empty())?;
        }
        Ok(Self {
            path,
            resolver,
            held: ArcSwap::from_pointee(Held::new(Ok(directory), Moment::now())),
        })
    }

    /// Whether names in it can be looked up by this process: its own rights, besides those of the directories above, which
    /// it took to open it.
    pub(crate) fn may_be_entered(&self) -> bool {
        let held = self.held.load();
        let may =
            |directory| rustix::fs::accessat(directory, ".", Access::EXEC_OK, AtFlags::empty());
        // Another error is told by those who meet it.
        held.fd()
            .is_ok_and(|directory| may(directory) != Err(Errno::ACCESS))
    }

    /// The same root as a kernel with less would have it.
    #[cfg(test)]
    pub(crate) fn with(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory as of `now`; its path is looked up again now and then, since it may be a link that a deployment
    /// turns to another release. When it is another one, `turned` is called.
    pub(crate) fn directory(
        &self,
        now: Moment,
        patience: Patience,
        turned: impl FnOnce(),
    ) -> Result<Arc<Held>, Closed> {
        let held = self.held.load();
        if now.since(held.since) < BELIEVED {
            return Ok(held.clone());
        }
        let flags = LOOK | OFlags::DIRECTORY;
        let directory = match (patience, self.resolver) {
            (Patience::Disk, _) => rustix::fs::open(&self.path, flags, Mode::empty()),
            (Patience::None, Resolver::Cached) => {
                let cached = ResolveFlags::CACHED;
                match rustix::fs::openat2(CWD, &self.path, flags, Mode::empty(), cached) {
                    Err(Errno::AGAIN) => return Err(Closed::Patience),
                    opened => opened,
                }
            }
            (Patience::None, _) => return Err(Closed::Patience),
        };
        // Being short of descriptors says nothing about the directory.
        if let Err(errno) = directory
            && Closed::from(errno) == Closed::Busy
        {
            return Err(Closed::Busy);
        }
        let new = Arc::new(Held::new(directory, now));
        let old = self.held.swap(new.clone());
        if old.identity != new.identity {
            turned();
        }
        Ok(new)
    }

    /// Whether [`Held::unlinked_directory`] can say anything.
    pub(crate) fn is_watchable(&self) -> bool {
        self.resolver == Resolver::Cached
    }

    /// Opens what `name` leads to in `held`. Only regular files are opened for reading. `unlinked`: whether it is to be
    /// found out if there is a symbolic link on the way.
    pub(crate) fn find(
        &self,
        held: &Held,
        name: &[u8],
        patience: Patience,
        unlinked: bool,
    ) -> Result<Opened, Closed> {
        let directory = held.fd().map_err(|errno| match errno {
            Errno::ACCESS => Closed::Denied,
            _ => Closed::Failed,
        })?;
        // The empty name is the root itself.
        let name = if name.is_empty() {
            b".".as_slice()
        } else {
            name
        };
        let direct = if unlinked && self.is_watchable() {
            in_memory(directory, name, READ)
        } else {
            None
        };
        let unlinked = direct.is_some();
        let resolved = direct.map_or_else(|| self.resolve(directory, name, READ, patience), Ok);
        let file = match resolved {
            Ok(file) => file,
            // A directory that may be entered but not listed is a directory all the same.
            Err(Closed::Denied) => {
                let seen = self.resolve(directory, name, LOOK, patience)?;
                return match kind(&rustix::fs::fstat(&seen)?) {
                    FileType::Directory => Ok(Opened::Directory),
                    _ => Err(Closed::Denied),
                };
            }
            Err(closed) => return Err(closed),
        };
        let stat = rustix::fs::fstat(&file)?;
        match kind(&stat) {
            FileType::RegularFile => Ok(Opened::File(file, stat, unlinked)),
            FileType::Directory => Ok(Opened::Directory),
            _ => Err(Closed::Missing),
        }
    }

    /// Opens the directory `name` for its names to be read. Waits for the disk.
    pub(crate) fn list(&self, held: &Held, name: &[u8]) -> Result<OwnedFd, Closed> {
        let name = if name.is_empty() {
            b".".as_slice()
        } else {
            name
        };
        let directory = held.fd().map_err(Closed::from)?;
        self.resolve(directory, name, READ | OFlags::DIRECTORY, Patience::Disk)
    }

    /// What `name` leads to in `held`. Waits for the disk.
    pub(crate) fn stat(&self, held: &Held, name: &[u8]) -> Result<Stat, Closed> {
        let directory = held.fd().map_err(Closed::from)?;
        let seen = self.resolve(directory, name, LOOK, Patience::Disk)?;
        Ok(rustix::fs::fstat(&seen)?)
    }

    fn resolve(
        &self,
        directory: &OwnedFd,
        name: &[u8],
        flags: OFlags,
        patience: Patience,
    ) -> Result<OwnedFd, Closed> {
        let how = match (patience, self.resolver) {
            (Patience::None, Resolver::Cached) => BENEATH | ResolveFlags::CACHED,
            (Patience::None, _) => return Err(Closed::Patience),
            (Patience::Disk, Resolver::Walk) => {
                return Ok(walk(directory.as_fd(), &self.path, name, flags)?);
            }
            (Patience::Disk, _) => BENEATH,
        };
        for _ in 0..TRIES {
            match rustix::fs::openat2(directory, name, flags, Mode::empty(), how) {
                Ok(file) => return Ok(file),
                Err(Errno::AGAIN) if patience == Patience::None => return Err(Closed::Patience),
                Err(Errno::XDEV) if patience == Patience::None => return Err(Closed::Patience),
                Err(Errno::XDEV) => return Ok(walk(directory.as_fd(), &self.path, name, flags)?),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Closed::Busy)
    }
}

impl Held {
    fn new(directory: Result<OwnedFd, Errno>, since: Moment) -> Self {
        let stat = directory.as_ref().ok().map(rustix::fs::fstat);
        let identity = stat.and_then(Result::ok);
        Self {
            directory,
            identity: identity.map(|stat| (stat.st_dev, stat.st_ino)),
            since,
        }
    }

    /// The directory of this name, when no symbolic link is on the way and the kernel has it in memory.
    pub(crate) fn unlinked_directory(&self, name: &[u8]) -> Option<OwnedFd> {
        let name = if name.is_empty() { b"." } else { name };
        in_memory(self.fd().ok()?, name, LOOK | OFlags::DIRECTORY)
    }

    /// The directory, or why it cannot be opened any more.
    pub(crate) fn fd(&self) -> Result<&OwnedFd, Errno> {
        self.directory.as_ref().map_err(|errno| *errno)
    }
}

/// Magic links are those of /proc: they lead anywhere.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// What `name` leads to without a symbolic link, when the kernel has it in memory. A rename anywhere on the machine may
/// make the kernel say once that it would have to wait, so it is asked again.
fn in_memory(directory: &OwnedFd, name: &[u8], flags: OFlags) -> Option<OwnedFd> {
    let how = BENEATH | ResolveFlags::CACHED | ResolveFlags::NO_SYMLINKS;
    for _ in 0..TRIES {
        match rustix::fs::openat2(directory, name, flags, Mode::empty(), how) {
            Err(Errno::AGAIN) => {}
            opened => return opened.ok(),
        }
    }
    None
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
