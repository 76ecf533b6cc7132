//! Directories watched for changes, so that what was read of them is believed until the kernel says otherwise.
//!
//! A watch counts what happens in its directory. Who reads a file takes the count first (a [`Belief`]), and believes what
//! was read for as long as the count stays. Nothing is written by a reader, and the thread that takes the kernel's words
//! (`inotify`) touches nothing but counts, so it never keeps a worker waiting.
//!
//! Not everything can be watched; what cannot is looked at again after half a second, as everything is without inotify:
//! files behind symbolic links and with several names, whose changes happen in other directories; file systems whose
//! changes may come from other machines; directories beyond the bounds, ours and the kernel's.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tandem_telemetry::event::Events;

use crate::root::{Held, Root};

/// Directories that a site watches at most. The kernel has a bound of its own, for all programs of a user
/// (`fs.inotify.max_user_watches`).
const MOST: usize = 8_192;

/// A directory that changes all the time (an upload, a log) is not counted more often than this: files in it would be
/// looked at for every request.
const BREATH: Duration = Duration::from_millis(10);

/// The kernel's words that are read at once, in bytes.
const WORDS: usize = 16 * 1024;

/// What the thread that watches needs of a stack, in bytes.
const STACK: usize = 128 * 1024;

/// Everything that may change what a name in a directory leads to, or what is there.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// File systems whose changes all happen on this machine and are told: ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS,
/// ZFS, bcachefs, ramfs (linux/magic.h).
const LOCAL: [u32; 9] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0x794C_7630,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
    0x8584_58F6,
];

/// The watched directories of a site.
pub(crate) struct Watches {
    /// Begun with the first directory; `None` when there is no inotify.
    watching: OnceLock<Option<Arc<Watching>>>,
    site: String,
    events: Option<Events>,
    /// So many directories at most.
    most: usize,
}

/// What the thread and the workers share.
struct Watching {
    inotify: OwnedFd,
    /// Written to when the thread is to end.
    end: OwnedFd,
    table: Mutex<Table>,
}

/// A directory: the index of its place, and its name below it, without slashes at its ends.
type Name = (usize, Vec<u8>);

#[derive(Default)]
struct Table {
    watches: HashMap<Name, Watched>,
    /// A directory that is seen in two places has two names and one watch of the kernel.
    names: HashMap<i32, Vec<Name>>,
    /// How often everything was forgotten.
    epoch: u64,
    /// The kernel tells nothing any more.
    over: bool,
    /// It was said that a directory could not be watched.
    told: bool,
}

struct Watched {
    count: Arc<AtomicU64>,
    descriptor: i32,
}

/// What was read is as it was for as long as this holds.
#[derive(Clone)]
pub(crate) struct Belief {
    count: Arc<AtomicU64>,
    seen: u64,
}

impl Belief {
    /// Whether nothing has changed.
    pub(crate) fn holds(&self) -> bool {
        self.count.load(Ordering::Acquire) == self.seen
    }
}

impl Watches {
    /// Watches nothing yet.
    pub(crate) fn new(site: &str, events: Events) -> Self {
        Self {
            watching: OnceLock::new(),
            site: format!("site {site}"),
            events: Some(events),
            most: MOST,
        }
    }

    /// As without inotify.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            watching: OnceLock::from(None),
            site: String::new(),
            events: None,
            most: MOST,
        }
    }

    /// So many directories and no more.
    #[cfg(test)]
    pub(crate) fn bounded(most: usize) -> Self {
        let mut watches = Self::none();
        watches.watching = OnceLock::new();
        watches.most = most;
        watches
    }

    /// As when more happened than the kernel can keep for us.
    #[cfg(test)]
    pub(crate) fn lose_count(&self) {
        if let Some(Some(watching)) = self.watching.get() {
            let (overflow, inotify) = (ReadFlags::QUEUE_OVERFLOW, &watching.inotify);
            watching.lock().hear(-1, overflow, None, inotify);
        }
    }

    /// What is there for as long as the thread is.
    #[cfg(test)]
    pub(crate) fn held_by_the_thread(&self) -> std::sync::Weak<impl Sized + use<>> {
        let watching = self.watching.get().and_then(Option::as_ref);
        Arc::downgrade(watching.expect("something is watched"))
    }

    /// To be taken before a place's directory is.
    pub(crate) fn epoch(&self) -> u64 {
        match self.watching.get() {
            Some(Some(watching)) => watching.lock().epoch,
            _ => 0,
        }
    }

    /// What may be believed of a directory of a place as of now. `None`: nothing, look again soon. Never waits for a disk.
    pub(crate) fn believe(
        &self,
        epoch: u64,
        place: usize,
        root: &Root,
        held: &Held,
        directory: &[u8],
    ) -> Option<Belief> {
        if !root.is_watchable() {
            return None;
        }
        let watching = self.watching.get_or_init(|| self.begin()).as_ref()?;
        let mut table = watching.lock();
        if table.epoch != epoch || table.over {
            return None;
        }
        // From the root down: a directory that is moved while it is added is told of by the one above.
        let mut ends = vec![0];
        if !directory.is_empty() {
            let slashes = directory.iter().enumerate();
            ends.extend(slashes.filter(|(_, b)| **b == b'/').map(|(at, _)| at));
            ends.push(directory.len());
        }
        let mut count = None;
        for end in ends {
            let name = (place, directory[..end].to_vec());
            count = Some(match table.watches.get(&name) {
                Some(watched) => watched.count.clone(),
                None => self.add(watching, &mut table, name, held)?,
            });
        }
        let count = count?;
        let seen = count.load(Ordering::Acquire);
        Some(Belief { count, seen })
    }

    fn add(
        &self,
        watching: &Watching,
        table: &mut Table,
        name: Name,
        held: &Held,
    ) -> Option<Arc<AtomicU64>> {
        if table.watches.len() >= self.most {
            return None;
        }
        let directory = held.unlinked_directory(&name.1)?;
        let kind = rustix::fs::fstatfs(&directory).ok()?.f_type;
        // The numbers have 32 bits; the field's width and sign are the machine's.
        if !LOCAL.contains(&(kind as u32)) {
            return None;
        }
        // The directory itself, whatever its name leads to by now.
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let descriptor = match inotify::add_watch(&watching.inotify, path, CHANGES) {
            Ok(descriptor) => descriptor,
            Err(errno) => {
                if errno == Errno::NOSPC && !std::mem::replace(&mut table.told, true) {
                    self.tell(
                        "no more directories can be watched: changes in others show within a second; raise \
                         fs.inotify.max_user_watches",
                    );
                }
                return None;
            }
        };
        let count = Arc::new(AtomicU64::new(0));
        table
            .names
            .entry(descriptor)
            .or_default()
            .push(name.clone());
        let watched = Watched {
            count: count.clone(),
            descriptor,
        };
        table.watches.insert(name, watched);
        Some(count)
    }

    /// Forgets everything: a place is another directory now.
    pub(crate) fn forget(&self) {
        let Some(Some(watching)) = self.watching.get() else {
            return;
        };
        watching.lock().forget(&watching.inotify);
    }

    fn begin(&self) -> Option<Arc<Watching>> {
        let begin = || -> std::io::Result<_> {
            let watching = Arc::new(Watching {
                inotify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
                end: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                table: Mutex::default(),
            });
            let thread = std::thread::Builder::new()
                .name("site-watch".into())
                .stack_size(STACK);
            let its = watching.clone();
            thread.spawn(move || its.run())?;
            Ok(watching)
        };
        match begin() {
            Ok(watching) => Some(watching),
            Err(error) => {
                self.tell(&format!(
                    "directories cannot be watched ({error}): changes show within a second; see \
                     fs.inotify.max_user_instances"
                ));
                None
            }
        }
    }

    fn tell(&self, what: &str) {
        if let Some(events) = &self.events {
            events.warning(self.site.clone(), what.to_owned());
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        if let Some(Some(watching)) = self.watching.get() {
            // It fails only when the counter is full, and then the thread has been told.
            let _ = rustix::io::write(&watching.end, &1u64.to_ne_bytes());
        }
    }
}

impl Watching {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the kernel's words until the site is gone.
    fn run(&self) {
        let mut room = vec![MaybeUninit::uninit(); WORDS];
        loop {
            let mut both = [
                PollFd::new(&self.inotify, PollFlags::IN),
                PollFd::new(&self.end, PollFlags::IN),
            ];
            match rustix::event::poll(&mut both, None) {
                Ok(_) | Err(Errno::INTR) => {}
                // What cannot be waited for cannot be believed.
                Err(_) => return self.give_up(),
            }
            if !both[1].revents().is_empty() {
                return;
            }
            if !self.listen(&mut room) {
                return self.give_up();
            }
            let breath = Timespec {
                tv_sec: 0,
                tv_nsec: BREATH.as_nanos() as _,
            };
            let mut end = [PollFd::new(&self.end, PollFlags::IN)];
            if !matches!(rustix::event::poll(&mut end, Some(&breath)), Ok(0)) {
                return self.give_up();
            }
        }
    }

    /// Everything that is there to be read. Whether it could be.
    fn listen(&self, room: &mut [MaybeUninit<u8>]) -> bool {
        let mut words = Reader::new(self.inotify.as_fd(), room);
        loop {
            match words.next() {
                Ok(word) => {
                    let name = word.file_name().map(std::ffi::CStr::to_bytes);
                    let mut table = self.lock();
                    table.hear(word.wd(), word.events(), name, &self.inotify);
                }
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Has nothing believed any more, and nothing watched again.
    fn give_up(&self) {
        let mut table = self.lock();
        table.over = true;
        table.forget(&self.inotify);
    }
}

impl Table {
    fn hear(
        &mut self,
        descriptor: i32,
        what: ReadFlags,
        file_name: Option<&[u8]>,
        inotify: &OwnedFd,
    ) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Nobody knows what was lost: directories may have been moved, and others be called so now.
            return self.forget(inotify);
        }
        let gone =
            ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
        for name in self.names.get(&descriptor).cloned().unwrap_or_default() {
            if let Some(watched) = self.watches.get(&name) {
                watched.count.fetch_add(1, Ordering::Release);
            }
            match file_name {
                Some(file_name) if what.contains(ReadFlags::ISDIR) => {
                    let mut below = name.1;
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend_from_slice(file_name);
                    self.remove_below(&(name.0, below), inotify);
                }
                Some(_) => {}
                None if what.intersects(gone | ReadFlags::ISDIR) => {
                    self.remove_below(&name, inotify);
                }
                None => {}
            }
        }
    }

    /// Forgets everything; what is asked for from now on is watched anew.
    fn forget(&mut self, inotify: &OwnedFd) {
        self.epoch += 1;
        let names: Vec<Name> = self.watches.keys().cloned().collect();
        for name in names {
            self.remove(&name, inotify);
        }
    }

    /// Removes a directory and all below it: they have other names now, or are gone, or may not be entered any more.
    fn remove_below(&mut self, top: &Name, inotify: &OwnedFd) {
        let is_below = |name: &&Name| {
            let rest = name.1.strip_prefix(&top.1[..]);
            let rest = rest.filter(|rest| rest.is_empty() || top.1.is_empty() || rest[0] == b'/');
            name.0 == top.0 && rest.is_some()
        };
        let below: Vec<Name> = self.watches.keys().filter(is_below).cloned().collect();
        for name in below {
            self.remove(&name, inotify);
        }
    }

    fn remove(&mut self, name: &Name, inotify: &OwnedFd) {
        let Some(watched) = self.watches.remove(name) else {
            return;
        };
        // Who believes in it, does not any more; nobody can begin to.
        watched.count.fetch_add(1, Ordering::Release);
        let names = self.names.entry(watched.descriptor).or_default();
        names.retain(|other| other != name);
        if names.is_empty() {
            self.names.remove(&watched.descriptor);
            // The kernel may have removed it already.
            let _ = inotify::remove_watch(inotify, watched.descriptor);
        }
    }
}

/// The directory of a file's name.
pub(crate) fn directory_of(file_name: &[u8]) -> &[u8] {
    let slash = file_name.iter().rposition(|&b| b == b'/');
    &file_name[..slash.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_words_are_lost_no_directory_is_taken_for_the_one_that_it_was() {
        let inotify = inotify::init(CreateFlags::CLOEXEC).unwrap();
        let path = std::env::temp_dir();
        let descriptor = inotify::add_watch(&inotify, path, CHANGES).unwrap();
        let (mut table, name) = (Table::default(), (0, b"a".to_vec()));
        let count = Arc::new(AtomicU64::new(0));
        let belief = Belief {
            count: count.clone(),
            seen: 0,
        };
        table
            .watches
            .insert(name.clone(), Watched { count, descriptor });
        table.names.insert(descriptor, vec![name]);
        table.hear(-1, ReadFlags::QUEUE_OVERFLOW, None, &inotify);
        assert!(!belief.holds());
        // That it was moved, and another one is called so, may be among what was lost: it must be watched anew.
        assert!(table.watches.is_empty() && table.names.is_empty());
    }
}
