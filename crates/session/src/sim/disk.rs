//! What of the machines' files is on their disks, and what would be gone with their power.
//!
//! A process that is killed loses nothing that it wrote: the kernel has it. A machine that loses its power keeps of a log
//! what was flushed. Of what was written behind that it keeps a part, or none, and at times the file is as long as it was
//! and reads as zeros where nothing got to the disk. Small files and snapshots are replaced as a whole, when they are on
//! the disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::world::{below, chance};

thread_local! {
    /// How many bytes of a file are on the disk, by inode.
    static FLUSHED: RefCell<BTreeMap<u64, u64>> = RefCell::default();
}

/// New disks.
pub fn reset() {
    FLUSHED.take();
}

/// All that this file holds now is on the disk.
pub fn flushed(file: &File) {
    if let Ok(data) = file.metadata() {
        FLUSHED.with_borrow_mut(|flushed| flushed.insert(data.ino(), data.len()));
    }
}

/// The machine with this state directory, which does not run, has lost its power.
pub fn lose_power(directory: &Path) {
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
