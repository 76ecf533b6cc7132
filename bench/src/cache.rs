//! `tandem memcached` against memcached: CPU of the server per operation, and memory of items.
//!
//! Both run with one worker thread; rounds alternate between them, and medians of the rounds are shown. CPU is what the
//! kernel accounts to the server's threads (/proc/PID/task/*/schedstat).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process;
use crate::rounds::median;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);
const KEYS: usize = 1_000;

struct Server {
    process: process::Server,
    port: u16,
}

impl Server {
    fn start(program: &str, word: Option<&str>, more: &[&str]) -> Self {
        let address = process::free("127.0.0.1");
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
        Self {
            process: process::Server::start(command, &[address]),
            port: address.port(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }
}

/// One request, and how many bytes its answer has.
struct Exchange {
    request: Vec<u8>,
    answer: usize,
    operations: u64,
}

fn key(number: usize) -> String {
    format!("key:{number:06}")
}

fn set(number: usize, size: usize) -> Vec<u8> {
    let mut request = format!("set {} 0 0 {size}\r\n", key(number)).into_bytes();
    request.resize(request.len() + size, b'v');
    request.extend_from_slice(b"\r\n");
    request
}

fn get(number: usize, size: usize) -> (Vec<u8>, usize) {
    let key = key(number);
    let head = format!("VALUE {key} 0 {size}\r\n");
    (
        format!("get {key}\r\n").into_bytes(),
        head.len() + size + 2 + 5,
    )
}

fn exchanges(kind: &str, size: usize) -> Vec<Exchange> {
    let one = |number: usize| {
        let (request, answer) = match kind {
            "set" => (set(number, size), 8),
            "get" => get(number, size),
            "90/10" if number.is_multiple_of(10) => (set(number, size), 8),
            "90/10" => get(number, size),
            "pipelined get" => {
                let (request, answer) = get(number, size);
                (request.repeat(50), answer * 50)
            }
            "pipelined set" => (set(number, size).repeat(50), 8 * 50),
            _ => {
                let keys: Vec<_> = (number..number + 50).map(|n| key(n % KEYS)).collect();
                let head = format!("VALUE {} 0 {size}\r\n", key(0)).len() + size + 2;
                (
                    format!("get {}\r\n", keys.join(" ")).into_bytes(),
                    head * 50 + 5,
                )
            }
        };
        let operations = if kind.starts_with("pipelined") { 50 } else { 1 };
        Exchange {
            request,
            answer,
            operations,
        }
    };
    (0..KEYS).map(one).collect()
}

/// Sends on all connections, then reads from all, for one round; returns nanoseconds of CPU per operation.
fn round(server: &Server, connections: &mut [TcpStream], exchanges: &[Exchange]) -> f64 {
    let mut buffer = vec![0; 1 << 20];
    let (begun, before) = (Instant::now(), server.process.cpu());
    let (mut next, mut operations) = (0, 0);
    while begun.elapsed() < ROUND {
        let first = next;
        for connection in connections.iter_mut() {
            let exchange = &exchanges[next % exchanges.len()];
            connection.write_all(&exchange.request).expect("it reads");
            next += 1;
        }
        for (index, connection) in connections.iter_mut().enumerate() {
            let exchange = &exchanges[(first + index) % exchanges.len()];
            let mut left = exchange.answer;
            while left > 0 {
                let count = connection
                    .read(&mut buffer[..left.min(1 << 20)])
                    .expect("it answers");
                assert!(count > 0, "the server hung up");
                left -= count;
            }
            operations += exchange.operations;
        }
    }
    (server.process.cpu() - before) as f64 / operations as f64
}

fn fill(server: &Server, size: usize, items: usize) {
    let mut stream = server.connect();
    let mut answers = vec![0; 8 * 1000];
    for thousand in 0..items / 1000 {
        let batch: Vec<u8> = (0..1000)
            .flat_map(|n| set(thousand * 1000 + n, size))
            .collect();
        let mut writer = stream.try_clone().expect("a socket");
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&batch).expect("it reads"));
            stream.read_exact(&mut answers).expect("it answers");
        });
    }
}

/// Compares `tandem` (a path) with the memcached of this machine.
pub fn run(tandem: &str) {
    println!(
        "| operation | value | connections | memcached, ns | tandem, ns | ratio |\n|---|---|---|---|---|---|"
    );
    {
        let theirs = Server::start("memcached", None, &["-m", "512"]);
        let ours = Server::start(tandem, Some("memcached"), &["-m", "512"]);
        for size in [100, 1024, 10 * 1024] {
            for server in [&theirs, &ours] {
                fill(server, size, KEYS);
            }
            for (kind, count) in [
                ("get", 32),
                ("set", 32),
                ("90/10", 32),
                ("get", 1000),
                ("multiget of 50", 32),
                ("pipelined get", 4),
                ("pipelined set", 4),
            ] {
                // A multiget or pipeline of large values is a test of the socket's buffers.
                if size > 1024 && (kind.starts_with('p') || kind.starts_with('m')) {
                    continue;
                }
                let exchanges = exchanges(kind, size);
                let mut sides: Vec<_> = [&theirs, &ours]
                    .map(|server| {
                        (
                            server,
                            (0..count).map(|_| server.connect()).collect::<Vec<_>>(),
                            Vec::new(),
                        )
                    })
                    .into();
                for _ in 0..ROUNDS {
                    for (server, connections, numbers) in &mut sides {
                        numbers.push(round(server, connections, &exchanges));
                    }
                }
                let [one, other] = [0, 1].map(|side| median(std::mem::take(&mut sides[side].2)));
                println!(
                    "| {kind} | {size} B | {count} | {one:.0} | {other:.0} | {:.2} |",
                    other / one
                );
            }
        }
    }
    println!(
        "\n| value | items | memcached, bytes per item | tandem, bytes per item | ratio |\n|---|---|---|---|---|"
    );
    for size in [100, 500, 2048] {
        const ITEMS: usize = 1_000_000;
        let per_item = [("memcached", None), (tandem, Some("memcached"))].map(|(program, word)| {
            let server = Server::start(program, word, &["-m", "8192"]);
            let before = server.process.resident();
            fill(&server, size, ITEMS);
            (server.process.resident() - before) as f64 / ITEMS as f64
        });
        let [one, other] = per_item;
        println!(
            "| {size} B | {ITEMS} | {one:.0} | {other:.0} | {:.2} |",
            other / one
        );
    }
    println!(
        "\n| -m 256, filled three times over with values of 100 to 4000 bytes | resident, MiB |\n|---|---|"
    );
    for (name, program, word) in [
        ("memcached", "memcached", None),
        ("tandem", tandem, Some("memcached")),
    ] {
        let server = Server::start(program, word, &["-m", "256"]);
        let mut stream = server.connect();
        let mut answers = vec![0; 8 * 500];
        for number in 0..800 {
            let batch: Vec<u8> = (0..500usize)
                .flat_map(|n| set(number * 500 + n, 100 + (n * 7919 + number * 104_729) % 3900))
                .collect();
            let mut writer = stream.try_clone().expect("a socket");
            std::thread::scope(|scope| {
                scope.spawn(move || writer.write_all(&batch).expect("it reads"));
                stream.read_exact(&mut answers).expect("it answers");
            });
        }
        println!("| {name} | {} |", server.process.resident() >> 20);
    }
}
