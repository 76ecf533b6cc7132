//! Items: what they are, how long they live, what memory they take and which go first.
//!
//! [`Cache`] is a store without sockets or threads: every call says what time it is, and it must never read a clock on
//! its own. The session tier uses its rules ([`rules`]) and takes time and versions from its log. [`server`] puts a
//! cache behind the memcached loop, for `tandem memcached`; it is the only part that knows of sockets.

#![deny(unsafe_code)]

mod arena;
pub mod cache;
pub mod clock;
pub mod counters;
mod eviction;
mod item;
pub mod keyspace;
pub mod rules;
pub mod server;
mod shard;
mod sys;
mod wheel;

pub use cache::{Cache, CacheOptions};
pub use clock::Clock;
pub use keyspace::CacheKeyspace;
