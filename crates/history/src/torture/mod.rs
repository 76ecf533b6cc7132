//! A rehearsal under load and faults, and the proof from what its clients saw.
//!
//! Real processes: a cluster of two application nodes with agents, a listener's node as the third voter, two session
//! nodes. Clients work on the agents' memcached ports while one fault after the other happens to the nodes, each only
//! when the cluster is whole again. Afterwards the histories are checked.

mod client;
mod cluster;
mod load;
mod nemesis;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Limits, Operation, Outcome, Verdict, check};
use cluster::Rehearsal;
use nemesis::Nemesis;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `tandem` binary.
    pub tandem: PathBuf,
    /// Where the cluster file and the rehearsal's output go.
    pub dir: PathBuf,
    /// Of the load and of the faults. Processes and networks are not deterministic: the same seed asks for the same,
    /// and need not see the same.
    pub seed: u64,
    /// How long faults happen; a fault that has begun is seen through.
    pub length: Duration,
    /// Faults at most.
    pub faults: usize,
    /// Connections, dealt to the agents in turn.
    pub clients: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Each fault: when it began, in seconds, and what it was.
    pub faults: Vec<(f64, String)>,
    /// What the histories prove.
    pub verdict: Verdict,
    /// Operations that were refused: nothing was done.
    pub failed: usize,
    /// The longest time in which no operation of any client was answered.
    pub silence: Duration,
    /// The longest that one operation took.
    pub longest: Duration,
    /// How long the load ran.
    pub length: Duration,
}

impl Report {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.verdict.holds()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for (at, what) in &self.faults {
            writeln!(f, "{at:8.2} s  {what}")?;
        }
        let seconds = self.length.as_secs_f64();
        writeln!(
            f,
            "operations          {} in {seconds:.0} s, {} keys\n\
             faults              {}\n\
             outcomes unknown    {}\n\
             refused             {}\n\
             longest silence     {:.3} s\n\
             longest operation   {:.3} s\n\
             undecided keys      {}\n\
             violations          {}",
            self.verdict.operations,
            self.verdict.keys,
            self.faults.len(),
            self.verdict.unknown,
            self.failed,
            self.silence.as_secs_f64(),
            self.longest.as_secs_f64(),
            self.verdict.undecided.len(),
            self.verdict.violations.len()
        )?;
        for violation in &self.verdict.violations {
            write!(f, "\n{violation}")?;
        }
        Ok(())
    }
}

/// How expiry is judged here. The keyspace's clock stands still while no replica leads, so that items live longer by
/// the length of each failover; it never runs ahead. Clocks count milliseconds. A touch that would give an item less
/// than a twentieth of its life is left out.
pub fn limits() -> Limits {
    Limits {
        early: 5_000,
        late: 30_000_000,
        touch_slack: 5,
        ..Limits::default()
    }
}

/// Starts the cluster, works and breaks it, stops it, and checks. Errors are those of the set-up: a cluster that does
/// not start, or does not become whole after a fault.
pub fn run(plan: &Plan) -> Result<Report, String> {
    let rehearsal = Rehearsal::start(plan)?;
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let agents = rehearsal.agents();
    let (faults, operations) = std::thread::scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| {
                let agent = agents[number as usize % agents.len()];
                scope.spawn(move || load::work(number, agent, plan.seed, begun, stop))
            })
            .collect();
        let faults = Nemesis::new(&rehearsal, plan.seed, begun).run(plan.length, plan.faults);
        stop.store(true, Ordering::Relaxed);
        let mut operations: Vec<Operation> = Vec::new();
        for client in clients {
            operations.extend(client.join().map_err(|_| "a client panicked".to_owned())?);
        }
        Ok::<_, String>((faults, operations))
    })?;
    let length = begun.elapsed();
    let faults = faults?;
    drop(rehearsal);
    let is_answer = |op: &&Operation| !matches!(op.outcome, Outcome::Unknown | Outcome::Failed);
    let mut answers: Vec<u64> = operations
        .iter()
        .filter(is_answer)
        .map(|op| op.returned)
        .collect();
    answers.sort_unstable();
    let silences = answers.windows(2).map(|two| two[1] - two[0]);
    let lengths = operations.iter().map(|op| op.returned - op.invoked);
    Ok(Report {
        seed: plan.seed,
        faults,
        failed: operations
            .iter()
            .filter(|op| op.outcome == Outcome::Failed)
            .count(),
        silence: Duration::from_micros(silences.max().unwrap_or_default()),
        longest: Duration::from_micros(lengths.max().unwrap_or_default()),
        length,
        verdict: check(operations, &limits()),
    })
}

/// Numbers that follow from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        let mixed =
            (seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mut random = Self(mixed | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}
