//! The keyspace's clock against the time that really passed.
//!
//! A history shows an early end only when somebody looks at the right moment. This looks always: between the stamping of
//! two entries of the log the keyspace's clock must not advance by more than the world's. Behind it may be.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::world;
use crate::types::NodeId;

/// Clocks count milliseconds.
const SLACK: u64 = 1;

#[derive(Default)]
struct Audit {
    /// When, in the world's milliseconds, whoever led stamped an entry so: first, and last. A node that was started anew
    /// stands where its log does, and may give a stamp again.
    stamped: BTreeMap<(NodeId, u64), (u64, u64)>,
    worst: Option<String>,
    ahead: u64,
}

thread_local! {
    static AUDIT: RefCell<Audit> = RefCell::default();
}

/// The stamp of an entry, and when it was first given.
#[derive(Clone, Copy, Debug)]
pub struct Stamped {
    stamp: u64,
    at: u64,
}

/// A replica that leads gives a stamp now.
pub fn stamped(by: NodeId, stamp: u64) {
    let now = world::now() / 1_000_000;
    AUDIT.with_borrow_mut(|audit| {
        let times = audit.stamped.entry((by, stamp)).or_insert((now, now));
        times.1 = now;
    });
}

/// A replica applies an entry; `last` is the one with the highest stamp before it.
pub fn applied(last: &mut Option<Stamped>, by: NodeId, stamp: u64) {
    AUDIT.with_borrow_mut(|audit| {
        let Some((first, at)) = audit.stamped.get(&(by, stamp)).copied() else {
            return;
        };
        if let Some(last) = last {
            if stamp <= last.stamp {
                return;
            }
            let passed = at.saturating_sub(last.at);
            let ahead = (stamp - last.stamp).saturating_sub(passed);
            if ahead > SLACK && ahead > audit.ahead {
                audit.ahead = ahead;
                audit.worst = Some(format!(
                    "the keyspace's clock went from {} to {stamp} ms in {passed} ms, at {at} ms",
                    last.stamp
                ));
            }
        }
        *last = Some(Stamped { stamp, at: first });
    });
}

/// Ends an audit and begins another: says where the clock was furthest ahead, if it was.
pub fn end() -> Option<String> {
    AUDIT.take().worst
}
