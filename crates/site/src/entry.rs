//! Step 6b: a file made ready to be sent: its content or descriptor, and the fields that do not depend on the request.

use std::fmt::Write as _;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use rustix::io::{Errno, ReadWriteFlags};
use tandem_model::Coding;

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
    /// `Content-Type` and the like, then what a 304 sends too.
    pub(crate) fields: Bytes,
    /// Where the offer of ranges begins in the fields, which ends where [`validators`](Self::validators) begin.
    ranges: usize,
    /// Where the fields begin that a 304 sends.
    validators: usize,
    etag: Box<[u8]>,
    weak: bool,
    /// How the content is coded; `None` is the file as it is.
    pub(crate) coding: Option<Coding>,
    /// Compressing it gains nothing, so it is not tried again.
    pub(crate) incompressible: bool,
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

/// What is said of a file that its content does not tell.
pub(crate) struct About<'a> {
    /// The media type.
    pub(crate) kind: &'a str,
    /// The value of `Cache-Control`, if there is one.
    pub(crate) cache_control: Option<String>,
    /// Other clients may get it in another coding.
    pub(crate) varies: bool,
}

impl Entry {
    /// Makes an open file ready, whose content is in `coding` as it is on disk.
    pub(crate) fn load(
        file: OwnedFd,
        stat: &Stat,
        about: &About<'_>,
        coding: Option<Coding>,
        patience: Patience,
    ) -> Result<Self, Closed> {
        let size = size_of(stat)?;
        let content = match small(&file, size, patience)? {
            Some(bytes) => Content::Memory(bytes),
            None => Content::File(Arc::new(file)),
        };
        Ok(Self::new(content, size, stat, about, coding, false))
    }

    /// What was made of a file by compressing it. Its tag is weak: another version of us may make other bytes.
    pub(crate) fn made(content: Vec<u8>, stat: &Stat, about: &About<'_>, coding: Coding) -> Self {
        let size = content.len() as u64;
        let content = Content::Memory(Bytes::from(content.into_boxed_slice()));
        Self::new(content, size, stat, about, Some(coding), true)
    }

    fn new(
        content: Content,
        size: u64,
        stat: &Stat,
        about: &About<'_>,
        coding: Option<Coding>,
        weak: bool,
    ) -> Self {
        let identity = Identity::of(stat);
        let now = seconds_now();
        let (seconds, nanos) = identity.modified;
        let (dash, suffix) = coding.map_or(("", ""), |coding| ("-", coding.name()));
        let etag = format!(
            "\"{:x}-{:x}{dash}{suffix}\"",
            i128::from(seconds) * 1_000_000_000 + i128::from(nanos),
            identity.size
        );
        // A time in the future is not sent (RFC 9110 section 8.8.2.1).
        let modified = seconds.min(now);
        // Writing to a string does not fail.
        let mut fields = format!("Content-Type: {}\r\n", about.kind);
        if let Some(coding) = coding {
            let _ = write!(fields, "Content-Encoding: {}\r\n", coding.name());
        }
        let ranges = fields.len();
        if !weak {
            fields.push_str("Accept-Ranges: bytes\r\n");
        }
        let validators = fields.len();
        if let Some(cache_control) = &about.cache_control {
            let _ = write!(fields, "Cache-Control: {cache_control}\r\n");
        }
        if about.varies {
            fields.push_str("Vary: Accept-Encoding\r\n");
        }
        let _ = write!(
            fields,
            "Last-Modified: {}\r\nETag: {}{etag}\r\n",
            date::format(modified),
            if weak { "W/" } else { "" }
        );
        Self {
            content,
            fields: Bytes::from(fields),
            ranges,
            validators,
            etag: etag.into_bytes().into(),
            weak,
            coding,
            incompressible: false,
            modified,
            size,
            identity,
            settled: now - identity.changed.0 > TICK,
        }
    }

    /// The same in memory of its own, so that workers do not count references on a shared cache line.
    pub(crate) fn copy(&self) -> Self {
        let content = match &self.content {
            Content::Memory(bytes) => Content::Memory(Bytes::copy_from_slice(bytes)),
            Content::File(file) => Content::File(file.clone()),
        };
        Self {
            content,
            fields: Bytes::copy_from_slice(&self.fields),
            etag: self.etag.clone(),
            ..*self
        }
    }

    /// Whether it was made by us from a file, and not read from one.
    pub(crate) fn is_made(&self) -> bool {
        self.weak
    }

    /// Whether a file with this `stat` is certainly the one of this entry, unchanged.
    pub(crate) fn is(&self, stat: &Stat) -> bool {
        self.settled && self.identity == Identity::of(stat)
    }

    /// What conditions are compared with.
    pub(crate) fn compared_by(&self) -> Validators<'_> {
        Validators {
            etag: &self.etag,
            weak: self.weak,
            modified: self.modified,
        }
    }

    /// The fields of a 304: the validators, and what caches need to know (RFC 9110 section 15.4.5).
    pub(crate) fn validator_fields(&self) -> Bytes {
        self.fields.slice(self.validators..)
    }

    /// The fields without the offer of ranges.
    pub(crate) fn rangeless_fields(&self) -> Bytes {
        let (before, after) = (&self.fields[..self.ranges], &self.fields[self.validators..]);
        Bytes::from([before, after].concat())
    }

    /// The line that says its media type.
    pub(crate) fn content_type(&self) -> &[u8] {
        let end = self.fields.iter().position(|&b| b == b'\n');
        &self.fields[..end.map_or(0, |end| end + 1)]
    }

    /// Reads a part of the content. Whether it is there.
    pub(crate) fn read(&self, mut into: &mut [u8], mut offset: u64) -> bool {
        let file = match &self.content {
            Content::Memory(bytes) => {
                let from = bytes.get(offset as usize..offset as usize + into.len());
                return from.map(|from| into.copy_from_slice(from)).is_some();
            }
            Content::File(file) => file,
        };
        while !into.is_empty() {
            match rustix::io::pread(file, &mut *into, offset) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return false,
                Ok(n) => {
                    into = &mut into[n..];
                    offset += n as u64;
                }
            }
        }
        true
    }

    /// The bytes of memory it takes, about.
    pub(crate) fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File(_) => 0,
        };
        content + self.fields.len() + self.etag.len() + std::mem::size_of::<Self>()
    }
}

/// The length of a file, in bytes.
pub(crate) fn size_of(stat: &Stat) -> Result<u64, Closed> {
    u64::try_from(stat.st_size).map_err(|_| Closed::Failed)
}

/// Reads a small file whole. `None`: it is not small, or changes while it is read; it is then sent from the file.
fn small(file: &OwnedFd, size: u64, patience: Patience) -> Result<Option<Bytes>, Closed> {
    if size > SMALL {
        return Ok(None);
    }
    whole(file, size, patience)
}

/// Reads a file of `size` bytes. `None`: it changes while it is read.
pub(crate) fn whole(
    file: &OwnedFd,
    size: u64,
    patience: Patience,
) -> Result<Option<Bytes>, Closed> {
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
