//! A session tier in this process: real sockets, real files, a thread for each node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tandem_memcache::{Action, Answer, Extended, Hit, Keyspace, Lifetime, Mode, Op, Reply, Sink};
use tandem_net::cluster::{ClusterKey, ClusterServer, Incarnation};
use tandem_session::agent::{Agent, AgentKeyspace, AgentOptions};
use tandem_session::node::{NodeOptions, Others, Served, SessionNode, Voter};
use tandem_telemetry::event::Log;
use tandem_telemetry::{SessionStatus, Telemetry};
use tokio::sync::oneshot;

/// For anything that should come about: long, for slow machines.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Tier {
    pub voters: Vec<Voter>,
    pub memory: u64,
    pub durable: bool,
    pub guard: Option<(Vec<tandem_model::Pattern>, Duration)>,
    pub nodes: Vec<Option<Node>>,
    directory: PathBuf,
}

pub struct Node {
    pub session: SessionNode,
    pub telemetry: Telemetry,
    port: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

pub fn key() -> ClusterKey {
    ClusterKey::new(b"the key of the tests")
}

impl Tier {
    /// Addresses and a directory for nodes named cache1, cache2, ...; nothing runs yet.
    pub fn new(count: usize) -> Self {
        // Ports are found by binding them; a node binds its port anew each time it starts.
        let held: Vec<_> = (0..count)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let voters = (1..).zip(&held).map(|(i, listener)| Voter {
            name: format!("cache{i}"),
            address: listener.local_addr().unwrap(),
        });
        let voters = voters.collect();
        let name = format!(
            "tandem-tier-{}-{}",
            std::process::id(),
            getrandom::u32().unwrap()
        );
        Self {
            voters,
            memory: 64 << 20,
            durable: false,
            guard: None,
            nodes: (0..count).map(|_| None).collect(),
            directory: std::env::temp_dir().join(name),
        }
    }

    /// A tier whose nodes run.
    pub async fn started(count: usize) -> Self {
        let mut tier = Self::new(count);
        for i in 0..count {
            tier.start(i).await;
        }
        tier
    }

    pub fn options(&self, i: usize) -> NodeOptions {
        NodeOptions {
            node: self.voters[i].name.clone(),
            voters: self.voters.clone(),
            state: self.directory.join(&self.voters[i].name),
            memory: self.memory,
            durable: self.durable,
            guard: self.guard.clone(),
            outgoing: None,
            key: key(),
            incarnation: Incarnation::NONE,
            others: Others::default(),
            beside: Vec::new(),
            served: Served::default(),
        }
    }

    pub async fn start(&mut self, i: usize) {
        self.start_with(i, self.voters.clone()).await;
    }

    /// Starts a node whose file names these.
    pub async fn start_with(&mut self, i: usize, voters: Vec<Voter>) {
        let options = NodeOptions {
            voters,
            ..self.options(i)
        };
        let log = if std::env::var_os("TANDEM_TEST_EVENTS").is_some() {
            Log::Stderr
        } else {
            Log::Silent
        };
        let telemetry = Telemetry::new(&options.node, 1, log);
        let server = bind(self.voters[i].address, &options.node, &telemetry).await;
        let purposes = server.purposes();
        let (port, closed) = oneshot::channel();
        let session = SessionNode::start(options, &purposes, &telemetry)
            .await
            .unwrap();
        let served = tokio::spawn(server.serve(async {
            let _ = closed.await;
        }));
        self.nodes[i] = Some(Node {
            session,
            telemetry,
            port,
            served,
        });
    }

    /// Stops a node at once: its port closes, its thread ends without handing anything over.
    pub async fn crash(&mut self, i: usize) {
        let node = self.nodes[i].take().unwrap();
        let _ = node.port.send(());
        node.served.await.unwrap();
        node.session.crash().await;
    }

    pub async fn stop(&mut self, i: usize) {
        let node = self.nodes[i].take().unwrap();
        node.session.stop().await;
        let _ = node.port.send(());
        node.served.await.unwrap();
    }

    /// Takes a stopped node's state away.
    pub fn wipe(&self, i: usize) {
        std::fs::remove_dir_all(self.directory.join(&self.voters[i].name)).unwrap();
    }

    pub fn status(&self, i: usize) -> Option<SessionStatus> {
        self.nodes[i].as_ref()?.telemetry.registry.status().sessions
    }

    /// The index of the node that says it leads.
    pub fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|i| self.status(*i).is_some_and(|s| s.role == "leader"))
    }

    pub async fn led(&self) -> usize {
        until("a leader is elected", || self.leader()).await
    }

    /// Waits until every node votes, is up and has all the leader has.
    pub async fn full(&self) {
        until("all voters are full", || {
            let status = self.status(self.leader()?)?;
            let all = status.voters.len() == self.voters.len();
            let full = status.voters.iter().all(|v| {
                v.health == tandem_telemetry::Health::Up
                    && v.matched.is_some_and(|m| m + 1 >= status.applied)
            });
            // The leader takes a moment to notice that a replica is not who it was; the node itself knows. And a
            // change of membership is over when each node has its end: until then who left still counts.
            let votes = (0..self.nodes.len()).all(|i| {
                self.status(i).is_some_and(|s| {
                    ["leader", "follower"].contains(&s.role.as_str())
                        && s.voters.len() == self.voters.len()
                        && s.applied + 1 >= status.applied
                })
            });
            (all && full && votes).then_some(())
        })
        .await;
    }

    pub fn agent(&self) -> AgentKeyspace {
        self.agent_with(key())
    }

    pub fn agent_with(&self, key: ClusterKey) -> AgentKeyspace {
        Self::agent_of(self.voters.clone(), key)
    }

    /// An agent that believes the nodes to be at these addresses.
    pub fn agent_of(voters: Vec<Voter>, key: ClusterKey) -> AgentKeyspace {
        let options = AgentOptions {
            node: "app1".into(),
            voters,
            outgoing: None,
            key,
            incarnation: Incarnation::NONE,
            served: Served::default(),
        };
        Agent::start(options, &Telemetry::new("app1", 1, Log::Silent)).keyspace()
    }

    pub fn events(&self, i: usize) -> Vec<String> {
        let events = self.nodes[i]
            .as_ref()
            .map(|n| n.telemetry.events.last(usize::MAX));
        events
            .unwrap_or_default()
            .into_iter()
            .map(|e| e.what)
            .collect()
    }
}

impl Drop for Tier {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn bind(address: SocketAddr, name: &str, telemetry: &Telemetry) -> ClusterServer {
    let deadline = Instant::now() + SOON;
    loop {
        match ClusterServer::bind(address, name, key(), telemetry.events.clone()).await {
            Ok(server) => return server,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One item that was shown.
pub struct Found {
    pub value: Vec<u8>,
    pub version: u64,
    pub remaining: Option<u64>,
}

#[derive(Default)]
pub struct Hits(pub Vec<Found>);

impl Sink for Hits {
    fn hit(&mut self, hit: Hit<'_>) {
        self.0.push(Found {
            value: hit.value.to_vec(),
            version: hit.version,
            remaining: hit.remaining,
        });
    }
}

async fn answer(answer: Answer<'_>) -> Reply {
    match answer {
        Answer::Now(reply) => reply,
        Answer::Later(reply) => reply.await,
    }
}

pub async fn call(agent: &AgentKeyspace, op: Op<'_>) -> Reply {
    let mut hits = Hits::default();
    answer(agent.call(op, &mut hits)).await
}

/// Does something to an item if it has this version.
pub async fn compare(agent: &AgentKeyspace, key: &str, version: u64, action: Action<'_>) -> Reply {
    let op = Extended {
        key: key.as_bytes(),
        action,
        compare: Some(version),
        new_version: None,
        details: false,
    };
    let mut hits = Hits::default();
    answer(agent.extended(op, &mut hits)).await
}

pub async fn store(agent: &AgentKeyspace, mode: Mode, key: &str, value: &str) -> Reply {
    let op = Op::Store {
        mode,
        key: key.as_bytes(),
        flags: 0,
        life: Lifetime::Forever,
        value: value.as_bytes(),
    };
    call(agent, op).await
}

pub async fn set(agent: &AgentKeyspace, key: &str, value: &str) -> Reply {
    store(agent, Mode::Set, key, value).await
}

/// Sets, and again until it is stored: for use while there is no leader.
pub async fn set_eventually(agent: &AgentKeyspace, key: &str, value: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let reply = set(agent, key, value).await;
        if reply == Reply::Stored {
            return;
        }
        assert!(Instant::now() < deadline, "{reply:?}");
    }
}

/// The value and version; `Err` when it could not be learnt.
pub async fn get(agent: &AgentKeyspace, key: &str) -> Result<Option<(String, u64)>, Reply> {
    let mut hits = Hits::default();
    let keys = [key.as_bytes()];
    match answer(agent.call(Op::Get { keys: &keys }, &mut hits)).await {
        Reply::End => Ok(hits
            .0
            .pop()
            .map(|found| (String::from_utf8(found.value).unwrap(), found.version))),
        other => Err(other),
    }
}

pub async fn value(agent: &AgentKeyspace, key: &str) -> Option<String> {
    get(agent, key).await.unwrap().map(|(value, _)| value)
}
