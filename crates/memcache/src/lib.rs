//! The memcached protocol, without I/O, and the server loop that speaks it over any [`Keyspace`].
//!
//! `tandem memcached` puts the cache library behind the loop, an agent puts the replicated keyspace behind the
//! same loop: a client cannot tell them apart by the bytes. This crate must never store an item, look at a clock
//! on its own, or know which of the two it serves.

#![forbid(unsafe_code)]

pub mod keyspace;
pub mod op;

pub use keyspace::{Answer, Hit, Keyspace, Sink};
pub use op::{Lifetime, Mode, Op, Reply};

/// The longest key in bytes (memcached doc/protocol.txt, "Keys").
pub const MAX_KEY: usize = 250;
/// The largest value in bytes, unless configured otherwise (memcached's `-I 1m`).
pub const MAX_VALUE: usize = 1024 * 1024;
