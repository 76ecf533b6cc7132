//! memcached's text protocol (memcached doc/protocol.txt), as memcached 1.6 reads it.
//!
//! Where the document is silent the running program was asked: which words it counts before it looks at them, which
//! error wins, and what becomes of the bytes behind a bad line. It differs in three things, on purpose: control
//! bytes in keys are refused (the document forbids them, the program takes them), numbers that do not fit are
//! refused (the program wraps some of them), and what a line means never depends on how the network cut it.

pub mod reply;

use memchr::memchr;

use crate::MAX_KEY;
use crate::admin;
use crate::meta;
use crate::op::Mode;
use crate::request::{Keys, Limits, Parsed, Refusal, Request, WireError};

/// The longest line in bytes, except for retrievals. memcached looks for the end of a line within its first 2 KiB.
pub const MAX_LINE: usize = 2048;
/// The longest line of a retrieval in bytes. memcached has no bound; ours is what a client may make us hold for the
/// value of a `set` too, some 4,000 of the longest keys.
pub const MAX_RETRIEVAL_LINE: usize = 1024 * 1024;

/// More words than any command but the retrievals has.
const WORDS: usize = 8;
/// The longest value that the protocol can name (the program adds 2 to it in 32 bits with a sign).
const MAX_LENGTH: i64 = i32::MAX as i64 - 2;

const BAD_FORMAT: WireError = WireError::Client("bad command line format");
const BAD_EXPTIME: WireError = WireError::Client("invalid exptime argument");
const BAD_DELTA: WireError = WireError::Client("invalid numeric delta argument");
const BAD_DELETE: WireError =
    WireError::Client("bad command line format.  Usage: delete <key> [noreply]");
const BAD_CHUNK: WireError = WireError::Client("bad data chunk");
const TOO_LONG: WireError = WireError::Client("line too long");
const TOO_LARGE: WireError = WireError::Server("object too large for cache");

/// Reads the first request of `input`. `scanned` is what the last [`Parsed::More`] said about it, else 0.
///
/// Never fails: what cannot be understood is a refusal that says how far to skip.
pub fn parse(input: &[u8], scanned: usize, limits: Limits) -> Parsed<'_> {
    let fresh = scanned.min(input.len());
    let end = memchr(b'\n', &input[fresh..]).map(|at| at + fresh);
    let length = end.unwrap_or(input.len());
    if length > MAX_LINE && (length > MAX_RETRIEVAL_LINE || !is_retrieval(input)) {
        return Parsed::Close(Some(TOO_LONG));
    }
    let Some(end) = end else {
        return Parsed::More {
            need: input.len() + 1,
            scanned: input.len(),
        };
    };
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let after = end + 1;

    let (command, rest) = first_word(line);
    match command {
        b"get" | b"bget" => retrieve(rest, false, false, after),
        b"gets" => retrieve(rest, true, false, after),
        b"gat" => retrieve(rest, false, true, after),
        b"gats" => retrieve(rest, true, true, after),
        _ => {
            if let Some(parsed) = meta::parse(command, rest, input, after, limits) {
                return parsed;
            }
            let mut words = [&[][..]; WORDS];
            let count = split(rest, &mut words);
            let arguments = Arguments {
                words: &words[..count],
                after,
            };
            match command {
                b"set" => store(Verb::Set, &arguments, input, limits),
                b"add" => store(Verb::Add, &arguments, input, limits),
                b"replace" => store(Verb::Replace, &arguments, input, limits),
                b"append" => store(Verb::Append, &arguments, input, limits),
                b"prepend" => store(Verb::Prepend, &arguments, input, limits),
                b"cas" => store(Verb::Cas, &arguments, input, limits),
                b"delete" => delete(&arguments),
                b"incr" => arithmetic(&arguments, false),
                b"decr" => arithmetic(&arguments, true),
                b"touch" => touch(&arguments),
                b"flush_all" => flush_all(&arguments),
                b"verbosity" => verbosity(&arguments),
                b"version" => arguments.request(Request::Version),
                b"quit" => arguments.request(Request::Quit),
                b"stats" => arguments.request(Request::Stats {
                    argument: rest.trim_ascii(),
                }),
                b"shutdown" => shutdown(&arguments),
                b"cache_memlimit" => memory_limit(&arguments),
                _ if let Some(admin) = admin::parse(command, arguments.words) => match admin {
                    Ok(admin) => arguments.request_maybe_silent(Request::Admin(admin)),
                    Err(error) => arguments.refuse(error),
                },
                // A browser, or a page that makes one send a form here: memcached hangs up, and so do we.
                _ if arguments.last().starts_with(b"HTTP/") => Parsed::Close(None),
                _ => arguments.refuse(WireError::Unknown),
            }
        }
    }
}

/// The words after the command.
struct Arguments<'w, 'a> {
    words: &'w [&'a [u8]],
    /// Where the line ends.
    after: usize,
}

impl<'a> Arguments<'_, 'a> {
    fn last(&self) -> &'a [u8] {
        self.words.last().copied().unwrap_or_default()
    }

    /// memcached looks at the last word alone, wherever it stands: it silences the errors of the line too.
    fn noreply(&self) -> bool {
        self.last() == b"noreply"
    }

    fn request(&self, request: Request<'a>) -> Parsed<'a> {
        Parsed::Request {
            request,
            noreply: false,
            consumed: self.after,
        }
    }

    fn request_maybe_silent(&self, request: Request<'a>) -> Parsed<'a> {
        Parsed::Request {
            request,
            noreply: self.noreply(),
            consumed: self.after,
        }
    }

    fn refuse(&self, error: WireError) -> Parsed<'a> {
        refusal(error, false, self.after)
    }

    fn refuse_maybe_silent(&self, error: WireError) -> Parsed<'a> {
        refusal(error, self.noreply(), self.after)
    }
}

fn refusal<'a>(error: WireError, noreply: bool, consumed: usize) -> Parsed<'a> {
    Parsed::Refused(Refusal {
        error,
        noreply,
        consumed,
        swallow: 0,
        set_refused: None,
    })
}

fn retrieve(rest: &[u8], versions: bool, touching: bool, after: usize) -> Parsed<'_> {
    let refuse = |error| refusal(error, false, after);
    let (first, behind) = first_word(rest);
    if first.is_empty() {
        return refuse(WireError::Unknown);
    }
    let (exptime, keys) = if touching {
        match signed(first) {
            Some(exptime) => (Some(exptime), Keys::spaced(behind)),
            None => return refuse(BAD_EXPTIME),
        }
    } else {
        (None, Keys::spaced(rest))
    };
    if !keys.iter().all(is_key) {
        return refuse(BAD_FORMAT);
    }
    Parsed::Request {
        request: Request::Retrieve {
            keys,
            exptime,
            versions,
        },
        noreply: false,
        consumed: after,
    }
}

/// A storage command, before its `cas unique` is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

fn store<'a>(
    verb: Verb,
    arguments: &Arguments<'_, 'a>,
    input: &'a [u8],
    limits: Limits,
) -> Parsed<'a> {
    let words = arguments.words;
    let wanted = if verb == Verb::Cas { 5 } else { 4 };
    if words.len() != wanted && words.len() != wanted + 1 {
        return arguments.refuse(WireError::Unknown);
    }
    let mode = match verb {
        Verb::Set => Some(Mode::Set),
        Verb::Add => Some(Mode::Add),
        Verb::Replace => Some(Mode::Replace),
        Verb::Append => Some(Mode::Append),
        Verb::Prepend => Some(Mode::Prepend),
        Verb::Cas => unsigned(words[4]).map(Mode::Cas),
    };
    let key = words[0];
    let flags = unsigned(words[1]).and_then(|flags| u32::try_from(flags).ok());
    let length = signed(words[3]).filter(|length| (0..=MAX_LENGTH).contains(length));
    let (Some(mode), true, Some(flags), Some(exptime), Some(length)) =
        (mode, is_key(key), flags, signed(words[2]), length)
    else {
        return arguments.refuse_maybe_silent(BAD_FORMAT);
    };
    let length = length as usize;
    if length > limits.max_value {
        return Parsed::Refused(Refusal {
            error: TOO_LARGE,
            noreply: arguments.noreply(),
            consumed: arguments.after,
            swallow: length as u64 + 2,
            set_refused: (mode == Mode::Set).then_some(key),
        });
    }
    let start = arguments.after;
    let consumed = start + length + 2;
    let Some(block) = input.get(start..consumed) else {
        return Parsed::More {
            need: consumed,
            scanned: 0,
        };
    };
    let Some(value) = block.strip_suffix(b"\r\n") else {
        return refusal(BAD_CHUNK, arguments.noreply(), consumed);
    };
    Parsed::Request {
        request: Request::Store {
            mode,
            key,
            flags,
            exptime,
            value,
        },
        noreply: arguments.noreply(),
        consumed,
    }
}

fn delete<'a>(arguments: &Arguments<'_, 'a>) -> Parsed<'a> {
    let noreply = arguments.noreply();
    match *arguments.words {
        [] | [_, _, _, _, ..] => return arguments.refuse(WireError::Unknown),
        // A time to hold the key for was a feature once; 0 is still accepted.
        [_] | [_, b"0"] | [_, b"0", b"noreply"] => {}
        [_, _] if noreply => {}
        _ => return arguments.refuse_maybe_silent(BAD_DELETE),
    }
    let key = arguments.words[0];
    if !is_key(key) {
        return arguments.refuse_maybe_silent(BAD_FORMAT);
    }
    // A lone key is not a word of the command, even if it reads "noreply".
    Parsed::Request {
        request: Request::Delete { key },
        noreply: noreply && arguments.words.len() > 1,
        consumed: arguments.after,
    }
}

fn arithmetic<'a>(arguments: &Arguments<'_, 'a>, down: bool) -> Parsed<'a> {
    let (&[key, delta] | &[key, delta, _]) = arguments.words else {
        return arguments.refuse(WireError::Unknown);
    };
    if !is_key(key) {
        return arguments.refuse_maybe_silent(BAD_FORMAT);
    }
    match unsigned(delta) {
        Some(delta) => arguments.request_maybe_silent(Request::Arithmetic { key, delta, down }),
        None => arguments.refuse_maybe_silent(BAD_DELTA),
    }
}

fn touch<'a>(arguments: &Arguments<'_, 'a>) -> Parsed<'a> {
    let (&[key, exptime] | &[key, exptime, _]) = arguments.words else {
        return arguments.refuse(WireError::Unknown);
    };
    if !is_key(key) {
        return arguments.refuse_maybe_silent(BAD_FORMAT);
    }
    match signed(exptime) {
        Some(exptime) => arguments.request_maybe_silent(Request::Touch { key, exptime }),
        None => arguments.refuse_maybe_silent(BAD_EXPTIME),
    }
}

fn flush_all<'a>(arguments: &Arguments<'_, 'a>) -> Parsed<'a> {
    let exptime = match *arguments.words {
        [] | [b"noreply"] => Some(0),
        [exptime] | [exptime, _] => signed(exptime),
        _ => return arguments.refuse(WireError::Unknown),
    };
    match exptime {
        Some(exptime) => arguments.request_maybe_silent(Request::FlushAll { exptime }),
        None => arguments.refuse_maybe_silent(BAD_EXPTIME),
    }
}

fn verbosity<'a>(arguments: &Arguments<'_, 'a>) -> Parsed<'a> {
    let (&[level] | &[level, _]) = arguments.words else {
        return arguments.refuse(WireError::Unknown);
    };
    match unsigned(level) {
        Some(level) => arguments.request_maybe_silent(Request::Verbosity(level)),
        None => arguments.refuse_maybe_silent(BAD_FORMAT),
    }
}

fn shutdown<'a>(arguments: &Arguments<'_, 'a>) -> Parsed<'a> {
    let graceful = match *arguments.words {
        [] => Some(false),
        [b"graceful"] => Some(true),
        _ => None,
    };
    arguments.request(Request::Shutdown { graceful })
}

fn memory_limit<'a>(arguments: &Arguments<'_, 'a>) -> Parsed<'a> {
    let (&[limit] | &[limit, _]) = arguments.words else {
        return arguments.refuse(WireError::Unknown);
    };
    match unsigned(limit) {
        None => arguments.refuse_maybe_silent(WireError::Unknown),
        Some(0..8) => arguments.refuse_maybe_silent(WireError::Line(
            "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
        )),
        Some(megabytes @ 8..=1_000_000_000) => {
            arguments.request_maybe_silent(Request::MemoryLimit { megabytes })
        }
        Some(_) => arguments.refuse_maybe_silent(WireError::Line(
            "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
        )),
    }
}

/// Whether the input begins like a line that may be long: spaces, as many as memcached lets pass, and the word.
fn is_retrieval(input: &[u8]) -> bool {
    const MOST_SPACES: usize = 100;
    let spaces = input.iter().take_while(|&&b| b == b' ').count();
    let (command, rest) = first_word(&input[spaces..input.len().min(spaces + 6)]);
    spaces <= MOST_SPACES
        && matches!(command, b"get" | b"gets" | b"gat" | b"gats")
        && !rest.is_empty()
}

/// 1 to 250 bytes without control bytes. Bytes above 127 are a key's own affair.
pub(crate) fn is_key(word: &[u8]) -> bool {
    let control = |b: &u8| *b <= b' ' || *b == 0x7f;
    !word.is_empty() && word.len() <= MAX_KEY && !word.iter().any(control)
}

/// The first word and all that follows it, spaces included.
pub(crate) fn first_word(line: &[u8]) -> (&[u8], &[u8]) {
    let spaces = line.iter().take_while(|&&b| b == b' ').count();
    let line = &line[spaces..];
    let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    line.split_at(end)
}

/// Splits at spaces into `words`; returns how many there are, counting no further than there is room.
fn split<'a>(mut line: &'a [u8], words: &mut [&'a [u8]; WORDS]) -> usize {
    for (count, place) in words.iter_mut().enumerate() {
        let (word, rest) = first_word(line);
        if word.is_empty() {
            return count;
        }
        *place = word;
        line = rest;
    }
    WORDS
}

/// Decimal digits, a plus sign allowed, within 64 bits.
pub(crate) fn unsigned(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Decimal digits with or without a sign, within 64 bits.
pub(crate) fn signed(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
