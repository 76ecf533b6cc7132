//! The service manager's view of a node: ready, reloading, stopping, and alive.
//!
//! Alive means that every worker answers. A node whose workers hang is one that systemd should start again, and it
//! does when it no longer hears from us.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

use super::doors::Pulse;
use crate::process::notify::{Notify, watchdog};

/// The longest between two signs of life.
const LONGEST: Duration = Duration::from_secs(10);

/// Tells whoever started this node how it is. Without a manager it tells nobody.
pub struct Manager {
    notify: Option<Notify>,
    alive: Option<JoinHandle<()>>,
}

impl Manager {
    /// The manager of the environment; it hears from us as often as it asked to, as long as `pulse` beats.
    pub fn new(pulse: Pulse) -> Self {
        let notify = Notify::from_environment();
        let alive = notify.as_ref().and_then(|_| {
            let (every, notify) = (watchdog()?, Notify::from_environment()?);
            Some(tokio::task::spawn_local(async move {
                loop {
                    if pulse.beats(every).await {
                        notify.say("WATCHDOG=1");
                    }
                    tokio::time::sleep(every.min(LONGEST)).await;
                }
            }))
        });
        Self { notify, alive }
    }

    fn say(&self, what: &str) {
        if let Some(notify) = &self.notify {
            notify.say(what);
        }
    }

    /// It serves.
    pub fn ready(&self, how: &str) {
        self.say(&format!("READY=1\nSTATUS={how}"));
    }

    /// It serves again, as before.
    pub fn ready_again(&self) {
        self.say("READY=1");
    }

    /// It reads its file again.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Another process has taken its place. Nothing more is said here.
    pub fn succeeded_by(&mut self, pid: u32) {
        // In one message: the next of this process count for nothing.
        self.say(&format!("MAINPID={pid}\nREADY=1"));
        self.notify = None;
        if let Some(alive) = self.alive.take() {
            alive.abort();
        }
    }

    /// It ends, which takes so long at most, whatever the unit says. Workers no longer answer: that it does not hang is
    /// said by that limit.
    pub fn stopping(&mut self, why: &str, at_most: Duration) {
        let micros = at_most.as_micros();
        self.say(&format!(
            "STOPPING=1\nSTATUS=stops: {why}\nEXTEND_TIMEOUT_USEC={micros}"
        ));
        if let Some(alive) = self.alive.take() {
            alive.abort();
        }
        let watched = watchdog().zip(Notify::from_environment());
        self.alive = watched.map(|(every, notify)| {
            tokio::task::spawn_local(async move {
                loop {
                    notify.say("WATCHDOG=1");
                    tokio::time::sleep(every.min(LONGEST)).await;
                }
            })
        });
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.abort();
        }
    }
}
