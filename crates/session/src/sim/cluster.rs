//! The hosts of a simulated cluster: session nodes with their disks, and agents.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tandem_model::Pattern;
use tandem_net::cluster::{Answer, ClusterId, ClusterKey, Incarnation};
use tandem_telemetry::Telemetry;
use tandem_telemetry::event::Log;
use tokio::sync::{Notify, watch};

use super::broken::{Broken, is_broken};
use super::disk;
use super::network::{self, Port};
use super::profile::Profile;
use super::runtime::sleep;
use super::world::{self, HostId};
use crate::agent::{Agent, AgentOptions};
use crate::home::Home;
use crate::log::LogStore;
use crate::node::{Core, NodeOptions, Others};
use crate::peers::Voter;
use crate::served::Served;
use crate::types::NodeId;

/// Session nodes: three that the file names, and one that it may name in the place of another.
pub const NODES: HostId = 4;
/// Hosts with an agent each.
pub const AGENTS: HostId = 2;

/// Keys that begin so are guarded:
pub const GUARDED: &str = "guarded";
/// for so long after a delete a plain `set` of theirs is refused.
pub const HOLD: Duration = Duration::from_millis(800);

fn voter(host: HostId) -> Voter {
    Voter {
        name: name(host),
        address: network::address(host),
    }
}

/// Handles to everything. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Rc<Inner>);

struct Inner {
    directory: PathBuf,
    profile: Profile,
    state: RefCell<State>,
}

struct State {
    /// Which session nodes the file names.
    file: Vec<HostId>,
    nodes: Vec<NodeState>,
    agents: Vec<Option<Agent>>,
    events: bool,
}

#[derive(Default)]
struct NodeState {
    running: Option<Running>,
    /// Counts the starts of the machine.
    boot: u64,
    /// Who it is, when its machine lost its power and must not have lost its state.
    stays: Option<NodeId>,
    /// What this node's file names, and its running replica follows.
    file: Option<watch::Sender<Arc<[Voter]>>>,
}

struct Running {
    core: Core,
    stop: Arc<Notify>,
}

pub fn name(host: HostId) -> String {
    format!("node{host}")
}

impl Cluster {
    pub fn new(profile: Profile, directory: PathBuf) -> Self {
        let state = State {
            file: vec![1, 2, 3],
            nodes: (0..=NODES).map(|_| NodeState::default()).collect(),
            agents: vec![None; NODES + AGENTS + 1],
            events: std::env::var_os("TANDEM_SIM_EVENTS").is_some(),
        };
        Self(Rc::new(Inner {
            directory,
            profile,
            state: RefCell::new(state),
        }))
    }

    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// Which session nodes the file names.
    pub fn file(&self) -> Vec<HostId> {
        self.0.state.borrow().file.clone()
    }

    /// Whether its process runs, or is starting.
    pub fn is_running(&self, node: HostId) -> bool {
        self.0.state.borrow().nodes[node].file.is_some()
    }

    pub fn agent(&self, host: HostId) -> Option<Agent> {
        self.0.state.borrow().agents[host].clone()
    }

    fn voters(&self) -> Vec<Voter> {
        self.file().into_iter().map(voter).collect()
    }

    fn telemetry(&self, host: HostId) -> Telemetry {
        let log = if self.0.state.borrow().events {
            Log::Stderr
        } else {
            Log::Silent
        };
        Telemetry::new(&name(host), 1, log)
    }

    pub fn home(&self, node: HostId) -> PathBuf {
        self.0.directory.join(name(node))
    }

    /// Starts a session node that does not run.
    pub fn start(&self, node: HostId) {
        if self.is_running(node) {
            return;
        }
        let cluster = self.clone();
        let (file, watched) = watch::channel(Arc::from(self.voters()));
        let durable = self.profile().durable;
        let (boot, stays) = {
            let mut state = self.0.state.borrow_mut();
            state.nodes[node].file = Some(file);
            let node = &mut state.nodes[node];
            (format!("boot {}", node.boot), node.stays.take())
        };
        world::spawn_on(node, async move {
            let options = NodeOptions {
                node: name(node),
                voters: cluster.voters(),
                state: cluster.home(node),
                memory: cluster.profile().memory,
                durable,
                guard: Some((vec![Pattern::Star(GUARDED.into(), String::new())], HOLD)),
                outgoing: None,
                key: ClusterKey::new(b"simulated"),
                incarnation: Incarnation::NONE,
                others: Others::default(),
                beside: Vec::new(),
                served: Served::default(),
            };
            let all = (1..=NODES + AGENTS).filter(|other| *other != node);
            options.others.set(all.map(voter).collect());
            let telemetry = cluster.telemetry(node);
            let home = Home::open_at(&options.state, &options.node, durable, &boot)
                .unwrap_or_else(|error| panic!("{}: {error}", options.node));
            if stays.is_some_and(|id| id != home.id) {
                let why = home.lost.unwrap_or_default();
                panic!("{}: what was flushed is lost: {why}", options.node);
            }
            home.log.set_segment(cluster.profile().segment);
            let retention = cluster.profile().retention;
            let core = Core::start(home, &options, watched, &telemetry, retention)
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", options.node));
            network::listen(node, Some(port(&core)));
            disk::serves(node, true);
            let stop = Arc::new(Notify::new());
            cluster.0.state.borrow_mut().nodes[node].running = Some(Running {
                core: core.clone(),
                stop: stop.clone(),
            });
            tokio::select! {
                biased;
                () = stop.notified() => {}
                _ = core.failure() => {
                    // Its thread starts it again.
                    world::later(0, move || {
                        cluster.crash(node);
                        cluster.start(node);
                    });
                    return;
                }
            }
            network::listen(node, None);
            core.stop().await;
            // The rest of the process ends with it, from outside: a task cannot end itself.
            world::later(0, move || cluster.crash(node));
        });
    }

    /// Kills a session node's process.
    pub fn crash(&self, node: HostId) {
        disk::serves(node, false);
        network::listen(node, None);
        let running = {
            let mut state = self.0.state.borrow_mut();
            state.nodes[node].file = None;
            state.nodes[node].running.take()
        };
        world::kill(node);
        drop(running);
        network::hang_up(node, &name(node));
    }

    /// Has a session node stop in good order.
    pub fn stop(&self, node: HostId) {
        if let Some(running) = &self.0.state.borrow().nodes[node].running {
            running.stop.notify_one();
        }
    }

    /// Removes the state of a node that does not run.
    pub fn wipe(&self, node: HostId) {
        let identity = self.home(node).join("identity");
        let who = fs::read(&identity);
        self.forget(node);
        // Nothing there is as good as removed.
        let _ = fs::remove_dir_all(self.home(node));
        if is_broken(Broken::OldIdentityAfterLostState)
            && let Ok(who) = who
        {
            fs::create_dir_all(self.home(node)).unwrap();
            LogStore::begin(&self.home(node), false).unwrap();
            fs::write(identity, who).unwrap();
        }
    }

    /// The state of a node that does not run may be lost from now on.
    pub fn forget(&self, node: HostId) {
        self.0.state.borrow_mut().nodes[node].stays = None;
    }

    /// Kills a session node with its machine, which loses its power.
    pub fn cut_power(&self, node: HostId) {
        let id = self.core(node).map(|core| core.view().id());
        self.crash(node);
        disk::lose_power(&self.home(node));
        let mut state = self.0.state.borrow_mut();
        state.nodes[node].boot += 1;
        state.nodes[node].stays = id.or(state.nodes[node].stays);
    }

    /// The machine of a node that does not run was started anew.
    pub fn reboot(&self, node: HostId) {
        self.0.state.borrow_mut().nodes[node].boot += 1;
    }

    /// The newest segment of the log of a node that does not run.
    pub fn newest_segment(&self, node: HostId) -> Option<PathBuf> {
        let files = fs::read_dir(self.home(node)).ok()?;
        let names = files.filter_map(|file| {
            let path = file.ok()?.path();
            let is_log = path.file_name()?.to_str()?.starts_with("log-");
            is_log.then_some(path)
        });
        names.max()
    }

    /// From now on the file names these, for those that start.
    pub fn write_file(&self, file: Vec<HostId>) {
        self.0.state.borrow_mut().file = file;
    }

    /// From now on the file names these; each host reads it when it comes to it.
    pub fn set_file(&self, file: Vec<HostId>) {
        self.0.state.borrow_mut().file = file;
        for host in 1..=NODES + AGENTS {
            let cluster = self.clone();
            world::later(world::below(800_000_000), move || {
                let voters = cluster.voters();
                let state = cluster.0.state.borrow();
                if host > NODES {
                    if let Some(agent) = &state.agents[host] {
                        agent.set_voters(voters);
                    }
                } else if let Some(file) = &state.nodes[host].file {
                    file.send_replace(voters.into());
                }
            });
        }
    }

    /// Starts the agent of a host.
    pub fn start_agent(&self, host: HostId) -> Agent {
        let options = AgentOptions {
            node: name(host),
            voters: self.voters(),
            outgoing: None,
            key: ClusterKey::new(b"simulated"),
            incarnation: Incarnation::NONE,
            served: Served::open(
                &self.home(host).with_extension("tier"),
                &self.telemetry(host).events,
            ),
        };
        let agent = Agent::start(options, &self.telemetry(host));
        let (remembers, asked) = (agent.clone(), agent.clone());
        world::spawn_on(host, async move { remembers.remember().await });
        network::listen(
            host,
            Some(Port {
                cluster: ClusterId::default(),
                raft: Arc::new(|_, _| Box::pin(std::future::ready(Bytes::new()))),
                agent: Arc::new(move |body, _| {
                    Box::pin(std::future::ready(asked.answer_to(&body)))
                }),
                ended: Arc::new(|_| ()),
            }),
        );
        self.0.state.borrow_mut().agents[host] = Some(agent.clone());
        agent
    }

    /// Kills the process of an agent, and with it the clients that wait for it.
    pub fn crash_agent(&self, host: HostId) {
        let agent = self.0.state.borrow_mut().agents[host].take();
        network::listen(host, None);
        world::kill(host);
        drop(agent);
    }

    /// The node that leads, if one says so.
    pub fn leader(&self) -> Option<HostId> {
        let state = self.0.state.borrow();
        (1..=NODES).find(|node| {
            let running = state.nodes[*node].running.as_ref();
            running.is_some_and(|running| running.core.view().leads())
        })
    }

    /// Whether all whom the file names run, vote as who they are now, and have everything.
    pub fn is_whole(&self) -> bool {
        let state = self.0.state.borrow();
        let running = |node: HostId| Some(&state.nodes[node].running.as_ref()?.core);
        let leading = (1..=NODES)
            .filter_map(running)
            .filter(|core| core.view().leads())
            .max_by_key(|core| core.view().metrics().current_term);
        let Some(leading) = leading else {
            return false;
        };
        let metrics = leading.view().metrics();
        let membership = metrics.membership_config.membership();
        let settled = metrics.membership_config == metrics.committed_membership_config;
        let last = metrics.last_log_index.unwrap_or(0);
        let voters: Vec<_> = membership.voter_ids().collect();
        settled
            && membership.get_joint_config().len() == 1
            && voters.len() == state.file.len()
            && state.file.iter().all(|node| {
                running(*node).is_some_and(|core| {
                    let there = core.view().metrics().last_log_index.unwrap_or(0);
                    !world::is_paused(*node)
                        && voters.contains(&core.view().id())
                        && there + 20 > last
                })
            })
    }

    /// Waits until all is whole; `false` when it is not in so many seconds.
    pub async fn becomes_whole(&self, seconds: u64) -> bool {
        for _ in 0..seconds * 20 {
            if self.is_whole() {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// The replica of a node that runs.
    pub fn core(&self, node: HostId) -> Option<Core> {
        let state = self.0.state.borrow();
        Some(state.nodes[node].running.as_ref()?.core.clone())
    }

    /// Bytes of all files of a node's state.
    pub fn disk(&self, node: HostId) -> u64 {
        let Ok(files) = fs::read_dir(self.home(node)) else {
            return 0;
        };
        files
            .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
            .sum()
    }

    /// What each node says of the cluster, for whoever looks into why it is not whole.
    pub fn describe(&self) -> String {
        let state = self.0.state.borrow();
        let mut text = vec![format!("the file names {:?}", state.file)];
        for node in 1..=NODES {
            let line = match &state.nodes[node].running {
                None => "does not run".to_owned(),
                Some(running) => {
                    let metrics = running.core.view().metrics();
                    let stopped = metrics.running_state.as_ref().err();
                    let stopped = stopped.map_or_else(String::new, |why| format!(" ({why})"));
                    format!("{metrics}{stopped}")
                }
            };
            text.push(format!("{}: {line}", name(node)));
        }
        text.join("\n")
    }
}

fn port(core: &Core) -> Port {
    let (clients, replicas, ended) = (core.clients.clone(), core.replicas.clone(), core.clone());
    Port {
        cluster: core.cluster().clone(),
        raft: Arc::new(move |body, cluster| Box::pin(replicas.clone().answer(body, cluster))),
        agent: Arc::new(move |body, _| match clients.answer(&body) {
            Answer::Now(answer) => Box::pin(std::future::ready(answer)),
            Answer::Later(answer) => Box::pin(answer),
            Answer::Never => Box::pin(std::future::pending()),
        }),
        ended: Arc::new(move |name| ended.connection_ended(name)),
    }
}
