//! How durations spread: counted in buckets whose bounds never change, so that nodes can be summed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::meters::{PerWorker, add};

/// The upper bounds of the buckets, in microseconds. From what a file out of memory takes to what a client gives up at.
pub const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Durations as one worker counts them; the last bucket is of those beyond all bounds.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Histogram {
    // In this order, so that what nearly every answer changes lies together.
    micros: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

impl Histogram {
    /// Counts a duration. Only one worker may.
    pub fn add(&self, took: Duration) {
        let micros = took.as_micros() as u64;
        // Nearly all are in the first few.
        let bucket = BOUNDS.iter().position(|&bound| micros <= bound);
        add(&self.buckets[bucket.unwrap_or(BOUNDS.len())], 1);
        add(&self.micros, micros);
    }
}

/// Durations, summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many are in each bucket; the last one is of those beyond all [`BOUNDS`].
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All of them together, in microseconds.
    pub micros: u64,
}

impl Spread {
    /// Adds what a worker counted.
    pub fn add(&mut self, mine: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&mine.buckets) {
            *sum += bucket.load(Relaxed);
        }
        self.micros += mine.micros.load(Relaxed);
    }

    /// What all workers counted.
    pub fn sum(all: &PerWorker<Histogram>) -> Self {
        let mut sum = Self::default();
        for mine in all.all() {
            sum.add(mine);
        }
        sum
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_has_room_for_it() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 30_000_000, 30_000_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let mut spread = Spread::default();
        spread.add(&histogram);
        assert_eq!(spread.buckets[..2], [2, 1]);
        assert_eq!(spread.buckets[14..], [1, 1]);
        assert_eq!((spread.count(), spread.micros), (5, 60_001_002));
    }
}
