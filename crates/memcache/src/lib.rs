//! The memcached protocol, without I/O, and the server loop that speaks it over any [`Keyspace`].
//!
//! `tandem memcached` puts the cache library behind the loop, an agent puts the replicated keyspace behind the
//! same loop: a client cannot tell them apart by the bytes. This crate must never store an item, look at a clock
//! on its own, or know which of the two it serves.
//!
//! A connection is one loop ([`serve_connection`]): a parser turns bytes into a [`Request`] or a refusal
//! ([`text::parse`]), the loop turns the request into an [`Op`], the keyspace answers, a writer turns the answer
//! into bytes. Parsers and writers do no I/O and keep no state: the text protocol ([`text`]), the meta commands, which
//! are lines of it ([`meta`]), and the binary protocol ([`binary`]) are siblings under the same loop. What the latter
//! two say beyond an [`Op`] is an [`Extended`] operation, which a store may leave to its default: that does it by
//! [`Op`]s, and refuses what they cannot express.

#![forbid(unsafe_code)]

mod admin;
pub mod auth;
pub mod binary;
pub mod class;
pub mod connection;
pub mod context;
mod drain;
pub mod extended;
mod input;
pub mod keyspace;
pub mod listen;
pub mod meta;
pub mod op;
mod output;
mod prefix;
pub mod request;
mod room;
mod settings;
mod stats;
pub mod text;
pub mod watch;

pub use admin::Admin;
pub use class::Classes;
pub use connection::serve_connection;
pub use context::{Protocols, ServerContext, ServerOptions};
pub use extended::{Action, Details, Extended};
pub use keyspace::{Answer, Fit, Hit, Keyspace, Sink};
pub use listen::{accept, listen};
pub use op::{Lifetime, Mode, Op, Reply};
pub use request::{Limits, Parsed, Request};
pub use room::Room;
pub use stats::{Admitted, ServerStats, shown};
pub use watch::Watch;

/// The version of memcached whose protocols are spoken, and what `version` should answer: client libraries branch on it.
pub const COMPATIBLE_VERSION: &str = "1.6.38";
/// The longest key in bytes (memcached doc/protocol.txt, "Keys").
pub const MAX_KEY: usize = 250;
/// The largest value in bytes, unless configured otherwise (memcached's `-I 1m`).
pub const MAX_VALUE: usize = 1024 * 1024;

/// An item's size as memcached counts it against `-I` and shows it: 48 bytes of header, 8 of `cas`, the key's zero, the
/// value's line end, and 4 for flags other than 0.
pub const fn item_size(key: usize, flags: u32, value: usize) -> usize {
    48 + 8 + key + 1 + value + 2 + if flags == 0 { 0 } else { 4 }
}
