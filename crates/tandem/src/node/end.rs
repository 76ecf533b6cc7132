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
    /// End without waiting for what is in flight, for this reason.
    StopNow(&'static str),
    /// Read the file again.
    Reload,
    /// Open the logs anew.
    ReopenLogs,
}

/// What signals mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// As everywhere in Tandem: TERM and INT end in order, HUP reads the file again, USR1 opens the logs anew.
    #[default]
    Tandem,
    /// As in HAProxy: USR1 ends in order, TERM and INT at once, HUP and USR2 read the file again.
    Haproxy,
    /// As in nginx: QUIT ends in order, TERM and INT at once, HUP reads the file again, USR1 opens the logs anew.
    Nginx,
}

/// Signals that other programs have, too.
struct Others {
    quit: Signal,
    user2: Signal,
    winch: Signal,
}

impl Others {
    async fn next(this: &mut Option<Self>) -> &'static str {
        let Some(others) = this else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = others.quit.recv() => "SIGQUIT",
            _ = others.user2.recv() => "SIGUSR2",
            _ = others.winch.recv() => "SIGWINCH",
        }
    }
}

/// Waits for orders.
pub struct End {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    /// Whose meaning depends on `signals`; without one they end the process, as is usual.
    others: Option<Others>,
    signals: Signals,
    tether: mpsc::Receiver<()>,
    cut: bool,
}

impl End {
    /// Listens for signals; with `tethered` also for the end of standard input, which a supervisor holds open.
    pub fn new(tethered: bool, signals: Signals) -> Result<Self> {
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
        let others = if signals == Signals::Tandem {
            None
        } else {
            Some(Others {
                quit: listen(SignalKind::quit())?,
                user2: listen(SignalKind::user_defined2())?,
                winch: listen(SignalKind::window_change())?,
            })
        };
        Ok(Self {
            others,
            signals,
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
        loop {
            let signal = tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.hangup.recv() => return Order::Reload,
                _ = self.user1.recv() => "SIGUSR1",
                signal = Others::next(&mut self.others) => signal,
                _ = self.tether.recv(), if !self.cut => {
                    self.cut = true;
                    return Order::Stop("its supervisor is gone");
                }
            };
            match (self.signals, signal) {
                (Signals::Tandem | Signals::Nginx, "SIGUSR1") => return Order::ReopenLogs,
                (Signals::Tandem, signal)
                | (Signals::Haproxy, signal @ "SIGUSR1")
                | (Signals::Nginx, signal @ "SIGQUIT") => return Order::Stop(signal),
                (_, signal @ ("SIGINT" | "SIGTERM" | "SIGQUIT")) => return Order::StopNow(signal),
                (Signals::Haproxy, "SIGUSR2") => return Order::Reload,
                _ => {}
            }
        }
    }

    /// Waits for a second order to stop. The end of the tether after a first order is no second one.
    pub async fn wait_again(&mut self) -> &'static str {
        self.cut = true;
        loop {
            if let Order::Stop(why) | Order::StopNow(why) = self.wait().await {
                return why;
            }
        }
    }
}
