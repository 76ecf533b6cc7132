//! HTTP: the codec of HTTP/1.1 without I/O, the engine that does every system call, HTTP/2 towards clients, and the traits
//! by which handlers say what is to be done.
//!
//! A handler (a site, the router of edge, the admin pages) looks at a request and returns a [`Plan`]; the engine
//! carries it out. Handlers never touch a socket, the engine never decides where a request goes. This crate must
//! never build a header map for a request that passes through, and never forward a message that two parsers could
//! read differently.

#![forbid(unsafe_code)]

mod again;
pub mod apart;
pub mod chunked;
pub mod client;
mod cookies;
mod engine;
pub mod fastcgi;
mod field;
pub mod handler;
pub mod head;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
mod lines;
pub mod path;
pub mod policy;
pub mod request;
mod request_id;
pub mod response;
mod rewrite;
mod source;
pub mod strictness;
mod trailers;

pub use engine::{Admission, Engine, ListenerConfig, ListenerMeters, Listening};
pub use handler::{
    Attempts, Connection, Connections, CookieEdits, CookiePrefix, Cx, Failure, FileBody, Handler,
    Outcome, Plan, Queue, Reply, Stage, Step, Upstream,
};
pub use head::{BodyLength, Head, HeadError, HeadLimits};
pub use path::PathError;
pub use request::Request;
pub use tandem_net::{ClientCertificate, ClientTls, Moment, Seldom, Socket, TlsName, Within};

/// A gateway's word to the edge on its own 502, 503 or 504: `unsent`, `busy` (unsent, because all servers had as many
/// requests as they take), `cut-off` (unsent, because its node does not reach the sessions and another can serve) or
/// `unanswered`. Sent to nodes of the file only, taken from nodes only, never passed outward.
pub const FAILED_FIELD: &str = "tandem-failed";
/// A node's word to a gateway with a request: another node can serve it as well. Any value.
pub const ELSEWHERE_FIELD: &str = "tandem-elsewhere";
/// A node's word to the edge on an error that it answers itself, where a server behind it did not: any value.
pub const OWN_FIELD: &str = "tandem-own";
/// A node's question to a gateway whether it could serve: any value. Answered by the gateway itself: 204, 503, or
/// [`CUT_OFF`].
pub const PROBE_FIELD: &str = "tandem-probe";
/// A gateway's answer to a probe: it could serve, but its node does not reach the sessions (424, Failed Dependency).
pub const CUT_OFF: u16 = 424;
