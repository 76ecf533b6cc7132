//! A new binary takes the running node's place while everything goes on.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;

use common::origin::{Origin, read_head};
use common::{Dir, PATIENCE, get, parse, request, runs, send, stderr, stdout, tandem, wait_until};
use rustix::process::Signal;

/// Set for a process that [`a_successor_that_fails_late`] is to be.
const FAKE: &str = "TANDEM_TEST_FAKE_SUCCESSOR";

/// A node whose process changes.
struct Node {
    dir: Dir,
    /// The first of its processes.
    first: Child,
    ports: [u16; 3],
}

impl Node {
    /// Starts a node of a file; `{a}`, `{b}` and `{c}` are its ports, `{workers}` a key for the head.
    fn start(tables: &str) -> Self {
        Self::start_with(tables, &[], Stdio::null())
    }

    fn start_with(tables: &str, arguments: &[&str], stdin: Stdio) -> Self {
        let dir = Dir::new();
        dir.file("www/index.html", "a page");
        let ports = common::ports::several();
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let file = dir.file("cluster.toml", &written(tables, ports));
        let first = tandem()
            .args(["run", &file])
            .args(arguments)
            .stdin(stdin)
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let node = Self { dir, first, ports };
        wait_until("the node serves", || node.log().contains("serves as"));
        node
    }

    fn at(&self, port: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[port]).into()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn change(&self, tables: &str) {
        self.dir.file("cluster.toml", &written(tables, self.ports));
    }

    /// The process that serves, by its pid file.
    fn pid(&self) -> u32 {
        pid(&self.dir.path().join("state/local")).expect("a pid file")
    }

    fn upgrade_with(&self, arguments: &[&str]) -> Output {
        let socket = self.dir.path().join("state/local/admin.sock");
        tandem()
            .args(["upgrade", "--admin", &format!("unix:{}", socket.display())])
            .args(arguments)
            .output()
            .expect("the binary runs")
    }

    /// Upgrades, which must succeed; the new process.
    fn upgrade(&self, arguments: &[&str]) -> u32 {
        let before = self.pid();
        let done = self.upgrade_with(arguments);
        assert!(done.status.success(), "{}\n{}", stderr(&done), self.log());
        let after = self.pid();
        assert_ne!(before, after);
        assert!(
            stdout(&done).contains(&format!("process {after} serves")),
            "{}",
            stdout(&done)
        );
        after
    }

    /// The processes of instances that were started.
    fn app_pids(&self) -> Vec<u32> {
        let log = self.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("it accepts connections on"));
        lines
            .filter_map(|line| {
                let (_, pid) = line.rsplit_once("(pid ")?;
                pid.trim_end_matches(')').parse().ok()
            })
            .collect()
    }

    /// A WebSocket, as far as it looks like one from outside.
    fn websocket(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.at(0)).expect("a connection");
        socket
            .write_all(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )
            .expect("a request");
        let head = read_head(&mut socket).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        socket
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        end(&self.dir.path().join("state/local"), &mut self.first);
    }
}

/// What the pid file in a state directory says.
fn pid(state: &Path) -> Option<u32> {
    let text = fs::read_to_string(state.join("tandem.pid")).ok()?;
    text.trim().parse().ok()
}

/// Ends a node, whichever process it is by now.
fn end(state: &Path, first: &mut Child) {
    if let Some(pid) = pid(state) {
        send(pid, Signal::TERM);
        wait_until("the node ends", || !runs(pid));
    }
    let _ = first.wait();
}

fn written(tables: &str, ports: [u16; 3]) -> String {
    let workers = if tables.contains("workers =") {
        ""
    } else {
        "workers = 2\n"
    };
    let mut text = format!("[cluster]\nstate = \"state\"\nadmin = false\n{workers}{tables}");
    for (name, port) in ["{a}", "{b}", "{c}"].iter().zip(ports) {
        text = text.replace(name, &port.to_string());
    }
    text
}

fn echoes(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).expect("it lives");
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).expect("it lives");
    assert_eq!(back, word.as_bytes());
}

/// A site, an application that Tandem runs, a tunnel, a TCP listener, and a session node.
fn everything(origin: SocketAddr, answer: &str) -> String {
    let tandem = env!("CARGO_BIN_EXE_tandem");
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ path = \"/x\", respond = {{ status = 200, body = \
         \"{answer}\" }} }}, {{ path = \"/ws\", to = \"ws\" }}, {{ path = \"/test*\", to = \"app\" }}, {{ to = \"www\" \
         }}]\n[listener.db]\nbind = \"127.0.0.1:{{b}}\"\nmode = \"tcp\"\nto = \"db\"\n[site.www]\nroot = \"www\"\n\
         [app.app]\nrun = [\"{tandem}\", \"demo-app\", \"--host\", \"{{host}}\", \"--port\", \"{{port}}\"]\n\
         [backend.ws]\nservers = \"{origin}\"\n[backend.db]\nservers = \"{origin}\"\n\
         [sessions]\nmemory = \"64 MiB\"\nagent = \"127.0.0.1:{{c}}\"\n"
    )
}

/// Something that is done again and again, none of which may fail.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            done: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// Calls `one` in a thread of its own.
    fn and(mut self, mut one: impl FnMut() + Send + 'static) -> Self {
        let (stop, done) = (self.stop.clone(), self.done.clone());
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(SeqCst) {
                one();
                done.fetch_add(1, SeqCst);
            }
        }));
        self
    }

    /// So many were done.
    fn done(&self) -> u64 {
        let failed = self.threads.iter().any(JoinHandle::is_finished);
        assert!(!failed, "something failed");
        self.done.load(SeqCst)
    }

    /// Waits until more were done.
    fn goes_on(&self) {
        let enough = self.done() + 20 * self.threads.len() as u64;
        wait_until("the load goes on", || self.done() >= enough);
    }

    fn stop(self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("nothing failed");
        }
    }
}

/// A client that keeps its connection, as long as it is not told to close it.
struct Kept {
    address: SocketAddr,
    stream: TcpStream,
}

impl Kept {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: connect(address),
        }
    }

    fn get(&mut self, path: &str) -> common::Page {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").expect("it takes a request");
        let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
        let page = loop {
            if let Some(page) = parse(&answer) {
                break page;
            }
            let n = self.stream.read(&mut bytes).expect("an answer");
            let so_far = String::from_utf8_lossy(&answer);
            assert_ne!(n, 0, "{path}: closed after {so_far:?}");
            answer.extend_from_slice(&bytes[..n]);
        };
        if page.field("connection") == Some("close") {
            *self = Self::new(self.address);
        }
        page
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("nothing is refused");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

/// A memcached client.
struct Cache(BufReader<TcpStream>);

impl Cache {
    fn new(address: SocketAddr) -> Self {
        Self(BufReader::new(connect(address)))
    }

    fn ask(&mut self, command: &str) -> String {
        self.0
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())
            .expect("it takes a command");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    /// Adds one to a counter.
    fn count(&mut self, key: &str) -> u64 {
        let answer = self.ask(&format!("incr {key} 1"));
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{key}: {answer:?}"))
    }
}

#[test]
fn five_upgrades_under_load_fail_no_request_and_lose_no_session() {
    let origin = Origin::echoing();
    let node = Node::start(&everything(origin.address, "0"));
    let (web, agent) = (node.at(0), node.at(2));
    wait_until("the application serves", || {
        get(web, "/test/alive.txt").status == 200
    });
    let mut first = Cache::new(agent);
    wait_until("the session tier is formed", || {
        first.ask("set kept 0 0 1\r\n0") == "STORED"
    });
    assert_eq!(first.ask("set fresh 0 0 1\r\n0"), "STORED");
    let [app] = node.app_pids()[..] else {
        panic!("one application: {:?}", node.app_pids());
    };
    let (mut socket, mut raw) = (node.websocket(), connect(node.at(1)));

    let [mut pages, mut answers] = [0; 2].map(|_| Kept::new(web));
    let mut kept = 0;
    let mut fresh = 0;
    let load = Load::new()
        .and(move || assert_eq!(pages.get("/").text(), "a page"))
        .and(move || assert_eq!(answers.get("/test/alive.txt").status, 200))
        .and(move || assert_eq!(get(web, "/x").status, 200))
        .and(move || {
            kept += 1;
            assert_eq!(first.count("kept"), kept);
        })
        .and(move || {
            fresh += 1;
            assert_eq!(Cache::new(agent).count("fresh"), fresh);
        });
    for round in 1..=5 {
        load.goes_on();
        node.change(&everything(origin.address, &round.to_string()));
        let pid = node.upgrade(&[]);
        assert!(runs(pid));
        // The new process has read the file anew.
        wait_until("the old process accepts nothing more", || {
            (0..10).all(|_| get(web, "/x").text() == round.to_string())
        });
        echoes(&mut socket, "a word");
        echoes(&mut raw, "a word");
    }
    load.goes_on();
    load.stop();
    assert_eq!(node.app_pids(), [app], "it was never started again");
    assert!(runs(app));
    // Each process that drains has a tunnel left, or nothing.
    let first = node.first.id();
    assert!(runs(first));
    drop((socket, raw));
    wait_until("the first process ends", || !runs(first));
    assert!(node.log().contains("ends: nothing is left to be answered"));
}

#[test]
fn a_websocket_is_kept_to_the_deadline_and_the_old_process_ends_then() {
    let origin = Origin::echoing();
    let node = Node::start(&everything(origin.address, "0"));
    let mut socket = node.websocket();
    let first = node.pid();
    node.upgrade(&["--drain", "3s"]);
    echoes(&mut socket, "still there");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap_or_default();
    assert!(rest.is_empty());
    wait_until("the old process ends", || !runs(first));
    let log = node.log();
    assert!(log.contains("1 connection cut"), "{log}");
    assert!(log.contains("ends: its time is over"), "{log}");
    assert_eq!(get(node.at(0), "/x").text(), "0");
}

#[test]
fn stopping_the_node_ends_those_that_drain_too_however_many_came_between() {
    let origin = Origin::echoing();
    let node = Node::start(&everything(origin.address, "0"));
    let _socket = node.websocket();
    let first = node.pid();
    let second = node.upgrade(&[]);
    let third = node.upgrade(&[]);
    wait_until("the second has nothing left", || !runs(second));
    assert!(runs(first), "it has a WebSocket");
    send(third, Signal::TERM);
    wait_until("it stops", || node.log().contains("stops: SIGTERM"));
    assert!(runs(first), "what is in flight has the same time there");
    // A second one is for those in a hurry.
    send(third, Signal::TERM);
    wait_until("both have ended", || !runs(third) && !runs(first));
}

#[test]
fn what_cannot_take_over_changes_nothing_and_the_command_says_why() {
    let origin = Origin::echoing();
    let good = everything(origin.address, "0");
    let node = Node::start(&good);
    let (pid, web) = (node.pid(), node.at(0));
    wait_until("the application serves", || {
        get(web, "/test/alive.txt").status == 200
    });
    let apps = node.app_pids();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let elsewhere = taken.local_addr().expect("an address");
    let script = |name: &str, text: &str| {
        let path = node.dir.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        path
    };
    let silent = script("silent", "#!/bin/sh\nexit 7\n");
    let this = std::env::current_exe().expect("this program");
    let late = format!(
        "#!/bin/sh\n{FAKE}=1 exec {} --exact a_successor_that_fails_late --nocapture >&2\n",
        this.display()
    );
    let late = script("late", &late);
    let mut kept = Kept::new(web);
    let mut cache = Cache::new(node.at(2));
    wait_until("the session tier is formed", || {
        cache.ask("set kept 0 0 1\r\n0") == "STORED"
    });
    let load = Load::new()
        .and(move || assert_eq!(kept.get("/test/alive.txt").status, 200))
        .and(move || assert!(cache.count("kept") > 0));
    let not_a_program = node.dir.file("text", "not a program");
    for (tables, arguments, why) in [
        (
            good.replace("to = \"www\"", "to = \"wwww\""),
            &[][..],
            "did you mean",
        ),
        (
            good.replace("root = \"www\"", "root = \"absent\""),
            &[],
            "absent",
        ),
        (
            good.replace("127.0.0.1:{b}", &elsewhere.to_string()),
            &[],
            "is taken",
        ),
        (format!("state = \"other\"\n{good}"), &[], "needs a restart"),
        (good.clone(), &["--binary", "/no/such/file"], "No such file"),
        (
            good.clone(),
            &["--binary", &not_a_program],
            "cannot be started",
        ),
        (good.clone(), &["--binary", &silent], "exit status: 7"),
        (good.clone(), &["--binary", &late], "without a word"),
    ] {
        let text = written(&tables, node.ports);
        let text = if tables.starts_with("state") {
            text.replacen("state = \"state\"\n", "", 1)
        } else {
            text
        };
        node.dir.file("cluster.toml", &text);
        let done = node.upgrade_with(arguments);
        assert_ne!(done.status.code(), Some(0), "{why}");
        let said = stderr(&done);
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(node.pid(), pid, "{why}");
        load.goes_on();
    }
    load.stop();
    assert!(
        node.log()
            .contains("not upgraded, everything stays as it was")
    );
    assert_eq!(node.app_pids(), apps, "it was never started again");
    node.change(&good);
    node.upgrade(&[]);
    assert_eq!(get(web, "/test/alive.txt").status, 200);
}

#[test]
fn nothing_of_a_new_process_that_was_given_up_keeps_the_sockets() {
    let node =
        Node::start("[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = [{ respond = 200 }]\n");
    let started = node.dir.path().join("started");
    // It has the sockets, as they wait on its standard input, and so has what it started.
    let wrapper = node.dir.script(
        "wrapper",
        &format!(
            "#!/bin/sh\nsleep 1000 <&0 >/dev/null 2>&1 &\necho $! > {}\necho no tandem says this >&0\nwait",
            started.display()
        ),
    );
    let done = node.upgrade_with(&["--binary", &wrapper]);
    assert_eq!(done.status.code(), Some(1), "{}", stderr(&done));
    assert!(
        stderr(&done).contains("cannot be understood"),
        "{}",
        stderr(&done)
    );
    let sleeps = fs::read_to_string(&started).expect("it was started");
    assert!(!runs(sleeps.trim().parse().expect("a process")));
    let web = node.at(0);
    assert_eq!(get(web, "/").status, 200);
    drop(node);
    let refused = TcpStream::connect(web).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// Not a test of its own: what [`what_cannot_take_over_changes_nothing_and_the_command_says_why`] starts as the new
/// binary. It gets as far as to have everything, and is gone.
#[test]
fn a_successor_that_fails_late() {
    if std::env::var_os(FAKE).is_none() {
        return;
    }
    let line = std::io::stdin().as_fd().try_clone_to_owned();
    let line = UnixStream::from(line.expect("a descriptor"));
    let estate = tandem_net::parcel::receive(&line).expect("the estate");
    assert!(!estate.expect("it comes").descriptors.is_empty());
    tandem_net::parcel::send(&line, b"{\"Ready\":{\"version\":\"fake\"}}", &[])
        .expect("it is heard");
    let begun = tandem_net::parcel::receive(&line).expect("an order");
    let begun = begun.expect("it comes");
    assert_eq!(begun.descriptors.len(), 3, "the pipes of one application");
    std::process::exit(3);
}

#[test]
fn another_number_of_workers_and_other_addresses_are_taken_over() {
    let tables = |workers: usize, binds: &str| {
        format!(
            "workers = {workers}\n[listener.web]\nbind = {binds}\nroute = [{{ respond = {{ status = 200, body = \"{workers}\" \
             }} }}]\n"
        )
    };
    let node = Node::start(&tables(2, "\"127.0.0.1:{a}\""));
    let (a, b) = (node.at(0), node.at(1));
    let load = Load::new()
        .and(move || assert_eq!(get(a, "/").status, 200))
        .and({
            let mut kept = Kept::new(a);
            move || assert_eq!(kept.get("/").status, 200)
        });
    for (workers, binds) in [
        (4, "[\"127.0.0.1:{a}\", \"127.0.0.1:{b}\"]"),
        (1, "[\"127.0.0.1:{a}\", \"127.0.0.1:{b}\"]"),
        (3, "\"127.0.0.1:{a}\""),
    ] {
        load.goes_on();
        node.change(&tables(workers, binds));
        node.upgrade(&[]);
        wait_until("the old process accepts nothing more", || {
            (0..20).all(|_| get(a, "/").text() == workers.to_string())
        });
        if binds.contains("{b}") {
            assert_eq!(get(b, "/").text(), workers.to_string());
        } else {
            wait_until("the address is closed", || TcpStream::connect(b).is_err());
        }
    }
    load.stop();
}

#[test]
fn an_upgrade_is_ordered_by_the_owners_socket_and_not_of_a_rehearsals_node() {
    let admin = "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = [{ to = \"www\" }]\n[site.www]\nroot = \"www\"\n";
    let node = Node::start_with(admin, &["--tethered"], Stdio::piped());
    let done = node.upgrade_with(&[]);
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr(&done).contains("rehearsal"), "{}", stderr(&done));
}

/// A node whose application serves and is asked all the time; with the process of the program.
fn under_load(tables: &str) -> (Node, u32, Load) {
    let node = Node::start(tables);
    let web = node.at(0);
    wait_until("the application serves", || {
        get(web, "/test/alive.txt").status == 200
    });
    let first = node.app_pids()[0];
    let mut kept = Kept::new(web);
    let load = Load::new().and(move || assert_eq!(kept.get("/test/alive.txt").status, 200));
    (node, first, load)
}

#[test]
fn an_application_whose_program_changed_is_exchanged_by_the_new_process() {
    let origin = Origin::echoing();
    let tables = |version: &str| {
        let text = everything(origin.address, version);
        text.replace(
            "[backend.ws]",
            &format!("env = {{ VERSION = \"{version}\" }}\n[backend.ws]"),
        )
    };
    let (node, first, load) = under_load(&tables("1"));
    node.change(&tables("2"));
    node.upgrade(&[]);
    wait_until("the old program is gone", || !runs(first));
    load.goes_on();
    load.stop();
    let [.., second] = node.app_pids()[..] else {
        panic!("{}", node.log());
    };
    assert!(runs(second) && second != first);
}

#[test]
fn a_program_that_is_waited_for_is_not_handed_over_in_the_place_of_the_one_that_serves() {
    let origin = Origin::echoing();
    let tables = |run: &str| {
        let text = everything(origin.address, "1");
        let (before, rest) = text.split_once("run = ").expect("it runs something");
        let (old, after) = rest.split_once('\n').expect("a line");
        format!(
            "{before}run = {}\n{after}",
            if run.is_empty() { old } else { run }
        )
    };
    let (node, first, load) = under_load(&tables(""));
    node.change(&tables("[\"sleep\", \"4711\"]"));
    common::send(node.pid(), rustix::process::Signal::HUP);
    wait_until("the file is in effect", || {
        node.log().contains("reloaded: the file is in effect")
    });
    node.upgrade(&[]);
    load.goes_on();
    wait_until("the new process waits for the new program, too", || {
        node.log()
            .contains("app app: the new program does not serve yet, and the old one goes on")
    });
    assert!(runs(first));
    node.change(&tables(""));
    node.upgrade(&[]);
    load.goes_on();
    load.stop();
    assert!(runs(first));
    assert_eq!(node.app_pids(), [first], "no other was started");
}

#[test]
fn what_was_ordered_at_run_time_holds() {
    let origin = Origin::echoing();
    let tables = everything(origin.address, "0").replace(
        "[listener.db]",
        "maintenance = { active = false }\n[listener.db]",
    );
    let node = Node::start(&tables);
    let order = |words: &[&str]| {
        let socket = node.dir.path().join("state/local/admin.sock");
        let done = tandem()
            .args(words)
            .args(["--admin", &format!("unix:{}", socket.display())])
            .output()
            .expect("the binary runs");
        assert!(done.status.success(), "{}", stderr(&done));
        stdout(&done)
    };
    let listed = order(&["server", "list"]);
    let server = listed
        .split_whitespace()
        .find(|word| word.starts_with("ws/"))
        .unwrap_or_else(|| panic!("{listed}"))
        .to_owned();
    order(&["server", "drain", &server]);
    order(&["maintenance", "web", "on"]);
    assert_eq!(get(node.at(0), "/").status, 503);
    node.upgrade(&[]);
    assert_eq!(get(node.at(0), "/").status, 503);
    let listed = order(&["server", "list"]);
    let line = listed.lines().find(|line| line.contains(&server));
    assert!(line.is_some_and(|line| line.contains("drain")), "{listed}");
    order(&["maintenance", "web", "off"]);
    wait_until("works are over", || get(node.at(0), "/").status == 200);
}

/// Three machines with a session node each.
#[test]
fn each_session_node_of_three_is_upgraded_and_no_count_goes_back() {
    // An address of its own for each node: the cluster port is the same on all of them.
    let network = 1 + std::process::id() % 250;
    let address = |node: usize| format!("127.87.{network}.{node}");
    let held = [0; 2].map(|_| TcpListener::bind((&*address(1), 0)).expect("a port"));
    let [port, agent] = held.map(|listener| listener.local_addr().expect("an address").port());
    let nodes = [1, 2, 3].map(|node| format!("n{node} = \"{}\"", address(node)));
    let nodes = nodes.join("\n");
    let text = format!(
        "[nodes]\n{nodes}\n[cluster]\nkey = \"of this test\"\nport = {port}\nstate = \"state\"\nadmin = false\n\
         [sessions]\non = [\"n1\", \"n2\", \"n3\"]\nagents = [\"n1\", \"n2\", \"n3\"]\nagent = \"127.0.0.1:{agent}\"\n"
    );
    let dir = Dir::new();
    let file = dir.file("cluster.toml", &text);
    let cluster: Vec<Machine> = (1..=3)
        .map(|node| Machine::start(&dir, &file, &format!("n{node}")))
        .collect();
    // On a machine that is a loopback address, 127.0.0.1 is that address.
    let agents: Vec<SocketAddr> = (1..=3)
        .map(|node| format!("{}:{agent}", address(node)).parse())
        .collect::<Result<_, _>>()
        .expect("addresses");
    for agent in &agents {
        wait_until("the agent listens", || TcpStream::connect(agent).is_ok());
    }
    let mut first = Cache::new(agents[0]);
    wait_until("the session tier is formed", || {
        first.ask("set count 0 0 1\r\n0") == "STORED"
    });
    let mut clients: Vec<Cache> = agents.iter().map(|agent| Cache::new(*agent)).collect();
    let mut count = 0;
    let load = Load::new().and(move || {
        count += 1;
        // In turn, so that a stale answer of any of them would be seen.
        let client = &mut clients[count as usize % 3];
        assert_eq!(client.count("count"), count);
    });
    for _ in 0..2 {
        for machine in &cluster {
            load.goes_on();
            machine.upgrade();
        }
    }
    load.goes_on();
    load.stop();
    for node in ["n1", "n2", "n3"] {
        let log = fs::read_to_string(dir.path().join(format!("{node}.log"))).expect("its log");
        let is_quiet = !log.contains("runs twice") && !log.contains("sees another process");
        assert!(
            is_quiet,
            "two processes of a node at once are no copy: {log}"
        );
    }
}

/// One of several nodes, on an address of its own.
struct Machine {
    state: PathBuf,
    first: Child,
}

impl Machine {
    fn start(dir: &Dir, file: &str, name: &str) -> Self {
        let log = fs::File::create(dir.path().join(format!("{name}.log"))).expect("a log");
        let first = tandem()
            .args(["run", file, "--node", name])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let state = dir.path().join("state").join(name);
        Self { state, first }
    }

    fn upgrade(&self) {
        let before = pid(&self.state).expect("a pid file");
        let done = tandem()
            .args(["upgrade", "--admin"])
            .arg(format!("unix:{}", self.state.join("admin.sock").display()))
            .output()
            .expect("the binary runs");
        assert!(done.status.success(), "{}", stderr(&done));
        assert_ne!(pid(&self.state), Some(before));
        wait_until("the old process ends", || !runs(before));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&self.state, &mut self.first);
    }
}

#[test]
fn who_waits_for_a_place_is_handed_over_and_answered() {
    let node = Node::start(
        "[listener.web]\nbind = \"127.0.0.1:{a}\"\nlimits = { connections = 1, beyond = \"wait\" }\n\
         route = { to = \"www\" }\n[site.www]\nroot = \"www\"\n",
    );
    // It asks nothing, so that it keeps its place.
    let _held = TcpStream::connect(node.at(0)).expect("a connection");
    let ask = || {
        let mut client = TcpStream::connect(node.at(0)).expect("a connection");
        let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(get.as_bytes()).expect("it is sent");
        client
    };
    let mut waiting = ask();
    wait_until("one waits", || {
        let limit = Some(std::time::Duration::from_millis(300));
        waiting.set_read_timeout(limit).expect("a limit");
        let waits = waiting.peek(&mut [0]).is_err();
        if !waits {
            waiting = ask();
        }
        waits
    });
    node.upgrade(&[]);
    waiting.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let head = read_head(&mut waiting).unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn the_api_refuses_an_upgrade_that_comes_by_tcp() {
    let admin = common::ports::free();
    let dir = Dir::new();
    let file = dir.file(
        "cluster.toml",
        &format!(
            "[cluster]\nstate = \"state\"\nadmin = \"{admin}\"\n[listener.web]\nbind = \"127.0.0.1:0\"\nroute = [{{ respond = \
             404 }}]\n"
        ),
    );
    let mut node = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["run", &file])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_until("the node serves", || TcpStream::connect(admin).is_ok());
    let path = format!(
        "/api/v1/node/upgrade?binary={}",
        env!("CARGO_BIN_EXE_tandem")
    );
    let host = format!("Host: {admin}\r\n");
    let raw =
        format!("POST {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: 0\r\n\r\n");
    let answer = common::raw(admin, raw.as_bytes()).expect("an answer");
    let page = parse(&answer).expect("a whole answer");
    assert_eq!(page.status, 403, "{}", page.text());
    assert!(page.text().contains("admin.sock"));
    assert!(request(admin, "GET", "/api/v1/nodes", "", b"").is_ok());
    send(node.id(), Signal::TERM);
    assert!(node.wait().expect("it ends").success());
}
