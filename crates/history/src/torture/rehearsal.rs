//! Five nodes on this machine's loopback, as `tandem rehearse` plays them: links cannot be cut.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use super::client::Door;
use super::network::Network;
use super::processes::stop;
use super::stage::{PATIENCE, Row, Stage, row};

const FILE: &str = r#"[nodes]
edge   = "192.168.0.168"
app1   = "192.168.0.69"
app2   = "192.168.0.70"
cache1 = "192.168.0.71"
cache2 = "192.168.0.101"

[cluster]
name = "torture"
key  = "a rehearsal makes its own, so that this one protects nothing"

[listener.web]
on    = "edge"
bind  = ":18190"
route = [{ to = "shop" }]

[app.shop]
on    = ["app1", "app2"]
port  = 80
proxy = "127.0.0.1:8080"

[sessions]
on     = ["cache1", "cache2"]
memory = "64 MiB"
"#;

pub struct Rehearsal {
    tandem: PathBuf,
    child: Child,
    network: String,
    dir: PathBuf,
}

impl Rehearsal {
    /// Starts it with its file and its output in `dir`.
    pub fn start(tandem: &Path, dir: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start the rehearsal: {error}");
        let file = dir.join("torture.toml");
        fs::write(&file, FILE).map_err(failed)?;
        let errors = dir.join("rehearsal.err");
        let mut child = Command::new(tandem)
            .arg("rehearse")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let (said, ready) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if line.starts_with("ready") {
                        let _ = said.send(());
                    }
                }
            });
        }
        let mut rehearsal = Self {
            tandem: tandem.into(),
            child,
            network: String::new(),
            dir: PathBuf::new(),
        };
        if ready.recv_timeout(PATIENCE).is_err() {
            let text = fs::read_to_string(errors).unwrap_or_default();
            return Err(format!("the rehearsal did not become ready:\n{text}"));
        }
        let uid = rustix::process::getuid().as_raw();
        let states = fs::read_dir(std::env::temp_dir().join(format!("tandem-{uid}")));
        let states = states.map_err(failed)?.flatten();
        let state = states
            .filter_map(|entry| fs::read(entry.path().join("rehearsal.json")).ok())
            .filter_map(|text| serde_json::from_slice::<Value>(&text).ok())
            .find(|state| state["pid"] == rehearsal.child.id())
            .ok_or("the rehearsal has no state file")?;
        rehearsal.network = state["network"].to_string();
        rehearsal.dir = state["dir"].as_str().unwrap_or_default().into();
        rehearsal.until_whole()?;
        Ok(rehearsal)
    }

    /// `tandem node ...` on this rehearsal.
    fn node(&self, words: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(&self.tandem)
            .arg("node")
            .args(words)
            .args(["--rehearsal", &self.network])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn list(&self) -> Result<Vec<Value>, String> {
        let text = self.node(&["list", "--json"])?;
        serde_json::from_slice(&text).map_err(|error| format!("no list of nodes: {error}"))
    }
}

impl Stage for Rehearsal {
    fn rows(&self) -> Result<Vec<Row>, String> {
        Ok(self.list()?.iter().map(row).collect())
    }

    fn kill(&self, node: &str) -> Result<(), String> {
        self.node(&["kill", node]).map(drop)
    }

    fn start(&self, node: &str) -> Result<(), String> {
        self.node(&["start", node]).map(drop)
    }

    fn forget(&self, node: &str) -> Result<(), String> {
        let state = self.dir.join("state").join(node).join("sessions");
        fs::remove_dir_all(&state)
            .map_err(|error| format!("cannot remove {}: {error}", state.display()))
    }

    fn doors(&self) -> Vec<Door> {
        let rows = self.list().unwrap_or_default();
        let agents = rows.iter().filter(|node| row(node).is_agent);
        let addresses = agents.filter_map(|node| node["address"].as_str());
        addresses
            .filter_map(|address| format!("{address}:11211").parse().ok())
            .map(|server| Door::Agent {
                server,
                namespace: None,
            })
            .collect()
    }

    fn network(&self) -> Option<&Network> {
        None
    }

    fn leaders(&self) -> usize {
        1
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}
