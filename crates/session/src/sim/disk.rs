//! What of the machines' files is on their disks, and what would be gone with their power.
//!
//! A process that is killed loses nothing that it wrote: the kernel has it. A machine that loses its power keeps of a log
//! what was flushed. Of what was written behind that it keeps a part, or none, and at times the file is as long as it was
//! and reads as zeros where nothing got to the disk. What a flush that failed was for is there no more, however often the
//! file is flushed after it, unless it is written again. Snapshots are replaced as a whole, when they are on the disk; of
//! a small file that was not flushed what was there before may be found again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::world::{HostId, below, chance, here};

thread_local! {
    /// How many bytes of a file are on the disk, by inode.
    static FLUSHED: RefCell<BTreeMap<u64, u64>> = RefCell::default();
    /// From where on a file is not on the disk since a flush failed, by inode.
    static DROPPED: RefCell<BTreeMap<u64, u64>> = RefCell::default();
    /// Hosts whose replica serves: nothing may wait for their disks where it does.
    static SERVES: RefCell<BTreeSet<HostId>> = RefCell::default();
    /// What is done now is done beside what serves.
    static BESIDE: Cell<bool> = Cell::default();
    /// The next flush fails.
    static FAILS: Cell<bool> = Cell::default();
    /// What was in small files before they were replaced, as long as that is not on the disk; `None`: nothing.
    static BEFORE: RefCell<BTreeMap<PathBuf, Option<Vec<u8>>>> = RefCell::default();
}

/// New disks.
pub fn reset() {
    FLUSHED.take();
    DROPPED.take();
    FAILS.take();
    BEFORE.take();
    SERVES.take();
}

/// The replica of this host serves, or no more.
pub fn serves(host: HostId, is: bool) {
    SERVES.with_borrow_mut(|serves| {
        if is {
            serves.insert(host);
        } else {
            serves.remove(&host);
        }
    });
}

/// Does what may wait for the disk.
pub fn beside<T>(work: impl FnOnce() -> T) -> T {
    let before = BESIDE.replace(true);
    let done = work();
    BESIDE.set(before);
    done
}

/// The disk is waited for.
pub fn waits() {
    let serves = SERVES.with_borrow(|serves| !serves.is_empty() && serves.contains(&here()));
    assert!(
        BESIDE.get() || !serves,
        "all whom this replica serves wait for its disk"
    );
}

/// The next flush of a log fails.
pub fn fail_once() {
    FAILS.set(true);
}

/// All that this file holds now is on the disk, if the disk takes it.
pub fn flushed(file: &File) -> io::Result<()> {
    let data = file.metadata()?;
    if FAILS.take() {
        let from = FLUSHED.with_borrow(|flushed| flushed.get(&data.ino()).copied());
        DROPPED.with_borrow_mut(|dropped| dropped.insert(data.ino(), from.unwrap_or(0)));
        return Err(io::Error::other("the disk fails"));
    }
    let most = DROPPED.with_borrow(|dropped| dropped.get(&data.ino()).copied());
    let there = most.unwrap_or(u64::MAX).min(data.len());
    FLUSHED.with_borrow_mut(|flushed| flushed.insert(data.ino(), there));
    Ok(())
}

/// All from `at` on was written.
pub fn written(file: &File, at: u64) -> io::Result<()> {
    let file = file.metadata()?.ino();
    DROPPED.with_borrow_mut(|dropped| dropped.retain(|other, from| *other != file || *from < at));
    Ok(())
}

/// A small file is about to be replaced.
pub fn replaces(path: &Path) {
    BEFORE.with_borrow_mut(|before| {
        before.entry(path.into()).or_insert_with(|| {
            let is_file = fs::symlink_metadata(path).is_ok_and(|there| there.is_file());
            is_file.then(|| fs::read(path).ok()).flatten()
        });
    });
}

/// The names in this directory are on the disk, and so are small files that were flushed.
pub fn named(directory: &Path) {
    BEFORE.with_borrow_mut(|before| before.retain(|path, _| path.parent() != Some(directory)));
}

/// The machine with this state directory, which does not run, has lost its power.
pub fn lose_power(directory: &Path) {
    let before = BEFORE.take();
    let (here, elsewhere) = before
        .into_iter()
        .partition(|(path, _)| path.parent() == Some(directory));
    BEFORE.set(elsewhere);
    for (path, was) in here {
        if chance(500) {
            match was {
                Some(was) => fs::write(path, was).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
    }
    let Ok(files) = fs::read_dir(directory) else {
        return;
    };
    let mut logs: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    logs.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("log-"))
    });
    logs.sort();
    for path in logs {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let data = file.metadata().unwrap();
        let flushed = FLUSHED.with_borrow(|flushed| flushed.get(&data.ino()).copied());
        let flushed = flushed.unwrap_or(0).min(data.len());
        let kept = flushed + below(data.len() - flushed + 1);
        if chance(300) {
            // Whole sectors are written, or not.
            let kept = kept.next_multiple_of(512).min(data.len());
            file.set_len(kept).unwrap();
            file.set_len(data.len()).unwrap();
        } else {
            file.set_len(kept).unwrap();
        }
    }
}
