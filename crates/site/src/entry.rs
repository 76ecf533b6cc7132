//! Step 5b: a file made ready to be sent: its content or descriptor, and the fields that do not depend on the request.

use std::fmt::Write as _;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use rustix::io::{Errno, ReadWriteFlags};

use crate::condition::Validators;
use crate::date;
use crate::root::{Closed, Patience};

/// Files up to this size are kept in memory, in bytes: one write then sends head and content.
pub(crate) const SMALL: u64 = 16 * 1024;

/// A change within this time of another may carry the same time stamp (the clock of a file system ticks, on some every
/// two seconds), in seconds.
const TICK: i64 = 2;

/// A file ready to be sent.
pub(crate) struct Entry {
    /// What is sent.
    pub(crate) content: Content,
    /// `Content-Type`, `Accept-Ranges`, and the validators.
    pub(crate) fields: Bytes,
    /// Where the validators begin: what a 304 sends.
    validators: usize,
    etag: Box<[u8]>,
    modified: i64,
    /// Its length in bytes.
    pub(crate) size: u64,
    identity: Identity,
    settled: bool,
}

/// Where a file's bytes are.
pub(crate) enum Content {
    /// Here.
    Memory(Bytes),
    /// In the file.
    File(Arc<OwnedFd>),
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

impl Entry {
    /// Makes an open file ready. `kind` is its media type.
    pub(crate) fn load(
        file: OwnedFd,
        stat: &Stat,
        kind: &str,
        patience: Patience,
    ) -> Result<Self, Closed> {
        let identity = Identity::of(stat);
        let size = u64::try_from(identity.size).map_err(|_| Closed::Failed)?;
        let content = match small(&file, size, patience)? {
            Some(bytes) => Content::Memory(bytes),
            None => Content::File(Arc::new(file)),
        };
        let now = seconds_now();
        let (seconds, nanos) = identity.modified;
        let etag = format!(
            "\"{:x}-{size:x}\"",
            i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
        );
        // A time in the future is not sent (RFC 9110 section 8.8.2.1).
        let modified = seconds.min(now);
        let mut fields = format!("Content-Type: {kind}\r\nAccept-Ranges: bytes\r\n");
        let validators = fields.len();
        // Writing to a string does not fail.
        let _ = write!(
            fields,
            "Last-Modified: {}\r\nETag: {etag}\r\n",
            date::format(modified)
        );
        Ok(Self {
            content,
            fields: Bytes::from(fields),
            validators,
            etag: etag.into_bytes().into(),
            modified,
            size,
            identity,
            settled: now - identity.changed.0 > TICK,
        })
    }

    /// Whether a file with this `stat` is certainly the one of this entry, unchanged.
    pub(crate) fn is(&self, stat: &Stat) -> bool {
        self.settled && self.identity == Identity::of(stat)
    }

    /// What conditions are compared with.
    pub(crate) fn compared_by(&self) -> Validators<'_> {
        Validators {
            etag: &self.etag,
            modified: self.modified,
        }
    }

    /// The fields of a 304: the validators alone.
    pub(crate) fn validator_fields(&self) -> Bytes {
        self.fields.slice(self.validators..)
    }

    /// The bytes of memory it takes, about.
    pub(crate) fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File(_) => 0,
        };
        content + self.fields.len() + self.etag.len() + size_of::<Self>()
    }
}

/// Reads a small file whole. `None`: it is not small, or changes while it is read; it is then sent from the file.
fn small(file: &OwnedFd, size: u64, patience: Patience) -> Result<Option<Bytes>, Closed> {
    if size > SMALL {
        return Ok(None);
    }
    // One byte more than there should be, to see that it ends there.
    let mut bytes = vec![0; size as usize + 1];
    let flags = match patience {
        Patience::None => ReadWriteFlags::NOWAIT,
        Patience::Disk => ReadWriteFlags::empty(),
    };
    let mut read = 0;
    while read < bytes.len() {
        let slice = &mut [IoSliceMut::new(&mut bytes[read..])];
        match rustix::io::preadv2(file, slice, read as u64, flags) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::OPNOTSUPP) if patience == Patience::None => {
                return Err(Closed::Patience);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    if read as u64 != size {
        return Ok(None);
    }
    bytes.truncate(read);
    // Exactly as much memory as is accounted for.
    Ok(Some(Bytes::from(bytes.into_boxed_slice())))
}

/// The wall clock, in seconds since 1970.
pub(crate) fn seconds_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64)
}
