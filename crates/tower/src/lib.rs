//! Sessions of axum and tower applications in Tandem's session tier, or in any memcached.
//!
//! [`TandemStore`] is a [`tower_sessions::SessionStore`]. It talks to the agent of the machine (`TANDEM_SESSIONS`,
//! else 127.0.0.1:11211) in memcached's text protocol, and keeps what the trait alone would lose:
//!
//! - two requests that change different keys of one session at the same time both keep their change: a save is a
//!   compare-and-swap, and on a conflict the request's own changes are merged by key into what is there now;
//! - a logout stays one: neither a save nor a `cycle_id` brings a deleted session back, under whichever id. Such a
//!   request gets an error of the kind [`ErrorKind::Over`], and so does one whose change came after the session got
//!   another id: a change is stored, or its request is told.
//!
//! `examples/counter.rs` is an application that uses it.
//!
//! It must never report a session as absent because the tier did not answer: that is an error.
//!
//! ```no_run
//! use tandem_tower_sessions::TandemStore;
//! use tower_sessions::{Expiry, SessionManagerLayer, cookie::time::Duration};
//!
//! let layer = SessionManagerLayer::new(TandemStore::from_env())
//!     .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
//! # let app: axum::Router =
//! axum::Router::new().layer(layer);
//! ```

#![forbid(unsafe_code)]

mod client;
mod ends;
mod error;
mod merge;
mod record;
mod store;

pub use error::{ErrorKind, StoreError};
pub use store::TandemStore;
