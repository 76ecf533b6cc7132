//! memcached's binary protocol (memcached doc/protocol-binary.txt), as memcached 1.6 reads it.
//!
//! Deprecated there, and still what PHP's session handler, memjs, spymemcached and others speak. What the document
//! leaves open was asked of the running program: which mistakes it answers and goes on from, and which end the
//! connection. It differs in one thing, on purpose: every mistake is answered before the connection ends.

pub(crate) mod reply;

use crate::MAX_KEY;
use crate::request::Limits;

/// The first byte of a request.
pub const MAGIC: u8 = 0x80;
/// Bytes of a header.
pub(crate) const HEADER: usize = 24;
/// An `exptime` of incr and decr that says: do not create.
pub(crate) const NO_CREATE: u32 = u32::MAX;

/// The header of a request, as far as the answer repeats or heeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The operation, in its answer too.
    pub opcode: u8,
    /// The client's own 32 bits, returned as they came.
    pub opaque: [u8; 4],
    /// Do it only if the item has this version; 0 is whatever it has.
    pub cas: u64,
}

/// `Status` of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Done.
    Ok = 0x00,
    /// There is no such item.
    NotFound = 0x01,
    /// There is one, or it has changed.
    Exists = 0x02,
    /// The value is too large.
    TooLarge = 0x03,
    /// The parts of the request do not fit its operation.
    Invalid = 0x04,
    /// The condition does not hold.
    NotStored = 0x05,
    /// Not a number.
    NotANumber = 0x06,
    /// Wrong name or password, or none yet.
    AuthFailed = 0x20,
    /// No such operation.
    Unknown = 0x81,
    /// No memory, or a failure of the store.
    NoMemory = 0x82,
    /// The store refuses or cannot answer now.
    Internal = 0x84,
}

/// What the beginning of the input is.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a request. Parsing again makes sense when so many bytes are there.
    More {
        /// Bytes, counted from the beginning of the input; always more than there are.
        need: usize,
    },
    /// A complete request.
    Request {
        /// Its header.
        header: Header,
        /// What is asked.
        request: Request<'a>,
        /// It is one of the quiet kind: what is as expected is not answered.
        quiet: bool,
        /// Bytes it took.
        consumed: usize,
    },
    /// A request that cannot be. The connection lives on.
    Refused {
        /// Its header.
        header: Header,
        /// Why.
        status: Status,
        /// Bytes it took.
        consumed: usize,
        /// Bytes after these that belong to it and are to be thrown away.
        swallow: u64,
        /// The key of a `set` whose value is over the limit: see [`crate::Keyspace::set_refused`].
        set_refused: Option<&'a [u8]>,
    },
    /// A request after which nothing can be understood: answer, if anything, and close.
    Close(Option<(Header, Status)>),
}

/// Which storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// 0x01
    Set,
    /// 0x02
    Add,
    /// 0x03
    Replace,
    /// 0x0e
    Append,
    /// 0x0f
    Prepend,
}

/// A request as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Get, GetK, Touch, GAT and GATK: they differ in what they change and show.
    Retrieve {
        /// Which item.
        key: &'a [u8],
        /// The new `exptime`.
        exptime: Option<u32>,
        /// The answer has the key.
        with_key: bool,
        /// The answer has the value.
        with_value: bool,
    },
    /// Set, Add, Replace, Append, Prepend.
    Store {
        /// Which.
        verb: Verb,
        /// Where.
        key: &'a [u8],
        /// The client's own 32 bits.
        flags: u32,
        /// Seconds, or a Unix time.
        exptime: u32,
        /// What.
        value: &'a [u8],
    },
    /// Delete.
    Delete {
        /// What.
        key: &'a [u8],
    },
    /// Increment and Decrement.
    Arithmetic {
        /// What.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// Decrement.
        down: bool,
        /// What a missing item begins with.
        initial: u64,
        /// For how long, or `0xffff_ffff` to create nothing.
        exptime: u32,
    },
    /// Flush.
    FlushAll {
        /// Seconds from now, or a Unix time.
        exptime: u32,
    },
    /// Stat.
    Stats {
        /// Which; empty is the general ones.
        argument: &'a [u8],
    },
    /// No-op.
    Noop,
    /// Version.
    Version,
    /// Verbosity: without effect.
    Verbosity,
    /// Quit.
    Quit,
    /// SASL list mechanisms.
    SaslMechanisms,
    /// SASL authentication, or its next step.
    SaslAuth {
        /// By which mechanism.
        mechanism: &'a [u8],
        /// What the client says.
        message: &'a [u8],
    },
}

/// The forms of requests: which parts they have.
#[derive(Clone, Copy)]
enum Form {
    Get,
    Touch,
    Store(Verb),
    Join(Verb),
    Delete,
    Arithmetic,
    Flush,
    Stats,
    Bare,
    Sasl,
    Verbosity,
}

/// The operation of an opcode without its quietness, and whether it is quiet.
fn form(opcode: u8) -> Option<(Form, bool)> {
    Some(match opcode {
        0x00 | 0x0c => (Form::Get, false),
        0x09 | 0x0d => (Form::Get, true),
        0x01 => (Form::Store(Verb::Set), false),
        0x11 => (Form::Store(Verb::Set), true),
        0x02 => (Form::Store(Verb::Add), false),
        0x12 => (Form::Store(Verb::Add), true),
        0x03 => (Form::Store(Verb::Replace), false),
        0x13 => (Form::Store(Verb::Replace), true),
        0x04 => (Form::Delete, false),
        0x14 => (Form::Delete, true),
        0x05 | 0x06 => (Form::Arithmetic, false),
        0x15 | 0x16 => (Form::Arithmetic, true),
        0x07 | 0x0a | 0x0b | 0x20 => (Form::Bare, false),
        0x17 => (Form::Bare, true),
        0x08 => (Form::Flush, false),
        0x18 => (Form::Flush, true),
        0x0e => (Form::Join(Verb::Append), false),
        0x19 => (Form::Join(Verb::Append), true),
        0x0f => (Form::Join(Verb::Prepend), false),
        0x1a => (Form::Join(Verb::Prepend), true),
        0x10 => (Form::Stats, false),
        0x1b => (Form::Verbosity, false),
        0x1c | 0x1d | 0x23 => (Form::Touch, false),
        0x1e | 0x24 => (Form::Touch, true),
        0x21 | 0x22 => (Form::Sasl, false),
        _ => return None,
    })
}

/// Reads the first request of `input`. `sasl`: SASL is spoken here; without it its operations are unknown.
///
/// Never fails: what cannot be understood is a refusal that says how far to skip, or the end.
pub fn parse(input: &[u8], limits: Limits, sasl: bool) -> Parsed<'_> {
    match input.first() {
        Some(&MAGIC) | None => {}
        Some(_) => return Parsed::Close(None),
    }
    let Some((head, _)) = input.split_at_checked(HEADER) else {
        return Parsed::More { need: HEADER };
    };
    let header = Header {
        opcode: head[1],
        opaque: array(&head[12..]),
        cas: u64::from_be_bytes(array(&head[16..])),
    };
    let key_length = usize::from(u16::from_be_bytes(array(&head[2..])));
    let extras = usize::from(head[4]);
    let body = u32::from_be_bytes(array(&head[8..])) as usize;
    let Some(rest) = body.checked_sub(key_length + extras) else {
        return Parsed::Close(Some((header, Status::Unknown)));
    };
    let refused = |status, swallow, set_refused| Parsed::Refused {
        header,
        status,
        consumed: HEADER,
        swallow,
        set_refused,
    };
    let known = form(header.opcode).filter(|(form, _)| {
        let about_sasl = matches!(form, Form::Sasl) || header.opcode == 0x20;
        sasl || !about_sasl
    });
    let Some((form, quiet)) = known else {
        return refused(Status::Unknown, body as u64, None);
    };
    let fits = match form {
        Form::Get | Form::Delete => extras == 0 && key_length > 0 && rest == 0,
        Form::Touch => extras == 4 && key_length > 0 && rest == 0,
        Form::Store(_) => extras == 8 && key_length > 0,
        Form::Join(_) => extras == 0 && key_length > 0,
        Form::Arithmetic => extras == 20 && key_length > 0 && rest == 0,
        Form::Flush => (extras == 0 || extras == 4) && key_length == 0 && rest == 0,
        Form::Stats => extras == 0 && rest == 0,
        Form::Bare => body == 0,
        Form::Verbosity => (extras == 0 || extras == 4) && key_length == 0 && rest == 0,
        // As much as a name and a password can be.
        Form::Sasl => extras == 0 && rest <= 1024,
    };
    if !fits || key_length > MAX_KEY {
        return Parsed::Close(Some((header, Status::Invalid)));
    }
    if rest > limits.max_value {
        // The key is wanted, so that an item is not served that was meant to be replaced.
        let before = HEADER + extras + key_length;
        let Some(key) = input.get(HEADER + extras..before) else {
            return Parsed::More { need: before };
        };
        let set = matches!(form, Form::Store(Verb::Set)).then_some(key);
        return refused(Status::TooLarge, body as u64, set);
    }
    let consumed = HEADER + body;
    let Some(body) = input.get(HEADER..consumed) else {
        return Parsed::More { need: consumed };
    };
    let (extras, body) = body.split_at(extras);
    let (key, value) = body.split_at(key_length);
    Parsed::Request {
        header,
        request: request(form, header.opcode, extras, key, value),
        quiet,
        consumed,
    }
}

/// Puts a request together. The extras are as long as the form says.
fn request<'a>(
    form: Form,
    opcode: u8,
    extras: &[u8],
    key: &'a [u8],
    value: &'a [u8],
) -> Request<'a> {
    let number = |at: usize| u32::from_be_bytes(array(&extras[at..]));
    let long = |at: usize| u64::from_be_bytes(array(&extras[at..]));
    match form {
        Form::Get => Request::Retrieve {
            key,
            exptime: None,
            with_key: matches!(opcode, 0x0c | 0x0d),
            with_value: true,
        },
        Form::Touch => Request::Retrieve {
            key,
            exptime: Some(number(0)),
            with_key: matches!(opcode, 0x23 | 0x24),
            with_value: opcode != 0x1c,
        },
        Form::Store(verb) => Request::Store {
            verb,
            key,
            flags: number(0),
            exptime: number(4),
            value,
        },
        Form::Join(verb) => Request::Store {
            verb,
            key,
            flags: 0,
            exptime: 0,
            value,
        },
        Form::Delete => Request::Delete { key },
        Form::Arithmetic => Request::Arithmetic {
            key,
            delta: long(0),
            down: matches!(opcode, 0x06 | 0x16),
            initial: long(8),
            exptime: number(16),
        },
        Form::Flush => Request::FlushAll {
            exptime: if extras.is_empty() { 0 } else { number(0) },
        },
        Form::Stats => Request::Stats { argument: key },
        Form::Verbosity => Request::Verbosity,
        Form::Sasl => Request::SaslAuth {
            mechanism: key,
            message: value,
        },
        Form::Bare => match opcode {
            0x0a => Request::Noop,
            0x0b => Request::Version,
            0x20 => Request::SaslMechanisms,
            _ => Request::Quit,
        },
    }
}

/// The first bytes, of which there must be enough.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

#[cfg(test)]
mod tests;
