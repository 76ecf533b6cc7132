//! Six nodes of Tandem in network namespaces, each as on a machine of its own: three voters, three agents.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::client::Door;
use super::network::{Network, NoNetwork};
use super::processes::Processes;
use super::stage::{Row, Stage, row};

const NODES: [&str; 6] = ["cache1", "cache2", "edge", "app1", "app2", "app3"];
/// For a node's answer about itself.
const ANSWER: Duration = Duration::from_secs(2);
/// Where an agent listens, on its own node.
const AGENT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 11211);

pub struct Nodes {
    tandem: PathBuf,
    dir: PathBuf,
    processes: Processes,
    // Dropped last: what runs in it has ended by then.
    network: Network,
}

impl Nodes {
    /// Starts them with their file, state and logs in `dir`.
    pub fn start(tandem: &Path, dir: &Path, network: Network) -> Result<Self, String> {
        let nodes = Self {
            tandem: tandem.into(),
            dir: dir.into(),
            processes: Processes::default(),
            network,
        };
        fs::write(nodes.file(), file(&nodes.network))
            .map_err(|error| format!("cannot write {}: {error}", nodes.file().display()))?;
        for node in NODES {
            nodes.start_node(node)?;
        }
        nodes.until_whole()?;
        Ok(nodes)
    }

    /// The network that they need.
    pub fn network() -> Result<Network, NoNetwork> {
        Network::make(&NODES)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("torture.toml")
    }

    fn state(&self, node: &str) -> PathBuf {
        self.dir.join("state").join(node)
    }

    fn start_node(&self, node: &str) -> Result<(), String> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{node}.log")))
            .map_err(|error| format!("cannot write a log for {node}: {error}"))?;
        // Tethered to this process by standard input: no node outlives it.
        let mut command = self.network.command(node, &self.tandem);
        command
            .arg("run")
            .arg(self.file())
            .args(["--node", node, "--tethered"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        self.processes.start(node, &mut command)
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
}

fn file(network: &Network) -> String {
    let mut file = String::from("[nodes]\n");
    for node in NODES {
        let _ = writeln!(file, "{node} = \"{}\"", network.address(node));
    }
    file + r#"
[cluster]
name  = "torture"
key   = "it protects a network of its own that nobody else can reach"
state = "state"

[sessions]
on     = ["cache1", "cache2"]
third  = "edge"
agents = ["app1", "app2", "app3"]
memory = "64 MiB"
"#
}

impl Stage for Nodes {
    fn rows(&self) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        for node in NODES {
            let answer = self.ask(node).ok().and_then(|mut rows| rows.pop());
            let mut found = row(&answer.unwrap_or_default());
            node.clone_into(&mut found.name);
            found.is_agent = node.starts_with("app");
            found.pid = self.processes.pid(node);
            rows.push(found);
        }
        Ok(rows)
    }

    fn kill(&self, node: &str) -> Result<(), String> {
        self.processes.kill(node)
    }

    fn start(&self, node: &str) -> Result<(), String> {
        self.start_node(node)
    }

    fn forget(&self, node: &str) -> Result<(), String> {
        let state = self.state(node).join("sessions");
        fs::remove_dir_all(&state)
            .map_err(|error| format!("cannot remove {}: {error}", state.display()))
    }

    fn doors(&self) -> Vec<Door> {
        let agents = NODES.iter().filter(|node| node.starts_with("app"));
        let doors = agents.map(|node| Door::Agent {
            server: AGENT,
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
