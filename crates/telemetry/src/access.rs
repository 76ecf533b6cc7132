//! The access log: one record per request, written in batches by the worker that served it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use crate::decimal;

/// Why a request ended before its answer was complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopped {
    /// It did not: the answer is complete.
    #[default]
    No,
    /// The client went away.
    Client,
    /// The upstream failed after its answer had begun.
    Upstream,
    /// A time limit was reached.
    Timeout,
    /// All servers were busy for longer than a request may wait in the queue, or too many waited.
    Queue,
}

/// What the log says of one request. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// The client (see the client address rule), not necessarily the peer.
    pub client: IpAddr,
    /// The user that was let in, or empty.
    pub user: &'a [u8],
    /// The request line's method.
    pub method: &'a [u8],
    /// The request line's target, as it came.
    pub target: &'a [u8],
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`.
    pub version: &'a str,
    /// The status sent.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// `Referer`, or empty.
    pub referer: &'a [u8],
    /// `User-Agent`, or empty.
    pub agent: &'a [u8],
    /// The service that answered, or empty.
    pub service: &'a str,
    /// The server that answered, or empty.
    pub server: &'a str,
    /// Tries after the first.
    pub retries: u32,
    /// To the upstream's connection.
    pub connect: u64,
    /// To the upstream's first byte.
    pub first_byte: u64,
    /// From the request's head to the answer's end.
    pub total: u64,
    /// Why it ended early.
    pub stopped: Stopped,
    /// What tells it from all others, where a route asks for that; or empty.
    pub id: &'a [u8],
}

/// What the log says of one connection that was passed on as it is. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct ConnectionRecord<'a> {
    /// The client.
    pub client: IpAddr,
    /// The listener.
    pub listener: &'a str,
    /// The name that TLS asked for, or empty.
    pub name: &'a str,
    /// 200 when a server took it; 403, 502, 503, 504 as for a request when none did; 0 when the client was gone.
    pub status: u16,
    /// Bytes from the server to the client.
    pub down: u64,
    /// Bytes from the client to the server.
    pub up: u64,
    /// The service, or empty.
    pub service: &'a str,
    /// The server, or empty.
    pub server: &'a str,
    /// Tries after the first.
    pub retries: u32,
    /// To the server's connection.
    pub connect: u64,
    /// To the server's first byte.
    pub first_byte: u64,
    /// From the connection's beginning to its end.
    pub total: u64,
    /// Why it ended early.
    pub stopped: Stopped,
}

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
    stamp: (i64, String),
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
    /// Opens (or creates) the file for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Rc::new(RefCell::new(Inner {
            path: path.into(),
            file: Some(file),
            buffer: Vec::with_capacity(BATCH + 1024),
            stamp: (0, String::new()),
            lost: 0,
            torn: false,
            failing: false,
            told: false,
            fault: None,
        }))))
    }

    /// Appends a record; writes when enough has gathered.
    pub fn record(&self, record: &AccessRecord<'_>) {
        self.append(|buffer, stamp| combined(buffer, stamp, record));
    }

    /// Appends the record of a connection; writes when enough has gathered.
    pub fn connection(&self, record: &ConnectionRecord<'_>) {
        let method = b"TCP";
        let name = if record.name.is_empty() {
            record.listener
        } else {
            record.name
        };
        self.append(|buffer, stamp| {
            let _ = write!(buffer, "{} - - [{stamp}] \"", record.client);
            escaped(buffer, method);
            buffer.push(b' ');
            escaped(buffer, name.as_bytes());
            let ConnectionRecord { status, down, .. } = record;
            let _ = write!(buffer, "\" {status} {down} \"-\" \"-\" ");
            tail(
                buffer,
                (record.service, record.server, record.retries),
                [record.connect, record.first_byte, record.total],
                record.stopped,
            );
            let _ = writeln!(buffer, " {}", record.up);
        });
    }

    fn append(&self, line: impl FnOnce(&mut Vec<u8>, &str)) {
        let mut inner = self.0.borrow_mut();
        let now = SystemTime::now();
        let second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        if inner.stamp.0 != second {
            inner.stamp = (second, clf_time(now.into()));
        }
        let Inner { buffer, stamp, .. } = &mut *inner;
        line(buffer, &stamp.1);
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
        inner.file = Some(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&inner.path)?,
        );
        Ok(())
    }
}

impl Inner {
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut rest = &self.buffer[..];
        let mut fault = None;
        if let Some(file) = &mut self.file {
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

/// Apache's combined format, then `service/server retries connect/first/total` in milliseconds, the cause of an early end
/// (`-`, `C`, `U`, `T`, `Q`), and the request's id where it has one.
fn combined(out: &mut Vec<u8>, stamp: &str, r: &AccessRecord<'_>) {
    decimal::push_ip(out, r.client);
    out.extend_from_slice(b" - ");
    word(out, or_dash(r.user));
    out.extend_from_slice(b" [");
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(b"] \"");
    escaped(out, r.method);
    out.push(b' ');
    escaped(out, r.target);
    out.push(b' ');
    out.extend_from_slice(r.version.as_bytes());
    out.extend_from_slice(b"\" ");
    decimal::push(out, r.status.into());
    out.push(b' ');
    decimal::push(out, r.bytes);
    out.extend_from_slice(b" \"");
    escaped(out, or_dash(r.referer));
    out.extend_from_slice(b"\" \"");
    escaped(out, or_dash(r.agent));
    out.extend_from_slice(b"\" ");
    tail(
        out,
        (r.service, r.server, r.retries),
        [r.connect, r.first_byte, r.total],
        r.stopped,
    );
    if !r.id.is_empty() {
        out.push(b' ');
        word(out, r.id);
    }
    out.push(b'\n');
}

/// What stands behind the fields of the combined format.
fn tail(
    out: &mut Vec<u8>,
    (service, server, retries): (&str, &str, u32),
    [connect, first_byte, total]: [u64; 3],
    stopped: Stopped,
) {
    out.extend_from_slice(or_dash(service.as_bytes()));
    out.push(b'/');
    out.extend_from_slice(or_dash(server.as_bytes()));
    out.push(b' ');
    decimal::push(out, retries.into());
    for (before, micros) in [(b' ', connect), (b'/', first_byte), (b'/', total)] {
        out.push(before);
        millis(out, micros);
    }
    out.extend_from_slice(match stopped {
        Stopped::No => b" -",
        Stopped::Client => b" C",
        Stopped::Upstream => b" U",
        Stopped::Timeout => b" T",
        Stopped::Queue => b" Q",
    });
}

fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

/// Microseconds as milliseconds with three digits.
fn millis(out: &mut Vec<u8>, micros: u64) {
    decimal::push(out, micros / 1_000);
    let rest = micros % 1_000;
    let digit = |one: u64| b'0' + (rest / one % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

/// Quotes, backslashes and bytes outside printable ASCII as `\xHH`, so that no request can forge a line.
fn escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    let is_bad = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1f | 0x7f..);
    while let Some(bad) = bytes.iter().position(is_bad) {
        out.extend_from_slice(&bytes[..bad]);
        // Writing to a vector does not fail.
        let _ = write!(out, "\\x{:02X}", bytes[bad]);
        bytes = &bytes[bad + 1..];
    }
    out.extend_from_slice(bytes);
}

/// As [`escaped`], and one word: no space in it.
fn word(out: &mut Vec<u8>, text: &[u8]) {
    for (number, part) in text.split(|&b| b == b' ').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\\x20");
        }
        escaped(out, part);
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

    fn record<'a>() -> AccessRecord<'a> {
        AccessRecord {
            client: IpAddr::from([192, 168, 0, 5]),
            user: b"",
            method: b"GET",
            target: b"/a\"\nb",
            version: "HTTP/1.1",
            status: 200,
            bytes: 12,
            referer: b"",
            agent: b"curl/8",
            service: "shop",
            server: "app1",
            retries: 1,
            connect: 310,
            first_byte: 1_500,
            total: 12_000,
            stopped: Stopped::No,
            id: b"",
        }
    }

    #[test]
    fn who_was_let_in_and_the_requests_id_are_one_word_each() {
        let mut out = Vec::new();
        let record = AccessRecord {
            user: b"al ice\"",
            id: b"4f 2a",
            ..record()
        };
        combined(&mut out, "now", &record);
        let line = String::from_utf8(out).unwrap();
        assert!(
            line.starts_with("192.168.0.5 - al\\x20ice\\x22 [now] "),
            "{line}"
        );
        assert!(
            line.ends_with(" 0.310/1.500/12.000 - 4f\\x202a\n"),
            "{line}"
        );
    }

    #[test]
    fn a_request_cannot_forge_a_line() {
        let mut out = Vec::new();
        combined(&mut out, "23/Nov/2026:14:05:09 +0000", &record());
        let expected = "192.168.0.5 - - [23/Nov/2026:14:05:09 +0000] \"GET /a\\x22\\x0Ab HTTP/1.1\" 200 12 \"-\" \
                        \"curl/8\" shop/app1 1 0.310/1.500/12.000 -\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_full_disk_is_told_of_once_and_again_when_it_has_room() {
        // Always full.
        let log = AccessLog::open(Path::new("/dev/full")).unwrap();
        log.record(&record());
        let Written::Failing(why) = log.flush() else {
            panic!("it cannot have been written")
        };
        assert!(why.contains("No space left"), "{why}");
        log.record(&record());
        assert_eq!(log.flush(), Written::All, "said already");
        let path = std::env::temp_dir().join(format!("tandem-access-{}", std::process::id()));
        log.0.borrow_mut().path = path.clone();
        log.reopen().unwrap();
        log.0.borrow_mut().torn = true;
        log.record(&record());
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
    fn a_connection_has_a_line_that_readers_of_the_combined_format_take() {
        let dir = std::env::temp_dir().join(format!("tandem-access-tcp-{}", std::process::id()));
        let log = AccessLog::open(&dir).unwrap();
        log.connection(&ConnectionRecord {
            client: IpAddr::from([192, 168, 0, 5]),
            listener: "mysql",
            name: "",
            status: 200,
            down: 4_000,
            up: 120,
            service: "db",
            server: "db1",
            retries: 0,
            connect: 310,
            first_byte: 1_500,
            total: 12_000,
            stopped: Stopped::No,
        });
        log.flush();
        let text = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        let (_, line) = text.split_once("] ").unwrap();
        assert_eq!(
            line,
            "\"TCP mysql\" 200 4000 \"-\" \"-\" db/db1 0 0.310/1.500/12.000 - 120\n"
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
