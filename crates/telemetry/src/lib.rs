//! What a node says about itself: events, the access log, counters and status.
//!
//! Roles report here and never know who reads; the admin pages read here and never know who reported. This crate
//! must never block the request path: records go into buffers of their worker, counters are written by one worker
//! each.

#![forbid(unsafe_code)]

pub mod access;
pub mod control;
pub mod counters;
pub mod decimal;
pub mod disk;
pub mod event;
pub mod histogram;
pub mod meters;
pub mod status;

pub use access::{AccessLog, AccessRecord, Ended, Phase, Stopped, Written};
pub use control::{Control, ControlError};
pub use counters::{Counters, WorkerCounters};
pub use event::{Event, Events, Severity};
pub use meters::{Meter, Meters};
pub use status::{AgentStatus, SessionStatus, StatusSource, VoterStatus};
pub use status::{
    AppInstance, AppStatus, Health, ListenerStatus, NodeStatus, ProcessStatus, Registry,
    ServerStatus, ServiceStatus, WorkerStatus,
};

use std::sync::Arc;

/// Everything a role needs to report. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    /// What happened.
    pub events: Events,
    /// What is.
    pub registry: Registry,
    /// How much, of the node.
    pub counters: Arc<Counters>,
    /// How much, by route, service, server and listener.
    pub meters: Meters,
}

impl Telemetry {
    /// Telemetry of a node whose events also go to `log`, with `workers` workers counting.
    pub fn new(node: &str, workers: usize, log: event::Log) -> Self {
        Self {
            events: Events::new(node, log),
            registry: Registry::default(),
            counters: Arc::new(Counters::new(workers)),
            meters: Meters::new(workers),
        }
    }
}
