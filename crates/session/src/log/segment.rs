//! Segments: files of consecutive entries, appended to and never changed, cut at their end at most.
//!
//! ```text
//! segment   "TNDMLOG" version   record*
//! record    length u32   crc32 of the payload u32   crc32 of these two u32   payload: one entry
//! ```
//!
//! A record that ends before its length says can be the last thing in the log only: the process was killed inside the
//! `write` that appended it. The length has a checksum of its own, so that one that was damaged does not make what was
//! acknowledged look like that. Such a record was never acknowledged, as an acknowledgement follows the `write`, and it is
//! cut off. Without `durable` nothing else can be wrong with a log written since the machine was started: the kernel
//! holds whole writes, whatever happens to the process. With `durable` a power cut may leave, behind everything
//! that was flushed, space that was allocated and not written, which reads as zeros from some sector to the end; the
//! record in which that begins is cut off as well, and a segment of nothing else is a new one. Anything else that does not match its checksum was once acknowledged: the state is lost, and nothing of it is used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::entry::RaftEntry;

use crate::types::{Entry, decode, encode_behind, invalid};

const HEADER: &[u8; 8] = b"TNDMLOG\x02";
const RECORD_HEAD: usize = 12;
/// Disks write so many bytes or none.
const SECTOR: usize = 512;
/// The largest record: a larger length is corruption. A batch is far smaller.
const MAX_RECORD: usize = 64 * 1024 * 1024;

/// One file of the log.
pub struct Segment {
    /// The index of its first entry.
    pub first: u64,
    path: PathBuf,
    file: Arc<File>,
    /// Where each record begins.
    starts: Vec<u64>,
    /// Where the next one will.
    end: u64,
}

/// Entries as they go to disk, all with one `write`.
#[derive(Default)]
pub struct Records {
    bytes: Vec<u8>,
    starts: Vec<u64>,
}

impl Records {
    /// Adds an entry, which takes about `weight` bytes.
    pub fn add(&mut self, entry: &Entry, weight: usize) -> io::Result<()> {
        let start = self.bytes.len();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.reserve(RECORD_HEAD + weight);
        bytes.extend_from_slice(&[0; RECORD_HEAD]);
        bytes = encode_behind(bytes, entry)?;
        let payload = start + RECORD_HEAD;
        let head = head(&bytes[payload..]);
        bytes[start..payload].copy_from_slice(&head);
        self.bytes = bytes;
        self.starts.push(start as u64);
        Ok(())
    }
}

impl Segment {
    /// Makes the segment whose first entry will be `first`.
    pub fn create(directory: &Path, first: u64) -> io::Result<Self> {
        let path = directory.join(format!("log-{first:020}"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.write_all(HEADER)?;
        Ok(Self {
            first,
            path,
            file: Arc::new(file),
            starts: Vec::new(),
            end: HEADER.len() as u64,
        })
    }

    /// The segments in `directory`, in order, by the index of their first entry.
    pub fn list(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for file in fs::read_dir(directory)? {
            let file = file?;
            let name = file.file_name();
            let first = name
                .to_str()
                .and_then(|n| n.strip_prefix("log-")?.parse().ok());
            if let Some(first) = first {
                found.push((first, file.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Opens a segment and gives its entries to `seen`. In the last segment a record that was being written when the
    /// process was killed is cut off. An error of the kind [`io::ErrorKind::InvalidData`] means that the state is lost.
    pub fn open(
        first: u64,
        path: PathBuf,
        last: bool,
        durable: bool,
        mut seen: impl FnMut(Entry),
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let bytes = fs::read(&path)?;
        let lost = |what: &str| invalid(&format!("{what} in {}", path.display()));
        let mut starts = Vec::new();
        let mut end = HEADER.len();
        let blank = durable && bytes.iter().all(|b| *b == 0);
        if last && (bytes.len() < HEADER.len() || blank) {
            // Killed between the file's creation and its header, or before either was on the disk.
            file.set_len(0)?;
            file.write_all_at(HEADER, 0)?;
        } else if !bytes.starts_with(HEADER) {
            return Err(lost("an unknown format"));
        }
        let bytes = if last && blank { &[] } else { &bytes[..] };
        let unwritten = if durable {
            unwritten(bytes)
        } else {
            bytes.len()
        };
        while end < bytes.len() {
            let rest = &bytes[end..];
            let Some(payload) = payload(rest) else {
                let length = read_head(rest).map_or(0, |(length, _)| length);
                let torn = is_cut_short(rest) || unwritten < end + RECORD_HEAD + length;
                if !(last && torn) {
                    return Err(lost("a corrupted record"));
                }
                file.set_len(end as u64)?;
                break;
            };
            let entry: Entry = decode(payload).map_err(|_| lost("an unreadable record"))?;
            if entry.index() != first + starts.len() as u64 {
                return Err(lost("an entry out of order"));
            }
            starts.push(end as u64);
            end += RECORD_HEAD + payload.len();
            seen(entry);
        }
        Ok(Self {
            first,
            path,
            file: Arc::new(file),
            starts,
            end: end as u64,
        })
    }

    /// Appends records with one `write`. When it fails the segment is as before, as far as can be known.
    pub fn append(&mut self, records: &Records) -> io::Result<()> {
        self.file.write_all_at(&records.bytes, self.end)?;
        #[cfg(test)]
        crate::sim::disk::written(&self.file, self.end)?;
        self.starts
            .extend(records.starts.iter().map(|start| self.end + start));
        self.end += records.bytes.len() as u64;
        Ok(())
    }

    /// Writes again what is there of the entries from `index` on, so that the next flush is for these too: an earlier one
    /// may have failed, and the kernel forgets then that they are not on the disk.
    pub fn write_again(&self, index: u64) -> io::Result<()> {
        let position = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let from = match self.starts.get(position) {
            // The header too, where nothing behind it was flushed.
            Some(_) if position == 0 => 0,
            Some(start) => *start,
            None if self.starts.is_empty() => 0,
            None => return Ok(()),
        };
        let mut bytes = vec![0; (self.end - from) as usize];
        self.file.read_exact_at(&mut bytes, from)?;
        self.file.write_all_at(&bytes, from)?;
        #[cfg(test)]
        crate::sim::disk::written(&self.file, from)?;
        Ok(())
    }

    /// Reads one entry, which must be in this segment.
    pub fn read(&self, index: u64) -> io::Result<Entry> {
        let position = (index - self.first) as usize;
        let start = self.starts[position];
        let end = self.starts.get(position + 1).copied().unwrap_or(self.end);
        let mut bytes = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        let payload = payload(&bytes).ok_or_else(|| invalid("a log record changed on disk"))?;
        decode(payload)
    }

    /// Cuts off the entries from `index` on.
    pub fn truncate(&mut self, index: u64) -> io::Result<()> {
        let keep = index.saturating_sub(self.first) as usize;
        if let Some(start) = self.starts.get(keep).copied() {
            self.file.set_len(start)?;
            self.starts.truncate(keep);
            self.end = start;
        }
        Ok(())
    }

    /// Takes the file away.
    pub fn delete(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// The index behind the last entry.
    pub fn next(&self) -> u64 {
        self.first + self.starts.len() as u64
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// The file, to be flushed.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }
}

fn head(payload: &[u8]) -> [u8; RECORD_HEAD] {
    let mut head = [0; RECORD_HEAD];
    head[..4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    head[4..8].copy_from_slice(&crc32fast::hash(payload).to_be_bytes());
    let sum = crc32fast::hash(&head[..8]);
    head[8..].copy_from_slice(&sum.to_be_bytes());
    head
}

/// A record with this payload.
#[cfg(test)]
pub fn record(payload: &[u8]) -> Vec<u8> {
    [&head(payload)[..], payload].concat()
}

/// The length that the record at the start of `bytes` says it has, and its payload's checksum, if its head is intact.
fn read_head(bytes: &[u8]) -> Option<(usize, [u8; 4])> {
    let (head, _) = bytes.split_first_chunk::<RECORD_HEAD>()?;
    let [a, b, c, d, sum @ .., _, _, _, _] = *head;
    let intact = crc32fast::hash(&head[..8]).to_be_bytes() == head[8..];
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    (intact && length <= MAX_RECORD).then_some((length, sum))
}

/// The payload of the record at the start of `bytes`, if it is complete and its checksums right.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let (length, sum) = read_head(bytes)?;
    let payload = bytes.get(RECORD_HEAD..RECORD_HEAD + length)?;
    // An entry is never empty.
    (length > 0 && crc32fast::hash(payload).to_be_bytes() == sum).then_some(payload)
}

/// The sector from which on everything is zero; the end when none is.
fn unwritten(bytes: &[u8]) -> usize {
    let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    written.next_multiple_of(SECTOR).min(bytes.len())
}

/// Whether the file ends before the record at the start of `bytes` does.
fn is_cut_short(bytes: &[u8]) -> bool {
    bytes.len() < RECORD_HEAD
        || read_head(bytes).is_some_and(|(length, _)| bytes.len() < RECORD_HEAD + length)
}
