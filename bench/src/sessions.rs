//! The session tier through an agent, beside one memcached that is asked directly: times of single operations, a mix by
//! many clients, the death of a leader, and a node that comes back with nothing.
//!
//! Three voters and a node with the agent, each in a network namespace; clients are on the agent's node, as applications
//! are, and reach memcached over the same kind of loopback. CPU is that of all processes that answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tandem_history::torture::Nodes;

use crate::process;
use crate::rounds::{median, percentile};
use crate::stage::Dir;
use crate::table;

const VOTERS: [&str; 3] = ["cache1", "cache2", "edge"];
const APP: &str = "app1";
const TABLE: &str =
    "on = [\"cache1\", \"cache2\"]\nthird = \"edge\"\nagents = [\"app1\"]\nmemory = \"6 GiB\"\n";
/// Bytes of a value in all but the last part.
const SIZE: usize = 1024;
const KEYS: usize = 1_000;
const ROUNDS: usize = 7;
const CLIENTS: usize = 64;
/// Sessions of the last part, and the bytes of each.
const MANY: usize = 1_000_000;
const LARGE: usize = 2_048;

type Failure = Box<dyn std::error::Error>;

/// One side: where clients ask, from which node's network, and whose CPU counts.
struct Side<'s> {
    nodes: Option<&'s Nodes>,
    address: SocketAddr,
    pids: Vec<u32>,
}

/// A connection, and room for its answers.
struct Client(TcpStream, Vec<u8>);

impl Client {
    fn set(&mut self, key: usize, size: usize) -> Result<(), Failure> {
        let mut request = format!("set session:{key:07} 0 0 {size}\r\n").into_bytes();
        request.resize(request.len() + size, b'v');
        request.extend_from_slice(b"\r\n");
        self.0.write_all(&request)?;
        self.until(b"\r\n", b"STORED\r\n")
    }

    fn get(&mut self, key: usize) -> Result<(), Failure> {
        self.0
            .write_all(format!("get session:{key:07}\r\n").as_bytes())?;
        self.until(b"END\r\n", b"VALUE ")
    }

    /// Reads an answer until its end; it must begin as it should.
    fn until(&mut self, end: &[u8], begin: &[u8]) -> Result<(), Failure> {
        let mut filled = 0;
        loop {
            let n = self.0.read(&mut self.1[filled..])?;
            filled += n;
            let answer = &self.1[..filled];
            if answer.starts_with(b"SERVER_ERROR") && answer.ends_with(b"\r\n") || n == 0 {
                return Err(String::from_utf8_lossy(answer).into());
            }
            if answer.ends_with(end) {
                let is_right = answer.starts_with(begin);
                return is_right
                    .then_some(())
                    .ok_or_else(|| String::from_utf8_lossy(answer).into());
            }
        }
    }
}

impl Side<'_> {
    /// A connection of a thread that is where the clients are.
    fn connect(&self) -> Client {
        if let Some(nodes) = self.nodes {
            nodes.enter_node(APP).expect("it has a namespace");
        }
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Client(stream, vec![0; 64 * 1024])
    }

    fn cpu(&self) -> u64 {
        self.pids.iter().map(|&pid| process::cpu_of(pid)).sum()
    }

    /// Microseconds of each of these operations, one after the other on one connection.
    fn times(&self, count: usize, operation: impl Fn(&mut Client, usize) + Sync) -> Vec<f64> {
        std::thread::scope(|scope| {
            let measured = scope.spawn(|| {
                let mut client = self.connect();
                let time = |key| {
                    let begun = Instant::now();
                    operation(&mut client, key % KEYS);
                    begun.elapsed().as_secs_f64() * 1e6
                };
                (0..count).map(time).collect()
            });
            measured.join().expect("it is well")
        })
    }

    /// Nine reads to a write by many clients: operations a second, and microseconds of CPU for each.
    fn mix(&self, length: Duration) -> (f64, f64) {
        let before = self.cpu();
        let begun = Instant::now();
        let times = self.load(CLIENTS, || begun.elapsed() < length);
        let count = times.iter().map(Vec::len).sum::<usize>() as f64;
        let cpu = (self.cpu() - before) as f64 / 1e3;
        (count / begun.elapsed().as_secs_f64(), cpu / count)
    }

    /// The mix for as long as `goes_on`; milliseconds of every operation by client. One that fails ends everything.
    fn load(&self, clients: usize, goes_on: impl Fn() -> bool + Sync) -> Vec<Vec<f64>> {
        let run = |number: usize| {
            let mut client = self.connect();
            let mut times = Vec::new();
            let mut key = number * 7919;
            while goes_on() {
                key += 1;
                let begun = Instant::now();
                let done = if key.is_multiple_of(10) {
                    client.set(key % KEYS, SIZE)
                } else {
                    client.get(key % KEYS)
                };
                done.expect("no operation fails");
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            times
        };
        let run = &run;
        std::thread::scope(|scope| {
            let start = |number| scope.spawn(move || run(number));
            let all: Vec<_> = (0..clients).map(start).collect();
            let ended = all.into_iter().map(|one| one.join().expect("it is well"));
            ended.collect()
        })
    }
}

/// Runs all parts with this binary; the last one, which takes memory and minutes, when it is asked for.
pub fn run(tandem: &str, catch_up: bool) {
    let dir = Dir::new("sessions");
    let names = [&VOTERS[..], &[APP]].concat();
    let program = std::path::absolute(tandem).expect("a path");
    let nodes = Nodes::make(&program, dir.path(), &names, TABLE);
    let nodes = nodes.unwrap_or_else(|why| panic!("{why}"));
    nodes.start_all().unwrap_or_else(|why| panic!("{why}"));
    let pids = || names.iter().filter_map(|name| nodes.pid(name)).collect();
    let tier = Side {
        nodes: Some(&nodes),
        address: ([127, 0, 0, 1], nodes.agent(APP).port()).into(),
        pids: pids(),
    };
    if catch_up {
        return come_back(&nodes, &tier);
    }
    let (memcached, address) = process::memcached("memcached", None, &["-m", "1024"]);
    let direct = Side {
        nodes: None,
        address,
        pids: vec![memcached.id()],
    };
    single(&direct, &tier);
    many(&direct, &tier);
    leader_dies(&nodes, &tier);
}

fn single(direct: &Side<'_>, tier: &Side<'_>) {
    table::head(&[
        "one client, 1 KiB, p50",
        "memcached, us",
        "agent, us",
        "ratio",
        "budget",
    ]);
    let write = |client: &mut Client, key: usize| client.set(key, SIZE).expect("it is stored");
    let read = |client: &mut Client, key: usize| client.get(key).expect("it is there");
    for (name, budget) in [("write", 3.0), ("read", 2.0)] {
        let measure = |side: &&Side<'_>| {
            let mut times = if name == "write" {
                side.times(2_000, write)
            } else {
                side.times(4_000, read)
            };
            percentile(&mut times, 0.5)
        };
        let medians = crate::rounds::compare(&mut [direct, tier], ROUNDS, |side| measure(side));
        table::row(&[
            name.to_owned(),
            format!("{:.0}", medians[0]),
            format!("{:.0}", medians[1]),
            format!("{:.2}", medians[1] / medians[0]),
            format!("{budget:.1}"),
        ]);
    }
}

fn many(direct: &Side<'_>, tier: &Side<'_>) {
    table::head(&[
        "64 clients, nine reads to a write",
        "operations/s",
        "CPU of all processes, us",
    ]);
    let mut numbers = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..3 {
        for (side, numbers) in [direct, tier].iter().zip(&mut numbers) {
            let (rate, cpu) = side.mix(Duration::from_secs(2));
            numbers.0.push(rate);
            numbers.1.push(cpu);
        }
    }
    for (name, (rates, cpu)) in ["memcached", "agent and three voters"].iter().zip(numbers) {
        let (rate, cpu) = (median(rates), median(cpu));
        table::row(&[
            (*name).to_owned(),
            format!("{rate:.0}"),
            format!("{cpu:.0}"),
        ]);
    }
}

fn leader_dies(nodes: &Nodes, tier: &Side<'_>) {
    table::head(&[
        "16 clients while the leader is killed",
        "p50, ms",
        "p99, ms",
        "longest, ms",
        "failed",
    ]);
    for round in 1..=3 {
        let done = AtomicBool::new(false);
        let killed = Mutex::new("");
        let times = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(1));
                let leads = nodes.leader(&VOTERS).expect("one leads");
                nodes.kill(leads).expect("it runs");
                *killed.lock().expect("nobody panics with it") = leads;
                std::thread::sleep(Duration::from_secs(2));
                done.store(true, Ordering::Relaxed);
            });
            tier.load(16, || !done.load(Ordering::Relaxed))
        });
        let mut times = times.concat();
        let node = *killed.lock().expect("nobody panics with it");
        table::row(&[
            format!("round {round}, {node}"),
            format!("{:.2}", percentile(&mut times, 0.5)),
            format!("{:.2}", percentile(&mut times, 0.99)),
            format!("{:.0}", percentile(&mut times, 1.0)),
            "0".to_owned(),
        ]);
        nodes.start(node).expect("it can be started");
        nodes.until_whole().expect("it comes back");
    }
}

/// A node that lost its state, among a million sessions.
fn come_back(nodes: &Nodes, tier: &Side<'_>) {
    let resident = || -> Vec<u64> {
        let pids = VOTERS.iter().filter_map(|name| nodes.pid(name));
        pids.map(process::resident_of).collect()
    };
    let empty = resident();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = tier.connect();
                for key in (part..MANY).step_by(CLIENTS) {
                    client.set(key, LARGE).expect("it is stored");
                }
            });
        }
    });
    println!(
        "{MANY} sessions of {LARGE} bytes stored in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    for ((name, before), after) in VOTERS.iter().zip(empty).zip(resident()) {
        println!(
            "{name}: {} bytes resident a session",
            (after - before) / MANY as u64
        );
    }
    let away = VOTERS
        .iter()
        .find(|name| Some(**name) != nodes.leader(&VOTERS));
    let away = away.expect("two follow");
    let quiet = tier.load(16, {
        let begun = Instant::now();
        move || begun.elapsed().as_secs() < 10
    });
    nodes.kill(away).expect("it runs");
    nodes.forget(away).expect("it had a state");
    let done = AtomicBool::new(false);
    let (times, took) = std::thread::scope(|scope| {
        let back = scope.spawn(|| {
            let begun = Instant::now();
            nodes.start(away).expect("it can be started");
            let whole = nodes.until_whole();
            done.store(true, Ordering::Relaxed);
            whole.map(|()| begun.elapsed())
        });
        let times = tier.load(16, || !done.load(Ordering::Relaxed));
        (times, back.join().expect("it is well"))
    });
    let (mut quiet, mut times) = (quiet.concat(), times.concat());
    table::head(&[
        "a voter comes back with nothing",
        "until it is full, s",
        "p99 before, ms",
        "p99 meanwhile, ms",
        "budgets",
    ]);
    table::row(&[
        (*away).to_owned(),
        took.map_or_else(|why| why, |took| format!("{:.1}", took.as_secs_f64())),
        format!("{:.2}", percentile(&mut quiet, 0.99)),
        format!("{:.2}", percentile(&mut times, 0.99)),
        "60 s, twice".to_owned(),
    ]);
}
