//! A changed file takes effect while everything else goes on.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::node::Node;
use common::origin::Origin;
use common::{certificate, get, has, request, runs, wait_until};

fn answering(body: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ path = \"/x\", respond = {{ status = 200, body = \
         \"{body}\" }} }}, {{ to = \"www\" }}]\n[site.www]\nroot = \"www\"\n"
    )
}

/// One request on a connection that stays open.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").expect("the connection lives");
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") || !is_whole(&answer) {
        let n = stream.read(&mut bytes).expect("an answer");
        assert_ne!(n, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..n]);
    }
    String::from_utf8(answer).expect("text")
}

fn is_whole(answer: &[u8]) -> bool {
    common::parse(answer).is_some()
}

#[test]
fn a_changed_route_answers_on_a_connection_that_was_open_before() {
    let node = Node::start(&answering("one"));
    let mut open = TcpStream::connect(node.address()).unwrap();
    assert!(ask(&mut open, "/x").ends_with("one"));
    let said = node.reload(&answering("two"));
    assert!(said.contains("the file is in effect"), "{said}");
    assert!(ask(&mut open, "/x").ends_with("two"));
    assert!(ask(&mut open, "/").ends_with("a page"));
}

#[test]
fn a_broken_file_changes_nothing_and_the_log_says_why() {
    let node = Node::start(&answering("one"));
    let said = node.reload("[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = [{ to = \"wwww\" }]\n[site.www]\nroot = \"www\"\n");
    assert!(
        said.contains("not reloaded") && said.contains("did you mean"),
        "{said}"
    );
    assert_eq!(get(node.address(), "/x").text(), "one");
    let said = node.reload(&answering("two").replace("root = \"www\"", "root = \"absent\""));
    assert!(said.contains("not reloaded"), "{said}");
    assert_eq!(get(node.address(), "/x").text(), "one");
    // A file that is being written, or was when the disk became full.
    let said = node.reload("");
    assert!(
        said.contains("not reloaded") && said.contains("describes nothing"),
        "{said}"
    );
    assert_eq!(get(node.address(), "/x").text(), "one");
}

#[test]
fn a_reload_that_is_refused_leaves_no_service_behind_and_one_that_drops_a_service_takes_all_of_it()
{
    let listener = |routes: &str, more: &str| {
        format!("[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{routes}]\n{more}\n")
    };
    let backend = |name: &str, port: u16| {
        format!("[backend.{name}]\nservers = \"127.0.0.1:{port}\"\ncheck = false\n")
    };
    let one = listener("{ to = \"one\" }", "") + &backend("one", 1);
    let node = Node::start(&one);
    let known = || {
        let services = node.admin("GET /api/v1/services").json();
        let services = services.as_array().expect("a list").iter();
        let names: Vec<_> = services.map(|service| service["name"].clone()).collect();
        (names, node.admin("GET /api/v1/controls").json())
    };
    let before = known();
    assert_eq!(
        before.1,
        serde_json::json!(["listener/web", "one/127.0.0.1:1"])
    );
    let both = "{ path = \"/a\", to = \"a\" }, { path = \"/z\", to = \"www\" }, { to = \"one\" }";
    let more = backend("a", 2) + &backend("one", 1);
    let site = |root: &str| format!("[site.www]\nroot = \"{root}\"\n");
    for wrong in [
        // Found out when the service has been made, and when all of them have.
        listener(both, "") + &more + &site("nowhere"),
        listener(both, "log = \"{dir}/nowhere/access.log\"") + &more + &site("www"),
    ] {
        let said = node.reload(&wrong);
        assert!(said.contains("not reloaded"), "{said}");
        assert_eq!(known(), before, "{said}");
        assert_eq!(node.metric("tandem_service_servers{service=\"a\"}"), None);
    }
    let good = listener(both, "") + &more + &site("www");
    assert!(node.reload(&good).contains("reloaded: the file"));
    assert_eq!(known().0, ["a", "one"]);
    assert!(node.reload(&one).contains("reloaded: the file"));
    assert_eq!(known(), before);
}

#[test]
fn a_taken_address_changes_nothing_and_a_free_one_is_opened_and_closed_again() {
    let node = Node::start(&answering("one"));
    let second = ([127, 0, 0, 1], node.ports[1]).into();
    let two = answering("two").replace(
        "\"127.0.0.1:{a}\"",
        "[\"127.0.0.1:{a}\", \"127.0.0.1:{b}\"]",
    );
    let taken = TcpListener::bind(second).unwrap();
    let said = node.reload(&two);
    assert!(
        said.contains("not reloaded") && said.contains("is taken"),
        "{said}"
    );
    assert_eq!(get(node.address(), "/x").text(), "one");
    drop(taken);
    node.reload(&two);
    assert_eq!(get(second, "/x").text(), "two");
    node.reload(&answering("three"));
    wait_until("the address is closed", || {
        TcpStream::connect(second).is_err()
    });
    assert_eq!(get(node.address(), "/x").text(), "three");
}

#[test]
fn a_listener_may_go_from_one_address_of_a_port_to_all_of_them_and_back() {
    let one = answering("one");
    let node = Node::start(&one);
    let all = answering("all").replace("127.0.0.1:{a}", ":{a}");
    let port = node.address().port();
    for (tables, words, elsewhere) in [
        (&all, "all", true),
        (&one, "one", false),
        (&all, "all", true),
    ] {
        let said = node.reload(tables);
        assert!(said.contains("the file is in effect"), "{said}");
        wait_until("it answers where the file says", || {
            let page = request(node.address(), "GET", "/x", "", b"");
            page.is_ok_and(|page| page.text() == words)
                && TcpStream::connect(("127.0.0.2", port)).is_ok() == elsewhere
        });
    }
}

/// The certificate that a client is shown, and whether its session was resumed.
fn shake_hands(at: SocketAddr, client: &Arc<rustls::ClientConfig>) -> (Vec<u8>, bool) {
    let name = "localhost".try_into().expect("a name");
    let tls = rustls::ClientConnection::new(client.clone(), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(tls, TcpStream::connect(at).expect("a connection"));
    write!(
        stream,
        "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("one"), "{answer}");
    let resumed = stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    let shown = stream.conn.peer_certificates().expect("a certificate");
    (shown[0].to_vec(), resumed)
}

/// Trusts the certificates in these files.
fn trusting(files: &[&str]) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    for file in files {
        let certificate = CertificateDer::from_pem_slice(file.as_bytes()).expect("a certificate");
        roots.add(certificate).expect("a root");
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

#[test]
fn certificates_are_read_again_and_clients_are_resumed_all_the_same() {
    let [old, new] = [(); 2].map(|()| certificate::localhost().0);
    let tables = answering("one").replace("route", "tls = \"cert.pem\"\nroute");
    let node = Node::start_with(&tables, |dir| {
        dir.file("cert.pem", &old);
    });
    let client = trusting(&[&old, &new]);
    let (shown, resumed) = shake_hands(node.address(), &client);
    assert!(!resumed);
    // Nothing is different: not even the keys of tickets.
    assert!(node.reload(&tables).contains("the file is in effect"));
    let (same, resumed) = shake_hands(node.address(), &client);
    assert!(resumed && same == shown);
    node.dir.file("cert.pem", "no certificate");
    let said = node.reload(&tables);
    assert!(
        said.contains("not reloaded") && said.contains("cert.pem: there is no certificate in it"),
        "{said}"
    );
    node.dir.file("cert.pem", &new);
    assert!(node.reload(&tables).contains("the file is in effect"));
    let (other, _) = shake_hands(node.address(), &trusting(&[&old, &new]));
    assert!(other != shown);
}

/// The demo's application, with something in its environment that differs.
fn running(version: &str) -> String {
    let tandem = env!("CARGO_BIN_EXE_tandem");
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"app\" }}]\n[app.app]\n\
         run = [\"{tandem}\", \"demo-app\", \"--host\", \"{{host}}\", \"--port\", \"{{port}}\"]\n\
         env = {{ VERSION = \"{version}\" }}\n"
    )
}

/// The application's process, from the log.
fn last_pid(node: &Node) -> Option<u32> {
    let log = node.log();
    let line = log
        .lines()
        .rfind(|line| line.contains("it accepts connections on"))?;
    line.rsplit_once("(pid ")?
        .1
        .trim_end_matches(')')
        .parse()
        .ok()
}

#[test]
fn an_application_that_is_the_same_is_not_touched_and_a_changed_one_is_exchanged_under_load() {
    let node = Node::start(&running("1"));
    wait_until("the application serves", || {
        get(node.address(), "/test/alive.txt").status == 200
    });
    let first = last_pid(&node).expect("it runs");
    node.reload(&running("1"));
    assert_eq!(last_pid(&node), Some(first));

    let load = Load::start(node.address(), "/test/alive.txt");
    node.reload(&running("2"));
    wait_until("the old program is gone", || !runs(first));
    let second = last_pid(&node).expect("another runs");
    assert_ne!(first, second);
    wait_until("a request meanwhile", || load.done() > 0);
    load.stop();
}

/// The same as [`running`], checked, with another program.
fn checked(run: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"app\" }}]\n[app.app]\nrun = {run}\n\
         check = {{ path = \"/test/alive.txt\", fast = \"20ms\" }}\n"
    )
}

fn demo_app() -> String {
    let tandem = env!("CARGO_BIN_EXE_tandem");
    format!("[\"{tandem}\", \"demo-app\", \"--host\", \"{{host}}\", \"--port\", \"{{port}}\"]")
}

/// A node with an application that serves, and its process.
fn serving() -> (Node, u32) {
    let node = Node::start(&checked(&demo_app()));
    wait_until("the application serves", || {
        get(node.address(), "/test/alive.txt").status == 200
    });
    let pid = last_pid(&node).expect("it runs");
    (node, pid)
}

#[test]
fn what_was_shown_of_an_application_goes_with_it() {
    let of = |instances: u16| running("one") + &format!("instances = {instances}\n");
    let node = Node::start(&of(2));
    let ask = |path: &str| node.admin(&format!("GET {path}")).json();
    let instances = || ask("/api/v1/apps")[0]["instances"].as_array().map(Vec::len);
    let controls = |of: &str| {
        let all = ask("/api/v1/controls");
        let all = all.as_array().expect("a list").iter();
        let names = all.filter_map(serde_json::Value::as_str);
        names.filter(|name| name.starts_with(of)).count()
    };
    assert_eq!((instances(), controls("app/1")), (Some(2), 1));
    node.reload(&of(1));
    wait_until("the second instance is in no list", || {
        (instances(), controls("app/1")) == (Some(1), 0)
    });
    assert_eq!(controls("app/0"), 1);
    node.reload(&answering("nobody"));
    wait_until("the application is in no list", || {
        (instances(), controls("app/")) == (None, 0)
    });
}

#[test]
fn an_old_program_goes_on_until_the_new_one_has_passed_its_check() {
    if !has("python3", &["--version"]) {
        return;
    }
    let (node, old) = serving();
    let load = Load::start(node.address(), "/test/alive.txt");
    node.dir.file("release/index.html", "accepts connections");
    let server = "[\"python3\", \"-m\", \"http.server\", \"--bind\", \"{host}\", \"{port}\"]\ndir = \"release\"";
    node.reload(&checked(server));
    let event = "error app app: the new program does not serve yet, and the old one goes on: check GET \
                 /test/alive.txt answered 404";
    let said = |log: &str| {
        let log: Vec<&str> = log.split_whitespace().collect();
        log.join(" ").matches(event).count()
    };
    wait_until("an event says so", || said(&node.log()) > 0);
    assert!(runs(old));
    node.dir.file("release/test/alive.txt", "alive");
    wait_until("the old program is gone", || !runs(old));
    load.stop();
    assert_eq!(get(node.address(), "/test/alive.txt").text(), "alive");
    assert_eq!(said(&node.log()), 1, "once");
}

#[test]
fn a_new_program_that_never_listens_is_told_of_and_the_way_back_touches_nothing() {
    let (node, old) = serving();
    let load = Load::start(node.address(), "/test/alive.txt");
    node.reload(&checked("[\"sleep\", \"4711\"]"));
    wait_until("an event says so", || {
        node.log().contains(
            "the new program does not serve yet, and the old one goes on: it does not accept connections",
        )
    });
    assert!(runs(old));
    let shown = node.admin("GET /api/v1/apps").text();
    assert!(shown.contains(&format!("\"pid\":{old}")), "{shown}");
    node.reload(&checked(&demo_app()));
    node.reload(&checked("[\"sleep\", \"4712\"]"));
    node.reload(&checked("[\"sleep\", \"4713\"]"));
    node.reload(&checked(&demo_app()));
    assert!(runs(old));
    assert_eq!(last_pid(&node), Some(old), "no other was started");
    load.stop();
}

#[test]
fn fifty_reloads_under_load_fail_no_request() {
    let node = Node::start(&answering("0"));
    let load = Load::start(node.address(), "/x");
    for i in 1..=50 {
        let before = load.done();
        node.reload(&answering(&i.to_string()));
        wait_until("a request between two reloads", || load.done() > before);
    }
    assert_eq!(get(node.address(), "/x").text(), "50");
    load.stop();
}

/// Requests one after the other, each of which must be answered 200.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(address: SocketAddr, path: &'static str) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ending, count) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let mut open = TcpStream::connect(address).expect("a connection");
            while !ending.load(SeqCst) {
                // One connection that stays, and one for each request.
                assert!(ask(&mut open, path).starts_with("HTTP/1.1 200 "));
                assert_eq!(get(address, path).status, 200);
                count.fetch_add(1, SeqCst);
            }
        });
        Self { stop, done, thread }
    }

    /// Requests answered so far.
    fn done(&self) -> u64 {
        assert!(!self.thread.is_finished(), "a request failed");
        self.done.load(SeqCst)
    }

    /// Ends the load; panics if a request failed.
    fn stop(self) {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("no request failed");
    }
}

/// A tunnel over HTTP and a connection in TCP mode, and something that changes.
fn tunnels(origin: SocketAddr, i: usize) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ path = \"/n\", respond = {{ status = 200, body = \"{i}\" \
         }} }}, {{ to = \"ws\" }}]\n[listener.db]\nbind = \"127.0.0.1:{{b}}\"\nmode = \"tcp\"\nto = \"db\"\n[backend.ws]\n\
         servers = \"{origin}\"\ncheck = false\nretry = {}\n[backend.db]\nservers = [{{ address = \"{origin}\", weight = {} \
         }}]\ncheck = false\n",
        i % 5,
        1 + i % 5
    )
}

#[test]
fn fifty_reloads_touch_no_websocket_and_no_tcp_connection() {
    let origin = Origin::echoing();
    let node = Node::start(&tunnels(origin.address, 0));
    let mut socket = TcpStream::connect(node.address()).unwrap();
    socket
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .unwrap();
    let head = common::origin::read_head(&mut socket).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut raw = TcpStream::connect(node.second()).unwrap();
    let load = Load::start(node.address(), "/n");
    for i in 1..=50 {
        let before = load.done();
        let said = node.reload(&tunnels(origin.address, i));
        assert!(said.contains("the file is in effect"), "{said}");
        for stream in [&mut socket, &mut raw] {
            let word = format!("round {i:02}");
            stream.write_all(word.as_bytes()).expect("it lives");
            let mut back = [0; 8];
            stream.read_exact(&mut back).expect("it lives");
            assert_eq!(&back, word.as_bytes());
        }
        wait_until("a request between two reloads", || load.done() > before);
    }
    load.stop();
    // A listener that is gone takes no more connections, and those that it has go on.
    let gone = tunnels(origin.address, 51);
    let gone = gone.replace(
        "[listener.db]\nbind = \"127.0.0.1:{b}\"\nmode = \"tcp\"\nto = \"db\"\n",
        "",
    );
    node.reload(&gone);
    wait_until("the address is closed", || {
        TcpStream::connect(node.second()).is_err()
    });
    raw.write_all(b"still").expect("it lives");
    let mut back = [0; 5];
    raw.read_exact(&mut back).expect("it lives");
    assert_eq!(&back, b"still");
}
