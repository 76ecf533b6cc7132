//! A node of one machine whose file a test writes and changes.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{Dir, PATIENCE, Page, parse, send, wait_until};

/// A node of a file that the test changes.
pub struct Node {
    pub dir: Dir,
    child: Child,
    pub ports: [u16; 2],
}

impl Node {
    /// Starts a node with these tables behind the common ones, first what is to be said of the cluster; `{a}` and `{b}` are
    /// its ports, and `{dir}` is its directory.
    pub fn start(tables: &str) -> Self {
        Self::start_with(tables, |_| {})
    }

    /// As [`start`](Self::start), with files of the test's own.
    pub fn start_with(tables: &str, prepare: impl FnOnce(&Dir)) -> Self {
        Self::start_around(tables, prepare, |_, command| command)
    }

    /// As [`start_with`](Self::start_with); `around` gets the command and may put another around it that ends in it.
    pub fn start_around(
        tables: &str,
        prepare: impl FnOnce(&Dir),
        around: impl FnOnce(&Dir, Vec<String>) -> Vec<String>,
    ) -> Self {
        let dir = Dir::new();
        prepare(&dir);
        dir.file("www/index.html", "a page");
        let file = dir.file("cluster.toml", "");
        let command = vec![env!("CARGO_BIN_EXE_tandem").into(), "run".into(), file];
        let command = around(&dir, command);
        let mut dir = Some(dir);
        loop {
            let mut node = Self::spawn(dir.take().expect("a directory"), tables, &command);
            let is_over = |node: &mut Self| !matches!(node.child.try_wait(), Ok(None));
            wait_until("the node serves, or ends", || {
                node.log().contains("serves as") || is_over(&mut node)
            });
            if node.log().contains("serves as") {
                return node;
            }
            // Somebody was faster: whoever connects to anything may be given the port that was free.
            let log = node.log();
            assert!(log.contains(" is taken: "), "it ended: {log}");
            dir = Some(std::mem::replace(&mut node.dir, Dir::new()));
        }
    }

    fn spawn(dir: Dir, tables: &str, command: &[String]) -> Self {
        let ports = super::ports::several();
        dir.file("cluster.toml", &text(tables, &dir, ports));
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Self { dir, child, ports }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[0]).into()
    }

    /// The second address.
    pub fn second(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[1]).into()
    }

    /// The access log, as far as it is written.
    pub fn access_log(&self) -> String {
        whole_lines(&self.dir.path().join("state/local/access.log"))
    }

    /// Asks the admin API, by the node's own socket: `GET /metrics`.
    pub fn admin(&self, line: &str) -> Page {
        ask_admin(&self.dir.path().join("state/local/admin.sock"), line)
    }

    /// The value of a metric; `None` without that series.
    pub fn metric(&self, series: &str) -> Option<f64> {
        metric(&self.admin("GET /metrics").text(), series)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Changes the file, asks for a reload, and waits until it was carried out or refused.
    pub fn reload(&self, tables: &str) -> String {
        let before = self.log().len();
        self.dir
            .file("cluster.toml", &text(tables, &self.dir, self.ports));
        send(self.child.id(), Signal::HUP);
        let news = || self.log().split_off(before);
        wait_until("the reload is over", || news().contains("reloaded"));
        news()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What has ended already has no number any more.
        if let Ok(None) = self.child.try_wait() {
            send(self.child.id(), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// A file that is being written, up to its last line that is whole.
pub fn whole_lines(path: &Path) -> String {
    let mut text = std::fs::read_to_string(path).unwrap_or_default();
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

/// Asks the admin API by a node's own socket.
pub fn ask_admin(socket: &Path, line: &str) -> Page {
    let mut stream = UnixStream::connect(socket).expect("the node's socket");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    parse(&answer).expect("a whole answer")
}

/// The value of a series in what `/metrics` says.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

fn text(tables: &str, dir: &Dir, ports: [u16; 2]) -> String {
    // What a test says of it comes first in its tables.
    let workers = if tables.trim_start().starts_with("workers") {
        ""
    } else {
        "workers = 2\n"
    };
    let tables = tables
        .replace("{dir}", &dir.path().to_string_lossy())
        .replace("{a}", &ports[0].to_string())
        .replace("{b}", &ports[1].to_string());
    format!("[cluster]\nstate = \"state\"\nadmin = false\n{workers}{tables}")
}
