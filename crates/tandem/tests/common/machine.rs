//! A machine with a node as its service, and the verbs for it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{Dir, stderr, stdout, tandem};

/// A machine: its /etc/tandem, its pid file, its log. What was started on it is stopped at the end.
pub struct Machine {
    pub dir: Dir,
    /// Where its listener is.
    pub address: SocketAddr,
}

impl Machine {
    pub fn new() -> Self {
        let address = super::ports::free();
        let machine = Self {
            dir: Dir::new(),
            address,
        };
        machine.configure("respond = { status = 200, body = \"first\" }");
        machine
    }

    /// Writes the cluster file, with a route that does this.
    pub fn configure(&self, deed: &str) {
        let text = format!(
            "[cluster]\nstate = \"{}/state\"\nadmin = false\n[listener.web]\nbind = \"{}\"\nroute = [{{ {deed} }}]\n",
            self.dir.path().display(),
            self.address
        );
        self.dir.file("etc/cluster.toml", &text);
    }

    /// Where a file of it is.
    pub fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// The node's own socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("state/local/admin.sock")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = tandem();
        command
            .args(args)
            .stdin(Stdio::null())
            .env("TANDEM_ETC", self.at("etc"))
            .env("TANDEM_PID_FILE", self.at("run/tandem.pid"))
            .env("TANDEM_LOG", self.at("log"));
        command
    }

    /// Runs a verb; its exit code and what it said.
    pub fn verb(&self, args: &[&str]) -> (i32, String) {
        let done: Output = self.command(args).output().expect("the binary runs");
        let said = stdout(&done) + &stderr(&done);
        (done.status.code().expect("it exits"), said)
    }

    pub fn pid(&self) -> u32 {
        let (_, said) = self.verb(&["status", "--json"]);
        let status: Value = serde_json::from_str(&said).expect("JSON");
        status["pid"].as_u64().expect("it runs") as u32
    }

    /// What the node has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.command(&["stop"]).output();
    }
}
