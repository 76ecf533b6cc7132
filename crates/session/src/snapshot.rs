//! Snapshots on disk: the state at one index, written while serving and streamed to replicas that lack it.
//!
//! ```text
//! snapshot   "TNDMSNAP" version   frame*
//! frame      length u32   crc32 of the payload u32   payload: what the log's last entry was; records; the end
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::log::files::sync_directory;
use crate::rt::Pace;
use crate::state::{Record, Restoring, State, View};
use crate::types::{SnapshotMeta, decode, encode, invalid};

const HEADER: &[u8; 9] = b"TNDMSNAP\x01";
/// Records are gathered to about so many bytes.
const CHUNK: usize = 256 * 1024;
/// The largest frame: a chunk and one record more, which is at most a value, a key, or an agent's open answers.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// The snapshot that counts.
const CURRENT: &str = "snapshot";
const BUILDING: &str = "snapshot.building";
/// One that is on its way here: a number follows, for each another.
const INCOMING: &str = "snapshot.incoming-";

#[derive(Serialize, Deserialize)]
enum Frame {
    Meta(SnapshotMeta),
    Records(Vec<Record>),
    End { records: u64 },
}

/// Milliseconds since the current snapshot in `directory` was written, by the file's own time.
pub fn snapshot_age(directory: &Path) -> Option<u64> {
    let written = fs::metadata(directory.join(CURRENT))
        .ok()?
        .modified()
        .ok()?;
    // A clock that was set back makes it as good as new.
    let age = written.elapsed().unwrap_or_default();
    Some(age.as_millis() as u64)
}

/// Takes away what a process that was killed had begun.
pub fn tidy(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let name = name.as_encoded_bytes();
        if name == BUILDING.as_bytes() || name.starts_with(INCOMING.as_bytes()) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// A snapshot that is on its way here. Its file goes with it, unless it was made the current one.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    file: File,
}

impl Incoming {
    /// Makes the file of this number, which no other had.
    pub fn begin(directory: &Path, number: u64) -> io::Result<Self> {
        let path = directory.join(format!("{INCOMING}{number}"));
        let file = File::create(&path)?;
        Ok(Self { path, file })
    }

    /// Writes a piece.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// It is complete.
    pub fn received(self) -> io::Result<SnapshotFile> {
        let received = SnapshotFile::open(&self.path)?;
        Ok(SnapshotFile {
            _incoming: Some(Arc::new(self)),
            ..received
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // It is not there when it has become the current one.
        let _ = fs::remove_file(&self.path);
    }
}

/// A snapshot that is complete. It can be read as long as this is held, whatever replaces it.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    /// It is not what was written.
    rotten: Arc<AtomicBool>,
    _incoming: Option<Arc<Incoming>>,
}

impl SnapshotFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            path: path.into(),
            size,
            rotten: Arc::default(),
            _incoming: None,
        })
    }

    /// The current snapshot in `directory`, if there is one.
    pub fn current(directory: &Path) -> io::Result<Option<Self>> {
        match Self::open(&directory.join(CURRENT)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until it is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at most `length` bytes at `offset`.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = self.size.saturating_sub(offset);
        let mut bytes = vec![0; length.min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Whether it was found not to be what was written.
    pub fn is_rotten(&self) -> bool {
        self.rotten.load(Relaxed)
    }

    /// Notes that it is not what was written; whether that is news.
    pub fn set_rotten(&self) -> bool {
        !self.rotten.swap(true, Relaxed)
    }

    /// Makes it the current one of `directory`.
    pub fn make_current(&self, directory: &Path, durable: bool) -> io::Result<()> {
        let current = directory.join(CURRENT);
        if self.path == current {
            return Ok(());
        }
        if durable {
            self.file.sync_all()?;
        }
        fs::rename(&self.path, &current)?;
        if durable {
            sync_directory(directory)?;
        }
        Ok(())
    }

    /// Reads it as a whole. An error of the kind [`io::ErrorKind::InvalidData`] means that it is corrupted.
    pub fn load(&self, mut pace: Pace) -> io::Result<(SnapshotMeta, State)> {
        let mut reader = BufReader::with_capacity(CHUNK, Positioned(&self.file, 0));
        let mut header = [0; HEADER.len()];
        let read = reader.read_exact(&mut header);
        if read.is_err() || &header != HEADER {
            return Err(invalid("the snapshot has an unknown format"));
        }
        let Frame::Meta(meta) = read_frame(&mut reader)? else {
            return Err(invalid("the snapshot does not say what it is of"));
        };
        let mut state = Restoring::default();
        let mut seen = 0;
        loop {
            match read_frame(&mut reader)? {
                Frame::Records(records) => {
                    seen += records.len() as u64;
                    for record in records {
                        state.add(record);
                    }
                    pace.rest()?;
                }
                Frame::End { records } if records == seen => return Ok((meta, state.finish())),
                Frame::End { .. } | Frame::Meta(_) => {
                    return Err(invalid("the snapshot is not complete"));
                }
            }
        }
    }
}

/// Looks at the checksums of a snapshot whose bytes come one piece after the other.
#[derive(Debug, Default)]
pub struct Check {
    is_begun: bool,
    /// What has come of the header, or of a frame's head.
    head: Vec<u8>,
    /// So much of a frame's payload is to come,
    left: usize,
    /// with this checksum.
    sum: [u8; 4],
    seen: crc32fast::Hasher,
}

impl Check {
    /// The next piece. An error of the kind [`io::ErrorKind::InvalidData`] as soon as it is seen that something is not what
    /// was written.
    pub fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                self.seen.update(now);
                self.left -= now.len();
                bytes = later;
                if self.left == 0
                    && std::mem::take(&mut self.seen).finalize().to_be_bytes() != self.sum
                {
                    return Err(invalid("the snapshot is corrupted"));
                }
                continue;
            }
            let wanted = if self.is_begun { 8 } else { HEADER.len() };
            let missing = wanted - self.head.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.head.extend_from_slice(now);
            bytes = later;
            if self.head.len() == wanted {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// A header or a head is complete.
    fn begin(&mut self) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        match head[..] {
            [a, b, c, d, ref sum @ ..] if self.is_begun => {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.sum.copy_from_slice(sum);
                // No frame is empty.
                if !(1..=MAX_FRAME).contains(&self.left) {
                    return Err(invalid("the snapshot is corrupted"));
                }
            }
            _ if head == HEADER => self.is_begun = true,
            _ => return Err(invalid("the snapshot has an unknown format")),
        }
        Ok(())
    }

    /// There is no more: an error when there should be.
    pub fn end(&self) -> io::Result<()> {
        if self.is_begun && self.left == 0 && self.head.is_empty() {
            return Ok(());
        }
        Err(invalid("the snapshot is cut short"))
    }
}

/// Writes a snapshot beside the current one. It takes as long as the disk does; the view shares the values with the
/// state and lets go of each part of it once written.
pub fn write(
    directory: &Path,
    meta: &SnapshotMeta,
    view: View,
    mut pace: Pace,
) -> io::Result<SnapshotFile> {
    let path = directory.join(BUILDING);
    let mut out = BufWriter::with_capacity(CHUNK, File::create(&path)?);
    out.write_all(HEADER)?;
    write_frame(&mut out, &Frame::Meta(meta.clone()))?;
    let (mut chunk, mut weight, mut count) = (Vec::new(), 0, 0);
    for record in view.into_records() {
        weight += match &record {
            Record::Item(key, item) => key.len() + item.value.len() + 32,
            Record::Agent(_, agent) => agent.weight(),
            _ => 256,
        };
        count += 1;
        chunk.push(record);
        if weight >= CHUNK {
            write_frame(&mut out, &Frame::Records(std::mem::take(&mut chunk)))?;
            weight = 0;
            pace.rest()?;
        }
    }
    write_frame(&mut out, &Frame::Records(chunk))?;
    write_frame(&mut out, &Frame::End { records: count })?;
    out.flush()?;
    drop(out);
    SnapshotFile::open(&path)
}

fn write_frame(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let payload = encode(frame)?;
    out.write_all(&(payload.len() as u32).to_be_bytes())?;
    out.write_all(&crc32fast::hash(&payload).to_be_bytes())?;
    out.write_all(&payload)
}

fn read_frame(reader: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 8];
    reader.read_exact(&mut head).map_err(cut_short)?;
    let [a, b, c, d, sum @ ..] = head;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_FRAME {
        return Err(invalid("the snapshot is corrupted"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).map_err(cut_short)?;
    if crc32fast::hash(&payload).to_be_bytes() != sum {
        return Err(invalid("the snapshot is corrupted"));
    }
    decode(&payload)
}

fn cut_short(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("the snapshot is cut short"),
        _ => error,
    }
}

/// Reads a shared file from a position of its own.
struct Positioned<'a>(&'a File, u64);

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a snapshot of these bytes that comes in pieces of this size is what was written.
    fn is_sound(bytes: &[u8], piece: usize) -> bool {
        let mut check = Check::default();
        let seen = bytes.chunks(piece).try_for_each(|piece| check.see(piece));
        seen.and_then(|()| check.end()).is_ok()
    }

    #[test]
    fn whatever_byte_of_a_snapshot_is_another_it_is_seen_however_it_is_cut() {
        let mut bytes = HEADER.to_vec();
        write_frame(&mut bytes, &Frame::Meta(SnapshotMeta::default())).unwrap();
        write_frame(&mut bytes, &Frame::Records(Vec::new())).unwrap();
        write_frame(&mut bytes, &Frame::End { records: 0 }).unwrap();
        for piece in [1, 3, 8, bytes.len()] {
            assert!(is_sound(&bytes, piece));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert!(!is_sound(&other, piece), "byte {at} in pieces of {piece}");
            }
        }
        // One that ends with a frame is not complete either, but that its reader sees.
        assert!(!is_sound(&bytes[..bytes.len() - 1], 8));
        assert!(!is_sound(&[], 8));
    }
}
