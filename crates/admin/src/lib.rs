//! The admin pages and their API, over telemetry alone.
//!
//! A node answers for itself; whoever supervises several (a rehearsal) gathers their answers and serves the same
//! pages. This crate imports no role: what a role wants shown it publishes in telemetry's registry. It must never
//! change anything: controls have their own door.

#![forbid(unsafe_code)]

mod handler;
mod metrics;
mod view;

pub use handler::AdminHandler;
pub use view::{NodeInfo, NodeView, Row, RowState, Rows, SelfRow};
