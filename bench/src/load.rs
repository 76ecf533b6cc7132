//! Load by `wrk`, the generator of Debian's package of that name.

use std::process::Command;

/// What is asked for, and how.
pub struct Load<'a> {
    /// The address to ask.
    pub url: String,
    /// Lines of a Lua script for wrk, or nothing.
    pub script: Option<&'a str>,
    /// Fields of each request.
    pub fields: &'a [(&'a str, &'a str)],
    /// Connections at once.
    pub connections: usize,
    /// Seconds.
    pub seconds: u32,
    /// The newest version of TLS that wrk speaks; it resumes sessions either way.
    pub tls: Tls,
}

/// A version of TLS.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// Resumed without another key exchange.
    V12,
    /// Resumed with one.
    #[default]
    V13,
}

/// A configuration of OpenSSL that ends at TLS 1.2.
const V12: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n\
    [default]\nMaxProtocol = TLSv1.2\n";

/// Asks again and again on all connections; returns how many answers came. An answer that is no success, or a
/// connection that broke, ends the program: what is measured must be what is meant.
pub fn run(load: &Load<'_>) -> u64 {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "--timeout", "10s"])
        .arg(format!("-c{}", load.connections))
        .arg(format!("-d{}s", load.seconds));
    for (name, value) in load.fields {
        wrk.arg("-H").arg(format!("{name}: {value}"));
    }
    let file = load.script.map(|script| {
        let path = std::env::temp_dir().join(format!("bench-{}.lua", std::process::id()));
        std::fs::write(&path, script).expect("a directory for temporary files");
        path
    });
    if let Some(file) = &file {
        wrk.arg("-s").arg(file);
    }
    let conf = (load.tls == Tls::V12).then(|| {
        let path = std::env::temp_dir().join(format!("bench-{}.cnf", std::process::id()));
        std::fs::write(&path, V12).expect("a directory for temporary files");
        wrk.env("OPENSSL_CONF", &path);
        path
    });
    let done = wrk.arg(&load.url).output();
    let done = done.unwrap_or_else(|error| panic!("wrk cannot be started: {error}"));
    for file in file.into_iter().chain(conf) {
        let _ = std::fs::remove_file(file);
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    let bad = text.contains("Non-2xx") || text.contains("Socket errors");
    assert!(
        done.status.success() && !bad,
        "{}: {text}{errors}",
        load.url
    );
    let line = text.lines().find(|line| line.contains(" requests in "));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.unwrap_or_else(|| panic!("wrk says: {text}"))
}
