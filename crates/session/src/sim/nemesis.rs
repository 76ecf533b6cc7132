//! What breaks, when, and for how long.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::cluster::{AGENTS, Cluster, NODES};
use super::network;
use super::profile::Fault;
use super::runtime::sleep;
use super::world::{self, HostId, below};

/// Breaks things. Cheap to clone.
#[derive(Clone)]
pub struct Nemesis(Rc<Inner>);

struct Inner {
    cluster: Cluster,
    /// Starts an agent and its clients anew.
    start_agent: Box<dyn Fn(HostId)>,
    /// Hosts that are being treated badly.
    busy: RefCell<BTreeSet<HostId>>,
    /// A node lost its state, and the others do not have everything on it again yet.
    lost: Cell<bool>,
    changing: Cell<bool>,
    log: RefCell<Vec<String>>,
    problems: RefCell<Vec<String>>,
}

impl Nemesis {
    pub fn new(cluster: Cluster, start_agent: impl Fn(HostId) + 'static) -> Self {
        Self(Rc::new(Inner {
            cluster,
            start_agent: Box::new(start_agent),
            busy: RefCell::default(),
            lost: Cell::new(false),
            changing: Cell::new(false),
            log: RefCell::default(),
            problems: RefCell::default(),
        }))
    }

    /// What was done.
    pub fn log(&self) -> Vec<String> {
        self.0.log.borrow().clone()
    }

    /// What did not come about in its time.
    pub fn problems(&self) -> Vec<String> {
        self.0.problems.borrow().clone()
    }

    fn note(&self, what: impl AsRef<str>) {
        let seconds = world::now() as f64 / 1e9;
        let line = format!("{seconds:8.3} s  {}", what.as_ref());
        if std::env::var_os("TANDEM_SIM_EVENTS").is_some() {
            eprintln!("{line}");
        }
        self.0.log.borrow_mut().push(line);
    }

    /// Breaks one thing after another until the world's clock shows `end`, in nanoseconds.
    pub async fn run(self, end: u64) {
        let cluster = &self.0.cluster;
        loop {
            let profile = cluster.profile();
            sleep(Duration::from_micros(below(profile.between * 1000))).await;
            if profile.available && !cluster.becomes_whole(30).await {
                let what = format!("not whole again in 30 s\n{}", cluster.describe());
                self.0.problems.borrow_mut().push(what);
                return;
            }
            if world::now() >= end {
                return;
            }
            let mut left = below(profile.faults.iter().map(|(weight, _)| weight).sum());
            let fault = profile.faults.iter().find(|(weight, _)| {
                let here = left < *weight;
                left = left.saturating_sub(*weight);
                here
            });
            if let Some((_, fault)) = fault {
                self.cause(*fault).await;
            }
        }
    }

    /// A session node that the file names and nothing happens to: the leader as often as not.
    fn victim(&self) -> Option<HostId> {
        let cluster = &self.0.cluster;
        let busy = self.0.busy.borrow();
        let idle: Vec<_> = cluster
            .file()
            .into_iter()
            .filter(|node| !busy.contains(node) && cluster.is_running(*node))
            .collect();
        match cluster.leader() {
            Some(leader) if idle.contains(&leader) && world::chance(500) => Some(leader),
            _ if idle.is_empty() => None,
            _ => Some(idle[below(idle.len() as u64) as usize]),
        }
    }

    fn agent(&self) -> Option<HostId> {
        let host = NODES + 1 + below(AGENTS as u64) as usize;
        (!self.0.busy.borrow().contains(&host)).then_some(host)
    }

    fn hold(&self, host: HostId) -> Held {
        self.0.busy.borrow_mut().insert(host);
        Held(self.clone(), host)
    }

    async fn while_it_lasts(&self) {
        let longest = self.0.cluster.profile().longest;
        // Short ones as often as long ones.
        let longest = if world::chance(400) {
            longest / 10
        } else {
            longest
        };
        sleep(Duration::from_micros(1 + below(longest * 1000))).await;
    }

    async fn cause(&self, fault: Fault) {
        let cluster = &self.0.cluster;
        match fault {
            Fault::Crash | Fault::Torn | Fault::PowerCut => {
                let Some(node) = self.victim() else { return };
                let _held = self.hold(node);
                self.note(format!("{fault:?} node{node}"));
                match fault {
                    Fault::PowerCut => cluster.cut_power(node),
                    _ => cluster.crash(node),
                }
                if fault == Fault::Torn {
                    tear(cluster, node);
                }
                self.while_it_lasts().await;
                self.note(format!("start node{node}"));
                cluster.start(node);
            }
            Fault::CrashAll | Fault::PowerCutAll => {
                let idle = self.0.busy.borrow().is_empty();
                if !idle {
                    return;
                }
                let held: Vec<_> = (1..=NODES).map(|node| self.hold(node)).collect();
                let running: Vec<_> = (1..=NODES)
                    .filter(|node| cluster.is_running(*node))
                    .collect();
                self.note(format!("{fault:?}"));
                for node in &running {
                    match fault {
                        Fault::PowerCutAll => cluster.cut_power(*node),
                        _ => cluster.crash(*node),
                    }
                }
                self.while_it_lasts().await;
                for node in running {
                    sleep(Duration::from_millis(below(200))).await;
                    cluster.start(node);
                }
                self.note("all started");
                drop(held);
            }
            Fault::Wiped | Fault::Reboot | Fault::Corrupted => {
                // A second node must not lose its state before the first has everything again.
                if self.0.lost.get() || self.0.changing.get() || !cluster.is_whole() {
                    return;
                }
                let Some(node) = self.victim() else { return };
                let _held = self.hold(node);
                cluster.forget(node);
                self.0.lost.set(true);
                self.note(format!("{fault:?} node{node}"));
                cluster.crash(node);
                match fault {
                    Fault::Wiped => cluster.wipe(node),
                    Fault::Reboot => cluster.reboot(node),
                    _ => corrupt(cluster, node),
                }
                self.while_it_lasts().await;
                self.note(format!("start node{node}"));
                cluster.start(node);
                let nemesis = self.clone();
                world::spawn_on(0, async move {
                    while !nemesis.0.cluster.is_whole() {
                        sleep(Duration::from_millis(100)).await;
                    }
                    nemesis.0.lost.set(false);
                });
            }
            Fault::Pause => {
                let Some(node) = self.victim() else { return };
                let _held = self.hold(node);
                // Alone, or with its machine and the machine's clock.
                let (stop, how): (fn(_, _), _) = if world::chance(500) {
                    (world::suspend, "suspend")
                } else {
                    (world::pause, "pause")
                };
                self.note(format!("{how} node{node}"));
                stop(node, true);
                self.while_it_lasts().await;
                self.note(format!("node{node} goes on"));
                stop(node, false);
            }
            Fault::Isolated => {
                let Some(node) = self.victim() else { return };
                let _held = self.hold(node);
                let (inward, outward) = directions();
                self.note(format!(
                    "isolate node{node} (inward {inward}, outward {outward})"
                ));
                let pairs = (1..=NODES + AGENTS)
                    .filter(|other| *other != node)
                    .flat_map(|other| [(inward, other, node), (outward, node, other)])
                    .filter_map(|(cut, from, to)| cut.then_some((from, to)));
                self.cut(pairs.collect()).await;
            }
            Fault::LinkCut => {
                let Some(node) = self.victim() else { return };
                let other = 1 + below((NODES + AGENTS) as u64) as usize;
                if other == node {
                    return;
                }
                let (there, back) = directions();
                self.note(format!(
                    "cut node{node} {}{}{} host {other}",
                    if back { "<" } else { "" },
                    "-",
                    if there { ">" } else { "" }
                ));
                let pairs = [(there, node, other), (back, other, node)]
                    .into_iter()
                    .filter_map(|(cut, from, to)| cut.then_some((from, to)));
                self.cut(pairs.collect()).await;
            }
            Fault::Restart => {
                let Some(node) = self.victim() else { return };
                let _held = self.hold(node);
                self.note(format!("stop node{node} in good order"));
                cluster.stop(node);
                for _ in 0..200 {
                    if !cluster.is_running(node) {
                        break;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                cluster.crash(node);
                self.while_it_lasts().await;
                self.note(format!("start node{node}"));
                cluster.start(node);
            }
            Fault::AgentCrash => {
                let Some(host) = self.agent() else { return };
                let _held = self.hold(host);
                self.note(format!("crash the agent of host {host}"));
                cluster.crash_agent(host);
                self.while_it_lasts().await;
                (self.0.start_agent)(host);
            }
            Fault::AgentPause => {
                let Some(host) = self.agent() else { return };
                let _held = self.hold(host);
                self.note(format!("pause the agent of host {host}"));
                world::pause(host, true);
                self.while_it_lasts().await;
                self.note(format!("the agent of host {host} goes on"));
                world::pause(host, false);
            }
            Fault::Members => {
                if self.0.changing.replace(true) {
                    return;
                }
                let mut file = cluster.file();
                let (comes, goes) = {
                    let out = (1..=NODES).find(|node| !file.contains(node));
                    let at = below(file.len() as u64) as usize;
                    let comes = out.unwrap_or(NODES);
                    (comes, std::mem::replace(&mut file[at], comes))
                };
                let is_out = cluster.is_whole();
                self.note(format!("the file names node{comes} and not node{goes}"));
                if is_out && world::chance(300) {
                    // It was elsewhere in between. One that still votes would be a state lost beside another.
                    cluster.crash(comes);
                    cluster.wipe(comes);
                }
                cluster.start(comes);
                cluster.set_file(file);
                if cluster.becomes_whole(6).await && !self.0.busy.borrow().contains(&goes) {
                    let _held = self.hold(goes);
                    self.note(format!("node{goes} is stopped"));
                    cluster.stop(goes);
                    sleep(Duration::from_secs(4)).await;
                    cluster.crash(goes);
                }
                self.0.changing.set(false);
            }
            Fault::WallClock => {
                let host = 1 + below((NODES + AGENTS) as u64) as usize;
                world::set_wall_clock(host, below(120_000).cast_signed() - 60_000);
            }
        }
    }

    async fn cut(&self, pairs: Vec<(HostId, HostId)>) {
        for (from, to) in &pairs {
            network::cut(*from, *to);
        }
        self.while_it_lasts().await;
        self.note("healed");
        for (from, to) in pairs {
            network::mend(from, to);
        }
    }
}

/// A host that is being treated badly, until this is dropped.
struct Held(Nemesis, HostId);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.busy.borrow_mut().remove(&self.1);
    }
}

fn directions() -> (bool, bool) {
    match below(4) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    }
}

/// Leaves behind what a process does that is killed inside the write of a record.
fn tear(cluster: &Cluster, node: HostId) {
    if let Some(path) = cluster.newest_segment(node) {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        let record = crate::log::segment::record(&[0xa5; 100]);
        let written = 1 + below(record.len() as u64 - 1) as usize;
        file.write_all(&record[..written]).unwrap();
    }
}

/// Flips a bit of something that was acknowledged.
fn corrupt(cluster: &Cluster, node: HostId) {
    if let Some(path) = cluster.newest_segment(node) {
        let mut bytes = fs::read(&path).unwrap();
        if !bytes.is_empty() {
            let at = below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << below(8);
            fs::write(path, bytes).unwrap();
            return;
        }
    }
    cluster.wipe(node);
}
