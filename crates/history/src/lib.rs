//! Histories of operations on a memcached-like keyspace, and what they prove.
//!
//! Clients record what they asked and what they were told, with the time of each ([`Operation`]). [`check`] looks for
//! an order of the operations of each key that explains every answer: each operation takes effect once, at one moment
//! between its call and its answer; one whose outcome is unknown at most once, then or at any later time. What has no
//! such order is a broken promise ([`Violation`]): a stale read, a lost write, a deleted item that came back, a change
//! applied twice, an expiry that came early or was undone. [`torture`] makes such histories with real processes and
//! faults.
//!
//! For tests and benchmarks. It must never be used by what runs in production, and it must never accept a history
//! because it was tired of looking: what it cannot decide it says so ([`Verdict::undecided`]).

#![forbid(unsafe_code)]

mod check;
mod explain;
mod model;
mod record;
pub mod torture;

pub use check::{Verdict, check};
pub use explain::{Kind, Violation};
pub use model::{Guard, Limits};
pub use record::{Call, EVERY, Operation, Outcome, Value};
