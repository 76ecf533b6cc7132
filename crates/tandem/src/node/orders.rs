//! Orders of the admin API, carried to the control thread, as long as they are for this process.

use serde_json::Value;
use tandem_admin::operations::{Ask, Done, Operations, Order, Refusal, Told};
use tokio::sync::{mpsc, oneshot, watch};

use super::keyspace::Keyspace;

/// Orders that wait for the control thread.
const QUEUE: usize = 16;

/// An order, and where its outcome goes.
pub struct Given {
    /// What to do.
    pub order: Order,
    /// Told how it went.
    pub outcome: oneshot::Sender<Result<Value, Refusal>>,
}

/// Which process orders are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// This one.
    Serves,
    /// An upgrade was ordered and is not over: this one or another.
    HandsOver,
    /// This other one, which has its place.
    Succeeded(u32),
    /// None: it stops.
    Stops,
}

impl Standing {
    /// What is said to those who want something changed.
    fn takes_changes(self) -> Result<(), Refusal> {
        match self {
            Self::Serves => Ok(()),
            Self::HandsOver => Err(Refusal::Again(
                "an upgrade is under way, nothing was changed: ask again in a moment".into(),
            )),
            Self::Succeeded(pid) => Err(Refusal::Again(format!(
                "process {pid} serves now, nothing was changed: ask again, it will be that one"
            ))),
            Self::Stops => Err(Refusal::No("the node stops".into())),
        }
    }
}

/// Where orders are given.
pub struct Orders {
    given: mpsc::Sender<Given>,
    standing: watch::Sender<Standing>,
    keyspace: Keyspace,
}

/// Where they arrive.
pub struct Inbox {
    given: mpsc::Receiver<Given>,
    standing: watch::Sender<Standing>,
}

/// Where orders are given, and where they arrive.
pub fn channel(keyspace: Keyspace) -> (Orders, Inbox) {
    let (give, given) = mpsc::channel(QUEUE);
    let standing = watch::Sender::new(Standing::Serves);
    let orders = Orders {
        given: give,
        standing: standing.clone(),
        keyspace,
    };
    (orders, Inbox { given, standing })
}

impl Inbox {
    /// The next order.
    pub async fn next(&mut self) -> Option<Given> {
        self.given.recv().await
    }

    /// The upgrade that was ordered came to nothing: orders are for this process as before.
    pub fn goes_on(&self) {
        self.standing.send_replace(Standing::Serves);
    }

    /// Another process has this one's place. Nobody waits here for what only that one can do, not even those whose
    /// order came before.
    pub fn succeeded_by(&mut self, pid: u32) {
        self.end(Standing::Succeeded(pid));
    }

    /// Nothing more is carried out.
    pub fn close(&mut self) {
        self.end(Standing::Stops);
    }

    fn end(&mut self, standing: Standing) {
        self.standing.send_replace(standing);
        self.given.close();
        while let Ok(given) = self.given.try_recv() {
            if let Err(refusal) = standing.takes_changes() {
                let _ = given.outcome.send(Err(refusal));
            }
        }
    }
}

impl Orders {
    /// Of two upgrades that are ordered at once the second is refused, however the first one ends.
    fn may_begin(&self, order: &Order) -> Result<(), Refusal> {
        if !matches!(order, Order::Upgrade { .. }) {
            return self.takes_changes();
        }
        let mut before = Standing::Serves;
        self.standing.send_if_modified(|standing| {
            before = *standing;
            let begins = before == Standing::Serves;
            if begins {
                *standing = Standing::HandsOver;
            }
            begins
        });
        match before {
            Standing::HandsOver => Err(Refusal::No(
                "another upgrade is under way: this one was not begun".into(),
            )),
            standing => standing.takes_changes(),
        }
    }
}

impl Operations for Orders {
    fn takes_changes(&self) -> Result<(), Refusal> {
        self.standing.borrow().takes_changes()
    }

    fn order(&self, order: Order) -> Done {
        // What only reads is answered by whoever is asked.
        let reads = matches!(order, Order::Configuration | Order::Difference);
        let may = if reads {
            Ok(())
        } else {
            self.may_begin(&order)
        };
        let begins = may.is_ok() && matches!(order, Order::Upgrade { .. });
        let (outcome, told) = oneshot::channel();
        let given = may.and_then(|()| {
            let given = self.given.try_send(Given { order, outcome });
            given.map_err(|_| {
                if begins {
                    self.standing.send_replace(Standing::Serves);
                }
                let closed = self.takes_changes().err();
                closed.unwrap_or_else(|| Refusal::No("too many orders wait".into()))
            })
        });
        Box::pin(async move {
            given?;
            let stopped = || Refusal::No("the node stopped before it was done".into());
            told.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    fn sessions(&self, ask: Ask) -> Told {
        self.keyspace.ask(ask)
    }
}
