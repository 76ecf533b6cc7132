//! Two plain memcacheds, and clients that write everything to both, as PHP offers it: libmemcached with one replica.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::client::Door;
use super::network::{Network, NoNetwork, enter};
use super::processes::Processes;
use super::stage::{Row, Stage};

const CACHES: [&str; 2] = ["cache1", "cache2"];
const NODES: [&str; 5] = ["cache1", "cache2", "app1", "app2", "app3"];
const PORT: u16 = 11211;
/// Takes requests in memcached's text protocol, and does them by the `memcached` extension.
const CLIENT: &str = include_str!("replicas.php");

pub struct Replicas {
    client: PathBuf,
    processes: Processes,
    // Dropped last: what runs in it has ended by then.
    network: Network,
}

impl Replicas {
    /// Starts the memcacheds; the client's program is put into `dir`.
    pub fn start(dir: &Path, network: Network) -> Result<Self, String> {
        let replicas = Self {
            client: dir.join("replicas.php"),
            processes: Processes::default(),
            network,
        };
        fs::write(&replicas.client, CLIENT)
            .map_err(|error| format!("cannot write {}: {error}", replicas.client.display()))?;
        for node in CACHES {
            replicas.start(node)?;
        }
        replicas.until_whole()?;
        Ok(replicas)
    }

    /// The network that they need.
    pub fn network() -> Result<Network, NoNetwork> {
        Network::make(&NODES)
    }

    /// Whether a memcached takes connections, as an application sees it.
    fn answers(&self, node: &str) -> bool {
        let address = SocketAddr::from((self.network.address(node), PORT));
        let namespace = self.network.namespace("app1");
        let ask = move || {
            enter(&namespace).is_ok()
                && TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        };
        std::thread::spawn(ask).join().unwrap_or(false)
    }
}

impl Stage for Replicas {
    fn rows(&self) -> Result<Vec<Row>, String> {
        let rows = NODES.iter().map(|node| {
            let is_agent = !CACHES.contains(node);
            Row {
                name: (*node).to_owned(),
                pid: self.processes.pid(node),
                up: is_agent || self.answers(node),
                well: true,
                leads: false,
                is_agent,
            }
        });
        Ok(rows.collect())
    }

    fn kill(&self, node: &str) -> Result<(), String> {
        self.processes.kill(node)
    }

    fn start(&self, node: &str) -> Result<(), String> {
        let mut command = self.network.command(node, "memcached");
        let address = self.network.address(node).to_string();
        command
            .args(["-u", "nobody", "-l", &address, "-p", &PORT.to_string()])
            .args(["-m", "64"])
            .stdin(Stdio::null());
        self.processes.start(node, &mut command)
    }

    /// A memcached that was killed has forgotten.
    fn forget(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn doors(&self) -> Vec<Door> {
        let agents = NODES.iter().filter(|node| !CACHES.contains(node));
        let doors = agents.map(|node| {
            let command = self.network.command(node, "php");
            let words = command.get_args().map(|word| word.to_string_lossy());
            let mut args: Vec<String> = words.map(std::borrow::Cow::into_owned).collect();
            args.push(self.client.to_string_lossy().into_owned());
            args.extend(CACHES.map(|cache| self.network.address(cache).to_string()));
            Door::Program {
                command: command.get_program().to_string_lossy().into_owned(),
                args,
            }
        });
        doors.collect()
    }

    fn network(&self) -> Option<&Network> {
        Some(&self.network)
    }

    fn leaders(&self) -> usize {
        0
    }
}
