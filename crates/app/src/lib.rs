//! Starts, watches, restarts and stops the applications of a node.
//!
//! Each instance of a `run` is held by a keeper, a process of its own (see [`keeper`]), and watched by a task here:
//! started, published in the watched list once it accepts connections, withdrawn at once when its process ends, and
//! started again after a growing pause. What watches can be exchanged for another process ([`Handed`]). This crate must never route a request, never leave a process behind however
//! Tandem ends, and never let a program's output or failures cost more than a bounded part of the node.

#![deny(unsafe_code)]

mod backoff;
mod environment;
mod flood;
mod hand_over;
mod held;
mod instance;
pub mod keeper;
mod output;
mod ports;
mod ready;
mod role;
mod status;
mod sys;
mod user;

pub use hand_over::{Handed, Pipes, RunWords, Words};
pub use keeper::keeper_main;
pub use ports::Ports;
pub use role::{AppContext, AppError, AppHandle, Instance, Listing, STARTUP};
pub use user::{Ids, UserError, ids_of_file, ids_to_become};
