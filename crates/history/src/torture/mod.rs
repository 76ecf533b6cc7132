//! Real processes under load and faults, and the proof from what their clients saw.
//!
//! Clients work on memcached ports while one fault after the other happens to the nodes and to the links between them,
//! each only when the cluster is whole again. What they were told is checked round by round ([`crate::check`]). What is
//! tortured is a [`Target`]: Tandem in network namespaces, Tandem as a rehearsal, or plain memcached as PHP replicates
//! it.

mod client;
mod ledger;
mod links;
mod load;
mod nemesis;
mod network;
mod nodes;
mod processes;
mod rehearsal;
mod replicas;
mod report;
mod stage;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Limits;
use ledger::Ledger;
use load::Task;
use nemesis::Nemesis;
use rehearsal::Rehearsal;
use replicas::Replicas;
use stage::Stage;

pub use links::Links;
pub use network::NoNetwork;
pub use nodes::Nodes;
pub use processes::stop;
pub use report::Report;

/// What is tortured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Six nodes of this `tandem` binary, each in a network namespace of its own.
    Nodes(PathBuf),
    /// The five nodes of a rehearsal by this `tandem` binary: links are not cut.
    Rehearsal(PathBuf),
    /// Two plain memcacheds in network namespaces, which PHP's client replicates.
    Memcached,
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Everything that the protocol has.
    All,
    /// What PHP does with sessions, and libmemcached replicates: `get`, `set` and `delete`.
    Sessions,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is tortured.
    pub target: Target,
    /// What clients do.
    pub mix: Mix,
    /// Where configuration, state and logs go.
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
    /// Whether to stop at the first broken promise.
    pub until_broken: bool,
}

/// Why a run came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no network that can be cut.
    NoNetwork(NoNetwork),
    /// Something did not start, or did not become whole after a fault.
    Failed(String),
}

impl Failure {
    /// Whether all that is missing is this user's right to make network namespaces.
    pub fn is_missing_right(&self) -> bool {
        matches!(self, Self::NoNetwork(NoNetwork::NoRight(_)))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNetwork(why) => write!(f, "{why}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<NoNetwork> for Failure {
    fn from(why: NoNetwork) -> Self {
        Self::NoNetwork(why)
    }
}

/// Of [`Target::Nodes`].
const SIX: [&str; 6] = ["cache1", "cache2", "edge", "app1", "app2", "app3"];
const SESSIONS: &str = r#"
on     = ["cache1", "cache2"]
third  = "edge"
agents = ["app1", "app2", "app3"]
memory = "64 MiB"
"#;

/// How expiry is judged here. The keyspace's clock stands still while no replica leads, so that items live longer by
/// the length of each failover; it never runs ahead. Clocks count milliseconds. A touch that would give an item less
/// than a twentieth of its life is left out.
const TANDEM: Limits = Limits {
    early: 5_000,
    late: 30_000_000,
    touch_slack: 5,
    steps: 20_000_000,
    guard: None,
};

/// memcached counts whole seconds: an item's last one may be over as soon as it begins, or a tick later.
const MEMCACHED: Limits = Limits {
    early: 2_100_000,
    late: 2_100_000,
    touch_slack: 0,
    steps: 2_000_000,
    guard: None,
};

/// Starts the cluster, works and breaks it, stops it, and checks.
///
/// # Errors
///
/// Those of the set-up: a network that cannot be made, a cluster that does not start, or does not become whole after a
/// fault.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    let (stage, name, limits): (Box<dyn Stage>, _, _) = match &plan.target {
        Target::Nodes(tandem) => {
            let nodes = Nodes::make(tandem, &plan.dir, &SIX, SESSIONS)?;
            nodes.start_all()?;
            let name = "six nodes of Tandem in network namespaces";
            (Box::new(nodes), name, TANDEM)
        }
        Target::Rehearsal(tandem) => {
            let rehearsal = Rehearsal::start(tandem, &plan.dir)?;
            let name = "a rehearsal of five nodes of Tandem, without cuts of links";
            (Box::new(rehearsal), name, TANDEM)
        }
        Target::Memcached => {
            let replicas = Replicas::start(&plan.dir, Replicas::network()?)?;
            let name = "two memcacheds in network namespaces, replicated by PHP's client";
            (Box::new(replicas), name, MEMCACHED)
        }
    };
    let (stage, limits) = (&*stage, &limits);
    let (stop, broken) = (AtomicBool::new(false), AtomicBool::new(false));
    let (stop, broken) = (&stop, &broken);
    let never = AtomicBool::new(false);
    let enough = if plan.until_broken { broken } else { &never };
    let begun = Instant::now();
    let doors = stage.doors();
    if doors.is_empty() {
        return Err(Failure::Failed("there is no agent to ask".into()));
    }
    let (faults, ledger) = std::thread::scope(|scope| {
        let (hand, history) = mpsc::channel();
        let workers: Vec<_> = (0..plan.clients)
            .map(|number| {
                let task = Task {
                    number,
                    door: doors[number as usize % doors.len()].clone(),
                    seed: plan.seed,
                    mix: plan.mix,
                    begun,
                    stop,
                };
                let hand = hand.clone();
                scope.spawn(move || load::work(task, &hand))
            })
            .collect();
        drop(hand);
        let ledger = scope.spawn(move || Ledger::keep(&history, plan.clients, limits, broken));
        let faults = Nemesis::new(stage, plan.seed, begun).run(plan.length, plan.faults, enough);
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let ended = worker.join();
            ended.map_err(|_| "a client panicked".to_owned())??;
        }
        let ledger = ledger.join().map_err(|_| "the check panicked".to_owned())?;
        Ok::<_, String>((faults?, ledger))
    })?;
    let length = begun.elapsed();
    Ok(Report::new(plan.seed, name.into(), faults, ledger, length))
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
