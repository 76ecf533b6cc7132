//! The checked cluster as plain immutable types.
//!
//! Front ends (`cluster.toml` now, other languages later) produce a [`Cluster`]; [`Cluster::for_node`] says what one
//! node does; [`rehearse::rehearse`] turns a cluster of machines into one of loopback addresses. Everything here is
//! pure: no file is opened, no address is looked up, no clock is read. Nothing downstream of this crate knows which
//! language a cluster came from.

#![forbid(unsafe_code)]

pub mod access_log;
pub mod auth;
mod body_limits;
pub mod check;
pub mod cluster;
mod on_node;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod rehearse;
pub mod route;
pub mod service;
pub mod spread;
pub mod stick;
pub mod template;
pub mod units;

#[cfg(test)]
mod sample;

pub use access_log::{AccessFormat, AccessTemplate, AccessVariable, NamedVariable};
pub use auth::{Auth, Counts, Rate, Users};
pub use check::{Check, Expected, HttpCheck, Sent, Timing, Turn};
pub use cluster::{
    Admin, Beyond, ClientCert, Cluster, Guard, Limits, Listener, ListenerTls, LogFormat, LogLevel,
    LogTo, Mode, Node, Sessions, Timeouts, TlsVersion,
};
pub use pattern::Pattern;
pub use plan::{
    ListenerPlan, Member, NodePlan, Outgoing, Place, PoolPlan, SessionPlan, Target, TargetId, Voter,
};
pub use policy::{
    Authorization, Authorize, BodyLimit, ByStatus, Compress, Compression, ErrorContent, ErrorPage,
    Errors, FieldChanges, Headers, Maintenance, PathChange, Policies, Replaced, Side, Statuses,
    Substitution,
};
pub use rehearse::{Rehearsed, Stage};
pub use route::{
    Action, Conditions, Content, Field, Overrides, Presence, Route, RouteTimeouts, SplitBy,
};
pub use service::{
    Access, App, Backend, BackendServer, BackendTls, Coding, FastCgi, Program, Protocol,
    ProxyVersion, RESOLVE, Rehearsal, Service, Site,
};
pub use spread::{Backups, Balance, Cut, Queue, Retry, Spread};
pub use stick::{Gone, SameSite, Stick, StickBy, StickCookie};
pub use template::{ClientCertPart, Part, Template, TemplateError, Variable};
pub use units::{Address, Secret, Size};
