//! How many connections a listener lets in: in all, and from one source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_model::Limits;

/// The part of an IPv6 address that one customer has for himself is what follows these bits.
const NETWORK: u128 = !0 << 64;

/// The connections of a listener, on all workers. Goes on from one configuration of it to the next.
///
/// Counted once a connection, and only where there is a limit: no request touches it.
#[derive(Debug, Default)]
pub struct Admission {
    all: AtomicU32,
    sources: Mutex<HashMap<IpAddr, u32>>,
}

/// What keeps a connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The listener has as many as it may.
    Full,
    /// Its source has as many as it may.
    Source,
}

/// A connection that was let in; it counts as long as this lives.
pub(super) struct Admitted {
    admission: Arc<Admission>,
    all: bool,
    source: Option<IpAddr>,
}

impl Admission {
    /// Lets a connection in. `source` is none of those that stand for many.
    pub(super) fn admit(
        self: &Arc<Self>,
        limits: &Limits,
        source: Option<IpAddr>,
    ) -> Result<Admitted, Denied> {
        let mut admitted = Admitted {
            admission: self.clone(),
            all: false,
            source: None,
        };
        if let Some(most) = limits.connections {
            admitted.all = true;
            if self.all.fetch_add(1, Relaxed) >= most {
                return Err(Denied::Full);
            }
        }
        if let (Some(most), Some(source)) = (limits.per_source, source) {
            let source = network(source);
            let mut sources = self.sources();
            let count = sources.entry(source).or_default();
            if *count >= most {
                return Err(Denied::Source);
            }
            *count += 1;
            admitted.source = Some(source);
        }
        Ok(admitted)
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.all {
            self.admission.all.fetch_sub(1, Relaxed);
        }
        if let Some(source) = self.source {
            let mut sources = self.admission.sources();
            if let Some(count) = sources.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    sources.remove(&source);
                }
            }
        }
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_in_counts_as_long_as_it_lasts() {
        let limits = Limits {
            connections: Some(3),
            per_source: Some(2),
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let admit = |source: &str| admission.admit(&limits, Some(source.parse().unwrap()));
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2:1").unwrap();
        assert_eq!(admit("2001:db8::3").err(), Some(Denied::Source));
        let _other = admit("192.0.2.1").unwrap();
        assert_eq!(admit("::ffff:192.0.2.1").err(), Some(Denied::Full));
        drop(first);
        let fourth = admit("::ffff:192.0.2.1").unwrap();
        assert_eq!(admission.sources().len(), 2);
        drop(fourth);
        // Who stands for many is not counted among sources.
        let _node = admission.admit(&limits, None).unwrap();
        assert_eq!(admission.all.load(Relaxed), 3);
    }
}
