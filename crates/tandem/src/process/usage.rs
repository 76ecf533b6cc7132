//! What this process takes of its machine, as /proc tells it.

use std::fs;

use tandem_telemetry::{NodeStatus, ProcessStatus, StatusSource, WorkerStatus};

/// Microseconds of one tick of `/proc/PID/stat`, which Linux counts in hundredths of a second for every program.
const TICK: u64 = 10_000;
/// What the threads of workers are called, before their index.
pub const WORKER: &str = "worker";

/// Tells it whenever it is asked for.
pub struct Usage {
    /// Descriptors that may be open.
    pub descriptor_limit: u64,
}

impl StatusSource for Usage {
    fn fill(&self, status: &mut NodeStatus) {
        status.process = ProcessStatus {
            workers: workers(),
            cpu_micros: cpu().unwrap_or_default(),
            resident_bytes: resident().unwrap_or_default(),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
            descriptor_limit: self.descriptor_limit,
        };
    }
}

/// The workers by their index.
fn workers() -> Vec<WorkerStatus> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let mut found: Vec<(usize, WorkerStatus)> = tasks
        .flatten()
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let index = name.trim_end().strip_prefix(WORKER)?.strip_prefix('-')?;
            // Nanoseconds on a processor, nanoseconds in wait of one, turns (proc_pid_schedstat).
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let mut numbers = stat.split_whitespace().map(str::parse::<u64>);
            let mut micros = || numbers.next()?.ok().map(|nanos| nanos / 1_000);
            let worker = WorkerStatus {
                busy_micros: micros()?,
                waited_micros: micros()?,
            };
            Some((index.parse().ok()?, worker))
        })
        .collect();
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, worker)| worker).collect()
}

/// Processor time of the process, in microseconds.
fn cpu() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before may have spaces and brackets in it; then come state and numbers, 14 and 15 of the whole line being
    // the time in user and in system mode (proc_pid_stat).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * TICK)
}

/// Resident memory, in bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_works_is_seen_to_work() {
        let name = format!("{WORKER}-7");
        let thread = std::thread::Builder::new().name(name).spawn(|| {
            let before = workers();
            let busy = |all: &[WorkerStatus]| all.last().map_or(0, |worker| worker.busy_micros);
            let mut sum = 0u64;
            while busy(&workers()) <= busy(&before) + 1_000 {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            before.len()
        });
        assert!(thread.unwrap().join().unwrap() >= 1);
        let mut status = NodeStatus::default();
        Usage {
            descriptor_limit: 9,
        }
        .fill(&mut status);
        let process = status.process;
        assert!(process.resident_bytes > 0 && process.descriptors > 2);
        assert_eq!(process.descriptor_limit, 9);
    }
}
