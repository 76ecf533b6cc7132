//! The cluster port: how the nodes of a file speak to one another.
//!
//! A connection begins with a hello: both sides say which version of the protocol they speak and who they are,
//! and prove by a challenge that they hold the cluster's key. After it come frames: requests from the side that
//! connected, answers from the other, many at a time, each with a number of its own. What the requests mean is the
//! business of the *purpose* the connection was opened for (`raft`, `agent`, ...); this module must never look inside.
//!
//! A node whose state is part of a cluster says which one: one that holds another cluster's refuses it.
//!
//! It says also which start of its node it is: two that run under one name are found out, and the later one is refused
//! (`presence`).
//!
//! The hello proves who is there; it does not encrypt what follows.

mod frame;
mod hello;
mod hellos;
mod id;
mod incarnation;
mod link;
mod presence;
mod server;

pub use frame::MAX_FRAME;
pub use hello::{ClusterKey, another_cluster};
pub use id::{Accepts, ClusterId};
pub use incarnation::Incarnation;
pub use link::{Link, LinkError, LinkOptions};
pub use server::{Accepted, Answer, ClusterServer, Purposes, serve};

/// The version of hello and frames. A node that meets another version says so in words and hangs up.
pub const PROTOCOL: u16 = 1;

#[cfg(test)]
mod tests;
