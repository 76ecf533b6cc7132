//! memcached's meta commands (memcached doc/protocol.txt, "Meta Commands"): `mg ms md ma mn me`.
//!
//! They are lines of the text protocol and are mixed with it on one connection. Flags that memcached 1.6.18 does not
//! know yet (`E`, `x`, `N` of `ms`, `C` of `mg`) are read as later versions read them.

pub(crate) mod base64;
pub(crate) mod reply;

use crate::MAX_KEY;
use crate::op::Mode;
use crate::request::{Limits, Parsed, Refusal, Request, WireError};
use crate::text::{first_word, is_key, signed, unsigned};

/// The longest opaque token is one byte shorter (as the program has it).
const OPAQUE: usize = 32;

const BAD_FORMAT: WireError = WireError::Client("bad command line format");
const BAD_TOKEN: WireError = WireError::Client("bad token in command line format");
const BAD_KEY: WireError = WireError::Client("error decoding key");
const BAD_CHUNK: WireError = WireError::Client("bad data chunk");
const INVALID: WireError = WireError::Client("invalid flag");
const DUPLICATE: WireError = WireError::Client("duplicate flag");
const INVALID_OR_DUPLICATE: WireError = WireError::Client("invalid or duplicate flag");
const LONG_OPAQUE: WireError = WireError::Client("opaque token too long");
const LONG_MODE: WireError = WireError::Client("incorrect length for M token");
const BAD_STORE_MODE: WireError = WireError::Client("invalid mode for ms M token");
const BAD_COUNT_MODE: WireError = WireError::Client("invalid mode for ma M token");
const TOO_LARGE: WireError = WireError::Server("object too large for cache");

/// Which of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `mg`
    Get,
    /// `ms`
    Set,
    /// `md`
    Delete,
    /// `ma`
    Arithmetic,
    /// `me`
    Debug,
}

impl Verb {
    const fn flags(self) -> &'static [u8] {
        match self {
            Self::Get => b"bcCfhklOqstuvENRTPL",
            Self::Set => b"bcCEFIkOqsTMNPL",
            Self::Delete => b"bCEIkOqTxPL",
            Self::Arithmetic => b"bCENJDTMOqtcvkPL",
            Self::Debug => b"b",
        }
    }
}

/// A meta command. Times are `exptime`s in seconds, as everywhere in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta<'a> {
    /// Which.
    pub verb: Verb,
    /// The key as it was written, in base64 if [`Flags::encoded`].
    pub key: &'a [u8],
    /// The flags as they were written: answers follow their order.
    pub words: &'a [u8],
    /// The flags as they are meant.
    pub flags: Flags,
    /// The value of `ms`.
    pub value: &'a [u8],
}

impl Meta<'_> {
    /// The key's own bytes; `room` is where they are decoded to if they were written in base64.
    pub(crate) fn key<'s>(&'s self, room: &'s mut [u8; MAX_KEY]) -> &'s [u8] {
        if self.flags.encoded {
            // The parser has decoded it once: it can be.
            base64::decode(self.key, room).unwrap_or_default()
        } else {
            self.key
        }
    }
}

/// What the flags of a meta command ask for, besides what the answer shall show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// `b`
    pub encoded: bool,
    /// `q`
    pub quiet: bool,
    /// `v`
    pub value: bool,
    /// `h` or `l`
    pub history: bool,
    /// `t`
    pub remaining: bool,
    /// `u`
    pub unnoticed: bool,
    /// `I`
    pub invalidate: bool,
    /// `x`
    pub clear: bool,
    /// `T`
    pub exptime: Option<i64>,
    /// `N`
    pub vivify: Option<i64>,
    /// `R`
    pub recache: Option<i64>,
    /// `C`
    pub compare: Option<u64>,
    /// `E`
    pub new_version: Option<u64>,
    /// `F`
    pub client_flags: u32,
    /// `M` of `ms`
    pub mode: Mode,
    /// `M` of `ma`
    pub down: bool,
    /// `D`
    pub delta: u64,
    /// `J`
    pub initial: u64,
}

impl Flags {
    const NONE: Self = Self {
        encoded: false,
        quiet: false,
        value: false,
        history: false,
        remaining: false,
        unnoticed: false,
        invalidate: false,
        clear: false,
        exptime: None,
        vivify: None,
        recache: None,
        compare: None,
        new_version: None,
        client_flags: 0,
        mode: Mode::Set,
        down: false,
        delta: 1,
        initial: 0,
    };
}

/// The words of a list of flags, each a letter and its token.
pub(crate) fn words(mut line: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (word, rest) = first_word(line);
        line = rest;
        word.split_first().map(|(&letter, token)| (letter, token))
    })
}

/// Reads the meta command whose line (without its end) is `command` and `rest`; `after` is where the line ends in
/// `input`. `None`: it is none.
pub(crate) fn parse<'a>(
    command: &[u8],
    rest: &'a [u8],
    input: &'a [u8],
    after: usize,
    limits: Limits,
) -> Option<Parsed<'a>> {
    let verb = match command {
        b"mg" => Verb::Get,
        b"ms" => Verb::Set,
        b"md" => Verb::Delete,
        b"ma" => Verb::Arithmetic,
        b"me" => Verb::Debug,
        b"mn" => {
            return Some(Parsed::Request {
                request: Request::MetaNoop,
                noreply: false,
                consumed: after,
            });
        }
        _ => return None,
    };
    let refuse = |error, swallow| {
        Parsed::Refused(Refusal {
            error,
            noreply: false,
            consumed: after,
            swallow,
            set_refused: None,
        })
    };
    let (key, rest) = first_word(rest);
    Some(match key {
        [] if verb == Verb::Debug => refuse(BAD_FORMAT, 0),
        [] => refuse(WireError::Unknown, 0),
        _ if !is_key(key) => refuse(BAD_FORMAT, 0),
        _ if verb == Verb::Set => set(key, rest, input, after, limits),
        _ => match read_flags(verb, key, rest) {
            Ok(flags) => Parsed::Request {
                request: Request::Meta(Meta {
                    verb,
                    key,
                    words: rest,
                    flags,
                    value: b"",
                }),
                noreply: false,
                consumed: after,
            },
            Err(error) => refuse(error, 0),
        },
    })
}

fn set<'a>(
    key: &'a [u8],
    rest: &'a [u8],
    input: &'a [u8],
    after: usize,
    limits: Limits,
) -> Parsed<'a> {
    /// The longest value that the protocol can name.
    const MAX_LENGTH: i64 = i32::MAX as i64 - 2;
    let refuse = |error, swallow, set_refused| {
        Parsed::Refused(Refusal {
            error,
            noreply: false,
            consumed: after,
            swallow,
            set_refused,
        })
    };
    let (length, words) = first_word(rest);
    let Some(length) = signed(length).filter(|length| (0..=MAX_LENGTH).contains(length)) else {
        return refuse(BAD_FORMAT, 0, None);
    };
    let length = length as usize;
    let block = length as u64 + 2;
    let flags = match read_flags(Verb::Set, key, words) {
        Ok(flags) => flags,
        Err(error) => return refuse(error, block, None),
    };
    if length > limits.max_value {
        let replaced = flags.mode == Mode::Set && !flags.encoded;
        return refuse(TOO_LARGE, block, replaced.then_some(key));
    }
    let consumed = after + length + 2;
    let Some(block) = input.get(after..consumed) else {
        return Parsed::More {
            need: consumed,
            scanned: 0,
        };
    };
    let Some(value) = block.strip_suffix(b"\r\n") else {
        return Parsed::Refused(Refusal {
            error: BAD_CHUNK,
            noreply: false,
            consumed,
            swallow: 0,
            set_refused: None,
        });
    };
    Parsed::Request {
        request: Request::Meta(Meta {
            verb: Verb::Set,
            key,
            words,
            flags,
            value,
        }),
        noreply: false,
        consumed,
    }
}

fn read_flags(verb: Verb, key: &[u8], line: &[u8]) -> Result<Flags, WireError> {
    // The program reads the flags of these two less closely, and says so.
    let general = matches!(verb, Verb::Delete | Verb::Arithmetic);
    let or_general = |error| if general { INVALID_OR_DUPLICATE } else { error };
    let mut flags = Flags::NONE;
    let mut seen = 0u128;
    for (letter, token) in words(line) {
        if verb == Verb::Debug && letter != b'b' {
            // It looks at no other word.
            continue;
        }
        if !letter.is_ascii_alphabetic() || !verb.flags().contains(&letter) {
            return Err(or_general(INVALID));
        }
        if seen & (1 << letter) != 0 {
            return Err(or_general(DUPLICATE));
        }
        seen |= 1 << letter;
        let time = || signed(token).ok_or(or_general(BAD_TOKEN));
        let number = || unsigned(token).ok_or(or_general(BAD_TOKEN));
        match letter {
            b'b' => flags.encoded = true,
            b'q' => flags.quiet = true,
            b'v' => flags.value = true,
            b'h' | b'l' => flags.history = true,
            b't' => flags.remaining = true,
            b'u' => flags.unnoticed = true,
            b'I' => flags.invalidate = true,
            b'x' => flags.clear = true,
            b'T' => flags.exptime = Some(time()?),
            b'N' => flags.vivify = Some(time()?),
            b'R' => flags.recache = Some(time()?),
            b'C' => flags.compare = Some(number()?),
            b'E' => flags.new_version = Some(number()?),
            b'F' => {
                let bits = unsigned(token).and_then(|bits| u32::try_from(bits).ok());
                flags.client_flags = bits.ok_or(BAD_FORMAT)?;
            }
            b'D' => flags.delta = number()?,
            b'J' => flags.initial = number()?,
            b'O' if token.len() >= OPAQUE => return Err(or_general(LONG_OPAQUE)),
            b'M' => mode(verb, token, &mut flags)?,
            _ => {}
        }
    }
    if flags.encoded {
        let decoded = base64::decode(key, &mut [0; MAX_KEY]).map(<[u8]>::len);
        if decoded.is_none_or(|length| length == 0) {
            return Err(or_general(BAD_KEY));
        }
    }
    Ok(flags)
}

fn mode(verb: Verb, token: &[u8], flags: &mut Flags) -> Result<(), WireError> {
    let &[letter] = token else {
        return Err(LONG_MODE);
    };
    if verb == Verb::Arithmetic {
        flags.down = match letter {
            b'I' | b'i' | b'+' => false,
            b'D' | b'd' | b'-' => true,
            _ => return Err(BAD_COUNT_MODE),
        };
    } else {
        flags.mode = match letter {
            b'S' | b's' => Mode::Set,
            b'E' | b'e' => Mode::Add,
            b'A' | b'a' => Mode::Append,
            b'P' | b'p' => Mode::Prepend,
            b'R' | b'r' => Mode::Replace,
            _ => return Err(BAD_STORE_MODE),
        };
    }
    Ok(())
}
