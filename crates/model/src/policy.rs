//! Policies of a route: what is done to its requests and to their answers, whoever gives them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::template::is_token;
use crate::{Auth, Coding, Rate, Size, Template};

/// What a route says beside its conditions and its action. Of what a group of routes says, each of its routes has what
/// it does not say itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// What becomes of the path.
    pub path: Option<PathChange>,
    /// What becomes of the fields of heads. A group's come first, then the route's own.
    pub headers: Headers,
    /// Who may ask.
    pub auth: Option<Auth>,
    /// What says for each request whether it may pass.
    pub authorize: Option<Authorize>,
    /// How often each client may ask; that of a group holds for all its routes together, beside their own.
    pub rate: Option<Rate>,
    /// Which answers of servers are compressed.
    pub compress: Option<Compress>,
    /// How large the bodies of its requests may be, whatever its listener says.
    pub body: Option<BodyLimit>,
    /// How many requests each client may have at once; that of a group holds for all its routes together, beside their own.
    pub per_source: Option<u32>,
    /// Pages of errors; a group's hold where the route has none of its own.
    pub errors: Errors,
}

/// How large bodies may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLimit {
    /// As large as they come.
    Unlimited,
    /// This large at most.
    Most(Size),
}

impl BodyLimit {
    /// Of a listener, where `None` is no limit.
    pub fn of(most: Option<Size>) -> Self {
        most.map_or(Self::Unlimited, Self::Most)
    }

    /// The largest body, in bytes.
    pub fn most(self) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::Most(size) => size.0,
        }
    }
}

/// What says for each request whether it may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorize {
    /// Nothing, whatever the groups around it say.
    Off,
    /// The answer to another request.
    By(Authorization),
}

/// A request on which it depends whether others may pass: a GET with their fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Its path and query, which the routes of the listener are asked for.
    pub path: String,
    /// How long its answer may take in all.
    pub timeout: Duration,
}

impl Authorization {
    /// How long an answer may take where that is not said.
    pub const TIMEOUT: Duration = Duration::from_mins(1);
}

/// What a route says of compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compress {
    /// Nothing is compressed, whatever the groups around it say.
    Off,
    /// What clients take and what gets smaller by it.
    On(Compression),
}

/// Which answers are compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Media types (`text/html`, `text/*`); empty is all that are text.
    pub types: Vec<String>,
    /// The smallest answer of known length.
    pub min: Size,
    /// The codings, the preferred first: `br` and `gzip`.
    pub codings: Vec<Coding>,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            min: Size(1024),
            codings: vec![Coding::Brotli, Coding::Gzip],
        }
    }
}

/// Pages of errors by what they are for. What is said of one status comes before what is said of its class.
pub type Errors = BTreeMap<Statuses, ErrorPage>;

/// Which errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statuses {
    /// Those with this status: `404`.
    One(u16),
    /// Those of a class: `5xx`.
    Class(u8),
}

impl Statuses {
    /// Reads `404`, `4xx` or `5xx`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "4xx" => Some(Self::Class(4)),
            "5xx" => Some(Self::Class(5)),
            _ => match text.parse() {
                Ok(status @ 400..600) if text.len() == 3 => Some(Self::One(status)),
                _ => None,
            },
        }
    }

    /// Whether a status is one of them.
    pub fn has(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => u16::from(class) == status / 100,
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// A page of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// What is sent.
    pub content: ErrorContent,
    /// It also takes the place of what servers answer with such a status.
    pub upstream: bool,
}

/// What is sent for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorContent {
    /// A file, with the status of the error.
    File(PathBuf),
    /// The way to somewhere else, with a status of its own.
    Redirect {
        /// A URL or path.
        to: Template,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// What the routes of the listener have at a path.
    Path {
        /// The path and the query.
        to: Template,
        /// The status that its answer gets; `None` is that which it has.
        status: Option<u16>,
    },
}

/// What a listener answers with while works go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// The page; `None` is a line of text.
    pub page: Option<PathBuf>,
    /// Clients that are served nevertheless.
    pub allow: Vec<IpNet>,
    /// It is on from the start.
    pub active: bool,
}

/// What becomes of the path before a service gets it, or a redirect is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// These segments are taken off its beginning; a path that does not begin with them stays.
    Strip(String),
    /// The first of these that fits.
    Rewrite(Vec<Substitution>),
}

/// One way to rewrite a path, or the value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    /// What is replaced.
    pub from: Replaced,
    /// By what. A `?` in it begins a query, which the request's follows.
    pub to: Template,
}

/// What of a path is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// All of it, whatever it is.
    All,
    /// These segments at its beginning.
    Prefix(String),
    /// What this regular expression finds first.
    Regex(String),
}

/// Changes to heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// To requests on their way to servers.
    pub request: FieldChanges,
    /// To answers on their way to clients.
    pub response: FieldChanges,
    /// To those of a status below 400, after these.
    pub success: FieldChanges,
    /// To those of some statuses, after these, one after the other.
    pub by_status: Vec<ByStatus>,
}

/// Changes to the heads of answers of some statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByStatus {
    /// Which: any of these.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// What is changed.
    pub changes: FieldChanges,
}

/// Changes to the fields of a head: first what is removed, then what is replaced, then what is set, then what is added,
/// then what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// These fields go; a `*` at the end of a name stands for any rest.
    pub remove: Vec<String>,
    /// Values of these fields become others, step by step: in each by the first that fits, of the beginning that is named,
    /// or of the whole of what an expression finds something in.
    pub replace: BTreeMap<String, Vec<Vec<Substitution>>>,
    /// These fields have this value and no other.
    pub set: BTreeMap<String, Template>,
    /// These fields come on top of those that are there.
    pub add: BTreeMap<String, Vec<Template>>,
    /// These fields have this value where they are not there.
    pub default: BTreeMap<String, Template>,
}

/// Which heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those of requests.
    Request,
    /// Those of answers.
    Response,
}

impl FieldChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a policy cannot change the field of this name; `None` when it can. Fields that delimit a message or belong to one
/// connection are the engine's, and so is who the client is.
pub fn untouchable(name: &str, side: Side) -> Option<&'static str> {
    let folded = name.to_ascii_lowercase().replace('_', "-");
    let name = folded.strip_suffix('*').unwrap_or(&folded);
    if !name.is_empty() && !is_token(name) {
        return Some("this is no name of a field");
    }
    let starred = name.len() < folded.len();
    let is = |known: &str| name == known || starred && known.starts_with(name);
    let connection = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if connection.into_iter().any(is) {
        return Some(
            "this field delimits a message or belongs to a connection: it cannot be changed",
        );
    }
    if name.starts_with("tandem-") || is("tandem-") {
        return Some("fields that begin with tandem- are words between nodes");
    }
    match side {
        Side::Request if is("x-forwarded-for") => {
            Some("this field says who the client is, which the nodes tell one another: see `trust`")
        }
        Side::Request if starred && is("host") => Some("a request needs its Host field"),
        Side::Response if is("date") => Some("an answer needs its Date field"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_as_they_are_shown() {
        for text in ["404", "4xx", "5xx", "599"] {
            assert_eq!(Statuses::parse(text).unwrap().to_string(), text);
        }
        for text in ["399", "600", "3xx", "+404", "0404", "x", ""] {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
        assert!(Statuses::Class(5).has(503) && !Statuses::Class(5).has(404));
    }

    #[test]
    fn what_delimits_a_message_cannot_be_changed() {
        for name in [
            "Content-Length",
            "content_length",
            "Transfer-Encoding",
            "Connection",
            "TE",
            "Tandem-Failed",
            "Con*",
            "*",
            "t*",
            "a b",
            "a:",
            "a\r\nb",
        ] {
            for side in [Side::Request, Side::Response] {
                assert!(untouchable(name, side).is_some(), "{name} {side:?}");
            }
        }
        for name in ["X-A", "Server", "X-Internal-*", "Cookie", "Content-Type"] {
            for side in [Side::Request, Side::Response] {
                assert_eq!(untouchable(name, side), None, "{name}");
            }
        }
        assert!(untouchable("X_Forwarded_For", Side::Request).is_some());
        assert!(untouchable("Date", Side::Response).is_some());
        assert_eq!(untouchable("Host", Side::Request), None);
        assert_eq!(untouchable("X-Forwarded-Proto", Side::Request), None);
    }
}
