//! How far the other replicas are: what heartbeats take, there and back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rt::Instant;
use crate::types::NodeId;

/// Who takes longer is too far away: elections and the leader's lease are counted in tenths of a second.
pub const FAR: Duration = Duration::from_millis(100);
/// The shortest of so long counts: what takes long once is no distance.
const WINDOW: Duration = Duration::from_secs(2);

/// Written by those who send heartbeats, read by whoever tells of it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Distances(Arc<Mutex<BTreeMap<NodeId, Distance>>>);

struct Distance {
    since: Instant,
    /// The shortest since then,
    least: Duration,
    /// and that of the time before.
    before: Option<Duration>,
}

impl Distances {
    /// A heartbeat was answered.
    pub fn took(&self, to: NodeId, time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let distance = all.entry(to).or_insert_with(|| Distance {
            since: Instant::now(),
            least: time,
            before: None,
        });
        distance.least = distance.least.min(time);
        if distance.since.elapsed() > WINDOW {
            *distance = Distance {
                since: Instant::now(),
                least: Duration::MAX,
                before: Some(distance.least),
            };
        }
    }

    /// How long a replica took lately, if that is too long.
    pub fn far(&self, to: NodeId) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&to)?.before.filter(|before| *before > FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::sleep;

    #[test]
    fn a_replica_is_far_when_all_its_answers_took_long() {
        crate::sim::alone(async {
            let distances = Distances::default();
            let ms = Duration::from_millis;
            let all = async |times: [u64; 3]| {
                for time in times {
                    distances.took(1, ms(time));
                    sleep(ms(1_100)).await;
                }
                distances.far(1)
            };
            assert_eq!(all([150, 180, 140]).await, Some(ms(140)));
            assert_eq!(all([900, 40, 900]).await, None);
            assert_eq!(distances.far(2), None);
        });
    }
}
