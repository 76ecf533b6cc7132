//! Load by `h2load`, of Debian's package nghttp2-client: HTTP/2, and HTTP/1.1 at a fixed rate.

use std::process::Command;

/// Asks over HTTP/2 for so many seconds; returns how many answers came.
pub fn http2(url: &str, connections: usize, streams: usize, seconds: u32) -> u64 {
    let mut command = Command::new("h2load");
    command
        .arg(format!("-c{connections}"))
        .arg(format!("-m{streams}"))
        .arg(format!("-D{seconds}"))
        .arg(url);
    let text = said(command);
    let line = text.lines().find(|line| line.starts_with("requests:"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    let at = |what: &str| {
        let place = words
            .iter()
            .position(|word| word.trim_end_matches(',') == what);
        place.and_then(|place| words[place - 1].parse::<u64>().ok())
    };
    assert_eq!(at("failed"), Some(0), "{url}: {text}");
    at("succeeded").unwrap_or_else(|| panic!("h2load says: {text}"))
}

/// Asks over HTTP/1.1, each connection at so many requests per second. Returns the times of a request in microseconds:
/// p50, p99, p99.9.
pub fn at_rate(url: &str, connections: usize, each: u32, seconds: u32) -> [u64; 3] {
    let log = std::env::temp_dir().join(format!("bench-{}.h2load", std::process::id()));
    let mut command = Command::new("h2load");
    command
        .arg("--h1")
        .arg(format!("-c{connections}"))
        .arg(format!("--rps={each}"))
        .arg(format!("-D{seconds}"))
        .arg("--log-file")
        .arg(&log)
        .arg(url);
    said(command);
    // A line a request: its start, the status, its time in microseconds.
    let text = std::fs::read_to_string(&log).expect("h2load writes its log");
    let _ = std::fs::remove_file(&log);
    let mut times: Vec<u64> = text
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok())
        .collect();
    assert!(
        times.len() > 1_000,
        "h2load asked only {} times",
        times.len()
    );
    times.sort_unstable();
    [500, 990, 999].map(|share| times[times.len() * share / 1_000])
}

fn said(mut command: Command) -> String {
    let done = command.output();
    let done = done.unwrap_or_else(|error| panic!("h2load cannot be started: {error}"));
    assert!(
        done.status.success(),
        "h2load: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}
