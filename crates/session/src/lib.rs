//! The replicated keyspace: what an acknowledged session write is kept in.
//!
//! A pure state machine ([`state`]) is replicated by Raft (the openraft library) among the session nodes; its log,
//! vote and snapshots are on each node's disk (`log`, `snapshot`); a [`node`] is one replica; an [`agent`] is how
//! the applications of a host reach whoever leads. This crate must never answer "no such key" when it does not know,
//! never acknowledge what only one of several replicas has, and never let the state depend on anything but its log.

#![forbid(unsafe_code)]

pub mod agent;
mod clock;
mod home;
mod log;
mod machine;
pub mod node;
mod peers;
mod rt;
mod served;
#[cfg(test)]
mod sim;
mod snapshot;
pub mod state;
mod types;
mod watched;
mod wire;
