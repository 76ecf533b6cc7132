//! How the lines of an access log are written.

use std::fmt;

use crate::template::{Part, TemplateError, is_line, is_token, parts, show};

/// The form of an access log's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's combined format, with more behind it.
    #[default]
    Combined,
    /// A JSON object a line.
    Json,
    /// Text with variables.
    Own(AccessTemplate),
}

/// Text and variables: `{client} {method} {uri} {status}`. `{{` and `}}` are braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessTemplate(Vec<Part<AccessVariable>>);

/// What the log knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessVariable {
    /// One of [`NamedVariable::ALL`].
    Named(NamedVariable),
    /// The first field of this name of the request.
    Header(String),
}

macro_rules! named {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// A variable without parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum NamedVariable {
            $($(#[doc = $doc])+ $variant),+
        }

        impl NamedVariable {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// How it is written.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it is.
            pub fn what(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_start()),+ }
            }
        }
    };
}

named! {
    /// when it was answered, UTC: `2026-11-23T14:05:09.123Z`
    Time = "time",
    /// the same in Apache's form: `23/Nov/2026:14:05:09 +0000`
    ClfTime = "clf-time",
    /// the client's address
    Client = "client",
    /// the port that its connection came from; `-` where a trusted peer states the client
    ClientPort = "client-port",
    /// the user that `auth` let in
    User = "user",
    /// `GET`, `POST`, ...; `TCP` for a connection that is passed on as it is
    Method = "method",
    /// path and query as they came; for a connection the name that its TLS asked for
    Uri = "uri",
    /// `HTTP/1.1`, `HTTP/2.0`, ...
    Version = "version",
    /// the host that the client asked for
    Host = "host",
    /// the status code that was sent; 0 when the client was gone before
    Status = "status",
    /// bytes of the body that were sent
    Bytes = "bytes",
    /// the request's `Referer`
    Referer = "referer",
    /// its `User-Agent`
    Agent = "agent",
    /// the listener
    Listener = "listener",
    /// the route, by its `name` or its conditions in short
    Route = "route",
    /// the service that answered
    Service = "service",
    /// its server that answered
    Server = "server",
    /// tries after the first
    Retries = "retries",
    /// milliseconds in the queue
    Queue = "queue",
    /// milliseconds to open connections to servers; 0 when one was open already
    Connect = "connect",
    /// milliseconds from having a connection to the answer's first byte
    FirstByte = "first-byte",
    /// milliseconds from the request's head to the answer's end
    Total = "total",
    /// who ended it before its end, and when: `server-timeout/answer`; `-` when nobody did
    Ended = "ended",
    /// what tells it from all others, as in `X-Request-Id`
    RequestId = "request-id",
}

impl AccessVariable {
    /// Reads what stands between the braces.
    fn parse(name: &str) -> Option<Self> {
        let named = NamedVariable::ALL.iter().find(|named| named.name() == name);
        match (named, name.split_once(':')) {
            (Some(named), _) => Some(Self::Named(*named)),
            (None, Some(("header", field))) if is_token(field) => Some(Self::Header(field.into())),
            _ => None,
        }
    }

    /// All variables: how each is written, and what it is.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        let named = NamedVariable::ALL
            .iter()
            .map(|named| (named.name(), named.what()));
        named.chain([("header:NAME", "the request's first field of this name")])
    }
}

impl fmt::Display for AccessVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(named) => f.write_str(named.name()),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl AccessTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// A brace that is not closed, a variable that there is not, a control character.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parts(text, is_line, AccessVariable::parse).map(Self)
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> &[Part<AccessVariable>] {
        &self.0
    }
}

/// As it is written.
impl fmt::Display for AccessTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_reads_as_it_is_shown() {
        for (name, what) in AccessVariable::all() {
            let text = format!("a {{{name}}} {{{{b}}}}");
            assert_eq!(AccessTemplate::parse(&text).unwrap().to_string(), text);
            assert!(!what.is_empty() && !what.starts_with(' '), "{name}");
        }
    }

    #[test]
    fn what_there_is_not_is_said() {
        let error = AccessTemplate::parse("{client} {statsu}").unwrap_err();
        assert_eq!(
            (error.at, error.unknown.as_deref()),
            (9..17, Some("statsu"))
        );
        assert!(AccessTemplate::parse("{header:a b}").is_err());
    }
}
