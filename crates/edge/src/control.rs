//! What an operator may do to a server of a pool.

use std::sync::{Arc, Weak};

use tandem_telemetry::{Control, ControlError};

use crate::pool::Pool;

/// An operator's order to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// No new requests but those of clients that it has already.
    Drain,
    /// No requests at all, and no checks.
    Maintain,
    /// Requests again.
    Ready,
    /// Its share of requests.
    Weight(u16),
}

/// The control of the servers that have one name in a pool.
///
/// Another role may have registered its own under that name before (the program behind it, that can be killed), or
/// another pool of the same service (a listener's and a gateway's on one node). Orders go to that one too.
pub(crate) struct ServerControl {
    pool: Weak<Pool>,
    server: Arc<str>,
    beneath: Option<Arc<dyn Control>>,
}

impl ServerControl {
    pub(crate) fn new(
        pool: Weak<Pool>,
        server: Arc<str>,
        beneath: Option<Arc<dyn Control>>,
    ) -> Self {
        Self {
            pool,
            server,
            beneath,
        }
    }

    /// What was registered under the name before.
    pub(crate) fn beneath(&self) -> Option<Arc<dyn Control>> {
        self.beneath.clone()
    }

    /// Gives an order to the servers of the name, and to what is beneath. One that obeys is enough.
    fn give(&self, order: Order) -> Result<(), ControlError> {
        let beneath = self.beneath.as_deref().map(|beneath| match order {
            Order::Drain | Order::Maintain => beneath.drain(),
            Order::Ready => beneath.ready(),
            Order::Weight(weight) => beneath.weight(weight),
        });
        let pool = self.pool.upgrade();
        let obeyed = pool.is_some_and(|pool| pool.order(&self.server, order));
        if obeyed || beneath == Some(Ok(())) {
            Ok(())
        } else {
            Err(ControlError::NotRunning)
        }
    }
}

impl Control for ServerControl {
    fn drain(&self) -> Result<(), ControlError> {
        self.give(Order::Drain)
    }

    fn maintenance(&self) -> Result<(), ControlError> {
        self.give(Order::Maintain)
    }

    fn ready(&self) -> Result<(), ControlError> {
        self.give(Order::Ready)
    }

    fn weight(&self, weight: u16) -> Result<(), ControlError> {
        self.give(Order::Weight(weight.min(256)))
    }

    fn cut(&self) -> Result<(), ControlError> {
        let beneath = self.beneath.as_deref().map(Control::cut);
        let pool = self.pool.upgrade();
        let obeyed = pool.is_some_and(|pool| pool.cut_off(&self.server));
        if obeyed || beneath == Some(Ok(())) {
            Ok(())
        } else {
            Err(ControlError::NotRunning)
        }
    }

    fn kill(&self) -> Result<(), ControlError> {
        match &self.beneath {
            Some(beneath) => beneath.kill(),
            None => Err(ControlError::Unsupported),
        }
    }
}
