//! One seed from its beginning to its verdict.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tandem_history::{Call, Guard, Limits, Outcome, Verdict, check};

use super::audit;
use super::cluster::{AGENTS, Cluster, GUARDED, HOLD, NODES};
use super::disk;
use super::load::{Client, History, Troubles};
use super::nemesis::Nemesis;
use super::network::{self, Weather};
use super::profile::Profile;
use super::runtime::sleep;
use super::world::{self, HostId, Random, below};

/// What a seed came to.
pub struct Report {
    pub seed: u64,
    pub profile: &'static str,
    pub verdict: Verdict,
    /// Promises other than those about histories that were not kept.
    pub problems: Vec<String>,
    pub faults: Vec<String>,
    /// The same for two runs of a seed, if they are the same.
    pub trace: u64,
}

impl Report {
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} ({})", self.seed, self.profile)?;
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        for key in &self.verdict.undecided {
            writeln!(f, "{key}: the search took too long")?;
        }
        for violation in &self.verdict.violations {
            write!(f, "{violation}")?;
        }
        let verdict = &self.verdict;
        write!(
            f,
            "{} operations, {} of unknown outcome, {} keys, {} faults, {} violations",
            verdict.operations,
            verdict.unknown,
            verdict.keys,
            self.faults.len(),
            verdict.violations.len()
        )
    }
}

/// Expiry is judged to the millisecond on the early side: clocks count milliseconds. Late is not a broken promise: the
/// keyspace's clock stands still while nobody leads. A touch that would change too little is left out.
fn limits() -> Limits {
    Limits {
        early: 1_000,
        late: 3_600_000_000,
        touch_slack: 5,
        steps: 2_000_000,
        guard: Some(Guard {
            prefix: GUARDED,
            hold: HOLD.as_micros() as u64,
        }),
    }
}

/// A directory that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(seed: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tandem-sim-{}-{seed}-{number}", std::process::id());
        Self(place.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a seed.
pub fn run(seed: u64) -> Report {
    run_as(seed, Profile::of(seed, &mut Random::new(!seed)))
}

/// Runs a seed under another profile than its own.
pub fn run_as(seed: u64, profile: Profile) -> Report {
    run_script(seed, profile, scenario)
}

/// What a scenario leaves behind: the history, what was broken, and what was not as it should be.
pub type Story = (History, Vec<String>, Vec<String>);

/// Runs a scenario of one's own.
pub fn run_script<F: Future<Output = Story> + 'static>(
    seed: u64,
    profile: Profile,
    scenario: impl FnOnce(Cluster) -> F,
) -> Report {
    let scratch = Scratch::new(seed);
    let name = profile.name;
    network::reset(NODES + AGENTS);
    let cluster = Cluster::new(profile, scratch.0.clone());
    audit::end();
    disk::reset();
    let ((history, faults, mut problems), trace) =
        world::run(seed, NODES + AGENTS, scenario(cluster.clone()));
    network::reset(0);
    problems.extend(audit::end());
    drop(cluster);
    Report {
        seed,
        profile: name,
        verdict: check(history.take(), &limits()),
        problems,
        faults,
        trace,
    }
}

async fn scenario(cluster: Cluster) -> Story {
    let history = History::default();
    let troubles = Troubles::default();
    let mut problems = Vec::new();
    for host in 1..=NODES + AGENTS {
        world::set_wall_clock(host, below(120_000).cast_signed() - 60_000);
    }
    for node in cluster.file() {
        cluster.start(node);
    }
    if !cluster.becomes_whole(20).await {
        problems.push(format!("did not form in 20 s\n{}", cluster.describe()));
        return (history, Vec::new(), problems);
    }
    let stop = Rc::new(Cell::new(false));
    let clients = Rc::new(Cell::new(0_u32));
    let working = Rc::new(RefCell::new(Vec::new()));
    let start_agent = {
        let (cluster, history, stop, clients) = (
            cluster.clone(),
            history.clone(),
            stop.clone(),
            clients.clone(),
        );
        let (troubles, working) = (troubles.clone(), working.clone());
        move |host: HostId| {
            let agent = cluster.start_agent(host);
            for _ in 0..cluster.profile().clients / AGENTS {
                clients.set(clients.get() + 1);
                let number = clients.get();
                let client = Client::new(number, agent.keyspace(), history.clone());
                let work = client.work(cluster.profile().clone(), stop.clone(), troubles.clone());
                let over = Rc::new(Cell::new(false));
                working.borrow_mut().push((host, over.clone()));
                world::spawn_on(host, async move {
                    work.await;
                    over.set(true);
                });
            }
        }
    };
    for host in NODES + 1..=NODES + AGENTS {
        start_agent(host);
    }
    let nemesis = Nemesis::new(cluster.clone(), start_agent.clone());
    network::set_weather(cluster.profile().weather);
    let end = world::now() + cluster.profile().length.as_nanos() as u64;
    let tormentors = Rc::new(Cell::new(cluster.profile().at_once));
    for _ in 0..cluster.profile().at_once {
        let (nemesis, left) = (nemesis.clone(), tormentors.clone());
        world::spawn_on(0, async move {
            nemesis.run(end).await;
            left.set(left.get() - 1);
        });
    }
    while tormentors.get() > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    problems.extend(nemesis.problems());

    // All is well again, and so must the tier be.
    network::heal();
    network::set_weather(Weather::FAIR);
    for node in cluster.file() {
        cluster.start(node);
    }
    if !cluster.becomes_whole(40).await {
        problems.push(format!("not whole again in 40 s\n{}", cluster.describe()));
    }
    if cluster.profile().available {
        problems.extend(troubles.take());
    }
    stop.set(true);
    let is_over = || working.borrow().iter().all(|(_, over)| over.get());
    for _ in 0..700 {
        if is_over() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let keys = history.keys();
    for host in NODES + 1..=NODES + AGENTS {
        let Some(agent) = cluster.agent(host) else {
            problems.push(format!("the agent of host {host} does not run"));
            continue;
        };
        clients.set(clients.get() + 1);
        let mut client = Client::new(clients.get(), agent.keyspace(), history.clone());
        let (keys, found, over) = (
            keys.clone(),
            Rc::new(RefCell::new(Vec::new())),
            Rc::new(Cell::new(false)),
        );
        let (troubles, ended) = (found.clone(), over.clone());
        world::spawn_on(host, async move {
            let key = format!("last{host}").into();
            let value: tandem_history::Value = b"last".as_slice().into();
            let set = Call::Set { value, life: None };
            match client.call(&key, set).await {
                Ok(Outcome::Stored) => {}
                other => troubles
                    .borrow_mut()
                    .push(format!("a last write: {other:?}")),
            }
            for key in keys {
                if let Err(text) = client.call(&key, Call::Gets).await {
                    troubles
                        .borrow_mut()
                        .push(format!("a last read of {key}: {text}"));
                }
            }
            ended.set(true);
        });
        for _ in 0..6_000 {
            if over.get() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        if !over.get() {
            problems.push(format!("the last reads of host {host} do not end"));
        }
        problems.extend(found.take());
    }
    (history, nemesis.log(), problems)
}
