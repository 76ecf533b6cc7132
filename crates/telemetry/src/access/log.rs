//! The file of an access log, as one worker writes it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
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
/// Bytes that it holds for a pipe whose reader does not keep up.
const HELD: usize = 1024 * 1024;
/// Up to so many bytes come out of a pipe as they went in, whoever else writes there (`PIPE_BUF`, pipe(7)).
const AT_ONCE: usize = 4096;
/// `O_NONBLOCK` of x86-64 and ARM, which the standard library has no name for.
const NO_WAIT: i32 = 0o4000;
/// `ENXIO`: nobody reads a pipe.
const NO_READER: i32 = 6;

/// One worker's end of an access log. Lines are whole: the file is opened for appending and each write ends with a
/// line's end.
#[derive(Clone)]
pub struct AccessLog(Rc<RefCell<Inner>>);

struct Inner {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
    /// How much has to be gathered until it is written.
    due: usize,
    stamp: Second,
    /// Bytes that could not be written since the last that could.
    lost: u64,
    /// The file ends within a line.
    within: bool,
    /// The rest of that line is lost.
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
    /// take, is opened when it can be, and [`flush`](Self::flush) says so; a pipe (FIFO) that nobody reads likewise. Nothing here waits
    /// for a pipe's reader.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = match append_to(path) {
            Err(error) if is_of_disk(&error) || is_absent(&error) => None,
            opened => Some(opened?),
        };
        Ok(Self(Rc::new(RefCell::new(Inner {
            path: path.into(),
            file,
            buffer: Vec::with_capacity(BATCH + 1024),
            due: BATCH,
            stamp: Second::default(),
            lost: 0,
            within: false,
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
        if inner.buffer.len() >= inner.due {
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
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(NO_WAIT);
    options.open(path)
}

/// The first lines, so many that they are written at once; one at least.
fn lines(text: &[u8]) -> &[u8] {
    let most = &text[..text.len().min(AT_ONCE)];
    let end = |at: usize| &text[..=at];
    let last = most.iter().rposition(|&byte| byte == b'\n');
    let first = || text.iter().position(|&byte| byte == b'\n');
    last.or_else(first).map_or(text, end)
}

/// What is not there yet, and may be later: the directory, or a pipe's reader.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_READER)
}

impl Inner {
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let (written, fault) = self.write();
        let rest = self.buffer.len() - written;
        let waits = fault.as_ref().map(io::Error::kind) == Some(io::ErrorKind::WouldBlock);
        if waits && rest <= HELD {
            self.buffer.drain(..written);
            self.due = rest + BATCH;
            return;
        }
        self.lost += rest as u64;
        self.torn |= rest > 0 && self.within;
        self.failing = fault.is_some();
        if let Some(fault) = fault {
            self.fault = Some(if waits {
                "who reads this pipe does not keep up".into()
            } else {
                fault.to_string()
            });
        }
        self.buffer.clear();
        self.due = BATCH;
    }

    /// Writes what has gathered. How much of it was, and what kept the rest from it.
    fn write(&mut self) -> (usize, Option<io::Error>) {
        let mut written = 0;
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(append_to(&self.path)?),
            };
            if self.torn {
                file.write_all(b"\n")?;
                (self.torn, self.within) = (false, false);
            }
            let is_pipe = file.metadata()?.file_type().is_fifo();
            while let rest @ [_, ..] = &self.buffer[written..] {
                let rest = if is_pipe { lines(rest) } else { rest };
                match file.write(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        self.within = rest[n - 1] != b'\n';
                        written += n;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        };
        let fault = write().err();
        (written, fault)
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

    /// A pipe of the file system, gone with the test.
    struct Pipe(PathBuf);

    impl Pipe {
        fn new(name: &str) -> Self {
            let path = format!("tandem-access-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(path);
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.expect("mkfifo is there").success());
            Self(path)
        }

        fn reader(&self) -> File {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(NO_WAIT);
            options.open(&self.0).expect("it is there")
        }
    }

    impl Drop for Pipe {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// What can be read now.
    fn text(reader: &mut File) -> String {
        let mut text = Vec::new();
        // It would wait for more.
        let _ = io::Read::read_to_end(reader, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_pipe_that_nobody_reads_keeps_nobody_waiting() {
        let pipe = Pipe::new("unread");
        let log = AccessLog::open(&pipe.0).unwrap();
        log.record(NOW, &AccessFormat::Combined, &record());
        let told = log.flush();
        assert!(matches!(told, Written::Failing(_)), "{told:?}");
        let mut reader = pipe.reader();
        log.record(NOW, &AccessFormat::Combined, &record());
        assert!(matches!(log.flush(), Written::Again(_)));
        assert_eq!(text(&mut reader).lines().count(), 1);
    }

    #[test]
    fn what_is_written_to_a_pipe_at_once_is_lines() {
        let long = [b'x'; AT_ONCE];
        for (text, first) in [
            (&b"a\nb\n"[..], 4),
            (&[&long[..], b"\nb\n"].concat(), AT_ONCE + 1),
            (&[b"a\n", &long[..], b"\n"].concat(), 2),
            (&long[..], AT_ONCE),
        ] {
            assert_eq!(lines(text).len(), first);
        }
    }

    #[test]
    fn a_pipe_whose_reader_is_slow_loses_no_line_up_to_a_bound_and_none_in_part() {
        let pipe = Pipe::new("slow");
        let mut reader = pipe.reader();
        let log = AccessLog::open(&pipe.0).unwrap();
        let line = || log.record(NOW, &AccessFormat::Combined, &record());
        line();
        assert_eq!(log.flush(), Written::All);
        let whole = text(&mut reader);
        // More than the kernel holds of a pipe, and less than is held here.
        let lines = 512 * 1024 / whole.len();
        (0..lines).for_each(|_| line());
        assert_eq!(log.flush(), Written::All, "it waits");
        let mut read = String::new();
        while read.len() < lines * whole.len() {
            let more = text(&mut reader);
            assert!(
                !more.is_empty(),
                "{} of {lines} lines",
                read.lines().count()
            );
            read += &more;
            assert_eq!(log.flush(), Written::All);
        }
        assert_eq!(read, whole.repeat(lines));
        // And more than that.
        (0..4 * lines).for_each(|_| line());
        let told = log.flush();
        let Written::Failing(why) = &told else {
            panic!("{told:?}")
        };
        assert!(why.contains("does not keep up"), "{why}");
        let mut read = text(&mut reader);
        line();
        while log.flush() == Written::All {
            read += &text(&mut reader);
        }
        read += &text(&mut reader);
        let last = read.lines().last().unwrap();
        assert_eq!(
            last,
            whole.trim_end(),
            "the line that was cut off has an end"
        );
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
