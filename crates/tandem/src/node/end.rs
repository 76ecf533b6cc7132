//! What a node is ordered from outside: signals, and the end of its tether.

use std::io::Read as _;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::{Failure, Result};

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End, for this reason.
    Stop(&'static str),
    /// Read the file again.
    Reload,
    /// Open the logs anew.
    ReopenLogs,
}

/// Waits for orders.
pub struct End {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    tether: mpsc::Receiver<()>,
    cut: bool,
}

impl End {
    /// Listens for signals; with `tethered` also for the end of standard input, which a supervisor holds open.
    pub fn new(tethered: bool) -> Result<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        let (cut, tether) = mpsc::channel(1);
        if tethered {
            // A thread of its own: a read of standard input cannot be called off.
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while matches!(std::io::stdin().lock().read(&mut bytes), Ok(1..)) {}
                let _ = cut.blocking_send(());
            });
        }
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            user1: listen(SignalKind::user_defined1())?,
            tether,
            cut: !tethered,
        })
    }

    /// Waits for the next order.
    pub async fn wait(&mut self) -> Order {
        tokio::select! {
            _ = self.interrupt.recv() => Order::Stop("SIGINT"),
            _ = self.terminate.recv() => Order::Stop("SIGTERM"),
            _ = self.hangup.recv() => Order::Reload,
            _ = self.user1.recv() => Order::ReopenLogs,
            _ = self.tether.recv(), if !self.cut => {
                self.cut = true;
                Order::Stop("its supervisor is gone")
            }
        }
    }

    /// Waits for a second order to stop. The end of the tether after a first order is no second one.
    pub async fn wait_again(&mut self) -> &'static str {
        self.cut = true;
        loop {
            if let Order::Stop(why) = self.wait().await {
                return why;
            }
        }
    }
}
