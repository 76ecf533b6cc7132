//! How far the log was written, said apart from it.
//!
//! A log that ends early looks like one to which nothing more was ever written. A replica that came back with such a log
//! as who it was could help to elect a leader that lacks what it acknowledged. So what is in the log for good is said in
//! another file too: a log that ends before that is lost state.
//!
//! ```text
//! file   two slots of a sector each, written in turn
//! slot   count u64   entries u64   crc32 of the two u32
//! ```
//!
//! A log has one from its beginning, so that its loss is seen as that of the log is. It is never ahead of the log: it is
//! written after an append, with `durable` after that is on the disk, and before
//! something is cut off. It need not be on the disk itself: an older one says less, and nothing that is wrong.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::files::sync_directory;
use super::sync::sync_data;
use crate::types::invalid;

const NAME: &str = "end";
/// A write within a sector is done or not.
const SECTOR: u64 = 512;
const SLOT: usize = 20;

/// The file.
pub struct Mark {
    file: Arc<File>,
    count: u64,
    entries: u64,
}

impl Mark {
    /// Makes the file in `directory`, of a log in which nothing is yet.
    pub fn begin(directory: &Path, durable: bool) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true);
        let mut mark = Self {
            file: Arc::new(file.open(directory.join(NAME))?),
            count: 0,
            entries: 0,
        };
        mark.write(0)?;
        if durable {
            sync_data(&mark.file)?;
            sync_directory(directory)?;
        }
        Ok(())
    }

    /// Opens the file in `directory`. One that is not there or cannot be read is an error of the kind
    /// [`io::ErrorKind::InvalidData`].
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let lost = |how: &str| invalid(&format!("{} is {how}", path.display()));
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost("missing")),
            opened => opened?,
        };
        let mut bytes = [0; SECTOR as usize + SLOT];
        let mut length = 0;
        while let more @ 1.. = file.read_at(&mut bytes[length..], length as u64)? {
            length += more;
        }
        let slots = [&bytes[..SLOT], &bytes[SECTOR as usize..]];
        let newest = slots.into_iter().filter_map(read).max();
        let (count, entries) = newest.ok_or_else(|| lost("corrupted"))?;
        Ok(Self {
            file: Arc::new(file),
            count,
            entries,
        })
    }

    /// So many entries were in the log, those among them that are forgotten too: the index behind the last.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Says that so many are in the log now.
    pub fn set(&mut self, entries: u64) -> io::Result<()> {
        if entries == self.entries {
            return Ok(());
        }
        self.write(entries)
    }

    fn write(&mut self, entries: u64) -> io::Result<()> {
        let count = self.count + 1;
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&count.to_be_bytes());
        slot[8..16].copy_from_slice(&entries.to_be_bytes());
        let sum = crc32fast::hash(&slot[..16]);
        slot[16..].copy_from_slice(&sum.to_be_bytes());
        self.file.write_all_at(&slot, count % 2 * SECTOR)?;
        (self.count, self.entries) = (count, entries);
        Ok(())
    }

    /// The file, to be flushed.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }
}

/// The count and the entries of a slot that was written whole.
fn read(slot: &[u8]) -> Option<(u64, u64)> {
    let (said, sum) = slot.split_at(16);
    let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    let is_whole = crc32fast::hash(said).to_be_bytes() == sum;
    let (count, entries) = (number(&said[..8])?, number(&said[8..])?);
    is_whole.then_some((count, entries)).filter(|_| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_said_last_and_a_torn_write_leaves_what_was_said_before() {
        let directory = std::env::temp_dir().join(format!("tandem-mark-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let lost = || Mark::open(&directory).err().map(|error| error.kind());
        assert_eq!(lost(), Some(io::ErrorKind::InvalidData));
        Mark::begin(&directory, true).unwrap();
        assert_eq!(Mark::open(&directory).unwrap().entries(), 0);
        let mut mark = Mark::open(&directory).unwrap();
        for entries in [3, 7, 5] {
            mark.set(entries).unwrap();
            assert_eq!(Mark::open(&directory).unwrap().entries(), entries);
        }
        // The last was written to the first slot.
        mark.file.write_all_at(b"torn", 0).unwrap();
        assert_eq!(Mark::open(&directory).unwrap().entries(), 7);
        mark.file.write_all_at(b"torn", SECTOR).unwrap();
        assert_eq!(lost(), Some(io::ErrorKind::InvalidData));
        mark.file.set_len(0).unwrap();
        assert_eq!(lost(), Some(io::ErrorKind::InvalidData));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
