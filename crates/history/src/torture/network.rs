//! A network that can be cut: a namespace for each node, and one with the bridge between them.
//!
//! A cut is a rule in the receiver's namespace: what comes from the sender is dropped there without a word, so that the
//! sender sees no more than silence, as with a broken switch. Each direction has a rule of its own.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Names of namespaces begin with it, and with the id of the process that made them.
const PREFIX: &str = "tandem-";
/// Where `ip netns` keeps them.
const NAMESPACES: &str = "/run/netns";

/// Nodes with an address each, which reach one another.
pub struct Network {
    /// `tandem-PID-COUNT-`
    prefix: String,
    nodes: Vec<String>,
}

/// Why there is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoNetwork {
    /// This user may not make namespaces.
    NoRight(String),
    /// It should have worked.
    Failed(String),
}

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRight(why) => write!(
                f,
                "this user may not make network namespaces (it takes CAP_NET_ADMIN and CAP_SYS_ADMIN: try as root): {why}"
            ),
            Self::Failed(why) => write!(f, "cannot make network namespaces: {why}"),
        }
    }
}

impl Network {
    /// Makes a namespace for each of `nodes`. What an earlier process left that was killed is removed.
    pub fn make(nodes: &[&str]) -> Result<Self, NoNetwork> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            prefix: format!("{PREFIX}{}-{count}-", std::process::id()),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        };
        network.build()?;
        Ok(network)
    }

    fn build(&self) -> Result<(), NoNetwork> {
        let hub = self.namespace("hub");
        let no_network = |why: String| {
            if why.contains("not permitted") || why.contains("Permission denied") {
                NoNetwork::NoRight(why)
            } else {
                NoNetwork::Failed(why)
            }
        };
        let steps = |steps: &[&str]| {
            let mut all = steps.iter().map(|step| step.split(' '));
            all.try_for_each(|step| ip(step).map_err(no_network))
        };
        steps(&[
            &format!("netns add {hub}"),
            &format!("-n {hub} link add hub type bridge"),
            &format!("-n {hub} link set hub up"),
        ])?;
        for (i, node) in self.nodes.iter().enumerate() {
            let space = self.namespace(node);
            let address = self.address(node);
            steps(&[
                &format!("netns add {space}"),
                &format!("-n {hub} link add port{i} type veth peer name eth0 netns {space}"),
                &format!("-n {hub} link set port{i} master hub up"),
                &format!("-n {space} link set lo up"),
                &format!("-n {space} addr add {address}/24 dev eth0"),
                &format!("-n {space} link set eth0 up"),
                // Behind the rules that cut.
                &format!("-n {space} rule add pref 1000 lookup local"),
                &format!("-n {space} rule del pref 0"),
            ])?;
        }
        Ok(())
    }

    /// A node's namespace.
    pub fn namespace(&self, node: &str) -> String {
        format!("{}{node}", self.prefix)
    }

    /// A node's address.
    pub fn address(&self, node: &str) -> Ipv4Addr {
        Ipv4Addr::new(10, 84, 0, 10 + self.place(node) as u8)
    }

    fn place(&self, node: &str) -> usize {
        let place = self.nodes.iter().position(|name| name == node);
        place.unwrap_or(self.nodes.len())
    }

    /// `program`, to be run at a node.
    pub fn command(&self, node: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]);
        command.arg(program);
        command
    }

    /// Nothing that `from` sends reaches `to` any more.
    pub fn cut(&self, from: &str, to: &str) -> Result<(), String> {
        self.rule("add", from, to)
    }

    /// What `from` sends reaches `to` again.
    pub fn mend(&self, from: &str, to: &str) -> Result<(), String> {
        self.rule("del", from, to)
    }

    fn rule(&self, what: &str, from: &str, to: &str) -> Result<(), String> {
        let (space, address) = (self.namespace(to), self.address(from));
        let pref = 100 + self.place(from);
        let rule = format!("-n {space} rule {what} pref {pref} from {address} blackhole");
        ip(rule.split(' '))
    }
}

/// Moves the calling thread into a namespace: the sockets it opens from now on are there.
pub fn enter(namespace: &str) -> Result<(), String> {
    let path = format!("{NAMESPACES}/{namespace}");
    let file = File::open(&path).map_err(|error| format!("cannot open {path}: {error}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| format!("cannot move into {path}: {error}"))
}

impl Drop for Network {
    fn drop(&mut self) {
        let nodes = self.nodes.iter().map(String::as_str);
        for node in nodes.chain(["hub"]) {
            remove(&self.namespace(node));
        }
    }
}

fn ip<'a>(words: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let words: Vec<&str> = words.collect();
    let done = Command::new("ip")
        .args(&words)
        .output()
        .map_err(|error| format!("cannot run `ip` (of iproute2): {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("`ip {}`: {}", words.join(" "), said.trim()))
}

/// Removes a namespace and ends what still runs in it. One that was never made is no error.
fn remove(namespace: &str) {
    if !fs::exists(format!("{NAMESPACES}/{namespace}")).unwrap_or(false) {
        return;
    }
    let inside = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output();
    let pids = inside.map(|done| String::from_utf8_lossy(&done.stdout).into_owned());
    let own = std::process::id().cast_signed();
    for pid in pids.unwrap_or_default().split_whitespace() {
        if let Some(pid) = pid.parse().ok().filter(|pid| *pid != own)
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = ip(["netns", "del", namespace].into_iter());
}

/// Removes the namespaces of processes that are no more.
fn sweep() {
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return;
    };
    for name in entries.flatten().map(|entry| entry.file_name()) {
        let Some(name) = name.to_str() else { continue };
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid
            && test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
        {
            remove(name);
        }
    }
}
