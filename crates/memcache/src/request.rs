//! What a parser makes of the bytes of a client, whichever protocol they are in.

use crate::admin::Admin;
use crate::meta::Meta;
use crate::op::Mode;

/// Bounds that a parser enforces.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest value in bytes; longer ones are refused and their bytes swallowed.
    pub max_value: usize,
}

/// What the beginning of the input is.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a request. Parsing again makes sense when so many bytes are there.
    More {
        /// Bytes, counted from the beginning of the input; always more than there are.
        need: usize,
        /// How many bytes need not be looked at again: the next call wants to know.
        scanned: usize,
    },
    /// A complete request.
    Request {
        /// What is asked.
        request: Request<'a>,
        /// The client wants no answer, not even an error.
        noreply: bool,
        /// Bytes it took.
        consumed: usize,
    },
    /// A request that cannot be. The connection lives on.
    Refused(Refusal<'a>),
    /// A request after which nothing can be understood: answer, if anything, and close.
    Close(Option<WireError>),
}

/// Why a request is not carried out, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What the client is told.
    pub error: WireError,
    /// The client wants no answer, not even an error.
    pub noreply: bool,
    /// Bytes it took.
    pub consumed: usize,
    /// Bytes after these that belong to it, in the input or still to come, and are to be thrown away.
    pub swallow: u64,
    /// The key of a `set` whose value is over the limit: see [`crate::Keyspace::set_refused`].
    pub set_refused: Option<&'a [u8]>,
}

/// An error of the protocol, before any keyspace is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// `ERROR`: no such command, or not so many words.
    Unknown,
    /// A line of its own.
    Line(&'static str),
    /// `CLIENT_ERROR ...`
    Client(&'static str),
    /// `SERVER_ERROR ...`
    Server(&'static str),
}

/// A request as it was written: times are still `exptime`s, in seconds, because only the loop knows a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Retrieve {
        /// What to look for.
        keys: Keys<'a>,
        /// The new `exptime` of `gat` and `gats`.
        exptime: Option<i64>,
        /// Whether hits show their `cas unique`.
        versions: bool,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Store {
        /// Which of them.
        mode: Mode,
        /// Where.
        key: &'a [u8],
        /// The client's own 32 bits.
        flags: u32,
        /// Seconds, or a Unix time.
        exptime: i64,
        /// What.
        value: &'a [u8],
    },
    /// `delete`.
    Delete {
        /// What.
        key: &'a [u8],
    },
    /// `touch`.
    Touch {
        /// What.
        key: &'a [u8],
        /// Seconds, or a Unix time.
        exptime: i64,
    },
    /// `incr` and `decr`.
    Arithmetic {
        /// What.
        key: &'a [u8],
        /// By how much.
        delta: u64,
        /// `decr`.
        down: bool,
    },
    /// `flush_all`.
    FlushAll {
        /// Seconds from now, or a Unix time; 0 and below mean now.
        exptime: i64,
    },
    /// `stats`.
    Stats {
        /// What follows the word, without spaces around it; empty when nothing does.
        argument: &'a [u8],
    },
    /// `version`.
    Version,
    /// `verbosity`: shown by `stats settings`, else without effect.
    Verbosity(u64),
    /// `quit`.
    Quit,
    /// A meta command.
    Meta(Meta<'a>),
    /// `mn`.
    MetaNoop,
    /// `shutdown`.
    Shutdown {
        /// When those who are there have left. `None`: a word that says neither.
        graceful: Option<bool>,
    },
    /// `cache_memlimit`.
    MemoryLimit {
        /// Megabytes.
        megabytes: u64,
    },
    /// A command about the server itself.
    Admin(Admin<'a>),
}

/// The keys of a retrieval, each of them valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    /// Keys separated by spaces. The parser has checked each of them.
    pub(crate) const fn spaced(line: &'a [u8]) -> Self {
        Self(line)
    }

    /// The keys in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|&b| b == b' ').filter(|key| !key.is_empty())
    }
}
