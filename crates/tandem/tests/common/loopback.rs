//! Nodes of one file on loopback addresses of a test's own: real processes whose file the test changes.

use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use super::node::{ask_admin, metric};
use super::{Dir, send, stderr, stdout, tandem, wait_until};

/// Where the nodes of a file are, none of which runs yet.
pub struct Loopback {
    pub dir: Dir,
    /// Free a moment ago.
    pub port: u16,
    network: String,
}

impl Loopback {
    /// No two of a process are the same, nor of two processes at the same time, as near as can be.
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let port = super::ports::free().port();
        let high = 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let [.., low] = std::process::id().to_be_bytes();
        Self {
            dir: Dir::new(),
            port,
            network: format!("127.{high}.{low}"),
        }
    }

    /// An address of the network.
    pub fn host(&self, i: u8) -> String {
        format!("{}.{i}", self.network)
    }

    /// Writes the file: nodes by name and the last number of their address, with this key, and more tables, whose first
    /// lines go on with `[nodes]`.
    pub fn write(&self, key: &str, nodes: &[(&str, u8)], tables: &str) {
        let nodes = nodes.iter().fold(String::new(), |out, (name, i)| {
            out + name + " = \"" + &self.host(*i) + "\"\n"
        });
        let text = format!(
            "[cluster]\nkey = \"{key}\"\nstate = \"state\"\nadmin = false\nworkers = 1\n[nodes]\n{nodes}{tables}"
        );
        self.dir.file("cluster.toml", &text);
    }

    pub fn file(&self) -> String {
        let path = self.dir.path().join("cluster.toml");
        path.to_string_lossy().into_owned()
    }

    /// Starts a node, and waits until it serves.
    pub fn start(&self, node: &str) -> Runs {
        let path = self.dir.path().join(format!("{node}.log"));
        let log = std::fs::File::create(&path).expect("a log");
        let child = tandem()
            .args(["run", &self.file(), "--node", node])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut runs = Runs(child);
        wait_until("the node serves", || {
            let over = !matches!(runs.0.try_wait(), Ok(None));
            assert!(!over, "it ended: {}", self.log(node));
            self.log(node).contains("serves as")
        });
        runs
    }

    pub fn log(&self, node: &str) -> String {
        let path = self.dir.path().join(format!("{node}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// `tandem reload`, with its exit code and what it said.
    pub fn reload(&self, node: &str) -> (i32, String) {
        let pid_file = self.dir.path().join(format!("state/{node}/tandem.pid"));
        let pid_file = pid_file.to_string_lossy();
        self.said(&[
            "reload",
            "--file",
            &self.file(),
            "--node",
            node,
            "--pid-file",
            &pid_file,
        ])
    }

    /// A command that asks this node, with its exit code and what it said.
    pub fn asked(&self, node: &str, words: &[&str]) -> (i32, String) {
        let socket = self.socket(node);
        self.said(&[words, &["--admin", &format!("unix:{socket}")]].concat())
    }

    /// `tandem doctor`, with its exit code and what it said.
    pub fn doctor(&self, node: &str) -> (i32, String) {
        self.said(&["doctor", &self.file(), "--node", node])
    }

    /// What a node answers to `GET /api/v1/...`.
    pub fn get(&self, node: &str, path: &str) -> Value {
        let socket = self.socket(node);
        ask_admin(socket.as_ref(), &format!("GET /api/v1/{path}")).json()
    }

    /// The value of a metric of this node; `None` without that series.
    pub fn metric(&self, node: &str, series: &str) -> Option<f64> {
        metric(
            &ask_admin(self.socket(node).as_ref(), "GET /metrics").text(),
            series,
        )
    }

    /// Who leads the session tier by the word of one of these nodes.
    pub fn leader<'n>(&self, nodes: &[&'n str]) -> Option<&'n str> {
        let leads = |node: &&&str| self.get(node, "sessions")["role"] == "leader";
        nodes.iter().find(leads).copied()
    }

    fn socket(&self, node: &str) -> String {
        let socket = self.dir.path().join(format!("state/{node}/admin.sock"));
        socket.to_string_lossy().into_owned()
    }

    fn said(&self, words: &[&str]) -> (i32, String) {
        let mut command = tandem();
        command.args(words).env("TANDEM_ETC", self.dir.path());
        let done: Output = command.output().expect("the binary runs");
        let code = done.status.code().expect("it exits");
        (code, stdout(&done) + &stderr(&done))
    }
}

/// A node that runs, and is stopped at the end.
pub struct Runs(pub Child);

impl Drop for Runs {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            send(self.0.id(), Signal::TERM);
            let _ = self.0.wait();
        }
    }
}
