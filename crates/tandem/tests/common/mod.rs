//! What the end-to-end tests share: the real binary, a client with cookies, deadlines.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod calls;
pub mod certificate;
pub mod fpm;
pub mod loopback;
pub mod machine;
pub mod namespaces;
pub mod node;
pub mod origin;
pub mod pausing;
pub mod ports;
pub mod tower;
pub mod uwsgi;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest anything here may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The binary under test.
pub fn tandem() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tandem"))
}

/// Runs a command of the binary to its end.
pub fn output(args: &[&str]) -> Output {
    tandem()
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory that is removed at the end.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tandem-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path as text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory");
        }
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    }

    /// Writes a program and returns its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a demo of this user runs: there is one of it on a machine.
pub fn demo_runs() -> bool {
    let uid = rustix::process::getuid().as_raw();
    let Ok(entries) = fs::read_dir(std::env::temp_dir().join(format!("tandem-{uid}"))) else {
        return false;
    };
    let states = entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("rehearsal.json")).ok());
    let states = states.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    states
        .filter(|state| state["kind"] == "demo")
        .any(|state| runs(state["pid"].as_u64().unwrap_or(0) as u32))
}

/// A started binary that prints `ready ADDRESS` when it is. It is stopped by SIGTERM when dropped.
pub struct Running {
    child: Child,
    pub front: String,
}

impl Running {
    /// Starts the binary and waits until it is ready.
    pub fn start(args: &[&str]) -> Self {
        let mut child = tandem()
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut errors = child.stderr.take().expect("stderr is piped");
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            let _ = said.send(text);
        });
        let out = child.stdout.take().expect("stdout is piped");
        let (found, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(front) = line.strip_prefix("ready ") {
                    let _ = found.send(front.to_owned());
                }
            }
        });
        match ready.recv_timeout(PATIENCE) {
            Ok(front) => Self { child, front },
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = heard
                    .recv_timeout(Duration::from_secs(5))
                    .unwrap_or_default();
                panic!("`tandem {}` did not become ready:\n{said}", args.join(" "));
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The front door as a socket address.
    pub fn address(&self) -> SocketAddr {
        let text = self
            .front
            .trim_start_matches("http://")
            .trim_end_matches('/');
        text.parse()
            .unwrap_or_else(|_| panic!("{} is no address", self.front))
    }

    /// K of the rehearsal's network, from its state file.
    pub fn network(&self) -> String {
        self.state()["network"].to_string()
    }

    /// The rehearsal's state file.
    pub fn state(&self) -> Value {
        let uid = rustix::process::getuid().as_raw();
        let dir = std::env::temp_dir().join(format!("tandem-{uid}"));
        fs::read_dir(&dir)
            .expect("rehearsals have a directory")
            .flatten()
            .filter_map(|entry| fs::read(entry.path().join("rehearsal.json")).ok())
            .filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .find(|state| state["pid"] == self.pid())
            .expect("this rehearsal has a state file")
    }

    /// `tandem node ...` on this rehearsal.
    pub fn node(&self, args: &[&str]) -> Output {
        output(&[&["node"], args, &["--rehearsal", &self.network()]].concat())
    }

    /// `tandem node list --json` on this rehearsal.
    pub fn rows(&self) -> Vec<Value> {
        let listed = self.node(&["list", "--json"]);
        let rows: Value = serde_json::from_slice(&listed.stdout)
            .unwrap_or_else(|_| panic!("{}", stderr(&listed)));
        rows.as_array().expect("a list of nodes").clone()
    }

    /// Waits until every node is well.
    pub fn wait_until_well(&self) {
        wait_until("all nodes are well", || {
            self.rows().iter().all(|row| row["state"] == "up")
        });
    }

    /// Sends a signal and waits for the end.
    pub fn stop_by(mut self, signal: rustix::process::Signal) -> ExitStatus {
        send(self.pid(), signal);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("pid {} did not end", self.pid());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            send(self.child.id(), rustix::process::Signal::TERM);
            let begun = Instant::now();
            while matches!(self.child.try_wait(), Ok(None))
                && begun.elapsed() < Duration::from_secs(40)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a process this test started.
pub fn send(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// The state of a process, a letter (proc(5)); `None` when there is none.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The most memory that a process has had, in MiB.
pub fn peak(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

/// Waits for something to become true, up to [`PATIENCE`].
pub fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a program is there. Without it a test skips with a message, or fails where peers are required.
pub fn has(program: &str, args: &[&str]) -> bool {
    let found = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    let message = format!("`{program} {}` does not work here", args.join(" "));
    assert!(
        std::env::var_os("TANDEM_REQUIRE_PEERS").is_none(),
        "{message}"
    );
    eprintln!("skipped: {message}");
    false
}

/// An answer.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Page {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// Sends bytes as they are and reads until the other side closes.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// What one request on a connection of its own is answered: a request line without its version, fields, and a body.
pub fn ask(address: SocketAddr, line: &str, fields: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n");
    for field in fields {
        let _ = write!(text, "{field}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    raw(address, format!("{text}\r\n{body}").as_bytes()).expect("an answer")
}

/// One request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &[u8],
) -> std::io::Result<Page> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw(address, &[head.as_bytes(), body].concat())?;
    parse(&answer).ok_or_else(|| {
        std::io::Error::other(format!(
            "no whole answer: {:?}",
            String::from_utf8_lossy(&answer)
        ))
    })
}

/// One GET.
pub fn get(address: SocketAddr, path: &str) -> Page {
    request(address, "GET", path, "", b"").unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// Reads a whole answer; `None` when it is not whole.
pub fn parse(answer: &[u8]) -> Option<Page> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut page = Page {
        status,
        head,
        body: answer[end + 4..].to_vec(),
    };
    if page.field("transfer-encoding").is_some() {
        page.body = unchunk(&page.body)?;
    } else if let Some(length) = page.field("content-length") {
        (length.parse::<usize>().ok()? == page.body.len()).then_some(())?;
    }
    Some(page)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// A client that keeps one session cookie.
pub struct Visitor {
    address: SocketAddr,
    pub cookie: Option<String>,
}

impl Visitor {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookie: None,
        }
    }

    pub fn get(&mut self, path: &str) -> std::io::Result<Page> {
        self.send("GET", path, "", b"")
    }

    pub fn post_json(&mut self, path: &str, json: &str) -> std::io::Result<Page> {
        self.send(
            "POST",
            path,
            "Content-Type: application/json\r\n",
            json.as_bytes(),
        )
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> std::io::Result<Page> {
        let cookie = self
            .cookie
            .as_ref()
            .map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
        let page = request(
            self.address,
            method,
            path,
            &format!("{fields}{cookie}"),
            body,
        )?;
        if let Some(set) = page.field("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        Ok(page)
    }
}
