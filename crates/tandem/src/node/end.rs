//! What ends a node: a signal, or the end of its tether.

use std::io::Read as _;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::{Failure, Result};

/// Waits for the end.
pub struct End {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
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
        } else {
            // Kept open for ever.
            std::mem::forget(cut);
        }
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            tether,
            cut: false,
        })
    }

    /// Waits for the first reason to end, and says which it is.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
            _ = self.tether.recv(), if !self.cut => {
                self.cut = true;
                "its supervisor is gone"
            }
        }
    }

    /// Waits for a second order by signal. The end of the tether after a first order is no second one.
    pub async fn wait_again(&mut self) -> &'static str {
        self.cut = true;
        self.wait().await
    }
}
