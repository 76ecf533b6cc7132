//! `tandem memcached` against memcached: CPU of the server per operation, and memory of items.
//!
//! Both run with one worker thread; rounds alternate between them, and medians of the rounds are shown. CPU is what the
//! kernel accounts to the server's threads (/proc/PID/task/*/schedstat).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process;
use crate::rounds::{asked, median, percentile};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);
const KEYS: usize = 1_000;

struct Server {
    process: process::Server,
    port: u16,
}

impl Server {
    fn start(program: &str, word: Option<&str>, more: &[&str]) -> Self {
        let (process, address) = process::memcached(program, word, more);
        Self {
            process,
            port: address.port(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }

    /// A number of `stats`.
    fn stat(&self, name: &str) -> u64 {
        let mut stream = self.connect();
        stream.write_all(b"stats\r\nquit\r\n").expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.and_then(|value| value.trim().parse().ok())
            .expect("it has such a line")
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
                ("set", 1000),
                ("90/10", 1000),
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
                for _ in 0..asked(ROUNDS) {
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
    changing_sizes(tandem);
    hit_ratios(tandem);
    latency_while_filling(tandem);
}

/// Both programs, started with these options in turn.
fn both(tandem: &str, more: &[&str]) -> [(&'static str, Server); 2] {
    [
        ("memcached", Server::start("memcached", None, more)),
        ("tandem", Server::start(tandem, Some("memcached"), more)),
    ]
}

/// Sends a batch and reads as many bytes as its answer has, both at once.
fn send_all(stream: &mut TcpStream, batch: &[u8], answer: usize) {
    let mut writer = stream.try_clone().expect("a socket");
    let mut answers = vec![0; answer];
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(batch).expect("it reads"));
        stream.read_exact(&mut answers).expect("it answers");
    });
}

/// A generator of numbers, the same for both sides.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Resident memory while the sizes of values change, one after the other.
fn changing_sizes(tandem: &str) {
    const MEGABYTES: usize = 256;
    println!(
        "\n| values of so many bytes, one and a half times -m {MEGABYTES} of each in turn | memcached: resident, MiB | items, MB | tandem: resident, MiB | items, MB |\n|---|---|---|---|---|"
    );
    let servers = both(tandem, &["-m", "256"]);
    let mut streams = servers.each_ref().map(|(_, server)| server.connect());
    let mut random = Random(88_172_645_463_325_252);
    let mut number = 0usize;
    for size in [100, 300, 2_000, 150, 8_000, 700, 100_000, 120, 0, 60, 3_000] {
        let mut stored = 0;
        while stored < MEGABYTES * 3 / 2 * 1024 * 1024 {
            let (mut batch, mut answer) = (Vec::new(), 4);
            for _ in 0..100 {
                // 0: each power of two up to 16 KiB as often as the next.
                let size = if size == 0 {
                    2f64.powf(5.0 + random.fraction() * 9.0) as usize
                } else {
                    size
                };
                batch.extend_from_slice(format!("set k{number} 0 0 {size}\r\n").as_bytes());
                batch.resize(batch.len() + size, b'v');
                batch.extend_from_slice(b"\r\n");
                answer += 8;
                // Some are of use and stay, whatever comes after them.
                if number.is_multiple_of(3) {
                    let old = number - random.next() as usize % (number.min(20_000) + 1);
                    batch.extend_from_slice(format!("touch k{old} 0 noreply\r\n").as_bytes());
                }
                stored += size + 60;
                number += 1;
            }
            batch.extend_from_slice(b"mn\r\n");
            for stream in &mut streams {
                send_all(stream, &batch, answer);
            }
        }
        let name = if size == 0 {
            "32 to 16,384".to_owned()
        } else {
            size.to_string()
        };
        let [one, other] = servers.each_ref().map(|(_, server)| {
            format!(
                "{} | {}",
                server.process.resident() >> 20,
                server.stat("bytes") / 1_000_000
            )
        });
        println!("| {name} | {one} | {other} |");
    }
}

/// Hits of a Zipf trace (exponent 0.9) at equal memory, without and with keys between that are asked for once.
fn hit_ratios(tandem: &str) {
    const KEYS: usize = 400_000;
    const REQUESTS: usize = 3_000_000;
    const BATCH: usize = 100;
    println!("\n| trace, -m 64 | memcached: hits, % | tandem: hits, % |\n|---|---|---|");
    // Where a fraction of all requests falls: sums of 1/rank^0.9.
    let mut sums = Vec::with_capacity(KEYS);
    let mut sum = 0.0;
    for rank in 1..=KEYS {
        sum += (rank as f64).powf(-0.9);
        sums.push(sum);
    }
    for (name, scan) in [
        ("Zipf", 0),
        ("Zipf, every other request a key of a scan", 2),
    ] {
        let mut ratios = Vec::new();
        for (_, server) in both(tandem, &["-m", "64"]) {
            let mut stream = server.connect();
            let mut random = Random(2_463_534_242);
            let (mut hits, mut counted, mut once) = (0, 0usize, 0usize);
            for batch in 0..REQUESTS / BATCH {
                let mut keys = Vec::with_capacity(BATCH);
                for number in 0..BATCH {
                    if scan > 0 && number % scan == 0 {
                        once += 1;
                        keys.push((format!("once{once}"), 300, false));
                    } else {
                        let at = random.fraction() * sum;
                        let rank = sums.partition_point(|&sum| sum < at);
                        // A key's size is its own: 50 to 1,000 bytes.
                        keys.push((format!("key{rank}"), 50 + rank * 7919 % 950, true));
                    }
                }
                let mut request = Vec::new();
                for (key, ..) in &keys {
                    request.extend_from_slice(format!("mg {key} s\r\n").as_bytes());
                }
                request.extend_from_slice(b"mn\r\n");
                stream.write_all(&request).expect("it reads");
                let mut answers = Vec::new();
                let mut buffer = vec![0; 65536];
                while !answers.ends_with(b"MN\r\n") {
                    let count = stream.read(&mut buffer).expect("it answers");
                    answers.extend_from_slice(&buffer[..count]);
                }
                let mut sets = Vec::new();
                for ((key, size, counts), answer) in keys.iter().zip(answers.split(|&b| b == b'\n'))
                {
                    let hit = answer.starts_with(b"HD");
                    // The first half fills the memory.
                    if *counts && batch > REQUESTS / BATCH / 2 {
                        counted += 1;
                        hits += usize::from(hit);
                    }
                    if !hit {
                        sets.extend_from_slice(
                            format!("set {key} 0 0 {size} noreply\r\n").as_bytes(),
                        );
                        sets.resize(sets.len() + size, b'v');
                        sets.extend_from_slice(b"\r\n");
                    }
                }
                stream.write_all(&sets).expect("it reads");
            }
            ratios.push(100.0 * hits as f64 / counted as f64);
        }
        println!("| {name} | {:.1} | {:.1} |", ratios[0], ratios[1]);
    }
}

/// How long gets take while another connection fills the memory and goes on beyond it.
fn latency_while_filling(tandem: &str) {
    println!(
        "\n| gets while another connection stores twice -m 256 of 500 bytes, \u{b5}s | p50 | p99 | p99.9 |\n|---|---|---|---|"
    );
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (side, (_, server)) in both(tandem, &["-m", "256", "-t", "2"])
            .into_iter()
            .enumerate()
        {
            let mut one = server.connect();
            send_all(&mut one, &set(0, 100), 8);
            let (request, answer) = get(0, 100);
            let done = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut other = server.connect();
                    for thousand in 1..800 {
                        let batch: Vec<u8> = (0..1000)
                            .flat_map(|n| set(thousand * 1000 + n, 500))
                            .collect();
                        send_all(&mut other, &batch, 8 * 1000);
                    }
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                });
                let mut buffer = vec![0; answer];
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let begun = Instant::now();
                    one.write_all(&request).expect("it reads");
                    // It may be gone for a moment: then it is stored again, and not counted.
                    one.read_exact(&mut buffer[..5]).expect("it answers");
                    if &buffer[..5] == b"END\r\n" {
                        send_all(&mut one, &set(0, 100), 8);
                        continue;
                    }
                    one.read_exact(&mut buffer[5..]).expect("it answers");
                    all[side].push(begun.elapsed().as_nanos() as f64 / 1000.0);
                }
            });
        }
    }
    for (name, mut times) in ["memcached", "tandem"].into_iter().zip(all) {
        let mut at = |share| percentile(&mut times, share);
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} |",
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
}
