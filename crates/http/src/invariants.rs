//! What holds of whatever bytes come: for the fuzzer, and for plain tests that replay its corpus.
//!
//! Each function panics when it does not.

use tandem_net::Peer;

use crate::chunked::Chunked;
use crate::fastcgi::{Answer, Records};
use crate::head::{Head, HeadError, HeadLimits};
use crate::path;
use crate::response::{Delimited, ResponseHead};
use crate::rewrite::{self, Forwarded, Keep, Returned};

/// Longer inputs show nothing more, and take long when they are cut everywhere.
const MOST: usize = 4096;

/// A request's head: read the same in any cut, and what is forwarded is read back as what was understood.
pub fn request_head(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MOST)];
    request_heads_in_turn(bytes);
    let mut head = Head::default();
    let whole = head.parse(bytes);
    for cut in 0..bytes.len() {
        let mut part = Head::default();
        match part.parse(&bytes[..cut]) {
            Ok(false) => {}
            Ok(true) => assert_eq!((whole, head.length()), (Ok(true), part.length())),
            // What is refused early is refused, if perhaps for what follows.
            Err(_) => assert!(whole.is_err(), "refused at {cut} and not as a whole"),
        }
    }
    let Ok(true) = whole else {
        if let Err(error) = whole {
            refusal(error);
        }
        return;
    };
    let text = &bytes[..head.length()];
    assert!(text.ends_with(b"\r\n\r\n"));
    assert!(!text.contains(&0));
    let target = head.target(text);
    if target != b"*" {
        let end = memchr::memchr(b'?', target).unwrap_or(target.len());
        assert_eq!(
            path::normal(&target[..end]).expect("it was accepted"),
            head.path(text)
        );
        assert!(head.path(text).starts_with(b"/"));
    }
    let mut out = Vec::new();
    rewrite::request(
        &mut out,
        &Forwarded {
            head: &head,
            bytes: text,
            from: ([192, 0, 2, 7], 1).into(),
            peer: Peer::Stranger,
            secure: false,
            to_node: true,
            elsewhere: true,
            id: None,
            host: "server.example:80",
            edits: None,
            cookies: None,
        },
    );
    // What is added to a head may take it over the usual limits.
    let limits = HeadLimits {
        head: 2 * MOST,
        fields: 250,
        target: MOST,
    };
    let mut again = Head::default();
    assert_eq!(again.read(&out, &limits), Ok(()), "{}", out.escape_ascii());
    assert_eq!(again.length(), out.len());
    assert_eq!(again.minor(), 1);
    assert_eq!(again.method(&out), head.method(text));
    assert_eq!(again.target(&out), target);
    assert_eq!(again.path(&out), head.path(text));
    assert_eq!(again.body(), head.body());
    assert_eq!(again.upgrade(), head.upgrade());
    let host = match head.host(text) {
        b"" if head.minor() == 0 => b"server.example:80",
        host => host,
    };
    assert_eq!(again.host(&out), host);
    for (name, _) in again.fields(&out) {
        assert!(!name.eq_ignore_ascii_case(b"expect"));
    }
}

/// What is read into a head that was used before is what a new one says: of the same bytes again, of what follows, and of
/// the same fields below other first lines.
fn request_heads_in_turn(bytes: &[u8]) {
    let fields = memchr::memchr(b'\r', bytes).map_or(&b""[..], |end| &bytes[end..]);
    let below = |line: &str| [line.as_bytes(), fields].concat();
    let (other, old) = (below("PUT /x/%41?y HTTP/1.1"), below("GET / HTTP/1.0"));
    let absolute = below("GET http://b:1/ HTTP/1.1");
    let mut used = Head::default();
    let mut rest = 0;
    for _ in 0..3 {
        for text in [&bytes[rest..], &other, bytes, bytes, &old, &absolute] {
            let mut fresh = Head::default();
            let said = fresh.parse(text);
            assert_eq!(used.parse(text), said, "{}", text.escape_ascii());
            if said == Ok(true) {
                assert_eq!(format!("{used:?}"), format!("{fresh:?}"));
            }
        }
        let mut head = Head::default();
        if head.parse(&bytes[rest..]) == Ok(true) {
            rest += head.length();
        }
    }
}

/// The same of an answer's head.
fn response_heads_in_turn(bytes: &[u8]) {
    let mut used = ResponseHead::default();
    let mut rest = 0;
    for _ in 0..3 {
        for text in [&bytes[rest..], bytes, bytes, &bytes[..bytes.len() / 2]] {
            let mut fresh = ResponseHead::default();
            let said = fresh.parse(text);
            assert_eq!(used.parse(text), said, "{}", text.escape_ascii());
            if matches!(said, Ok(Some(_))) {
                assert_eq!(format!("{used:?}"), format!("{fresh:?}"));
            }
        }
        if let Ok(Some(length)) = ResponseHead::default().parse(&bytes[rest..]) {
            rest += length;
        }
    }
}

fn refusal(error: HeadError) {
    assert!(matches!(error.status(), 400 | 414 | 431 | 501 | 505));
    assert!(!error.words().is_empty());
}

/// A response's head: read the same in any cut, and what the client gets is read back as what was understood.
pub fn response_head(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MOST)];
    response_heads_in_turn(bytes);
    let mut head = ResponseHead::default();
    let whole = head.parse(bytes);
    for cut in 0..bytes.len() {
        match ResponseHead::default().parse(&bytes[..cut]) {
            Ok(None) => {}
            Ok(part) => assert_eq!(whole, Ok(part)),
            Err(_) => assert!(whole.is_err(), "refused at {cut} and not as a whole"),
        }
    }
    let Ok(Some(length)) = whole else { return };
    let text = &bytes[..length];
    assert!((100..1000).contains(&head.status()));
    let mut out = Vec::new();
    let returned = Returned {
        chunk: false,
        keep: Keep::Implied,
        to_node: false,
        edits: None,
        cookies: None,
        coded: None,
        date: b"",
    };
    rewrite::response(&mut out, &head, text, &returned);
    let mut again = ResponseHead::default();
    assert_eq!(
        again.parse(&out),
        Ok(Some(out.len())),
        "{}",
        out.escape_ascii()
    );
    assert_eq!(again.status(), head.status());
    assert_eq!(again.reason(&out), head.reason(text));
    if !matches!(head.status(), 100..200 | 204) {
        assert_eq!(again.length(), head.length());
    }
}

/// A chunked body: any cut means the same.
pub fn chunked(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MOST)];
    let whole = decode(bytes, bytes.len().max(1));
    for step in [1, 2, 3, 7, 64] {
        let cut = decode(bytes, step);
        assert_eq!(whole.is_ok(), cut.is_ok(), "by {step}");
        if let (Ok(whole), Ok(cut)) = (&whole, &cut) {
            assert_eq!(whole, cut, "by {step}");
        }
    }
    if let Ok((_, trailers, Some(used))) = &whole {
        assert!(*used <= bytes.len());
        for line in trailers.split_inclusive(|&b| b == b'\n') {
            assert!(line.ends_with(b"\r\n") && line.contains(&b':'));
        }
    }
}

/// An answer in records of FastCGI: any cut means the same, and what its head becomes is read as a head of HTTP or
/// refused.
pub fn fastcgi_answer(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MOST)];
    let whole = records(bytes, bytes.len().max(1));
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(whole, records(bytes, step), "by {step}");
    }
    cgi_head(bytes);
    if let Some((output, _)) = whole {
        cgi_head(&output);
    }
}

/// What a program has sent, and whether it has ended; `None` when it is refused.
fn records(bytes: &[u8], step: usize) -> Option<(Vec<u8>, bool)> {
    let (mut records, mut output) = (Records::default(), Vec::new());
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let data = records.decode(&mut piece).ok()?;
        output.extend_from_slice(&piece[..data]);
    }
    assert!(output.len() + records.complaints().len() <= bytes.len());
    Some((output, records.is_over()))
}

fn cgi_head(bytes: &[u8]) {
    let whole = Answer::read(bytes);
    for cut in 0..bytes.len() {
        match Answer::read(&bytes[..cut]) {
            Ok(None) => {}
            part => assert_eq!(whole, part, "cut at {cut}"),
        }
    }
    let Ok(Some((length, made))) = whole else {
        return;
    };
    assert!(length <= bytes.len());
    let mut head = ResponseHead::default();
    if head.read(&made).is_ok() {
        assert!(!head.keep_alive() && head.body(false) != Delimited::Chunked);
    }
}

/// Data, trailers, and where the body ended.
type Decoded = (Vec<u8>, Vec<u8>, Option<usize>);

fn decode(bytes: &[u8], step: usize) -> Result<Decoded, crate::chunked::ChunkError> {
    let (mut chunked, mut data, mut at) = (Chunked::default(), Vec::new(), 0);
    while at < bytes.len() {
        let mut piece = bytes[at..bytes.len().min(at + step)].to_vec();
        let decoded = chunked.decode(&mut piece)?;
        assert!(decoded.data <= decoded.consumed && decoded.consumed <= piece.len());
        data.extend_from_slice(&piece[..decoded.data]);
        at += decoded.consumed;
        if chunked.is_done() {
            return Ok((data, chunked.take_trailers(), Some(at)));
        }
    }
    Ok((data, Vec::new(), None))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Hands every file of a corpus to `check`.
    fn replay(corpus: &str, check: fn(&[u8])) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(corpus);
        let mut files = 0;
        for entry in std::fs::read_dir(&dir).expect("there is a corpus") {
            let path = entry.expect("it can be listed").path();
            let bytes = std::fs::read(&path).expect("it can be read");
            println!("{}", path.display());
            check(&bytes);
            files += 1;
        }
        assert!(files >= 10, "only {files} in {}", dir.display());
    }

    #[test]
    fn the_corpus_of_request_heads_holds() {
        replay("request_head", super::request_head);
    }

    #[test]
    fn the_corpus_of_response_heads_holds() {
        replay("response_head", super::response_head);
    }

    #[test]
    fn the_corpus_of_chunked_bodies_holds() {
        replay("chunked", super::chunked);
    }

    #[test]
    fn the_corpus_of_fastcgi_answers_holds() {
        replay("fastcgi_answer", super::fastcgi_answer);
    }

    mod any_bytes {
        use proptest::prelude::*;

        /// Bytes that parsers stumble over, and bytes of all kinds.
        fn bytes(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
            let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
            let byte = any::<u8>().prop_map(|b| vec![b]);
            let part = prop_oneof![6 => word, 1 => byte];
            proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
        }

        proptest! {
            #[test]
            fn request_heads(bytes in bytes(&[
                "GET ", "POST ", "/a%2fb?c ", "http://b:80", "* ", "HTTP/1.1\r\n", "HTTP/1.0\r\n", "Host: a\r\n",
                "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Connection: x, close\r\n", "Upgrade: y\r\n",
                "X: y\r\n", " ", "\t", ":", "\r\n", "\n", "\r", "\r\n\r\n", "\0", "TE: trailers\r\n", "../",
            ])) {
                crate::invariants::request_head(&bytes);
            }

            #[test]
            fn response_heads(bytes in bytes(&[
                "HTTP/1.1 ", "HTTP/1.0 ", "200 OK\r\n", "204\r\n", "101 X\r\n", "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n", "Connection: x\r\n", "X: y\r\n", " ", ":", "\r\n", "\n", "\r\n\r\n", "\0",
            ])) {
                crate::invariants::response_head(&bytes);
            }

            #[test]
            fn chunked_bodies(bytes in bytes(&[
                "0", "1", "a", "F", ";x=y", "\r\n", "\n", "\r", "data", "0\r\n\r\n", "A: b\r\n", " ", "1\r\nz\r\n",
            ])) {
                crate::invariants::chunked(&bytes);
            }

            #[test]
            fn fastcgi_answers(bytes in bytes(&[
                "\x01\x06\0\x01\0\x10\0\0", "\x01\x06\0\x01\0\x02\x01\0", "\x01\x07\0\x01\0\x05\0\0", "\x01\x03\0\x01\0\x08\0\0",
                "\0\0\0\0\0\0\0\0", "Status: 404 No\r\n", "Location: /\n", "A: b\r\n", "Transfer-Encoding: chunked\n",
                "Connection: keep-alive\n", "Content-Length: 3\n", "Status: x\n", "\r\n", "\n", ":", "\0", "abc",
            ])) {
                crate::invariants::fastcgi_answer(&bytes);
            }
        }
    }
}
