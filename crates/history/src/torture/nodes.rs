//! Nodes of Tandem in network namespaces, each as on a machine of its own.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::Failure;
use super::client::Door;
use super::links::{self, Links};
use super::network::{Network, enter};
use super::processes::{Processes, signal};
use super::stage::{Row, Stage, row};

/// For a node's answer about itself.
const ANSWER: Duration = Duration::from_secs(2);
/// Where an agent listens, on its own node.
const AGENT: u16 = 11211;
/// A namespace for clients that no cut concerns.
const OUTSIDE: &str = "outside";

/// A cluster of three voters (`cache1`, `cache2`, `edge`) and agents on the nodes named `app...`, which tests can kill,
/// cut off and reload. All of it ends when it is dropped.
pub struct Nodes {
    tandem: PathBuf,
    dir: PathBuf,
    names: Vec<String>,
    processes: Processes,
    // Dropped last: what runs in it has ended by then.
    network: Network,
}

impl Nodes {
    /// Makes the network and the file of these nodes, which says `sessions` in its table of that name; state and logs
    /// go to `dir`. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// [`Failure::NoNetwork`] when there are no network namespaces for this user.
    pub fn make(
        tandem: &Path,
        dir: &Path,
        names: &[&str],
        sessions: &str,
    ) -> Result<Self, Failure> {
        let network = Network::make(&[names, &[OUTSIDE]].concat())?;
        let nodes = Self {
            tandem: tandem.into(),
            dir: dir.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            processes: Processes::default(),
            network,
        };
        nodes.write(sessions)?;
        Ok(nodes)
    }

    /// Starts all of them, and waits until the session tier is whole.
    ///
    /// # Errors
    ///
    /// A node does not start, or they do not find together.
    pub fn start_all(&self) -> Result<(), String> {
        self.names.iter().try_for_each(|node| self.start(node))?;
        self.until_whole()
    }

    /// Writes the file anew, with another table of sessions. [`reload`](Self::reload) makes it known.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, sessions: &str) -> Result<(), String> {
        let mut file = String::from("[nodes]\n");
        for node in &self.names {
            let _ = writeln!(file, "{node} = \"{}\"", self.network.address(node));
        }
        file += r#"
[cluster]
name  = "torture"
key   = "it protects a network of its own that nobody else can reach"
state = "state"

[sessions]
agent = "0.0.0.0:11211"
"#;
        file += sessions;
        let path = self.file();
        fs::write(&path, file).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Every node that runs is to read the file again.
    pub fn reload(&self) {
        for pid in self
            .names
            .iter()
            .filter_map(|node| self.processes.pid(node))
        {
            signal(pid, Signal::HUP);
        }
    }

    /// Starts a node whose process is gone.
    ///
    /// # Errors
    ///
    /// It runs, or cannot be started.
    pub fn start(&self, node: &str) -> Result<(), String> {
        self.run(node, &self.tandem, &[])
    }

    /// Starts a node as after a reboot of its machine: the kernel gives another boot id.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn reboot(&self, node: &str) -> Result<(), String> {
        let id = self.dir.join(format!("{node}.boot"));
        let text = "00000000-0000-4000-8000-000000000000\n";
        fs::write(&id, text).map_err(|error| format!("cannot write a boot id: {error}"))?;
        // In the mount namespace that `ip netns exec` makes for its process.
        let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
        let words = [
            "-c",
            script,
            "sh",
            &id.to_string_lossy(),
            &self.tandem.to_string_lossy(),
        ];
        self.run(node, Path::new("sh"), &words)
    }

    fn run(&self, node: &str, program: &Path, words: &[&str]) -> Result<(), String> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file(node))
            .map_err(|error| format!("cannot write a log for {node}: {error}"))?;
        // Tethered to this process by standard input: no node outlives it.
        let mut command = self.network.command(node, program);
        command
            .args(words)
            .arg("run")
            .arg(self.file())
            .args(["--node", node, "--tethered"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        self.processes.start(node, &mut command)
    }

    /// SIGKILL.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn kill(&self, node: &str) -> Result<(), String> {
        self.processes.kill(node)
    }

    /// Removes what a node that does not run has kept of the sessions.
    ///
    /// # Errors
    ///
    /// There is nothing, or it cannot be removed.
    pub fn forget(&self, node: &str) -> Result<(), String> {
        let state = self.state(node).join("sessions");
        fs::remove_dir_all(&state)
            .map_err(|error| format!("cannot remove {}: {error}", state.display()))
    }

    /// Asks a node to stop in order. [`pid`](Self::pid) tells when it has.
    pub fn stop(&self, node: &str) {
        if let Some(pid) = self.pid(node) {
            signal(pid, Signal::TERM);
        }
    }

    /// A node's process, if it runs.
    pub fn pid(&self, node: &str) -> Option<u32> {
        self.processes.pid(node)
    }

    /// Cuts a node off from all others, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// The namespaces are not as they were.
    pub fn cut_off(&self, node: &str) -> Result<Links<'_>, String> {
        Links::cut(&self.network, links::isolation(node, &self.names))
    }

    /// Cuts a node off from some others, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// The namespaces are not as they were.
    pub fn cut_off_from(&self, node: &str, others: &[&str]) -> Result<Links<'_>, String> {
        let others: Vec<_> = others.iter().map(|&name| name.to_owned()).collect();
        Links::cut(&self.network, links::isolation(node, &others))
    }

    /// Waits until every node is up, one leads, and three voters are with it.
    ///
    /// # Errors
    ///
    /// It took too long.
    pub fn until_whole(&self) -> Result<(), String> {
        Stage::until_whole(self)
    }

    /// What a node says of the session tier; null when it does not answer.
    pub fn sessions(&self, node: &str) -> Value {
        let answer = self.ask(node).ok().and_then(|mut rows| rows.pop());
        answer.map_or(Value::Null, |mut row| row["status"]["sessions"].take())
    }

    /// Which of `names` leads, as the leader itself says.
    pub fn leader<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        let leads = |name: &&&str| self.sessions(name)["role"] == "leader";
        names.iter().find(leads).copied()
    }

    /// What a node has logged.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(self.log_file(node)).unwrap_or_default()
    }

    /// A node's state directory.
    pub fn state(&self, node: &str) -> PathBuf {
        self.dir.join("state").join(node)
    }

    /// Where a node's agent is reached by a thread that called [`enter`](Self::enter).
    pub fn agent(&self, node: &str) -> SocketAddr {
        (self.network.address(node), AGENT).into()
    }

    /// Moves the calling thread to where all agents can be reached, also those that are cut off: the sockets it opens
    /// from now on are there.
    ///
    /// # Errors
    ///
    /// This user may not.
    pub fn enter(&self) -> Result<(), String> {
        enter(&self.network.namespace(OUTSIDE))
    }

    /// Moves the calling thread to where the programs of a node are: its agent is at 127.0.0.1 then.
    ///
    /// # Errors
    ///
    /// This user may not.
    pub fn enter_node(&self, node: &str) -> Result<(), String> {
        enter(&self.network.namespace(node))
    }

    fn file(&self) -> PathBuf {
        self.dir.join("torture.toml")
    }

    fn log_file(&self, node: &str) -> PathBuf {
        self.dir.join(format!("{node}.log"))
    }

    /// What a node says of itself, through its socket: files are not cut off with the network.
    fn ask(&self, node: &str) -> std::io::Result<Vec<Value>> {
        let mut stream = UnixStream::connect(self.state(node).join("admin.sock"))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(
            b"GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(serde_json::from_str(body)?)
    }

    fn agents(&self) -> impl Iterator<Item = &String> {
        self.names.iter().filter(|node| node.starts_with("app"))
    }
}

impl Stage for Nodes {
    fn rows(&self) -> Result<Vec<Row>, String> {
        let rows = self.names.iter().map(|node| {
            let answer = self.ask(node).ok().and_then(|mut rows| rows.pop());
            let mut found = row(&answer.unwrap_or_default());
            found.name.clone_from(node);
            found.is_agent = node.starts_with("app");
            found.pid = self.pid(node);
            found
        });
        Ok(rows.collect())
    }

    fn kill(&self, node: &str) -> Result<(), String> {
        self.kill(node)
    }

    fn start(&self, node: &str) -> Result<(), String> {
        self.start(node)
    }

    fn forget(&self, node: &str) -> Result<(), String> {
        self.forget(node)
    }

    fn doors(&self) -> Vec<Door> {
        let doors = self.agents().map(|node| Door::Agent {
            server: (Ipv4Addr::LOCALHOST, AGENT).into(),
            namespace: Some(self.network.namespace(node)),
        });
        doors.collect()
    }

    fn network(&self) -> Option<&Network> {
        Some(&self.network)
    }

    fn leaders(&self) -> usize {
        1
    }
}
