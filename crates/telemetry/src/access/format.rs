//! The forms of an access log's lines.

use std::io::Write as _;

use tandem_model::{AccessFormat, AccessVariable, NamedVariable, Part};

use super::{AccessRecord, Ended};
use crate::decimal;

/// When a record is written.
pub(super) struct Stamp<'a> {
    /// `23/Nov/2026:14:05:09 +0000`
    pub clf: &'a str,
    /// `2026-11-23T14:05:09`
    pub second: &'a str,
    /// Milliseconds of it.
    pub millis: u16,
}

/// Appends a line.
pub(super) fn line(
    out: &mut Vec<u8>,
    format: &AccessFormat,
    stamp: &Stamp<'_>,
    record: &AccessRecord<'_>,
) {
    match format {
        AccessFormat::Combined => combined(out, stamp, record),
        AccessFormat::Json => json(out, stamp, record),
        AccessFormat::Own(template) => {
            for part in template.parts() {
                match part {
                    Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Part::Variable(AccessVariable::Header(name)) => {
                        escaped(out, or_dash((record.field)(name)));
                    }
                    Part::Variable(AccessVariable::Named(named)) => {
                        value(out, *named, stamp, record);
                    }
                }
            }
        }
    }
    out.push(b'\n');
}

/// Apache's combined format, then `service/server retries queue/connect/first/total` in milliseconds, who ended it before
/// its end (`-` for nobody), and its id. A connection that was passed on has the bytes from the client behind that.
fn combined(out: &mut Vec<u8>, stamp: &Stamp<'_>, r: &AccessRecord<'_>) {
    out.reserve(256 + r.target.len() + r.referer.len() + r.agent.len());
    decimal::push_ip(out, r.client);
    if r.user.is_empty() {
        out.extend_from_slice(b" - - [");
    } else {
        out.extend_from_slice(b" - ");
        word(out, r.user);
        out.extend_from_slice(b" [");
    }
    out.extend_from_slice(stamp.clf.as_bytes());
    out.extend_from_slice(b"] \"");
    // A token, which has nothing to be escaped.
    out.extend_from_slice(r.method);
    out.push(b' ');
    escaped(out, r.target);
    if !r.version.is_empty() {
        out.push(b' ');
        out.extend_from_slice(r.version.as_bytes());
    }
    out.extend_from_slice(b"\" ");
    decimal::push_status(out, r.status);
    out.push(b' ');
    decimal::push(out, r.bytes);
    out.extend_from_slice(b" \"");
    escaped_or_dash(out, r.referer);
    out.extend_from_slice(b"\" \"");
    escaped_or_dash(out, r.agent);
    out.extend_from_slice(b"\" ");
    out.extend_from_slice(or_dash(r.service.as_bytes()));
    out.push(b'/');
    out.extend_from_slice(or_dash(r.server.as_bytes()));
    out.push(b' ');
    decimal::push(out, r.retries.into());
    for (before, micros) in [
        (b' ', r.queue),
        (b'/', r.connect),
        (b'/', r.first_byte),
        (b'/', r.total),
    ] {
        out.push(before);
        millis(out, micros);
    }
    out.push(b' ');
    ended(out, r.ended);
    out.push(b' ');
    word(out, or_dash(r.id));
    if let Some(received) = r.received {
        out.push(b' ');
        decimal::push(out, received);
    }
}

/// One object. Names and meanings are stable; new ones may come.
fn json(out: &mut Vec<u8>, stamp: &Stamp<'_>, r: &AccessRecord<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    rfc3339(out, stamp);
    out.extend_from_slice(b"\",\"client\":\"");
    decimal::push_ip(out, r.client);
    out.push(b'"');
    key(out, "client_port");
    decimal::push(out, r.port.into());
    for (name, text) in [
        ("user", r.user),
        ("method", r.method),
        ("uri", r.target),
        ("version", r.version.as_bytes()),
        ("host", r.host),
    ] {
        string(out, name, text);
    }
    for (name, number) in [("status", r.status.into()), ("bytes", r.bytes)] {
        key(out, name);
        decimal::push(out, number);
    }
    if let Some(received) = r.received {
        key(out, "received");
        decimal::push(out, received);
    }
    for (name, text) in [
        ("referer", r.referer),
        ("agent", r.agent),
        ("listener", r.listener.as_bytes()),
        ("route", r.route.as_bytes()),
        ("service", r.service.as_bytes()),
        ("server", r.server.as_bytes()),
    ] {
        string(out, name, text);
    }
    key(out, "retries");
    decimal::push(out, r.retries.into());
    for (name, micros) in [
        ("queue_ms", r.queue),
        ("connect_ms", r.connect),
        ("first_byte_ms", r.first_byte),
        ("total_ms", r.total),
    ] {
        key(out, name);
        millis(out, micros);
    }
    key(out, "ended");
    out.push(b'"');
    ended(out, r.ended);
    out.push(b'"');
    string(out, "request_id", r.id);
    out.push(b'}');
}

/// A variable of a form of the operator's own: as one word, but for the texts that clients send.
fn value(out: &mut Vec<u8>, named: NamedVariable, stamp: &Stamp<'_>, r: &AccessRecord<'_>) {
    match named {
        NamedVariable::Time => rfc3339(out, stamp),
        NamedVariable::ClfTime => out.extend_from_slice(stamp.clf.as_bytes()),
        NamedVariable::Client => decimal::push_ip(out, r.client),
        NamedVariable::ClientPort if r.port == 0 => out.push(b'-'),
        NamedVariable::ClientPort => decimal::push(out, r.port.into()),
        NamedVariable::User => word(out, or_dash(r.user)),
        NamedVariable::Method => escaped(out, r.method),
        NamedVariable::Uri => escaped(out, r.target),
        NamedVariable::Version => out.extend_from_slice(or_dash(r.version.as_bytes())),
        NamedVariable::Host => word(out, or_dash(r.host)),
        NamedVariable::Status => decimal::push(out, r.status.into()),
        NamedVariable::Bytes => decimal::push(out, r.bytes),
        NamedVariable::Referer => escaped(out, or_dash(r.referer)),
        NamedVariable::Agent => escaped(out, or_dash(r.agent)),
        NamedVariable::Listener => out.extend_from_slice(r.listener.as_bytes()),
        NamedVariable::Route => escaped(out, or_dash(r.route.as_bytes())),
        NamedVariable::Service => out.extend_from_slice(or_dash(r.service.as_bytes())),
        NamedVariable::Server => out.extend_from_slice(or_dash(r.server.as_bytes())),
        NamedVariable::Retries => decimal::push(out, r.retries.into()),
        NamedVariable::Queue => millis(out, r.queue),
        NamedVariable::Connect => millis(out, r.connect),
        NamedVariable::FirstByte => millis(out, r.first_byte),
        NamedVariable::Total => millis(out, r.total),
        NamedVariable::Ended => ended(out, r.ended),
        NamedVariable::RequestId => word(out, or_dash(r.id)),
    }
}

fn rfc3339(out: &mut Vec<u8>, stamp: &Stamp<'_>) {
    out.extend_from_slice(stamp.second.as_bytes());
    let [a, b, c] = decimal::three(stamp.millis);
    out.extend_from_slice(&[b'.', a, b, c, b'Z']);
}

fn ended(out: &mut Vec<u8>, ended: Option<Ended>) {
    match ended {
        None => out.push(b'-'),
        Some(Ended { by, phase }) => {
            out.extend_from_slice(by.words().as_bytes());
            out.push(b'/');
            out.extend_from_slice(phase.word().as_bytes());
        }
    }
}

fn escaped_or_dash(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        out.push(b'-');
    } else {
        escaped(out, text);
    }
}

fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

/// Microseconds as milliseconds with three digits.
fn millis(out: &mut Vec<u8>, micros: u64) {
    let (whole, rest) = (micros / 1_000, (micros % 1_000) as u16);
    let [a, b, c] = decimal::three(rest);
    // Most take less than ten of them.
    if whole < 10 {
        return out.extend_from_slice(&[b'0' + whole as u8, b'.', a, b, c]);
    }
    decimal::push(out, whole);
    out.extend_from_slice(&[b'.', a, b, c]);
}

/// Whether some byte is a quote, a backslash or outside printable ASCII; with `SPACES`, also when it is a space.
fn is_odd<const SPACES: bool>(bytes: &[u8]) -> bool {
    let first = if SPACES { 0x21 } else { 0x20 };
    // Without a branch, so that sixteen are compared at once.
    let odd = |b: u8| {
        u8::from(b < first) | u8::from(b > 0x7e) | u8::from(b == b'"') | u8::from(b == b'\\')
    };
    let all = |sixteen: &[u8; 16]| u128::from_ne_bytes(sixteen.map(odd));
    // The last sixteen are whole, too: what they have of those before is looked at twice.
    let Some(last) = bytes.last_chunk::<16>() else {
        let mut sixteen = [b'~'; 16];
        sixteen[..bytes.len()].copy_from_slice(bytes);
        return all(&sixteen) != 0;
    };
    let (chunks, _) = bytes.as_chunks::<16>();
    chunks
        .iter()
        .fold(all(last), |found, chunk| found | all(chunk))
        != 0
}

fn is_bad(b: u8) -> bool {
    matches!(b, b'"' | b'\\' | 0..=0x1f | 0x7f..)
}

/// Quotes, backslashes and bytes outside printable ASCII as `\xHH`, so that no request can forge a line.
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_odd::<false>(bytes) {
        return escaped_each(out, bytes);
    }
    out.extend_from_slice(bytes);
}

#[cold]
fn escaped_each(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while let Some(bad) = bytes.iter().position(|&b| is_bad(b)) {
        out.extend_from_slice(&bytes[..bad]);
        // Writing to a vector does not fail.
        let _ = write!(out, "\\x{:02X}", bytes[bad]);
        bytes = &bytes[bad + 1..];
    }
    out.extend_from_slice(bytes);
}

/// As [`escaped`], and one word: no space in it.
fn word(out: &mut Vec<u8>, text: &[u8]) {
    if !is_odd::<true>(text) {
        return out.extend_from_slice(text);
    }
    for (number, part) in text.split(|&b| b == b' ').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\\x20");
        }
        escaped(out, part);
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A member that is a text. Bytes that are no UTF-8 are taken for Latin-1: JSON has no other way to say them.
fn string(out: &mut Vec<u8>, name: &str, text: &[u8]) {
    key(out, name);
    out.push(b'"');
    if is_odd::<false>(text) {
        for part in text.utf8_chunks() {
            for b in part.valid().bytes() {
                match b {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
                    0..=0x1f | 0x7f => {
                        let _ = write!(out, "\\u{b:04x}");
                    }
                    _ => out.push(b),
                }
            }
            // What is no UTF-8, a byte at a time.
            for b in part.invalid() {
                let _ = write!(out, "\\u{b:04x}");
            }
        }
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use tandem_model::AccessTemplate;

    use super::*;
    use crate::access::tests::record;
    use crate::access::{Phase, Stopped};

    fn written(format: &AccessFormat, record: &AccessRecord<'_>) -> String {
        let stamp = Stamp {
            clf: "23/Nov/2026:14:05:09 +0000",
            second: "2026-11-23T14:05:09",
            millis: 7,
        };
        let mut out = Vec::new();
        line(&mut out, format, &stamp, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_byte_that_could_forge_a_line_is_written_as_it_is() {
        for length in 0..20 {
            for at in 0..length {
                for b in 0..=u8::MAX {
                    let mut text = vec![b'~'; length];
                    text[at] = b;
                    let odd = matches!(b, b'"' | b'\\' | 0..=0x1f | 0x7f..);
                    assert_eq!(is_odd::<false>(&text), odd, "{text:?}");
                    assert_eq!(is_odd::<true>(&text), odd || b == b' ', "{text:?}");
                }
            }
        }
    }

    #[test]
    fn who_was_let_in_and_the_requests_id_are_one_word_each() {
        let record = AccessRecord {
            user: b"al ice\"",
            id: b"4f 2a",
            ..record()
        };
        let line = written(&AccessFormat::Combined, &record);
        assert!(
            line.starts_with("192.168.0.5 - al\\x20ice\\x22 [23/"),
            "{line}"
        );
        assert!(line.ends_with("/12.000 - 4f\\x202a\n"), "{line}");
    }

    #[test]
    fn what_was_answered_here_has_the_same_columns() {
        let here = AccessRecord {
            server: "",
            retries: 0,
            queue: 0,
            connect: 0,
            first_byte: 0,
            ..record()
        };
        let line = written(&AccessFormat::Combined, &here);
        assert!(
            line.ends_with(" shop/- 0 0.000/0.000/0.000/12.000 - 4f2a\n"),
            "{line}"
        );
        for tried in [
            AccessRecord { retries: 1, ..here },
            AccessRecord { queue: 7, ..here },
            AccessRecord { connect: 7, ..here },
            AccessRecord {
                first_byte: 7,
                ..here
            },
        ] {
            let other = written(&AccessFormat::Combined, &tried);
            assert_ne!(other, line);
            assert_eq!(other.split(' ').count(), line.split(' ').count());
        }
    }

    #[test]
    fn a_request_cannot_forge_a_line() {
        let expected = "192.168.0.5 - - [23/Nov/2026:14:05:09 +0000] \"GET /a\\x22\\x0Ab HTTP/1.1\" 200 12 \"-\" \
                        \"curl/8\" shop/app1 1 0.020/0.310/1.500/12.000 - 4f2a\n";
        assert_eq!(written(&AccessFormat::Combined, &record()), expected);
        let json = written(&AccessFormat::Json, &record());
        assert_eq!(json.lines().count(), 1);
        let own = AccessTemplate::parse("{uri} {header:X-A} {agent}").unwrap();
        assert_eq!(
            written(&AccessFormat::Own(own), &record()),
            "/a\\x22\\x0Ab a b curl/8\n"
        );
    }

    #[test]
    fn a_passed_on_connection_has_what_came_from_the_client_at_its_end() {
        let record = AccessRecord {
            method: b"TCP",
            target: b"db.example",
            version: "",
            received: Some(77),
            ended: Some(Ended {
                by: Stopped::Server,
                phase: Phase::Connect,
            }),
            id: b"",
            ..record()
        };
        let line = written(&AccessFormat::Combined, &record);
        assert!(line.contains("\"TCP db.example\" 200 12 "), "{line}");
        assert!(line.ends_with(" server-failed/connect - 77\n"), "{line}");
    }

    #[test]
    fn json_is_json_whatever_was_sent() {
        for (target, read) in [
            (&b"/a\"\\\n\x7f"[..], "/a\"\\\n\u{7f}"),
            ("/ä".as_bytes(), "/ä"),
            (b"/\xff\x80", "/\u{ff}\u{80}"),
            (b"/\xc3\xa9\xff\"", "/\u{e9}\u{ff}\""),
        ] {
            let record = AccessRecord {
                target,
                ended: Some(Ended {
                    by: Stopped::ServerTimeout,
                    phase: Phase::Answer,
                }),
                ..record()
            };
            let line = written(&AccessFormat::Json, &record);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["uri"], read);
            assert_eq!(value["time"], "2026-11-23T14:05:09.007Z");
            assert_eq!(value["first_byte_ms"], 1.5);
            assert_eq!(value["ended"], "server-timeout/answer");
            assert_eq!(value["request_id"], "4f2a");
        }
    }

    #[test]
    fn every_variable_can_be_written() {
        let all: Vec<String> = AccessVariable::all()
            .map(|(name, _)| format!("{{{name}}}"))
            .collect();
        let all = all.join(" ").replace("NAME", "X-A");
        let template = AccessTemplate::parse(&all).unwrap();
        assert_eq!(
            written(&AccessFormat::Own(template), &record()),
            "2026-11-23T14:05:09.007Z 23/Nov/2026:14:05:09 +0000 192.168.0.5 4711 - GET /a\\x22\\x0Ab HTTP/1.1 shop.example \
             200 12 - curl/8 web /a* shop app1 1 0.020 0.310 1.500 12.000 - 4f2a a b\n"
        );
    }
}
