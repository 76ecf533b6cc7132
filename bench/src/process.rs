//! A server under measurement: started, waited for, accounted, ended.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tandem_history::torture::stop;

/// How long a server may take until it listens.
const STARTED_WITHIN: Duration = Duration::from_mins(1);

/// A process of its own, ended when it is dropped.
pub struct Server(Child);

impl Server {
    /// Starts `command`, and waits until all of these addresses take connections.
    pub fn start(mut command: Command, listens: &[SocketAddr]) -> Self {
        let name = command.get_program().display().to_string();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let mut server = Self(child);
        let begun = Instant::now();
        for address in listens {
            while TcpStream::connect(address).is_err() {
                if let Ok(Some(status)) = server.0.try_wait() {
                    panic!("{name} ended instead of listening on {address}: {status}");
                }
                assert!(
                    begun.elapsed() < STARTED_WITHIN,
                    "{name} does not listen on {address}"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        server
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// As [`cpu_of`].
    pub fn cpu(&self) -> u64 {
        cpu_of(self.id())
    }

    /// As [`resident_of`].
    pub fn resident(&self) -> u64 {
        resident_of(self.id())
    }
}

/// The time that a process's threads were on a processor, in nanoseconds, as the kernel accounts it.
pub fn cpu_of(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// A process's resident bytes.
pub fn resident_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1024
}

impl Drop for Server {
    /// Asked to, and not killed: a program that counts for a profile writes its counts when it ends.
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

/// A memcached with one worker, `program` as the command `word` of it, and where it listens.
pub fn memcached(program: &str, word: Option<&str>, more: &[&str]) -> (Server, SocketAddr) {
    let address = free("127.0.0.1");
    let mut command = Command::new(program);
    command
        .args(word)
        .args([
            "-l",
            "127.0.0.1",
            "-u",
            "root",
            "-t",
            "1",
            "-c",
            "4000",
            "-p",
        ])
        .arg(address.port().to_string())
        .args(more)
        .stderr(Stdio::null());
    (Server::start(command, &[address]), address)
}

/// The time of several processes that do one job together.
pub fn cpu(servers: &[&Server]) -> u64 {
    servers.iter().map(|server| server.cpu()).sum()
}

/// An address of this host with a port that is free now.
pub fn free(host: &str) -> SocketAddr {
    let socket = TcpListener::bind((host, 0)).expect("a free port");
    socket.local_addr().expect("it is bound")
}
