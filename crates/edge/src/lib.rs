//! The edge: which request goes where, and to which server.
//!
//! A [`Router`] holds the compiled routes of one listener and hands each request to the handler of its service. A
//! [`Pool`] holds the servers of one service, shared by all workers: it takes them in turn, leaves out those that are
//! down, and answers the engine's [`tandem_http::Attempts`]. [`run_checks`] watches the servers of all pools, once a
//! process, on the control thread.
//!
//! On the way of a request nothing here takes a lock, waits, or writes memory shared by workers, except the counts of
//! a server and the round-robin ticket. This crate must never know what kind of thing a handler is (it never names a
//! site), never carry bytes of a request, and never decide whether a request may be repeated: the engine does.

#![forbid(unsafe_code)]

mod balance;
mod control;
mod handler;
mod health;
mod pool;
mod router;
mod server;
mod stick;
mod tcp;

#[cfg(test)]
mod testing;

pub use handler::{PoolHandler, ProbeHandler};
pub use health::{Admission, run_checks};
pub use pool::{InstanceAddress, Instances, Pool};
pub use router::{Router, RouterError};
pub use tcp::TcpRouter;
