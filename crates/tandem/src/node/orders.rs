//! Orders of the admin API, carried to the control thread.

use serde_json::Value;
use tandem_admin::operations::{Ask, Done, Operations, Order, Told};
use tokio::sync::{mpsc, oneshot};

use super::keyspace::Keyspace;

/// Orders that wait for the control thread.
const QUEUE: usize = 16;

/// An order, and where its outcome goes.
pub struct Given {
    /// What to do.
    pub order: Order,
    /// Told how it went.
    pub outcome: oneshot::Sender<Result<Value, String>>,
}

/// Where orders are given.
pub struct Orders {
    given: mpsc::Sender<Given>,
    keyspace: Keyspace,
}

/// Where orders are given, and where they arrive.
pub fn channel(keyspace: Keyspace) -> (Orders, mpsc::Receiver<Given>) {
    let (give, given) = mpsc::channel(QUEUE);
    let orders = Orders {
        given: give,
        keyspace,
    };
    (orders, given)
}

impl Operations for Orders {
    fn order(&self, order: Order) -> Done {
        let (outcome, told) = oneshot::channel();
        let given = self.given.try_send(Given { order, outcome });
        Box::pin(async move {
            if given.is_err() {
                return Err("too many orders wait, or the node stops".into());
            }
            told.await
                .unwrap_or_else(|_| Err("the node stopped before it was done".into()))
        })
    }

    fn sessions(&self, ask: Ask) -> Told {
        self.keyspace.ask(ask)
    }
}
