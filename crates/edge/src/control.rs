//! What an operator may do to a server of a pool.

use std::sync::{Arc, Weak};

use tandem_telemetry::{Control, ControlError};

use crate::pool::Pool;
use crate::server::Server;

/// The control of the servers that have one name in a pool.
///
/// Another role may have registered its own under that name before (the program behind it, that can be killed), or
/// another pool of the same service (a listener's and a gateway's on one node). Orders go to that one too.
pub(crate) struct ServerControl {
    pool: Weak<Pool>,
    server: Box<str>,
    beneath: Option<Arc<dyn Control>>,
}

impl ServerControl {
    pub(crate) fn new(pool: Weak<Pool>, server: &str, beneath: Option<Arc<dyn Control>>) -> Self {
        Self {
            pool,
            server: server.into(),
            beneath,
        }
    }

    /// Gives an order to all servers of the name, and to what is beneath.
    fn order(
        &self,
        order: impl Fn(&Pool, &Server),
        beneath: impl Fn(&dyn Control) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let below = self.beneath.as_deref().map(beneath);
        let pool = self.pool.upgrade().ok_or(ControlError::NotRunning)?;
        let servers = pool.servers();
        let mut named = servers
            .iter()
            .filter(|server| *server.key.name == *self.server)
            .peekable();
        if named.peek().is_none() && below != Some(Ok(())) {
            return Err(ControlError::NotRunning);
        }
        named.for_each(|server| order(&pool, server));
        Ok(())
    }
}

impl Control for ServerControl {
    fn drain(&self) -> Result<(), ControlError> {
        self.order(
            |pool, server| {
                if server.set_draining(true) {
                    pool.ordered(server, "draining by order: no new requests");
                }
            },
            |beneath| beneath.drain(),
        )
    }

    fn ready(&self) -> Result<(), ControlError> {
        self.order(
            |pool, server| {
                if server.set_draining(false) {
                    pool.ordered(server, "takes requests again by order");
                }
            },
            |beneath| beneath.ready(),
        )
    }

    fn weight(&self, weight: u16) -> Result<(), ControlError> {
        let weight = weight.min(256);
        self.order(
            |pool, server| {
                server.set_weight(weight);
                pool.ordered(server, &format!("has weight {weight} by order"));
            },
            |beneath| beneath.weight(weight),
        )
    }

    fn kill(&self) -> Result<(), ControlError> {
        match &self.beneath {
            Some(beneath) => beneath.kill(),
            None => Err(ControlError::Unsupported),
        }
    }
}
