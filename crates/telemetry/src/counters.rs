//! Counters that cost one uncontended add: each worker writes its own, a reader sums them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use crate::meters::{self, add};

/// The counters of one worker, on cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Requests that are being answered now.
    pub answering: AtomicU64,
    /// Connections that have sent a part of a head and are waited for.
    pub reading: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Requests that were malformed or over a limit.
    pub refused: AtomicU64,
    /// Tries at an upstream after the first.
    pub retries: AtomicU64,
    /// Answers 500 and above.
    pub errors: AtomicU64,
    /// Body and head bytes sent to clients.
    pub bytes_out: AtomicU64,
    /// Handlers that panicked; each ended its connection only.
    pub panics: AtomicU64,
}

impl WorkerCounters {
    /// Counts what was answered. Only the worker may.
    pub fn answered(&self, status: u16, bytes: u64, retries: u32) {
        add(&self.bytes_out, bytes);
        if retries > 0 {
            add(&self.retries, retries.into());
        }
        if status >= 500 {
            add(&self.errors, 1);
        }
    }
}

/// The counters of a node.
pub struct Counters(Box<[WorkerCounters]>);

/// The counters of a node, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "see WorkerCounters")]
pub struct Totals {
    pub accepted: u64,
    pub open: u64,
    pub answering: u64,
    pub reading: u64,
    pub requests: u64,
    pub refused: u64,
    pub retries: u64,
    pub errors: u64,
    pub bytes_out: u64,
    pub panics: u64,
}

impl Counters {
    /// Counters for so many workers.
    pub fn new(workers: usize) -> Self {
        Self(
            (0..workers.max(1))
                .map(|_| WorkerCounters::default())
                .collect(),
        )
    }

    /// The counters of one worker.
    pub fn worker(&self, index: usize) -> &WorkerCounters {
        meters::own(&self.0, index)
    }

    /// The sum over all workers.
    pub fn totals(&self) -> Totals {
        let sum = |field: fn(&WorkerCounters) -> &AtomicU64| {
            self.0
                .iter()
                .fold(0u64, |sum, w| sum.wrapping_add(field(w).load(Relaxed)))
        };
        Totals {
            accepted: sum(|w| &w.accepted),
            open: sum(|w| &w.open),
            answering: sum(|w| &w.answering),
            reading: sum(|w| &w.reading),
            requests: sum(|w| &w.requests),
            refused: sum(|w| &w.refused),
            retries: sum(|w| &w.retries),
            errors: sum(|w| &w.errors),
            bytes_out: sum(|w| &w.bytes_out),
            panics: sum(|w| &w.panics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_the_workers() {
        let counters = Counters::new(2);
        counters.worker(0).requests.fetch_add(3, Relaxed);
        counters.worker(1).requests.fetch_add(4, Relaxed);
        assert_eq!(counters.totals().requests, 7);
    }
}
