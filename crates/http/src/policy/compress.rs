//! `compress`: text from servers, compressed as it passes.
//!
//! What was read is compressed at once, and what that makes is sent before the next is waited for: events come as soon as
//! the server says them, and no more than one piece is held. So much is compressed at a time on a worker; beyond that
//! answers pass as they are.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::sync::Arc;

use tandem_model::{self as model, Coding};

use super::coding::{Preference, is_text};
use super::edits::strip;
use crate::Request;
use crate::response::ResponseHead;

/// The level of zlib: most of what the highest gains, in a third of its time.
const GZIP_LEVEL: u32 = 5;
/// The quality of Brotli: smaller than gzip in about its time.
const BROTLI_QUALITY: u32 = 4;
/// The window of Brotli as a power of two, in bytes.
const BROTLI_WINDOW: u32 = 18;
/// The buffer of Brotli's writer, in bytes.
const BROTLI_BUFFER: usize = 4096;
/// Compressions that go on at a time on a worker, each by its weight: some 64 MiB.
const AT_ONCE: u32 = 200;

thread_local! {
    static GOING_ON: Cell<u32> = const { Cell::new(0) };
}

/// Which answers are compressed, and how.
#[derive(Debug)]
pub(super) struct Rules {
    types: Vec<String>,
    min: u64,
    offered: Vec<Coding>,
}

impl Rules {
    pub(super) fn new(said: &model::Compression) -> Self {
        Self {
            types: said.types.clone(),
            min: said.min.0,
            offered: said.codings.clone(),
        }
    }

    fn takes(&self, kind: &[u8]) -> bool {
        let kind = kind.split(|&b| b == b';').next().unwrap_or_default();
        let kind = String::from_utf8_lossy(kind.trim_ascii()).to_lowercase();
        if self.types.is_empty() {
            return is_text(&kind);
        }
        self.types
            .iter()
            .any(|known| match known.strip_suffix('*') {
                Some(start) => kind.starts_with(start),
                None => *known == kind,
            })
    }
}

/// What may become of the answer to one request.
#[derive(Clone, Debug)]
pub struct Compress {
    rules: Arc<Rules>,
    preference: Preference,
    /// Its answer can have no length known before.
    streams: bool,
}

/// What becomes of an answer.
pub(crate) struct Coded {
    /// How its body is compressed; `None`: it is not, for this client.
    pub coding: Option<Coding>,
    /// It is a 304: of the answer with a body, which the client has, it has the tag alone.
    is_known: bool,
}

impl Compress {
    pub(super) fn new(rules: &Arc<Rules>, request: &Request<'_>) -> Self {
        Self {
            rules: rules.clone(),
            preference: Preference::read(request.field("accept-encoding"), &rules.offered),
            streams: request.head.minor() == 1,
        }
    }

    /// What becomes of a server's answer; `None` when it is nothing to us. `bytes` are those of the head.
    pub(crate) fn decide(&self, head: &ResponseHead, bytes: &[u8]) -> Option<Coded> {
        let has = |name: &str| head.value(bytes, name);
        // Of what the client has already: its kind and length need not be told again.
        let is_known = head.status() == 304;
        let kind = has("content-type");
        // Parts and other answers without a body are what they are.
        if !matches!(head.status(), 200..=203 | 304 | 400..=599)
            || has("content-encoding").is_some()
            || has("content-range").is_some()
            || !kind.map_or(is_known, |kind| self.rules.takes(kind))
            || head.length().is_some_and(|length| length < self.rules.min)
        {
            return None;
        }
        // RFC 9111 section 5.2.2.6.
        let forbids = head.values(bytes, "cache-control").any(|value| {
            value
                .split(|&b| b == b',')
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
        });
        if forbids {
            return None;
        }
        let coding = self.preference.codings().next();
        // RFC 9110 section 15.4.5: a 304 has the tag, and says of what it varies by, what the answer with a body would.
        Some(Coded {
            coding: coding.filter(|_| self.streams),
            is_known,
        })
    }
}

impl Coded {
    /// Changes the lines of the answer's head that `out` holds from `from` on.
    pub fn apply(&self, out: &mut Vec<u8>, from: usize) {
        let line = |name: &[u8], out: &[u8]| {
            let mut at = from;
            for line in out[from..].split_inclusive(|&b| b == b'\n') {
                let is = line.len() > name.len()
                    && line[name.len()] == b':'
                    && line[..name.len()].eq_ignore_ascii_case(name);
                if is {
                    return Some(at..at + line.len());
                }
                at += line.len();
            }
            None
        };
        // RFC 9110 section 8.8.3: another coding has another strong tag, and parts of it are not those of the other.
        if self.coding.is_some()
            && let Some(tag) = line(b"etag", out)
        {
            let quote = memchr::memchr(b'"', &out[tag.clone()]);
            let weak = out[tag.clone()].windows(3).any(|three| three == b"W/\"");
            if let (Some(quote), false) = (quote, weak) {
                let at = tag.start + quote;
                out.splice(at..at, *b"W/");
            }
        }
        if let Some(coding) = self.coding.filter(|_| !self.is_known) {
            strip(
                out,
                from,
                b"Content-Length\nAccept-Ranges\nContent-MD5\nContent-Digest\nDigest\n",
            );
            out.extend_from_slice(b"Content-Encoding: ");
            out.extend_from_slice(coding.name().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let varies = line(b"vary", out).is_some_and(|vary| {
            let text = out[vary].to_ascii_lowercase();
            memchr::memmem::find(&text, b"accept-encoding").is_some() || text.contains(&b'*')
        });
        if !varies {
            out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        }
    }
}

/// A body on its way through a compressor.
pub(crate) struct Encoder {
    kind: Kind,
    _weight: Weight,
}

enum Kind {
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    /// All of it was taken.
    Done(Vec<u8>),
}

/// What it takes of a worker's memory, in units of some 300 KiB.
struct Weight(u32);

impl Weight {
    fn take(weight: u32) -> Option<Self> {
        let going_on = GOING_ON.get();
        (going_on + weight <= AT_ONCE).then(|| {
            GOING_ON.set(going_on + weight);
            Self(weight)
        })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        GOING_ON.set(GOING_ON.get() - self.0);
    }
}

impl Encoder {
    /// `None` when too much is being compressed.
    pub fn new(coding: Coding) -> Option<Self> {
        let (weight, kind) = match coding {
            Coding::Gzip => {
                let weight = Weight::take(1)?;
                let level = flate2::Compression::new(GZIP_LEVEL);
                (
                    weight,
                    Kind::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level))),
                )
            }
            Coding::Brotli => {
                let weight = Weight::take(5)?;
                let writer = brotli::CompressorWriter::new(
                    Vec::new(),
                    BROTLI_BUFFER,
                    BROTLI_QUALITY,
                    BROTLI_WINDOW,
                );
                (weight, Kind::Brotli(Box::new(writer)))
            }
            Coding::Zstd => return None,
        };
        Some(Self {
            kind,
            _weight: weight,
        })
    }

    /// Takes a piece of the body.
    ///
    /// # Errors
    /// When the compressor fails, which it has no reason to.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Gzip(writer) => writer.write_all(data),
            Kind::Brotli(writer) => writer.write_all(data),
            Kind::Done(_) => Ok(()),
        }
    }

    /// Makes it possible to read all that was taken so far.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Gzip(writer) => writer.flush(),
            Kind::Brotli(writer) => writer.flush(),
            Kind::Done(_) => Ok(()),
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&mut self) -> io::Result<()> {
        self.kind = match std::mem::replace(&mut self.kind, Kind::Done(Vec::new())) {
            Kind::Gzip(writer) => Kind::Done(writer.finish()?),
            Kind::Brotli(writer) => Kind::Done(writer.into_inner()),
            done @ Kind::Done(_) => done,
        };
        Ok(())
    }

    /// What it has made since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.kind {
            Kind::Gzip(writer) => writer.get_mut(),
            Kind::Brotli(writer) => writer.get_mut(),
            Kind::Done(rest) => rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::policy::testing::with_request;

    fn decided(said: &model::Compression, accepts: &str, head: &str) -> Option<String> {
        let rules = Arc::new(Rules::new(said));
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accepts}\r\n\r\n");
        let compress = with_request(&request, |request| Compress::new(&rules, request));
        let text = format!("HTTP/1.1 {head}\r\n\r\n");
        let mut parsed = ResponseHead::default();
        parsed.read(text.as_bytes()).unwrap();
        let coded = compress.decide(&parsed, text.as_bytes())?;
        let lines = text.split_once("\r\n").unwrap().1.trim_end().to_owned() + "\r\n";
        let mut out = lines.into_bytes();
        coded.apply(&mut out, 0);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_finds_no_compressor_goes_with_its_own_tag() {
        let tag = "ETag: \"a\"\r\n";
        for is_known in [false, true] {
            let mut out = tag.to_owned().into_bytes();
            let coded = Coded {
                coding: None,
                is_known,
            };
            coded.apply(&mut out, 0);
            assert_eq!(out, format!("{tag}Vary: Accept-Encoding\r\n").as_bytes());
        }
    }

    #[test]
    fn what_a_client_has_already_keeps_the_tag_that_it_has() {
        let said = model::Compression::default();
        let head = "304 Not Modified\r\nETag: \"a\"";
        assert_eq!(
            decided(&said, "gzip", head).unwrap(),
            "ETag: W/\"a\"\r\nVary: Accept-Encoding\r\n"
        );
        assert_eq!(
            decided(&said, "identity", head).unwrap(),
            "ETag: \"a\"\r\nVary: Accept-Encoding\r\n"
        );
        let image = format!("{head}\r\nContent-Type: image/png");
        assert!(decided(&said, "gzip", &image).is_none());
    }

    #[test]
    fn text_that_is_long_enough_is_coded_for_clients_that_take_it() {
        let said = model::Compression::default();
        let head = "200 OK\r\nContent-Type: Text/HTML; charset=x\r\nContent-Length: 5000\r\nETag: \"a\"\r\nAccept-Ranges: bytes";
        assert_eq!(
            decided(&said, "gzip, br", head).unwrap(),
            "Content-Type: Text/HTML; charset=x\r\nETag: W/\"a\"\r\nContent-Encoding: br\r\nVary: Accept-Encoding\r\n"
        );
        assert!(
            decided(&said, "gzip, br;q=0", head)
                .unwrap()
                .contains("Encoding: gzip\r\n")
        );
        // Another client gets another answer, which caches must know.
        let plain = decided(&said, "identity", head).unwrap();
        assert!(
            plain.contains("Content-Length: 5000") && plain.ends_with("Vary: Accept-Encoding\r\n")
        );
        let own = format!("{head}\r\nVary: Origin, accept-encoding\r\nX: W/\"");
        assert_eq!(
            decided(&said, "gzip", &own)
                .unwrap()
                .matches("Vary")
                .count(),
            1
        );
        let weak = head.replace("\"a\"", "W/\"a\"");
        assert!(
            decided(&said, "gzip", &weak)
                .unwrap()
                .contains("ETag: W/\"a\"\r\n")
        );
    }

    #[test]
    fn what_must_not_or_need_not_be_coded_passes() {
        let said = model::Compression::default();
        for head in [
            "200 OK\r\nContent-Type: image/png",
            "200 OK",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 1023",
            "200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip",
            "200 OK\r\nContent-Type: text/html\r\nCache-Control: public, No-Transform",
            "206 Partial\r\nContent-Type: text/html\r\nContent-Range: bytes 0-1/2",
            "204 No Content\r\nContent-Type: text/html",
        ] {
            assert_eq!(decided(&said, "gzip", head), None, "{head}");
        }
        let types = model::Compression {
            types: vec!["image/*".into(), "text/css".into()],
            ..model::Compression::default()
        };
        for (kind, coded) in [
            ("image/png", true),
            ("text/css;x", true),
            ("text/html", false),
        ] {
            let head = format!("200 OK\r\nContent-Type: {kind}");
            assert_eq!(decided(&types, "gzip", &head).is_some(), coded, "{kind}");
        }
    }

    #[test]
    fn pieces_can_be_read_as_they_come_and_are_the_whole_in_the_end() {
        for coding in [Coding::Gzip, Coding::Brotli] {
            let mut encoder = Encoder::new(coding).unwrap();
            let (mut coded, mut plain) = (Vec::new(), Vec::new());
            for i in 0..50 {
                let piece = format!("piece {i} of some text that repeats itself; ").repeat(i * 7);
                encoder.write(piece.as_bytes()).unwrap();
                plain.extend_from_slice(piece.as_bytes());
                encoder.flush().unwrap();
                coded.extend(encoder.take());
                assert_eq!(so_far(coding, &coded, plain.len()), plain, "{coding:?} {i}");
            }
            encoder.finish().unwrap();
            coded.extend(encoder.take());
            assert!(coded.len() < plain.len() / 5);
            assert_eq!(so_far(coding, &coded, usize::MAX), plain);
        }
        assert_eq!(GOING_ON.get(), 0);
    }

    /// The first `length` bytes of what was coded.
    fn so_far(coding: Coding, coded: &[u8], length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let reader: Box<dyn io::Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(coded)),
            _ => Box::new(brotli::Decompressor::new(coded, 4096)),
        };
        reader.take(length as u64).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn only_so_much_is_compressed_at_a_time() {
        let mut all: Vec<_> = std::iter::from_fn(|| Encoder::new(Coding::Brotli)).collect();
        assert_eq!(all.len(), 40);
        assert!(Encoder::new(Coding::Gzip).is_none());
        all.pop();
        assert!(Encoder::new(Coding::Gzip).is_some());
    }
}
