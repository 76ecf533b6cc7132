//! memcached itself, to be compared with.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tandem_cache::{CacheKeyspace, CacheOptions};
use tandem_memcache::ServerContext;
use tokio::runtime::Runtime;

use super::{DEADLINE, context_with, keyspace, talk};

/// memcached on a Unix socket of its own; ends with the test.
pub struct Peer {
    process: Child,
    socket: PathBuf,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Peer {
    /// `None`, said aloud, when it is not installed, unless the environment demands it.
    pub fn start(name: &str) -> Option<Self> {
        let socket = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        let process = Command::new("memcached")
            // Its background threads hold items for moments, in which a number is written anew, not in place.
            .args(["-o", "no_lru_maintainer,no_lru_crawler"])
            .args(["-u", "root", "-t", "1", "-s"])
            .arg(&socket)
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if std::env::var_os("TANDEM_REQUIRE_PEERS").is_some() => {
                panic!("memcached is demanded and cannot be started: {error}")
            }
            Err(error) => {
                eprintln!("skipped: memcached cannot be started: {error}");
                return None;
            }
        };
        let peer = Self { process, socket };
        let since = Instant::now();
        while UnixStream::connect(&peer.socket).is_err() {
            assert!(since.elapsed() < DEADLINE, "memcached does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(peer)
    }

    /// Sends bytes and reads until memcached hangs up.
    pub fn talk(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(&self.socket, bytes)
    }
}

/// A cache and a server's context beside a memcached, so that both get the same bytes.
pub struct Pair {
    pub peer: Peer,
    pub ours: CacheKeyspace,
    pub cx: ServerContext,
    runtime: Runtime,
}

impl Pair {
    /// `None` when there is no memcached: see [`Peer::start`].
    pub fn start(name: &str) -> Option<Self> {
        Some(Self {
            peer: Peer::start(name)?,
            ours: keyspace(CacheOptions::default()),
            // As memcached is started.
            cx: context_with(&[("lru_crawler", "no"), ("lru_maintainer_thread", "no")]),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
        })
    }

    /// Our answers and theirs.
    pub fn talk(&self, bytes: &[u8]) -> [Vec<u8>; 2] {
        let theirs = self.peer.talk(bytes);
        [
            self.runtime.block_on(talk(&self.ours, &self.cx, &[bytes])),
            theirs,
        ]
    }

    /// Says random conversations of up to `longest` parts to both, and shows the answers to `check`.
    pub fn talk_at_random<T: std::fmt::Debug>(
        &self,
        part: impl Strategy<Value = T>,
        longest: usize,
        bytes: impl Fn(Vec<T>) -> Vec<u8>,
        check: impl Fn([Vec<u8>; 2]) -> Result<(), TestCaseError>,
    ) {
        let mut runner = TestRunner::new(Config {
            cases: 150,
            failure_persistence: None,
            ..Config::default()
        });
        let parts = proptest::collection::vec(part, 1..longest);
        let result = runner.run(&parts, |parts| check(self.talk(&bytes(parts))));
        if let Err(error) = result {
            panic!("{error}");
        }
    }
}

fn exchange(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may hang up in between.
            let _ = sender.write_all(bytes);
        });
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        answers
    })
}

/// The beginning of an answer, to be compared in a readable way.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned()
}
