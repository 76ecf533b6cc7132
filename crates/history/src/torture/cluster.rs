//! The rehearsal under test: started, asked, stopped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Plan;

/// The longest a start, a recovery or a stop may take.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// How a node is.
pub struct Row {
    pub name: String,
    pub pid: Option<u32>,
    pub up: bool,
    /// It leads, and every voter is well as far as it knows; or it does not lead and follows.
    pub sessions_well: bool,
    pub leads: bool,
    pub is_agent: bool,
    address: String,
}

impl Rehearsal {
    pub fn start(plan: &Plan) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start the rehearsal: {error}");
        let file = plan.dir.join("torture.toml");
        fs::write(&file, FILE).map_err(failed)?;
        let errors = plan.dir.join("rehearsal.err");
        let mut child = Command::new(&plan.tandem)
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
            tandem: plan.tandem.clone(),
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

    /// Where the agents listen.
    pub fn agents(&self) -> Vec<SocketAddr> {
        let rows = self.rows().unwrap_or_default();
        let agents = rows.iter().filter(|row| row.is_agent);
        agents
            .filter_map(|row| format!("{}:11211", row.address).parse().ok())
            .collect()
    }

    /// `tandem node ...` on this rehearsal.
    pub fn node(&self, words: &[&str]) -> Result<Vec<u8>, String> {
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

    pub fn rows(&self) -> Result<Vec<Row>, String> {
        let text = self.node(&["list", "--json"])?;
        let rows: Vec<Value> =
            serde_json::from_slice(&text).map_err(|error| format!("no list of nodes: {error}"))?;
        Ok(rows.iter().map(row).collect())
    }

    /// Where a node keeps its part of the sessions.
    pub fn state_of(&self, node: &str) -> PathBuf {
        self.dir.join("state").join(node).join("sessions")
    }

    /// Waits until every node is up, one leads, and all voters are with it.
    pub fn until_whole(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let rows = self.rows()?;
            let leaders = rows.iter().filter(|row| row.leads).count();
            let well = |row: &Row| row.up && row.sessions_well;
            if leaders == 1 && rows.iter().all(well) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let ill: Vec<_> = rows
                    .iter()
                    .filter(|row| !well(row))
                    .map(|row| row.name.as_str())
                    .collect();
                return Err(format!(
                    "not whole after {PATIENCE:?}: {leaders} leaders, not well: {ill:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn row(row: &Value) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sessions = &row["status"]["sessions"];
    let leads = sessions["role"] == "leader";
    let voters = sessions["voters"].as_array();
    let all_up = voters.is_some_and(|voters| {
        voters.len() == 3 && voters.iter().all(|voter| voter["health"] == "up")
    });
    Row {
        name: text(&row["node"]),
        address: text(&row["address"]),
        pid: row["pid"].as_u64().map(|pid| pid as u32),
        up: row["state"] == "up",
        leads,
        sessions_well: !leads || all_up,
        is_agent: text(&row["node"]).starts_with("app"),
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        signal(self.child.id(), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process of the rehearsal.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}
