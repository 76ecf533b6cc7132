//! Answers of our own: from memory, from a file, and pages that say what went wrong.

use std::io::{IoSlice, Write as _};
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use tandem_net::Moment;
use tandem_telemetry::{Phase, Stopped, decimal};

use super::Snapshot;
use super::admission::Denied;
use super::body::Body;
use super::client::Wire;
use super::clock::Elapsed;
use super::connection::{After, Conn, Exchange, NoHead, Outs};
use super::disk::{self, Fault};
use super::record::Record;
use crate::policy::Edits;
use crate::rewrite::{Keep, content_length};
use crate::{FileBody, Reply};

/// Up to this size a body is sent in one piece with its head, in bytes: one copy costs less than a system call.
const COPIED: usize = 16 * 1024;
/// The same of a body that is in memory, which can be sent from there.
const JOINED: usize = 4 * 1024;
/// The most that one `sendfile` is asked for, in bytes: what keeps a worker from its other connections for a fraction of a
/// millisecond.
const SENT_AT_ONCE: u64 = 2 << 20;

/// What is said of a body beyond the limit.
pub(super) const TOO_LARGE: &str = "the body of this request is too large";

/// A small readable page.
pub(super) fn page(status: u16, words: &str, service: &Arc<str>) -> Reply {
    Reply::text(
        status,
        service,
        format!("{status} {}: {words}\n", reason(status)),
    )
}

/// The status line, `Date`, the given fields, `Content-Length` and `Connection`.
fn head(
    out: &mut Vec<u8>,
    conn: &Conn,
    status: u16,
    fields: &[u8],
    length: Option<u64>,
    keep: Keep,
    edits: Option<&Edits>,
) {
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal::push_status(out, status);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    conn.shared().date.line(out);
    let from = out.len();
    out.extend_from_slice(fields);
    if let Some(edits) = edits {
        edits.answer(status, out, from);
    }
    if let Some(length) = length {
        content_length(out, length);
    }
    out.extend_from_slice(keep.field());
    out.extend_from_slice(b"\r\n");
}

/// What the client is told of the connection when `left` of its body is unread.
pub(super) fn keep(x: &Exchange<'_>, left: Option<u64>, close: bool) -> Keep {
    match x.request.head.minor() {
        // What is left unread is the stream's, not the connection's.
        _ if x.conn.client.is_http2() => Keep::Implied,
        _ if close || !x.may_keep(left) => Keep::Close,
        0 => Keep::Told,
        _ => Keep::Implied,
    }
}

pub(super) fn after(keep: Keep) -> After {
    if keep == Keep::Close {
        After::Close
    } else {
        After::Keep
    }
}

/// Sends an answer from memory: as it was sent the last time, if that was the same one.
pub(super) async fn memory(
    x: &mut Exchange<'_>,
    body: &Body<'_>,
    reply: Reply,
    outs: Outs<'_>,
) -> After {
    if reply.status != 200 || reply.body.len() > JOINED || x.edits.is_some() || x.is_head() {
        return bytes(x, body, reply, outs.response_out).await;
    }
    let keep = keep(x, body.left(), reply.close);
    let second = tandem_net::coarse_time().as_secs();
    let whole = outs.whole;
    let is_same = whole.is(&reply, keep, second);
    x.record.service = Some(reply.service);
    x.record.bytes = reply.body.len() as u64;
    if !is_same {
        whole.forget();
        let length = Some(x.record.bytes);
        head(
            &mut whole.bytes,
            x.conn,
            200,
            &reply.fields,
            length,
            keep,
            None,
        );
        whole.head = whole.bytes.len();
        whole.bytes.extend_from_slice(&reply.body);
        whole.made_of(reply.fields, reply.body, keep, second);
    }
    x.record.status = 200;
    x.record.head_bytes += whole.head as u64;
    if keep == Keep::Close {
        x.conn.client.conclude_with_next_write();
    }
    let limit = x.snapshot.config.timeouts.body;
    let sent = x.conn.send(&mut [IoSlice::new(&whole.bytes)], limit).await;
    finish(x, sent, keep)
}

/// Sends an answer from memory.
pub(super) async fn bytes(
    x: &mut Exchange<'_>,
    body: &Body<'_>,
    mut reply: Reply,
    out: &mut Vec<u8>,
) -> After {
    if let Some(pages) = x.pages(reply.status) {
        pages.dress(&mut reply, Some((&x.request, &x.cx)));
    }
    reply.status = x.shown(reply.status);
    let own = x.snapshot.config.internal && x.request.from_node && reply.status >= 400;
    if own && !x.edits.as_deref().is_some_and(|edits| edits.keeps_page) {
        let mut fields = reply.fields.to_vec();
        let _ = write!(fields, "{}: 1\r\n", crate::OWN_FIELD);
        reply.fields = fields.into();
    }
    let keep = keep(x, body.left(), reply.close);
    let bare = matches!(reply.status, 100..200 | 204 | 304);
    let length = (!bare).then_some(reply.body.len() as u64);
    head(
        out,
        x.conn,
        reply.status,
        &reply.fields,
        length,
        keep,
        x.edits.as_deref(),
    );
    x.record.status = reply.status;
    x.record.service = Some(reply.service);
    x.record.head_bytes += out.len() as u64;
    let content: &[u8] = if bare || x.is_head() {
        b""
    } else {
        &reply.body
    };
    x.record.bytes = content.len() as u64;
    let limit = x.snapshot.config.timeouts.body;
    if keep == Keep::Close {
        x.conn.client.conclude_with_next_write();
    }
    let sent = if content.len() <= JOINED {
        out.extend_from_slice(content);
        x.conn.send(&mut [IoSlice::new(out)], limit).await
    } else {
        let pieces = &mut [IoSlice::new(out), IoSlice::new(content)];
        x.conn.send(pieces, limit).await
    };
    finish(x, sent, keep)
}

fn finish(x: &mut Exchange<'_>, sent: Result<(), Stopped>, keep: Keep) -> After {
    match sent {
        Ok(()) => after(keep),
        Err(stopped) => {
            x.record.end_by(stopped, Phase::Body);
            After::Abort
        }
    }
}

/// Sends a part of a file.
pub(super) async fn file(
    x: &mut Exchange<'_>,
    body: &Body<'_>,
    file: FileBody,
    out: &mut Vec<u8>,
) -> After {
    let keep = keep(x, body.left(), false);
    let status = x.shown(file.status);
    head(
        out,
        x.conn,
        status,
        &file.fields,
        Some(file.before.len() as u64 + file.length),
        keep,
        x.edits.as_deref(),
    );
    x.record.status = status;
    x.record.service = Some(file.service.clone());
    x.record.head_bytes += out.len() as u64;
    let limit = x.snapshot.config.timeouts.body;
    if x.is_head() {
        let sent = x.conn.send(&mut [IoSlice::new(out)], limit).await;
        return finish(x, sent, keep);
    }
    out.extend_from_slice(&file.before);
    x.record.bytes = file.before.len() as u64;
    if file.length <= COPIED as u64 {
        let start = out.len();
        out.resize(start + file.length as usize, 0);
        let read = disk::read_at_hand(&file.file, &mut out[start..], file.offset);
        if read as u64 != file.length {
            match disk::fetched(file.file.clone(), file.offset, file.length).await {
                Ok(bytes) => out[start..].copy_from_slice(&bytes),
                Err(fault) => return broken(x, &file, fault),
            }
        }
        x.record.bytes += file.length;
        if keep == Keep::Close {
            x.conn.client.conclude_with_next_write();
        }
        let sent = x.conn.send(&mut [IoSlice::new(out)], limit).await;
        return finish(x, sent, keep);
    }
    let sent = send_file(x, &file, out).await;
    match sent {
        Ok(()) => after(keep),
        Err(Unsent::File(fault)) => broken(x, &file, fault),
        Err(Unsent::Stopped(stopped)) => finish(x, Err(stopped), keep),
    }
}

enum Unsent {
    /// The file cannot be read as far as was promised.
    File(Fault),
    /// The client.
    Stopped(Stopped),
}

async fn send_file(x: &mut Exchange<'_>, file: &FileBody, head: &[u8]) -> Result<(), Unsent> {
    let (conn, limit) = (x.conn, x.snapshot.config.timeouts.body);
    let mut rest = head;
    while !rest.is_empty() {
        // The kernel keeps the head back and sends it with the file's beginning in one segment.
        let write = async { conn.client.write(&[IoSlice::new(rest)], true).await };
        match conn.clock.limit(limit, write).await {
            Ok(Ok(n)) => rest = &rest[n..],
            Ok(Err(_)) => return Err(Unsent::Stopped(Stopped::Client)),
            Err(Elapsed) => return Err(Unsent::Stopped(Stopped::ClientTimeout)),
        }
    }
    let (mut sent, mut at_hand, mut seen) = (0, 0, true);
    while sent < file.length {
        if sent >= at_hand {
            let count = (file.length - sent).min(SENT_AT_ONCE);
            let (there, asked) = have(x, file, file.offset + sent, count).await?;
            at_hand = sent + there;
            seen &= asked;
        }
        let count = (at_hand - sent).min(SENT_AT_ONCE) as usize;
        let send = conn
            .client
            .send_file(file.file.as_fd(), file.offset + sent, count);
        match conn.clock.limit(limit, send).await {
            Ok(Ok(0)) => return Err(Unsent::File(Fault::Short)),
            Ok(Ok(n)) => sent += n as u64,
            // EIO and the like of the file itself cannot be told apart from the client's end here.
            Ok(Err(_)) => return Err(Unsent::Stopped(Stopped::Client)),
            Err(Elapsed) => return Err(Unsent::Stopped(Stopped::ClientTimeout)),
        }
        x.record.bytes = file.before.len() as u64 + sent;
        if sent < file.length {
            // A client that takes all at once must not keep the others waiting.
            tokio::task::yield_now().await;
        }
    }
    // What was all there will be for a while: the next client need not ask again.
    if file.offset == 0 && seen {
        let mut warm = x.conn.shared().warm.borrow_mut();
        warm.add(&file.file, file.length, Moment::now());
    }
    Ok(())
}

/// Waits until something of a part of a file is in memory. How much is, and whether that was seen just now and
/// without the disk.
async fn have(
    x: &Exchange<'_>,
    file: &FileBody,
    offset: u64,
    count: u64,
) -> Result<(u64, bool), Unsent> {
    let warm = &x.conn.shared().warm;
    if warm.borrow().has(&file.file, offset + count, Moment::now()) {
        return Ok((count, false));
    }
    let there = disk::at_hand(&file.file, offset, count);
    if there > 0 {
        return Ok((there, true));
    }
    let count = count.min(disk::FETCHED);
    let fetched = disk::fetch(file.file.clone(), offset, count).await;
    fetched.map_err(Unsent::File)?;
    Ok((count, false))
}

/// The promised length cannot be kept: the client must see a broken connection, not a short file.
fn broken(x: &mut Exchange<'_>, file: &FileBody, fault: Fault) -> After {
    let target = String::from_utf8_lossy(x.request.path()).into_owned();
    let what: String = match fault {
        Fault::Short => "became shorter while it was sent".into(),
        Fault::Error(errno) => format!("cannot be read ({})", std::io::Error::from(errno)),
        Fault::Silent => "cannot be read: the disk does not answer".into(),
    };
    // A file that is written again and again would fill the log.
    let shared = x.conn.shared();
    shared.broken.tell(shared, || {
        // Clients choose the path: no byte of it may end the line.
        let what = format!("{target:?} {what}: the connection was closed");
        (file.service.to_string(), what)
    });
    x.record.end_by(Stopped::File, Phase::Body);
    After::Abort
}

/// Answers what is no request, and says how the connection ends.
pub(super) async fn refuse(conn: &Conn, snapshot: &Snapshot, none: NoHead) -> After {
    let (status, words) = match none {
        NoHead::Gone => return After::Abort,
        NoHead::Late => (408, "the request did not come in time"),
        NoHead::Refused(error) => (error.status(), error.words()),
        NoHead::Denied(Denied::Full) => (503, "there are too many connections"),
        NoHead::Denied(Denied::Source) => (429, "there are too many connections from this address"),
    };
    let mut record = Record::new(Moment::now());
    let mut scratch = conn.shared().buffers.scratch();
    let mut reply = page(status, words, &snapshot.config.name);
    if matches!(none, NoHead::Denied(_)) {
        let fields = [&reply.fields, &b"Retry-After: 1\r\n"[..]].concat();
        reply.fields = fields.into();
    }
    if let Some(pages) = &snapshot.config.errors {
        pages.dress(&mut reply, None);
    }
    let out = &mut scratch.response_out;
    let length = Some(reply.body.len() as u64);
    // A page may lead elsewhere, by a status of its own.
    let status = reply.status;
    head(out, conn, status, &reply.fields, length, Keep::Close, None);
    record.status = status;
    record.head_bytes = out.len() as u64;
    record.bytes = reply.body.len() as u64;
    out.extend_from_slice(&reply.body);
    let sent = conn
        .send(&mut [IoSlice::new(out)], snapshot.config.timeouts.body)
        .await;
    record.end_by(
        match none {
            NoHead::Late => Stopped::ClientTimeout,
            _ => Stopped::Refused,
        },
        Phase::Request,
    );
    if let Err(stopped) = sent {
        record.end_by(stopped, Phase::Body);
    }
    record.refused(conn, snapshot);
    After::Close
}

/// A gateway's own error, for a node: why the try failed, as a field.
pub(super) fn mark(page: &mut Reply, stage: &str) {
    let mut fields = page.fields.to_vec();
    let _ = write!(fields, "{}: {stage}\r\n", crate::FAILED_FIELD);
    page.fields = Bytes::from(fields);
}

/// The reason phrase of a status (RFC 9110 section 15).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // RFC 9112 section 4: a client reads the code and not the phrase.
        _ => "",
    }
}
