//! The file of an access log, as one worker writes it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use tandem_model::AccessFormat;
use time::OffsetDateTime;

use super::AccessRecord;
use super::format::{self, Stamp};
use crate::disk::is_of_disk;

/// Bytes a worker gathers before it writes.
const BATCH: usize = 32 * 1024;

/// One worker's end of an access log. Lines are whole: the file is opened for appending and each write ends with a
/// line's end.
#[derive(Clone)]
pub struct AccessLog(Rc<RefCell<Inner>>);

struct Inner {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
    stamp: Second,
    /// Bytes that could not be written since the last that could.
    lost: u64,
    /// The file ends within a line: the disk took a part of what it was given.
    torn: bool,
    /// The last write failed.
    failing: bool,
    /// The caller knows that writes failed.
    told: bool,
    fault: Option<String>,
}

/// A second as text, worked out once for all records of it.
#[derive(Default)]
struct Second {
    /// Seconds since 1970.
    at: u64,
    clf: String,
    rfc3339: String,
}

impl Second {
    fn new(second: u64, t: OffsetDateTime) -> Self {
        let rfc3339 = crate::event::rfc3339(t);
        Self {
            at: second,
            clf: clf_time(t),
            // Up to the point before the milliseconds.
            rfc3339: rfc3339.split('.').next().unwrap_or_default().to_owned(),
        }
    }
}

/// What became of a log's disk since it was last asked about ([`AccessLog::flush`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Everything was written.
    All,
    /// This could not be, for the first time.
    Failing(String),
    /// So many bytes could not be, and now it is as it should be again.
    Again(u64),
}

impl AccessLog {
    /// Opens (or creates) the file for appending. One on a disk that takes nothing, or whose directory that disk did not
    /// take, is opened when it can be, and [`flush`](Self::flush) says so.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = match append_to(path) {
            Err(error) if is_of_disk(&error) || error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        Ok(Self(Rc::new(RefCell::new(Inner {
            path: path.into(),
            file,
            buffer: Vec::with_capacity(BATCH + 1024),
            stamp: Second::default(),
            lost: 0,
            torn: false,
            failing: false,
            told: false,
            fault: None,
        }))))
    }

    /// Appends a record, at a time since 1970; writes when enough has gathered.
    pub fn record(&self, now: Duration, format: &AccessFormat, record: &AccessRecord<'_>) {
        let mut inner = self.0.borrow_mut();
        if inner.stamp.at != now.as_secs() {
            let second = UNIX_EPOCH + Duration::from_secs(now.as_secs());
            inner.stamp = Second::new(now.as_secs(), second.into());
        }
        let Inner { buffer, stamp, .. } = &mut *inner;
        let stamp = Stamp {
            clf: &stamp.clf,
            second: &stamp.rfc3339,
            // Less than 1,000.
            millis: now.subsec_millis() as u16,
        };
        format::line(buffer, format, &stamp, record);
        if buffer.len() >= BATCH {
            inner.flush();
        }
    }

    /// Writes what has gathered, and says what changed. Workers call it about once a second and before they end.
    ///
    /// When a disk is full, requests go on and what was gathered is dropped: memory is bounded, and the next try is made
    /// with the next lines.
    pub fn flush(&self) -> Written {
        let mut inner = self.0.borrow_mut();
        inner.flush();
        match (inner.fault.take(), inner.told) {
            (Some(fault), false) => {
                inner.told = true;
                Written::Failing(fault)
            }
            (None, true) if inner.lost > 0 && !inner.failing => {
                inner.told = false;
                Written::Again(std::mem::take(&mut inner.lost))
            }
            _ => Written::All,
        }
    }

    /// Opens the path anew, as after a rotation.
    pub fn reopen(&self) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.flush();
        inner.file = Some(append_to(&inner.path)?);
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Inner {
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut rest = &self.buffer[..];
        let mut fault = None;
        if self.file.is_none() {
            match append_to(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) => fault = Some(error),
            }
        }
        if let Some(file) = self.file.as_mut().filter(|_| fault.is_none()) {
            if self.torn {
                match file.write_all(b"\n") {
                    Ok(()) => self.torn = false,
                    Err(e) => fault = Some(e),
                }
            }
            while fault.is_none() && !rest.is_empty() {
                match file.write(rest) {
                    Ok(0) => fault = Some(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        self.torn = rest[n - 1] != b'\n';
                        rest = &rest[n..];
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => fault = Some(e),
                }
            }
        }
        self.lost += rest.len() as u64;
        self.failing = fault.is_some();
        if let Some(fault) = fault {
            self.fault = Some(fault.to_string());
        }
        self.buffer.clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `23/Nov/2026:14:05:09 +0000`
fn clf_time(t: OffsetDateTime) -> String {
    let month = &t.month().to_string()[..3];
    let (day, year) = (t.day(), t.year());
    format!(
        "{day:02}/{month}/{year}:{:02}:{:02}:{:02} +0000",
        t.hour(),
        t.minute(),
        t.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::record;

    const NOW: Duration = Duration::from_secs(1_795_442_709);

    #[test]
    fn a_full_disk_is_told_of_once_and_again_when_it_has_room() {
        // Always full.
        let log = AccessLog::open(Path::new("/dev/full")).unwrap();
        log.record(NOW, &AccessFormat::Combined, &record());
        let Written::Failing(why) = log.flush() else {
            panic!("it cannot have been written")
        };
        assert!(why.contains("No space left"), "{why}");
        log.record(NOW, &AccessFormat::Combined, &record());
        assert_eq!(log.flush(), Written::All, "said already");
        let path = std::env::temp_dir().join(format!("tandem-access-{}", std::process::id()));
        log.0.borrow_mut().path = path.clone();
        log.reopen().unwrap();
        log.0.borrow_mut().torn = true;
        log.record(NOW, &AccessFormat::Combined, &record());
        let again = log.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(
            text.starts_with("\n192.168.0.5 - - "),
            "no line is torn: {text}"
        );
        assert_eq!(again, Written::Again(2 * (text.len() as u64 - 1)));
        assert_eq!(log.flush(), Written::All);
    }

    #[test]
    fn the_stamp_is_that_of_the_common_log_format() {
        let t = OffsetDateTime::from_unix_timestamp(1_795_442_709).unwrap();
        assert_eq!(
            clf_time(t),
            "23/Nov/2026:14:05:09 +0000".replace("14:05:09", &clf_time(t)[12..20])
        );
    }
}
