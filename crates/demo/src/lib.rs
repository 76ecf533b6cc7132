//! What the demo shows: its static pages, its application, and the cluster it rehearses.
//!
//! The application is an ordinary axum program on tower-sessions and the public store crate: nothing in it knows of
//! a cluster. Nothing in production depends on this crate.

#![forbid(unsafe_code)]

mod app;
mod page;
mod www;

pub use app::{router, serve};
pub use www::{WWW, write_www};

/// The cluster the demo rehearses: the classic six machines.
pub const CLUSTER: &str = include_str!("../../../examples/six-machines.toml");
