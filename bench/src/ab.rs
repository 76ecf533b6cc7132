//! Load by `ab`, of Debian's package apache2-utils: connections whose TLS handshake is a full one each time, which wrk and
//! h2load, that resume sessions, do not make.

use std::process::Command;

/// Makes so many connections with a request each, some of them at once; returns how many were answered.
pub fn handshakes(url: &str, protocol: &str, connections: usize, requests: usize) -> u64 {
    let done = Command::new("ab")
        .args(["-q", "-f", protocol])
        .arg(format!("-c{connections}"))
        .arg(format!("-n{requests}"))
        .arg(url)
        .output();
    let done = done.unwrap_or_else(|error| panic!("ab cannot be started: {error}"));
    let text = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    let number = |what: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(what));
        line.and_then(|number| number.trim().parse::<u64>().ok())
    };
    let bad = text.contains("Non-2xx") || number("Failed requests:") != Some(0);
    assert!(done.status.success() && !bad, "{url}: {text}{errors}");
    number("Complete requests:").unwrap_or_else(|| panic!("ab says: {text}"))
}
