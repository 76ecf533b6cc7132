//! The admin pages and their API, over telemetry alone.
//!
//! A node answers for itself; whoever supervises several (a rehearsal) gathers their answers and serves the same
//! pages. This crate imports no role: what a role wants shown it publishes in telemetry's registry, what can be done
//! to it it registers there as a control, and what the node as a whole can do comes in as [`Operations`]. It must never
//! change anything in another way, nor without an audit event.

#![forbid(unsafe_code)]

mod access;
pub mod api;
mod handler;
mod metrics;
pub mod operations;
mod view;

pub use access::Access;
pub use api::{Answer, Api, Call};
pub use handler::AdminHandler;
pub use metrics::reference as metrics_reference;
pub use operations::{Operations, Order, Others};
pub use view::{NodeInfo, NodeView, Row, RowState, Rows};
