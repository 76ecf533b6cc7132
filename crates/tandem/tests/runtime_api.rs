//! HAProxy's commands (`stats socket`): `tandem haproxy` and the real one, side by side with the same file, and what a deploy
//! script does with them under load.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use common::origin::{Origin, fine};
use common::{Dir, has, tandem, wait_until};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that was given a haproxy.cfg; it ends with the test.
struct Program {
    child: Child,
    front: u16,
    admin: PathBuf,
    user: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is a child still.
        if matches!(self.child.try_wait(), Ok(None)) {
            common::send(self.child.id(), rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl Program {
    /// Starts a program with a file in which its front door and its sockets are filled in.
    fn start(mut command: Command, dir: &Dir, who: &str, text: &str) -> Self {
        let front = common::ports::free().port();
        let at = |name: &str| dir.path().join(format!("{who}-{name}"));
        let (admin, user) = (at("admin"), at("user"));
        let text = text
            .replace("@FRONT@", &front.to_string())
            .replace("@ADMIN@", &admin.display().to_string())
            .replace("@USER@", &user.display().to_string());
        let file = dir.file(&format!("{who}.cfg"), &text);
        let child = command
            .args(["-db", "-q", "-f", &file])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it starts");
        let program = Self {
            child,
            front,
            admin,
            user,
        };
        wait_until("it serves", || {
            TcpStream::connect(("127.0.0.1", front)).is_ok()
                && UnixStream::connect(&program.admin).is_ok()
        });
        program
    }

    fn tandem(dir: &Dir, text: &str) -> Self {
        let mut command = tandem();
        command.arg("haproxy");
        Self::start(command, dir, "tandem", text)
    }

    fn ask(&self, text: &str) -> String {
        ask(&self.admin, text)
    }

    /// A column of `show stat`.
    fn column(&self, server: (&str, &str), name: &str) -> String {
        column(&self.ask("show stat\n"), server, name)
    }
}

/// Sends lines and reads to the end.
fn ask(path: &Path, text: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("the socket is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(text.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn column(statistics: &str, (proxy, server): (&str, &str), name: &str) -> String {
    let mut lines = statistics.lines();
    let head = lines.next().unwrap_or_default().trim_start_matches("# ");
    let place = head.split(',').position(|column| column == name);
    let place = place.unwrap_or_else(|| panic!("no column {name} in {head}"));
    let found = lines.find(|line| line.starts_with(&format!("{proxy},{server},")));
    let found = found.unwrap_or_else(|| panic!("no {proxy}/{server} in {statistics}"));
    found.split(',').nth(place).unwrap_or_default().to_owned()
}

fn file(servers: &[SocketAddr], dead: SocketAddr) -> String {
    format!(
        "global\n maxconn 200\n nbthread 1\n stats socket @ADMIN@ mode 600 level admin\n stats socket @USER@ mode 666 level user\n \
         stats timeout 20s\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         frontend Web.Main\n bind 127.0.0.1:@FRONT@\n default_backend App.Servers\n\
         backend App.Servers\n balance roundrobin\n server S1 {} check inter 200ms weight 10\n \
         server S2 {} check inter 200ms weight 20\n server S3 {dead} check inter 200ms backup\n server S4 {} disabled\n\
         backend Plain\n mode tcp\n server p1 {}\n",
        servers[0], servers[1], servers[0], servers[1]
    )
}

fn get(front: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", front)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then(|| {
        let body = answer.split_once("\r\n\r\n");
        body.map_or(String::new(), |(_, body)| body.to_owned())
    })
}

/// Two programs, once their first checks are over.
fn both(dir: &Dir, text: &str) -> [Program; 2] {
    let theirs = Program::start(Command::new("haproxy"), dir, "real", text);
    let both = [theirs, Program::tandem(dir, text)];
    for program in &both {
        wait_until("checks are over", || {
            let of = |server| program.column(("App.Servers", server), "check_status");
            [of("S1"), of("S2"), of("S3")] == ["L4OK", "L4OK", "L4CON"]
        });
    }
    both
}

/// Both programs, before two servers that run and one that does not.
fn before_two(dir: &Dir) -> [Program; 2] {
    let [a, b] = ["a", "b"].map(|name| Origin::http(name, fine).address);
    both(dir, &file(&[a, b], common::ports::free()))
}

#[test]
fn commands_are_answered_as_haproxy_answers_them() {
    if !has("haproxy", &["-v"]) {
        return;
    }
    let dir = Dir::new();
    let [theirs, ours] = before_two(&dir);
    for line in [
        "show backend\n",
        "show backend;show backend\n",
        "prompt\nshow backend\nquit\nshow backend\n",
        "prompt\nprompt\nshow backend\n",
        "  show   backend  \r\n",
        "show cli level\n",
        "get weight App.Servers/S2\n",
        "get weight App.Servers\n",
        "get weight x/y\n",
        "get weight App.Servers/y\n",
        "set weight App.Servers/S1 50%\n",
        "get weight App.Servers/S1\n",
        "set weight App.Servers/S1 7;get weight App.Servers/S1\n",
        "set weight App.Servers/S1 300\n",
        "set weight App.Servers/S1 x\n",
        "set weight App.Servers/S1 5x\n",
        "set weight App.Servers/S1 -5%\n",
        "set weight App.Servers/S1\n",
        "set server\n",
        "set server App.Servers/S1\n",
        "set server App.Servers/S1 foo\n",
        "set server App.Servers/S1 state\n",
        "set server App.Servers/S1 state bla\n",
        "set server x/y state ready\n",
        "set server App.Servers/y state ready\n",
        "set server App.Servers/S1 weight 700\n",
        "set server App.Servers/S1 weight 10\n",
        "set server App.Servers/S1 agent up\n",
        "set server App.Servers/S1 fqdn x\n",
        "enable agent App.Servers/S1\n",
        "disable agent App.Servers/S1\n",
        "enable health App.Servers/S4\n",
        "enable health App.Servers/S1\n",
        "disable server App.Servers/S2\n",
        "enable server App.Servers/S2\n",
        "disable server x/y\n",
        "clear counters\n",
        "clear counters all\n",
        "show table\n",
        "show table nosuch\n",
        "set timeout cli 5s\n",
        "set timeout cli\n",
        "set timeout cli x\n",
        "set timeout x\n",
        "show servers state nosuch\n",
        "show servers conn nosuch\n",
        "show stat nosuch 2 -1\n",
        "user;show cli level;operator;disable server App.Servers/S1\n",
    ] {
        assert_eq!(ours.ask(line), theirs.ask(line), "{line}");
    }
    for line in [
        "disable server App.Servers/S1\n",
        "set weight App.Servers/S1 1\n",
        "clear counters\n",
        "show sess\n",
        "show cli level\n",
        "get weight App.Servers/S1\n",
        "show backend\n",
    ] {
        assert_eq!(ask(&ours.user, line), ask(&theirs.user, line), "{line}");
    }
    let unknown = ours.ask("bogus\n");
    assert!(unknown.starts_with("Unknown command"), "{unknown}");
    assert!(unknown.ends_with("disconnect\n\n"), "{unknown}");
}

/// The columns of `show servers state` that say the same at any time.
fn states(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let mut words: Vec<&str> = line.split(' ').collect();
        // Since when.
        if words.len() > 9 && !line.starts_with('#') {
            words[9] = "-";
        }
        words.join(" ")
    });
    lines.collect()
}

#[test]
fn statistics_and_states_have_haproxys_form() {
    if !has("haproxy", &["-v"]) {
        return;
    }
    let dir = Dir::new();
    let [theirs, ours] = before_two(&dir);
    for program in [&theirs, &ours] {
        for _ in 0..6 {
            assert!(get(program.front, "/").is_some());
        }
        program.ask("set server App.Servers/S2 state drain\n");
    }
    let both = |line: &str| [theirs.ask(line), ours.ask(line)];
    let [real, own] = both("show servers state\n");
    assert_eq!(states(&own), states(&real));

    let [real, own] = both("show stat\n");
    let columns = |text: &str| {
        let head = text.lines().next().unwrap_or_default().to_owned();
        head.split_inclusive(",-,").next().map(str::to_owned)
    };
    assert_eq!(columns(&own), columns(&real));
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1);
        let names = lines.map(|line| line.split(',').take(2).collect::<Vec<_>>().join("/"));
        names.collect()
    };
    assert_eq!(names(&own), names(&real));
    for name in names(&real).iter().filter(|name| !name.is_empty()) {
        let place = name.split_once('/').expect("two names");
        for column in [
            "status",
            "weight",
            "act",
            "bck",
            "iid",
            "sid",
            "type",
            "mode",
            "algo",
            "pid",
            "slim",
            "stot",
            "lbtot",
            "hrsp_2xx",
            "hrsp_5xx",
            "req_tot",
            "addr",
            "check_status",
            "check_rise",
            "check_fall",
            "check_health",
            "check_desc",
            "uweight",
            "qcur",
            "scur",
        ] {
            if matches!(
                (column, place.1),
                ("slim", "BACKEND") | ("req_tot", "FRONTEND")
            ) {
                // `fullconn`, which is not scaled here; HAProxy counts connections without a request.
                continue;
            }
            let [own, real] = [&own, &real].map(|text| self::column(text, place, column));
            assert_eq!(own, real, "{column} of {name}");
        }
    }
    for line in [
        "show stat 3 4 -1\n",
        "show stat App.Servers 2 -1\n",
        "show stat -1 1 -1\n",
    ] {
        let [real, own] = both(line);
        assert_eq!(names(&own), names(&real), "{line}");
    }
    let typed = ours.ask("show stat typed\n");
    assert!(typed.contains(".svname.1:KNS:str:S1\n"), "{typed}");
    let json = ours.ask("show stat json\n");
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json[0][1]["value"]["value"], "FRONTEND");

    let [real, own] = both("show info\n");
    for line in own.lines().filter(|line| !line.is_empty()) {
        let (name, _) = line.split_once(": ").expect("a name and a value");
        let known = real
            .lines()
            .any(|other| other.starts_with(&format!("{name}: ")));
        assert!(known, "HAProxy has no {name}");
    }
    assert!(own.contains("\nMaxconn: 200\n"), "{own}");
    let [real, own] = both("show servers conn Plain\n");
    assert_eq!(own.lines().next(), real.lines().next());
    let begins = |text: &str| {
        let line = text.lines().nth(1).unwrap_or_default();
        line.split(' ').take(5).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(begins(&own), begins(&real));
}

#[test]
fn a_deploy_drains_each_server_and_no_request_fails() {
    let dir = Dir::new();
    let origins = ["a", "b"].map(|name| Origin::http(name, fine));
    let text = file(
        &[origins[0].address, origins[1].address],
        common::ports::free(),
    );
    let ours = Program::tandem(&dir, &text);
    let up = |server: &str| ours.column(("App.Servers", server), "status") == "UP";
    wait_until("both are up", || up("S1") && up("S2"));

    let (over, failed, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicU32::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, failed, done, front) =
                (over.clone(), failed.clone(), done.clone(), ours.front);
            std::thread::spawn(move || {
                while !over.load(SeqCst) {
                    if get(front, "/").is_none() {
                        failed.fetch_add(1, SeqCst);
                    }
                    done.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for (server, origin) in [("S1", &origins[0]), ("S2", &origins[1])] {
        let name = format!("App.Servers/{server}");
        // One that is under way when the drain begins.
        let front = ours.front;
        assert_eq!(ours.ask(&format!("set server {name} state drain\n")), "\n");
        wait_until("it has no requests", || {
            ours.column(("App.Servers", server), "scur") == "0"
        });
        assert_eq!(ours.column(("App.Servers", server), "status"), "DRAIN");
        assert_eq!(ours.ask(&format!("disable server {name}\n")), "\n");
        assert_eq!(ours.column(("App.Servers", server), "status"), "MAINT");
        let (heads, before) = (origin.heads().len(), done.load(SeqCst));
        wait_until("others serve", || done.load(SeqCst) > before + 20);
        assert_eq!(origin.heads().len(), heads, "it gets nothing meanwhile");
        assert!(get(front, "/").is_some());
        assert_eq!(ours.ask(&format!("enable server {name}\n")), "\n");
        wait_until("it is up again", || up(server));
        wait_until("it gets requests", || origin.heads().len() > heads);
    }
    over.store(true, SeqCst);
    for client in clients {
        client.join().expect("no client panics");
    }
    assert_eq!(failed.load(SeqCst), 0, "of {}", done.load(SeqCst));
    let events = ours.column(("Web.Main", "FRONTEND"), "hrsp_2xx");
    assert!(events.parse::<u32>().expect("a number") > 40);
}

#[test]
fn a_server_that_is_disabled_in_the_file_waits_to_be_enabled() {
    let dir = Dir::new();
    let origins = ["a", "b"].map(|name| Origin::http(name, fine));
    let text = format!(
        "global\n stats socket @ADMIN@ level admin\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind 127.0.0.1:@FRONT@\n server on {}\n server off {} disabled\n",
        origins[0].address, origins[1].address
    );
    let ours = Program::tandem(&dir, &text);
    for _ in 0..4 {
        assert_eq!(get(ours.front, "/").as_deref(), Some("a"));
    }
    assert_eq!(ours.column(("l", "off"), "status"), "MAINT");
    ours.ask("enable server l/off\n");
    let mut bodies: Vec<_> = (0..4).filter_map(|_| get(ours.front, "/")).collect();
    bodies.sort();
    assert_eq!(bodies, ["a", "a", "b", "b"]);
    // What was done to it stays.
    let pid = ours.child.id().to_string();
    let hup = Command::new("kill").args(["-HUP", &pid]).status();
    assert!(hup.expect("kill runs").success());
    for _ in 0..4 {
        assert_ne!(ours.column(("l", "off"), "status"), "MAINT");
    }
    // What the file says anew is done.
    ours.ask("disable server l/off\n");
    assert_eq!(ours.column(("l", "off"), "status"), "MAINT");
    let file = dir.path().join("tandem.cfg");
    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, text.replace(" disabled", "")).expect("it is written");
    let hup = Command::new("kill").args(["-HUP", &pid]).status();
    assert!(hup.expect("kill runs").success());
    wait_until("it is no more disabled", || {
        ours.column(("l", "off"), "status") != "MAINT"
    });
    // Also when it was not there in between.
    let without = text.replace(" disabled", "");
    let line = format!(" server off {}\n", origins[1].address);
    let reload = |text: &str, expected: &str| {
        std::fs::write(&file, text).expect("it is written");
        let hup = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(hup.expect("kill runs").success());
        wait_until("the file is in effect", || {
            let statistics = ours.ask("show stat\n");
            let row = statistics.lines().find(|row| row.starts_with("l,off,"));
            row.map_or(
                "none",
                |row| if row.contains(",MAINT,") { "out" } else { "in" },
            ) == expected
        });
    };
    reload(&text, "out");
    reload(&without.replace(&line, ""), "none");
    reload(&without, "in");
}

#[test]
fn a_server_of_a_host_name_is_ordered_and_shown_by_its_name_in_the_file() {
    let dir = Dir::new();
    let origins = ["a", "b"].map(|name| Origin::http(name, fine));
    let text = format!(
        "global\n stats socket @ADMIN@ level admin\n stats socket @USER@ level user\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind 127.0.0.1:@FRONT@\n server on {}\n server off localhost:{} disabled\n",
        origins[0].address,
        origins[1].address.port()
    );
    let ours = Program::tandem(&dir, &text);
    for _ in 0..4 {
        assert_eq!(get(ours.front, "/").as_deref(), Some("a"));
    }
    assert_eq!(ours.column(("l", "off"), "status"), "MAINT");
    assert_eq!(ours.ask("enable server l/off\n"), "\n");
    assert_ne!(ours.column(("l", "off"), "status"), "MAINT");
    wait_until("it gets requests", || {
        get(ours.front, "/").as_deref() == Some("b")
    });
    let sent = ours.column(("l", "off"), "stot");
    assert_ne!(sent, "0");
    // Where servers are is not for everybody.
    let shown = |socket| column(&ask(socket, "show stat\n"), ("l", "on"), "addr");
    assert_eq!(shown(&ours.admin), origins[0].address.to_string());
    assert_eq!(shown(&ours.user), "");
}

#[test]
fn a_process_that_ends_takes_no_commands_and_finishes_with_who_is_there() {
    let dir = Dir::new();
    let origin = Origin::http("a", fine);
    let port = common::ports::free();
    let text = format!(
        "global\n stats socket @ADMIN@ level admin\n stats socket {port} level admin\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind 127.0.0.1:@FRONT@\n server s {}\n",
        origin.address
    );
    let ours = Program::tandem(&dir, &text);
    // A request that is in flight keeps the process.
    let mut client = TcpStream::connect(("127.0.0.1", ours.front)).expect("it listens");
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 5\r\n\r\na")
        .expect("it is sent");
    let mut operator = UnixStream::connect(&ours.admin).expect("the socket is there");
    operator
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout");
    operator.write_all(b"prompt\n").expect("it is sent");
    operator.read_exact(&mut [0; 3]).expect("a prompt");
    wait_until("the request is there", || {
        ours.column(("l", "FRONTEND"), "scur") == "1"
    });
    let pid = ours.child.id().to_string();
    let sent = Command::new("kill").args(["-USR1", &pid]).status();
    assert!(sent.expect("kill runs").success());
    wait_until("neither socket is there", || {
        !ours.admin.exists() && TcpStream::connect(port).is_err()
    });
    operator.write_all(b"show info\n").expect("it is sent");
    let mut said = Vec::new();
    while !said.windows(4).any(|piece| piece == b"Pid:") {
        let mut piece = [0; 4_096];
        let n = operator.read(&mut piece).expect("it is answered");
        assert!(n > 0, "the process is there yet");
        said.extend_from_slice(&piece[..n]);
    }
    client.write_all(b"bcde").expect("the request goes on");
}

#[test]
fn sockets_have_their_rights_and_follow_the_file_and_the_process() {
    let dir = Dir::new();
    let origin = Origin::http("a", fine);
    let text = format!(
        "global\n stats socket @ADMIN@ mode 600 level admin\n stats socket @USER@ mode 666 level user\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         listen Old.Name\n bind 127.0.0.1:@FRONT@\n server s {}\n",
        origin.address
    );
    // What a process that was killed has left.
    drop(
        std::os::unix::net::UnixListener::bind(dir.path().join("tandem-admin")).expect("a socket"),
    );
    let ours = Program::tandem(&dir, &text);
    let mode = |path: &Path| {
        let found = std::fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o777
    };
    assert_eq!((mode(&ours.admin), mode(&ours.user)), (0o600, 0o666));
    let inode = std::fs::metadata(&ours.admin).expect("it is there").ino();

    let file = dir.path().join("tandem.cfg");
    let now = std::fs::read_to_string(&file).expect("the file");
    let user_line = now.lines().find(|line| line.contains("level user"));
    let now = now
        .replace("Old.Name", "New.Name")
        .replace(user_line.expect("the line"), "");
    std::fs::write(&file, now).expect("it is written");
    let kill = |signal: &str| {
        let pid = ours.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
    };
    kill("-HUP");
    wait_until("names are the new file's", || {
        ours.ask("show backend\n") == "# name\nNew.Name\n\n"
    });
    assert_eq!(
        std::fs::metadata(&ours.admin).expect("it is there").ino(),
        inode
    );
    assert!(!ours.user.exists(), "the file has it no more");

    kill("-USR1");
    wait_until("it goes with the process", || !ours.admin.exists());
}

#[test]
fn who_sends_too_much_or_nothing_at_all_is_let_go() {
    let dir = Dir::new();
    let origin = Origin::http("a", fine);
    let text = format!(
        "global\n stats socket @ADMIN@ level admin\n stats timeout 200ms\n stats maxconn 2\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind 127.0.0.1:@FRONT@\n server s {}\n",
        origin.address
    );
    let ours = Program::tandem(&dir, &text);
    let silent: Vec<_> = (0..4)
        .map(|_| UnixStream::connect(&ours.admin).expect("the kernel takes it"))
        .collect();
    assert!(
        ours.ask("show version\n").ends_with("\n\n"),
        "it waits its turn"
    );
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert_eq!(stream.read(&mut [0; 8]).expect("it ends"), 0);
    }
    let mut stream = UnixStream::connect(&ours.admin).expect("the socket is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // It may be gone before all of that is sent.
    let _ = stream.write_all(&vec![b'a'; 40_000]);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    assert!(ours.ask("show version\n").ends_with("\n\n"));
}

#[test]
fn a_process_that_follows_takes_the_socket_over_and_one_that_fails_gives_it_back() {
    let dir = Dir::new();
    let origin = Origin::http("a", fine);
    let text = format!(
        "global\n stats socket @ADMIN@ mode 600 level admin\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind 127.0.0.1:@FRONT@\n server s {}\n",
        origin.address
    );
    let mut first = Program::tandem(&dir, &text);
    let file = dir.path().join("tandem.cfg").display().to_string();
    let follow = |file: &str, options: &[&str]| {
        let mut command = tandem();
        command
            .args(["haproxy", "-db", "-q", "-f", file])
            .args(options);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts")
    };
    let pid = |program: &Program| {
        let info = program.ask("show info\n");
        let line = info.lines().find_map(|line| line.strip_prefix("Pid: "));
        line.and_then(|pid| pid.parse::<u32>().ok()).expect("a pid")
    };
    let one = first.child.id();
    assert_eq!(pid(&first), one);

    // Without -sf it does not get the port, and fails when it has the socket already.
    let mut failed = follow(&file, &[]);
    assert!(!failed.wait().expect("it ends").success());
    assert_eq!(pid(&first), one, "the socket is the first one's again");

    let second = follow(&file, &["-sf", &one.to_string()]);
    let second = Program {
        child: second,
        front: first.front,
        admin: first.admin.clone(),
        user: first.user.clone(),
    };
    wait_until("it answers", || pid(&second) == second.child.id());
    wait_until("the first one ends", || {
        first.child.try_wait().is_ok_and(|ended| ended.is_some())
    });
    assert_eq!(
        pid(&second),
        second.child.id(),
        "its socket is not taken away"
    );
    assert!(get(second.front, "/").is_some());
}
