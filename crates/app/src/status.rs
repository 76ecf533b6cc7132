//! What is said of instances, and what can be done to them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tandem_telemetry::{
    AppInstance, AppStatus, Control, ControlError, Health, NodeStatus, StatusSource,
};

use crate::held::Orders;

/// An instance as others see it.
pub(crate) struct State {
    pub(crate) index: u16,
    seen: Mutex<Seen>,
}

struct Seen {
    pid: Option<u32>,
    address: Option<SocketAddr>,
    health: Health,
    restarts: u64,
    reason: String,
    /// Not held here: the program is to be killed when its supervisor lets go of it.
    orders: Weak<Orders>,
}

impl State {
    /// An instance that was started again so often.
    pub(crate) fn new(index: u16, restarts: u64) -> Self {
        Self {
            index,
            seen: Mutex::new(Seen {
                pid: None,
                address: None,
                health: Health::Starting,
                restarts,
                reason: "not started yet".into(),
                orders: Weak::new(),
            }),
        }
    }

    /// A keeper was started.
    pub(crate) fn starting(&self, address: SocketAddr, orders: &Arc<Orders>) {
        let mut seen = self.seen();
        seen.pid = None;
        seen.address = Some(address);
        seen.health = Health::Starting;
        seen.reason = "it does not accept connections yet".into();
        seen.orders = Arc::downgrade(orders);
    }

    /// The program runs.
    pub(crate) fn runs(&self, pid: u32) {
        self.seen().pid = Some(pid);
    }

    /// It accepts connections.
    pub(crate) fn up(&self) {
        let mut seen = self.seen();
        seen.health = Health::Up;
        seen.reason = "it accepts connections".into();
    }

    /// It is being stopped.
    pub(crate) fn stopping(&self) {
        let mut seen = self.seen();
        seen.health = Health::Draining;
        seen.reason = "it is being stopped".into();
    }

    /// It has ended.
    pub(crate) fn down(&self, reason: &str) {
        let mut seen = self.seen();
        seen.pid = None;
        seen.health = Health::Down;
        seen.reason = reason.into();
        seen.orders = Weak::new();
    }

    /// It is started again.
    pub(crate) fn restarted(&self) {
        self.seen().restarts += 1;
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.seen().restarts
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.seen().pid
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of an application.
pub(crate) struct Source {
    pub(crate) app: String,
    pub(crate) states: Vec<Arc<State>>,
}

impl StatusSource for Source {
    fn fill(&self, status: &mut NodeStatus) {
        let instance = |state: &Arc<State>| {
            let seen = state.seen();
            AppInstance {
                index: state.index,
                pid: seen.pid,
                address: seen
                    .address
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                health: seen.health,
                restarts: seen.restarts,
                reason: seen.reason.clone(),
            }
        };
        status.apps.push(AppStatus {
            name: self.app.clone(),
            instances: self.states.iter().map(instance).collect(),
        });
    }
}

/// What an operator can do to an instance: kill it. Which requests it gets is the edge's to say.
pub(crate) struct InstanceControl(pub(crate) Arc<State>);

impl Control for InstanceControl {
    fn drain(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }

    fn ready(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }

    fn weight(&self, _: u16) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }

    fn kill(&self) -> Result<(), ControlError> {
        let orders = self.0.seen().orders.upgrade();
        orders.ok_or(ControlError::NotRunning)?.kill();
        Ok(())
    }
}
