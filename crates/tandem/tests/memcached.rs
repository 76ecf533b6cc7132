//! `tandem memcached` as a process: what init scripts, operators and hostile clients do with it.

mod common;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use common::{Dir, PATIENCE, has, pausing, stderr, stdout, tandem, wait_until};
use rustix::process::Signal;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn free_port() -> u16 {
    common::ports::free().port()
}

/// A link to the binary named as memcached is.
fn link(dir: &Dir) -> PathBuf {
    let link = dir.path().join("memcached");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tandem"), &link).unwrap();
    link
}

/// Options that this user must give.
fn user() -> &'static [&'static str] {
    if is_root() { &["-u", "root"] } else { &[] }
}

/// Runs it to its end.
fn ends(args: &[&str]) -> Output {
    let memcached = tandem()
        .arg("memcached")
        .args(args)
        .stdin(Stdio::null())
        .output();
    memcached.unwrap()
}

/// A server in the foreground.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(more: &[&str]) -> Self {
        let port = free_port();
        let child = tandem()
            .args(["memcached", "-l", "127.0.0.1", "-p", &port.to_string()])
            .args(user())
            .args(more)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        common::wait_until("the port is open", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Says something and `quit`; returns all answers.
    fn says(&self, text: &str) -> String {
        let mut stream = self.connect();
        let mut sender = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _ = sender.write_all(text.as_bytes());
                let _ = sender.write_all(b"quit\r\n");
            });
            let mut answers = Vec::new();
            let _ = stream.read_to_end(&mut answers);
            String::from_utf8_lossy(&answers).into_owned()
        })
    }

    fn stop(mut self, signal: Signal) -> ExitStatus {
        common::send(self.child.id(), signal);
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the connection has answered with a line.
#[track_caller]
fn line(stream: &mut TcpStream, request: &str) -> String {
    match try_line(stream, request) {
        Ok(answer) => answer,
        Err(error) => panic!("no answer to {request:?}: {error}"),
    }
}

fn try_line(stream: &mut TcpStream, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\n") && stream.read(&mut byte)? == 1 {
        answer.push(byte[0]);
    }
    Ok(String::from_utf8(answer).unwrap())
}

#[test]
fn an_init_script_for_memcached_starts_and_stops_it_unchanged() {
    let dir = Dir::new();
    let memcached = link(&dir);
    let pid_file = dir.path().join("memcached.pid");
    let port = free_port().to_string();
    // The user must be able to come to the binary's directory only if it is started again, which it is before.
    let started = Command::new(&memcached)
        .args(["-d", "-m", "64", "-p", &port, "-l", "127.0.0.1", "-P"])
        .arg(&pid_file)
        .args(user())
        .args(["-o", "", "stray"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(started.status.success(), "{}", stderr(&started));
    // It listens as soon as the command is over.
    let mut client = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(line(&mut client, "set a 0 0 1\r\n1\r\n"), "STORED\r\n");
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let pid: u32 = pid.trim().parse().unwrap();
    let proc = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap();
    assert_eq!(proc("comm"), b"memcached\n");
    let argv0 = proc("cmdline");
    let argv0 = String::from_utf8_lossy(argv0.split(|&b| b == 0).next().unwrap()).into_owned();
    assert!(argv0.ends_with("memcached"), "{argv0}");
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        PathBuf::from("/")
    );
    let stat = String::from_utf8(proc("stat")).unwrap();
    let session = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .to_owned();
    assert_eq!(session, pid.to_string(), "it has a session of its own");

    // A second one finds the port taken, says so, and leaves the first one's pid file alone.
    let second = Command::new(&memcached)
        .args(["-d", "-p", &port, "-l", "127.0.0.1"])
        .args(user())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(stderr(&second).contains(&port), "{}", stderr(&second));

    common::send(pid, Signal::TERM);
    common::wait_until("the daemon is gone", || {
        !PathBuf::from(format!("/proc/{pid}")).exists()
    });
    assert!(!pid_file.exists(), "the pid file goes with the daemon");
}

#[test]
fn signals_that_stop_memcached_stop_it_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::USR1] {
        let server = Server::start(&[]);
        // A client that waits is let go.
        let mut idle = server.connect();
        assert!(line(&mut idle, "version\r\n").starts_with("VERSION 1.6."));
        assert_eq!(server.stop(signal).code(), Some(0), "{signal:?}");
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    }
    let server = Server::start(&[]);
    common::send(server.child.id(), Signal::HUP);
    assert!(
        server.says("mn\r\n").starts_with("MN"),
        "SIGHUP ends nothing"
    );
}

#[test]
fn shutdown_is_obeyed_where_it_is_enabled() {
    let mut server = Server::start(&["-A"]);
    assert_eq!(
        server.says("shutdown foo\r\n"),
        "CLIENT_ERROR invalid shutdown mode\r\n"
    );
    server
        .connect()
        .write_all(b"shutdown graceful\r\n")
        .unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn root_is_refused_without_a_user_and_becomes_the_one_it_is_given() {
    if !is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let refused = ends(&["-p", "0", "-s", "/nowhere"]);
    assert_eq!(refused.status.code(), Some(71));
    assert!(stderr(&refused).contains("can't run as root without the -u switch"));
    let unknown = ends(&[
        "-u",
        "nosuchuser",
        "-p",
        &free_port().to_string(),
        "-l",
        "127.0.0.1",
    ]);
    assert_eq!(unknown.status.code(), Some(67), "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("can't find the user nosuchuser to switch to"));

    let server = Server::start(&["-u", "nobody"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    assert!(uid.split_whitespace().all(|uid| uid == "65534"), "{uid}");
    let groups = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .unwrap();
    assert!(
        !groups.split_whitespace().any(|group| group == "0"),
        "{groups}"
    );
    assert_eq!(server.says("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
}

#[test]
fn more_connections_than_descriptors_are_a_note_and_no_end() {
    if !has("setpriv", &["--version"]) {
        return;
    }
    let port = free_port();
    // Not even root may raise the hard limit then.
    let script = format!(
        "ulimit -n 300; exec setpriv {} \"$0\" memcached -v -c 5000 -l 127.0.0.1 -p {port} {}",
        if is_root() {
            "--bounding-set=-sys_resource --inh-caps=-sys_resource"
        } else {
            "--no-new-privs"
        },
        user().join(" "),
    );
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_tandem")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    common::wait_until("the port is open", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    // As many as there are descriptors for: those beyond wait, the others are served, and all is well when they leave.
    let many: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    let mut first = many[0].try_clone().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(line(&mut first, "mn\r\n"), "MN\r\n");
    drop(many);
    let mut late = TcpStream::connect(("127.0.0.1", port)).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(line(&mut late, "mn\r\n"), "MN\r\n");
    common::send(child.id(), Signal::TERM);
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(
        said.contains("-c 5000 is more than the 300 descriptors"),
        "{said}"
    );
}

#[test]
fn a_connection_too_many_is_told_so_and_hung_up_on() {
    let server = Server::start(&["-c", "3", "-o", "maxconns_fast"]);
    let mut kept = Vec::new();
    // The one that found the port open may not be gone yet.
    common::wait_until("there is room for three", || {
        kept = (0..3).map(|_| server.connect()).collect();
        kept.iter_mut()
            .all(|stream| line(stream, "mn\r\n") == "MN\r\n")
    });
    let mut refused = String::new();
    server.connect().read_to_string(&mut refused).unwrap();
    assert_eq!(refused, "ERROR Too many open connections\r\n");
    drop(kept.pop());
    common::wait_until("there is room again", || {
        let mut stream = server.connect();
        line(&mut stream, "mn\r\n") == "MN\r\n"
    });
    let stats = line(&mut kept[0], "stats reset\r\n");
    assert_eq!(stats, "RESET\r\n");
}

#[test]
fn silent_connections_are_closed_after_the_idle_timeout_and_counted() {
    let server = Server::start(&["-o", "idle_timeout=1"]);
    let mut idle = server.connect();
    assert_eq!(line(&mut idle, "mn\r\n"), "MN\r\n");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let stats = server.says("stats\r\nstats settings\r\n");
    assert!(stats.contains("STAT idle_kicks 1\r\n"), "{stats}");
    assert!(stats.contains("STAT idle_timeout 1\r\n"));
}

#[test]
fn a_unix_socket_has_its_permissions_and_goes_with_the_server() {
    let dir = Dir::new();
    let path = dir.path().join("m.sock");
    // One that a killed server has left is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut child = tandem()
        .args(["memcached", "-a", "0766", "-s"])
        .arg(&path)
        .args(user())
        .spawn()
        .unwrap();
    common::wait_until("the socket is served", || {
        UnixStream::connect(&path).is_ok()
    });
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o766);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"set a 0 0 1\r\n1\r\nget a\r\nstats settings\r\nstats conns\r\nquit\r\n")
        .unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(
        answers.starts_with("STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"),
        "{answers}"
    );
    assert!(answers.contains(&format!("STAT domain_socket {}\r\n", path.display())));
    assert!(answers.contains("STAT umask 766\r\n") && answers.contains(":addr unix"));
    // Another server is refused the place of one that is served.
    let second = ends(&[&["-s", &path.to_string_lossy()], user()].concat());
    assert_eq!(second.status.code(), Some(71), "{}", stderr(&second));
    common::send(child.id(), Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn text_clients_prove_themselves_and_the_users_are_read_again_at_sighup() {
    let dir = Dir::new();
    let users = dir.file("users", "somebody:secret\n");
    let server = Server::start(&["-Y", &users]);
    let mut client = server.connect();
    assert_eq!(
        line(&mut client, "get a\r\n"),
        "CLIENT_ERROR unauthenticated\r\n"
    );
    assert_eq!(
        line(&mut client, "set x 0 0 14\r\nsomebody wrong\r\n"),
        "CLIENT_ERROR authentication failure\r\n"
    );
    assert_eq!(
        line(&mut client, "set x 0 0 15\r\nsomebody secret\r\n"),
        "STORED\r\n"
    );
    assert_eq!(
        line(&mut client, "get x\r\n"),
        "END\r\n",
        "a name and a password are no item"
    );
    let mut binary = server.connect();
    binary
        .write_all(&[&[0x80, 0x0a][..], &[0; 22], b"\r\nquit\r\n"].concat())
        .unwrap();
    let mut answer = Vec::new();
    let _ = binary.read_to_end(&mut answer);
    assert!(
        !answer.starts_with(&[0x81]),
        "the binary protocol is no way round"
    );

    std::fs::write(&users, "other:word\n").unwrap();
    common::send(server.child.id(), Signal::HUP);
    common::wait_until("the users are read again", || {
        let answer = try_line(&mut server.connect(), "set x 0 0 10\r\nother word\r\n");
        answer.is_ok_and(|line| line == "STORED\r\n")
    });
    let mut old = server.connect();
    assert_eq!(
        line(&mut old, "set x 0 0 15\r\nsomebody secret\r\n"),
        "CLIENT_ERROR authentication failure\r\n"
    );
    assert_eq!(
        line(&mut client, "mn\r\n"),
        "MN\r\n",
        "who was let in stays"
    );
    let stats = line(&mut client, "stats reset\r\n");
    assert_eq!(stats, "RESET\r\n");
}

#[test]
fn binary_clients_prove_themselves_by_sasl() {
    let dir = Dir::new();
    let users = dir.file("users", "somebody:secret\n");
    let packet = |opcode: u8, key: &str, value: &[u8]| {
        let body = (key.len() + value.len()) as u32;
        let mut bytes = vec![0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0];
        bytes.extend_from_slice(&body.to_be_bytes());
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(value);
        bytes
    };
    let status = |stream: &mut TcpStream, packet: &[u8]| {
        stream.write_all(packet).unwrap();
        let mut head = [0; 24];
        stream.read_exact(&mut head).unwrap();
        let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let mut rest = vec![0; body as usize];
        stream.read_exact(&mut rest).unwrap();
        (u16::from_be_bytes([head[6], head[7]]), rest)
    };
    let server = Server::start(&["-S", "-Y", &users]);
    let mut client = server.connect();
    assert_eq!(
        status(&mut client, &packet(0x20, "", b"")),
        (0, b"PLAIN".to_vec())
    );
    assert_eq!(
        status(&mut client, &packet(0x21, "PLAIN", b"\0somebody\0wrong")).0,
        0x20
    );
    assert_eq!(
        status(&mut client, &packet(0x21, "PLAIN", b"\0somebody\0secret")).0,
        0
    );
    assert_eq!(status(&mut client, &packet(0x0a, "", b"")).0, 0);
    let mut other = server.connect();
    assert_eq!(status(&mut other, &packet(0x0a, "", b"")).0, 0x20);
    // The text protocol is no way round.
    assert_eq!(server.says("get a\r\n"), "");
}

#[test]
fn the_command_line_is_checked_before_anything_is_done() {
    for args in [
        &["-m", "0"][..],
        &["-c", "0"],
        &["-t", "0"],
        &["-f", "1"],
        &["-n", "0"],
        &["-R", "0"],
        &["-b", "0"],
        &["-I", "10"],
        &["-I", "40m"],
        &["-I", "129m", "-m", "1024"],
        &["-B", "foo"],
        &["-o", "foo"],
        &["-p", "99999"],
        &["-Y", "/nonexistent"],
        &["-S"],
        &["-Z"],
        &["-e", "/tmp/x"],
        &["--nope"],
        &["-l"],
    ] {
        let ended = ends(&[args, user()].concat());
        assert!(!ended.status.success(), "{args:?}");
        assert!(
            !stderr(&ended).is_empty(),
            "{args:?} is refused without a word"
        );
    }
    for word in ["-h", "-V", "-i", "--help", "--version"] {
        let said = ends(&[word]);
        assert!(said.status.success() && !stdout(&said).is_empty(), "{word}");
    }
    assert!(stdout(&ends(&["-V"])).starts_with("memcached 1.6."));
}

#[test]
fn all_of_memcacheds_options_are_taken_and_shown() {
    let server = Server::start(&[
        "-m",
        "300",
        "-I",
        "128m",
        "-f",
        "1.5",
        "-n",
        "64",
        "-R",
        "50",
        "-b",
        "77",
        "-t",
        "2",
        "-k",
        "-L",
        "-C",
        "-r",
        "-D",
        "/",
        "-U",
        "0",
        "-c",
        "500",
        "-v",
        "-o",
        "modern,no_lru_crawler,no_lru_maintainer,hashpower=20,slab_automove=0,hash_algorithm=murmur3,track_sizes",
    ]);
    let alone = Server::start(&["-o", "slab_reassign,slab_automove"]);
    let shown = alone.says("stats settings\r\n");
    assert!(shown.contains("STAT slab_automove 1\r\n"), "{shown}");
    let shown = server.says("stats settings\r\n");
    for line in [
        "maxbytes 314572800",
        "item_size_max 134217728",
        "growth_factor 1.50",
        "chunk_size 64",
        "reqs_per_event 50",
        "tcp_backlog 77",
        "num_threads 2",
        "stat_key_prefix /",
        "detail_enabled yes",
        "maxconns 500",
        "udpport 0",
        "lru_crawler no",
        "lru_maintainer_thread no",
        "hashpower_init 20",
        "slab_automove 0",
        "track_sizes yes",
        "inter 127.0.0.1",
        "evictions on",
    ] {
        assert!(
            shown.contains(&format!("STAT {line}\r\n")),
            "no {line} in {shown}"
        );
    }
    // The largest item goes in and comes out.
    let value = "x".repeat(127 << 20);
    let mut client = server.connect();
    client
        .write_all(format!("set big 0 0 {}\r\n{value}\r\nmg big s\r\n", value.len()).as_bytes())
        .unwrap();
    assert_eq!(line(&mut client, ""), "STORED\r\n");
    assert_eq!(line(&mut client, ""), format!("HD s{}\r\n", value.len()));
    assert_eq!(line(&mut client, "get pre/x\r\n"), "END\r\n");
    assert_eq!(
        line(&mut client, "stats detail dump\r\n"),
        "PREFIX pre get 1 hit 0 set 0 del 0\r\n"
    );
}

#[test]
fn a_full_cache_without_eviction_refuses_and_serves_what_it_has() {
    let server = Server::start(&["-m", "4", "-M"]);
    let mut request = String::new();
    let value = "v".repeat(100_000);
    for number in 0..60 {
        let _ = write!(request, "set k{number} 0 0 100000\r\n{value}\r\n");
    }
    let answers = server.says(&request);
    let stored = answers.matches("STORED\r\n").count();
    let refused = answers
        .matches("SERVER_ERROR out of memory storing object\r\n")
        .count();
    assert_eq!(stored + refused, 60, "{answers}");
    assert!((30..=42).contains(&stored), "{stored} of 100 kB in 4 MB");
    assert!(
        server
            .says("get k0\r\n")
            .starts_with("VALUE k0 0 100000\r\n")
    );
    let again = format!("delete k0\r\nset new 0 0 100000\r\n{value}\r\nget k1\r\n");
    assert!(
        server
            .says(&again)
            .starts_with("DELETED\r\nSTORED\r\nVALUE k1")
    );
    let stats = server.says("stats\r\n");
    assert!(
        stats.contains("STAT evictions 0\r\n")
            && stats.contains(&format!("STAT store_no_memory {refused}\r\n"))
    );
}

#[test]
fn bad_input_gets_its_error_and_disturbs_no_other_client() {
    let server = Server::start(&["-m", "64"]);
    let mut other = server.connect();
    assert_eq!(line(&mut other, "set kept 0 0 2\r\nok\r\n"), "STORED\r\n");
    // These stay open, silent in the middle of something.
    let half: Vec<_> = [
        &b"get ha"[..],
        b"set a 0 0 10\r\nhalf",
        b"set a 0 0 2147483645\r\n",
        b"\x80",
        b"\x80\x01\0\x01\x08\0\0\0\0\0",
        b"ms a 5\r\nab",
        b"mg",
        b"\r",
        b"set a 0 0 1048000\r\n",
    ]
    .iter()
    .map(|bytes| {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream
    })
    .collect();
    for (input, expected) in [
        (
            "set a 0 0 -1\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ),
        (
            "set a 0 0 -2147483648\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ),
        (
            "set a 0 0 2147483648\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ),
        (
            "set a 0 0 99999999999999999999\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ),
        (
            "set a\u{1}b 0 0 1\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ),
        (
            "get a\u{7f}\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ),
        (
            "set a 0 0 3\r\nabcde\r\n",
            "CLIENT_ERROR bad data chunk\r\n",
        ),
        ("ms a -1\r\n", "CLIENT_ERROR bad command line format\r\n"),
        (
            "incr kept 1\r\n",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        ("\u{0}\u{0}\u{0}\r\n", "ERROR\r\n"),
    ] {
        let answer = server.says(input);
        assert!(answer.starts_with(expected), "to {input:?}: {answer:?}");
        assert_eq!(line(&mut other, "mg kept v\r\n"), "VA 2\r\n");
        assert_eq!(line(&mut other, ""), "ok\r\n");
    }
    drop(half);
    assert!(server.stop(Signal::TERM).success());
}

/// As many clients at once as some sites have. Each takes a descriptor here and one there.
#[test]
fn fifteen_thousand_connections_are_served_and_cost_little() {
    const CLIENTS: usize = 15_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = CLIENTS as u64 + 500;
    let raised = rustix::process::Rlimit {
        current: Some(wanted.max(limit.current.unwrap_or(wanted))),
        maximum: limit.maximum.map(|maximum| maximum.max(wanted)),
    };
    if rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).is_err() {
        eprintln!("skipped: {CLIENTS} connections need as many descriptors");
        return;
    }
    let server = Server::start(&["-c", "16000", "-t", "2"]);
    let resident = || -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let before = resident();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .write_all(format!("set k{number} 0 60 1\r\nx\r\n").as_bytes())
            .unwrap();
    }
    for client in &mut clients {
        assert_eq!(line(client, ""), "STORED\r\n");
    }
    let stats = server.says("stats\r\n");
    let open = stats
        .lines()
        .find_map(|line| line.strip_prefix("STAT curr_connections "));
    assert!(open.unwrap().parse::<usize>().unwrap() > CLIENTS);
    let each = (resident() - before) * 1024 / CLIENTS as u64;
    // The item is about 100 bytes of it.
    assert!(each < 4096, "{each} bytes a connection");
    drop(clients);
    assert_eq!(line(&mut server.connect(), "mn\r\n"), "MN\r\n");
}

#[test]
fn clients_that_begin_large_sets_and_pause_take_a_bounded_part_of_memory_and_hold_up_nobody() {
    let server = Server::start(&[]);
    let address = format!("127.0.0.1:{}", server.port);
    pausing::take_a_bounded_part_and_hold_up_nobody(&address, u64::from(server.child.id()));
}

#[test]
fn tools_for_memcached_read_its_statistics() {
    const TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";
    if !has("test", &["-e", TOOL]) {
        return;
    }
    let server = Server::start(&["-o", "track_sizes"]);
    server.says(&format!(
        "set a 0 0 1\r\n1\r\nset b 0 0 5000\r\n{}\r\nget a\r\n",
        "x".repeat(5000)
    ));
    let address = format!("127.0.0.1:{}", server.port);
    for (command, expected) in [
        ("display", "96B"),
        ("stats", "curr_items"),
        ("settings", "maxbytes"),
        ("sizes", "5088"),
        ("dump", "add a 0"),
    ] {
        let read = Command::new("perl")
            .args([TOOL, &address, command])
            .output()
            .unwrap();
        assert!(
            stdout(&read).contains(expected),
            "{command}: {}{}",
            stdout(&read),
            stderr(&read)
        );
    }
}

/// Started by another name than its file's, as some scripts do by `exec -a`.
#[test]
fn the_name_it_is_called_by_decides_what_it_is() {
    let said = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .arg0("memcached")
        .arg("-V")
        .output()
        .unwrap();
    assert!(
        stdout(&said).starts_with("memcached 1.6."),
        "{}",
        stdout(&said)
    );
}

#[test]
fn clients_that_ask_for_large_values_and_do_not_take_them_have_a_bounded_part_of_memory() {
    const CLIENTS: usize = 300;
    let server = Server::start(&["-t", "1"]);
    let value = "v".repeat(1_000_000);
    let mut fast = server.connect();
    fast.write_all(format!("set big 0 0 {}\r\n{value}\r\n", value.len()).as_bytes())
        .unwrap();
    assert_eq!(line(&mut fast, ""), "STORED\r\n");
    let slow: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.connect();
            // More than the sockets between take.
            client
                .write_all("get big\r\n".repeat(20).as_bytes())
                .unwrap();
            client
        })
        .collect();
    // Who takes what it asks for has its turn beside them, also when it is as large: they are hung up on for it.
    let mut served = 0;
    wait_until("large values are read beside them", || {
        let answer = line(&mut fast, "get big\r\n");
        if answer.starts_with("VALUE big 0 1000000") {
            let mut rest = vec![0; value.len() + "\r\nEND\r\n".len()];
            fast.read_exact(&mut rest).unwrap();
            served += 1;
        }
        served == 5
    });
    assert_eq!(line(&mut fast, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    let peak = common::peak(u64::from(server.child.id()));
    assert!(peak < 100, "{peak} MiB for {CLIENTS} clients");
    drop(slow);
}
