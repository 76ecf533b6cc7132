//! The node processes of a rehearsal: started, watched, killed on order, stopped at the end.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tandem_model::Cluster;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// From the order to stop until a node is killed.
const STOP: Duration = Duration::from_secs(10);

/// The processes of a rehearsal.
#[derive(Clone)]
pub struct Supervisor(Rc<Inner>);

struct Inner {
    exe: PathBuf,
    file: PathBuf,
    dir: PathBuf,
    nodes: Vec<Node>,
}

/// One node.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What it does.
    pub roles: Vec<String>,
    /// Which to stop first: listeners, then services, then the rest.
    rank: u8,
    tether: RefCell<Option<ChildStdin>>,
    state: watch::Sender<Process>,
}

/// A node's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// It runs.
    Running(u32),
    /// It does not, and this is why.
    Gone(String),
}

impl Supervisor {
    /// A supervisor of `cluster`, written in `file`, whose nodes log into `dir`. Nothing is started yet.
    pub fn new(cluster: &Cluster, file: &Path, dir: &Path) -> io::Result<Self> {
        let nodes = cluster.nodes.iter().map(|node| {
            let roles = cluster.roles(&node.name);
            let rank = if roles.iter().any(|role| role.starts_with("listener")) {
                0
            } else {
                u8::from(!roles.iter().any(|role| role.contains(' '))) + 1
            };
            Node {
                name: node.name.clone(),
                address: node.address.clone(),
                roles,
                rank,
                tether: RefCell::default(),
                state: watch::Sender::new(Process::Gone("not started".into())),
            }
        });
        let (exe, nodes) = (std::env::current_exe()?, nodes.collect());
        Ok(Self(Rc::new(Inner {
            exe,
            file: file.into(),
            dir: dir.into(),
            nodes,
        })))
    }

    /// The nodes, in the order of the file.
    pub fn nodes(&self) -> &[Node] {
        &self.0.nodes
    }

    /// A node by its name, or a sentence with the names there are.
    pub fn node(&self, name: &str) -> Result<&Node, String> {
        self.0
            .nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| {
                let names: Vec<_> = self.0.nodes.iter().map(|node| node.name.as_str()).collect();
                format!("there is no node `{name}`; there are {}", names.join(", "))
            })
    }

    /// Where a node's log is.
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.dir.join(format!("{name}.log"))
    }

    /// Starts every node.
    pub fn start_all(&self) -> Result<(), String> {
        self.0
            .nodes
            .iter()
            .try_for_each(|node| self.start(&node.name))
    }

    /// Starts a node that does not run.
    pub fn start(&self, name: &str) -> Result<(), String> {
        let node = self.node(name)?;
        if let Process::Running(pid) = *node.state.borrow() {
            return Err(format!("{name} runs already (pid {pid})"));
        }
        let mut child = self
            .spawn(name)
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let pid = child.id().unwrap_or_default();
        *node.tether.borrow_mut() = child.stdin.take();
        node.state.send_replace(Process::Running(pid));
        let state = node.state.clone();
        tokio::task::spawn_local(async move {
            let why = match child.wait().await {
                Ok(status) => format!("its process ended: {status}"),
                Err(error) => format!("its process was lost: {error}"),
            };
            state.send_replace(Process::Gone(why));
        });
        Ok(())
    }

    fn spawn(&self, name: &str) -> io::Result<Child> {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(name))?;
        Command::new(&self.0.exe)
            .arg("run")
            .arg(&self.0.file)
            .args(["--node", name, "--tethered"])
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches this process only, which orders the stop.
            .process_group(0)
            .spawn()
    }

    /// Kills a node's process with SIGKILL and returns when it is gone.
    pub async fn kill(&self, name: &str) -> Result<u32, String> {
        let node = self.node(name)?;
        let Process::Running(pid) = *node.state.borrow() else {
            return Err(format!("{name} does not run"));
        };
        signal(pid, Signal::KILL)
            .map_err(|error| format!("cannot kill {name} (pid {pid}): {error}"))?;
        node.gone().await;
        Ok(pid)
    }

    /// Stops every node: listeners first, session nodes last. Returns when all are gone.
    pub async fn stop_all(&self) {
        for rank in 0..=2 {
            let ranked: Vec<_> = self
                .0
                .nodes
                .iter()
                .filter(|node| node.rank == rank)
                .collect();
            for node in &ranked {
                if let Process::Running(pid) = *node.state.borrow() {
                    let _ = signal(pid, Signal::TERM);
                }
            }
            for node in ranked {
                if timeout(STOP, node.gone()).await.is_err()
                    && let Process::Running(pid) = *node.state.borrow()
                    && let Some(group) = Pid::from_raw(pid.cast_signed())
                {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = timeout(STOP, node.gone()).await;
            }
        }
    }

    /// Kills every node and returns when all are gone; their applications end with them.
    pub async fn kill_all(&self) {
        for node in &self.0.nodes {
            if let Process::Running(pid) = node.process() {
                let _ = signal(pid, Signal::KILL);
            }
        }
        for node in &self.0.nodes {
            let _ = timeout(STOP, node.gone()).await;
        }
    }
}

impl Node {
    /// How its process is now.
    pub fn process(&self) -> Process {
        self.state.borrow().clone()
    }

    /// Waits until its process is gone.
    async fn gone(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let _ = state
            .wait_for(|process| matches!(process, Process::Gone(_)))
            .await;
    }
}

/// Sends a signal to a process that this one knows to be its child or a child's child.
pub fn signal(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    Pid::from_raw(pid.cast_signed()).map_or(Err(rustix::io::Errno::SRCH), |pid| {
        kill_process(pid, signal)
    })
}
