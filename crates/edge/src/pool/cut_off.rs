//! Servers whose nodes do not reach the sessions: they are used when no others can be.

use std::sync::atomic::Ordering::Relaxed;

use super::Pool;
use crate::server::{CUT_OFF, Server};

impl Pool {
    /// Says whether this node reaches the sessions that its programs may need. Where it does not, its servers are
    /// used when no others can be, and its gateway declines what another node can serve.
    pub fn set_cut_off(&self, is_cut_off: bool) {
        self.cut_off.store(is_cut_off, Relaxed);
        if !self.gateway {
            let mine = self.members().instances();
            for server in mine {
                self.note_cut_off(&server, is_cut_off);
            }
        }
    }

    /// Whether this node does not reach the sessions.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Relaxed)
    }

    /// Notes whether a server's node reaches the sessions, and tells of changes.
    pub(crate) fn note_cut_off(&self, server: &Server, is_cut_off: bool) {
        if !server.set_cut_off(is_cut_off) {
            return;
        }
        let subject = format!("{}/{}", self.service, server.key.name);
        let events = &self.telemetry.events;
        if is_cut_off {
            events.warning(subject, CUT_OFF);
        } else {
            events.info(subject, "its node reaches the sessions again");
        }
        self.refresh();
        server.wake.notify_one();
    }
}
