//! Requests that another one decides about (`authorize`), from outside.

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use common::node::Node;
use common::origin::{Origin, read_head};
use common::{PATIENCE, Page, has, parse, raw, wait_until};

/// Those of the node.
const WORKERS: usize = 2;

/// The value of a field of a head.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// Who decides, by the field `Token` of a request; what it was asked, and over how many connections.
struct Decider {
    origin: Origin,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Decider {
    fn start() -> Self {
        let (asked, connections) = <(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>)>::default();
        let (keep, count) = (asked.clone(), connections.clone());
        let origin = Origin::start(move |_, mut stream| {
            count.fetch_add(1, SeqCst);
            while let Some(head) = read_head(&mut stream) {
                keep.lock().unwrap().push(head.clone());
                let status = match field(&head, "Token") {
                    Some("good") => "200 OK",
                    Some("bad") => "403 Forbidden",
                    Some("odd") => "302 Found\r\nLocation: /elsewhere",
                    Some("early") => "103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 Yes",
                    Some("silent") => {
                        // Until whoever asked gives up.
                        let _ = stream.read(&mut [0]);
                        return;
                    }
                    Some("late") => {
                        // What it says is known, and the rest never comes.
                        let _ = stream.write_all(
                            b"HTTP/1.1 200 OK\r\nX-User: ann\r\nContent-Length: 4\r\n\r\n",
                        );
                        let _ = stream.read(&mut [0]);
                        return;
                    }
                    Some("broken") => return,
                    _ => {
                        "401 No\r\nWWW-Authenticate: Bearer realm=\"a\"\r\nWWW-Authenticate: Basic realm=\"b\""
                    }
                };
                let chunks = "Transfer-Encoding: chunked\r\n\r\n";
                let mut answer = format!(
                    "HTTP/1.1 {status}\r\nX-User: ann\r\nX-Group: a\r\nX-Group: b\r\nSet-Cookie: s=1; Path=/\r\nSet-Cookie: t=2\r\n"
                );
                if status.contains("204") {
                    answer.push_str("\r\n");
                } else {
                    answer.push_str(chunks);
                }
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                // The rest comes in a piece of its own.
                if !status.contains("204") && stream.write_all(b"4\r\nwhat\r\n0\r\n\r\n").is_err() {
                    return;
                }
            }
        });
        Self {
            origin,
            asked,
            connections,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// An application that answers with what it was sent.
fn application() -> Origin {
    Origin::start(|_, mut stream| {
        while let Some(head) = read_head(&mut stream) {
            if field(&head, "Upgrade").is_some() {
                let said = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                let _ = stream.write_all(said);
                let mut bytes = [0; 256];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..n]).is_err() {
                        return;
                    }
                }
                return;
            }
            let length = field(&head, "Content-Length").and_then(|n| n.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let mut said = head.clone();
            let _ = write!(said, "{} bytes", body.len());
            let fields = if head.contains(" /give ") {
                "X-Accel-Redirect: /vault/a.txt\r\n"
            } else {
                ""
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n",
                said.len()
            );
            let sent = if head.starts_with("HEAD ") { "" } else { &said };
            if stream
                .write_all([&answer, sent].concat().as_bytes())
                .is_err()
            {
                return;
            }
        }
    })
}

fn tables(decider: &Decider, app: &Origin, login: &Origin) -> String {
    format!(
        r#"workers = {WORKERS}
        [listener.web]
        bind = "127.0.0.1:{{a}}"
        http2 = true
        limits = {{ body = "400 KiB" }}
        errors = {{ 413 = {{ to = "/login?from={{path}}", status = 413 }} }}
        route = [
          {{ internal = true, route = [
            {{ path = "/verify", to = "decider", rewrite = "/api/verify", authorize = false,
              headers = {{ request = {{ set = {{ X-Original = "{{method}} {{uri}}" }} }} }} }},
            {{ path = "/dead", to = "dead", authorize = false }},
            {{ path = "/vault/*", strip = "/vault", to = "www" }},
            {{ path = "/login", to = "login", headers = {{ request = {{ set = {{ X-Next = "{{uri}} of {{authorized:X-User}}" }} }} }} }},
          ] }},
          {{ authorize = "/verify", route = [
            {{ path = "/open/*", authorize = false, to = "app", headers = {{ request = {{ set = {{ X-User = "{{authorized:X-User}}" }} }} }} }},
            {{ path = "/www/*", strip = "/www", to = "www" }},
            {{ path = "/page/*", to = "app", errors = {{ 401 = {{ to = "/login?from={{path}}", status = 403 }}, 403 = {{ redirect = "https://a.example/?{{authorized:X-User}}&{{uri}}", status = 303 }} }} }},
            {{ path = "/long/*", to = "app", errors = {{ 401 = {{ to = "/login?{{uri}}{{uri}}{{uri}}{{uri}}" }} }} }},
            {{ path = "/large/*", authorize = false, to = "app", limits = {{ body = "1 KiB" }},
              errors = {{ 413 = {{ to = "/login?from={{path}}", status = 413 }} }} }},
            {{ path = "/dead/*", authorize = "/dead", to = "app" }},
            {{ path = "/hasty/*", authorize = {{ path = "/verify", timeout = "50ms" }}, to = "app" }},
            {{ to = "app", headers = {{
                request = {{ set = {{ X-User = "{{authorized:X-User}}", X-Groups = "{{authorized:x-group}}", X-Status = "{{authorized}}", X-None = "{{authorized:X-None}}" }} }},
                response = {{ set = {{ X-Who = "{{authorized:X-User}}" }} }},
                success = {{ add = {{ Set-Cookie = "{{authorized:Set-Cookie}}" }} }},
            }} }},
          ] }},
        ]
        [site.www]
        root = "www"
        [backend.app]
        servers = ["{}"]
        check = false
        [backend.login]
        servers = ["{}"]
        check = false
        [backend.decider]
        servers = ["{}"]
        check = false
        [backend.dead]
        servers = ["127.0.0.1:1"]
        check = false
        "#,
        app.address, login.address, decider.origin.address
    )
}

struct Scene {
    decider: Decider,
    app: Origin,
    login: Origin,
    node: Node,
}

impl Scene {
    fn new() -> Self {
        let decider = Decider::start();
        let (app, login) = (application(), application());
        let text = tables(&decider, &app, &login);
        let node = Node::start_with(&text, |dir| {
            dir.file("www/a.txt", "a file");
        });
        Self {
            decider,
            app,
            login,
            node,
        }
    }

    fn ask(&self, line: &str, fields: &[&str], body: &str) -> Page {
        let mut answer = common::ask(self.node.address(), line, fields, body);
        if line.starts_with("HEAD ") {
            let text = String::from_utf8_lossy(&answer).replace("Content-Length", "Its-Length");
            answer = text.into_bytes();
        }
        parse(&answer).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)))
    }
}

/// Lines of a page's head that begin so.
fn lines<'p>(page: &'p Page, begin: &str) -> Vec<&'p str> {
    let all = page.head.lines();
    all.filter(|line| line.starts_with(begin)).collect()
}

#[test]
fn a_request_passes_when_the_one_that_is_asked_says_so_and_gets_what_that_says() {
    let scene = Scene::new();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
        let body = if method == "POST" { "a body" } else { "" };
        let fields = [
            "Token: good",
            "Cookie: c=1",
            "X-User: eve",
            "x_groups: root",
            "X-None: eve",
            "If-None-Match: \"x\"",
        ];
        let page = scene.ask(&format!("{method} /orders?a=b"), &fields, body);
        assert_eq!(page.status, 200, "{method}: {page:?}");
        assert_eq!(page.field("X-Who"), Some("ann"), "{method}: {page:?}");
        assert_eq!(
            lines(&page, "Set-Cookie"),
            ["Set-Cookie: s=1; Path=/", "Set-Cookie: t=2"],
            "{method}: {page:?}"
        );
        if method != "HEAD" {
            let text = page.text();
            for (name, value) in [
                ("X-User", Some("ann")),
                ("X-Groups", Some("a, b")),
                ("X-Status", Some("200")),
                ("X-None", None),
                ("Cookie", Some("c=1")),
                ("If-None-Match", Some("\"x\"")),
            ] {
                assert_eq!(field(&text, name), value, "{method} {name}: {text}");
            }
            assert!(!text.contains("eve") && !text.contains("root"), "{text}");
            assert!(
                text.ends_with(&format!("\r\n{} bytes", body.len())),
                "{text}"
            );
        }
        let asked = scene.decider.asked().pop().expect("it was asked");
        assert!(asked.starts_with("GET /api/verify HTTP/1.1\r\n"), "{asked}");
        let original = format!("{method} /orders?a=b");
        for (name, value) in [
            ("X-Original", Some(original.as_str())),
            ("Cookie", Some("c=1")),
            ("Host", Some("shop.example")),
            ("Content-Length", None),
            ("If-None-Match", None),
        ] {
            assert_eq!(field(&asked, name), value, "{method} {name}: {asked}");
        }
    }
    // A file is asked for alike, and a hint of the answer passes to nobody.
    let page = scene.ask("GET /www/a.txt", &["Token: early"], "");
    assert_eq!((page.status, page.text().as_str()), (200, "a file"));
    assert_eq!(scene.ask("GET /www/a.txt", &[], "").status, 401);
    // Where nobody is asked, nobody says who it is.
    let text = scene.ask("GET /open/a", &["X-User: eve"], "").text();
    assert_eq!(field(&text, "X-User"), None, "{text}");
    // Workers keep their connections to it.
    let connections = scene.decider.connections.load(SeqCst);
    assert!(connections <= WORKERS, "{connections} connections");
}

#[test]
fn who_is_refused_is_told_how_to_come_in_and_what_decides_nothing_is_an_error() {
    let scene = Scene::new();
    let page = scene.ask("GET /x", &[], "");
    assert_eq!(page.status, 401);
    assert_eq!(
        lines(&page, "WWW-Authenticate"),
        [
            "WWW-Authenticate: Bearer realm=\"a\"",
            "WWW-Authenticate: Basic realm=\"b\""
        ]
    );
    assert_eq!(lines(&page, "Set-Cookie"), [""; 0], "{page:?}");
    assert_eq!(page.field("X-Who"), Some("ann"), "{page:?}");
    assert_eq!(scene.ask("POST /x", &["Token: bad"], "a body").status, 403);
    for (token, path) in [
        ("odd", "/x"),
        ("broken", "/x"),
        ("good", "/dead/x"),
        ("silent", "/hasty/x"),
    ] {
        let page = scene.ask(&format!("GET {path}"), &[&format!("Token: {token}")], "");
        assert_eq!(page.status, 500, "{token}: {page:?}");
    }
    let page = scene.ask("GET /hasty/x", &["Token: late"], "");
    assert_eq!(page.status, 200, "its head decides: {page:?}");
    let told = || scene.node.log().contains("which decides nothing");
    wait_until("it is told", told);
    // What it says is asked of nobody else.
    assert_eq!(scene.ask("GET /verify", &["Token: good"], "").status, 200);
    let last = scene.decider.asked().pop().unwrap();
    assert_eq!(field(&last, "X-Original"), Some("GET /verify"));
}

#[test]
fn refusals_lead_to_a_page_or_elsewhere() {
    let scene = Scene::new();
    for (method, body) in [("GET", ""), ("POST", "a body"), ("HEAD", "")] {
        let page = scene.ask(
            &format!("{method} /page/a?b=c"),
            &["If-None-Match: *"],
            body,
        );
        assert_eq!(page.status, 403, "{method}: {page:?}");
        if method != "HEAD" {
            let text = page.text();
            assert!(
                text.starts_with("GET /login?from=/page/a HTTP/1.1\r\n"),
                "{text}"
            );
            let next = field(&text, "X-Next");
            assert_eq!(next, Some("/page/a?b=c of ann"), "{text}");
            assert!(text.ends_with("\r\n0 bytes"), "{text}");
            assert_eq!(field(&text, "If-None-Match"), None, "{text}");
        }
    }
    let page = scene.ask("GET /page/a?b=c", &["Token: bad"], "");
    assert_eq!(page.status, 303);
    assert_eq!(
        page.field("Location"),
        Some("https://a.example/?ann&/page/a?b=c")
    );
    // An error that leads to more than a head may have stays what it is.
    let page = scene.ask(&format!("GET /long/{}", "a".repeat(5_000)), &[], "");
    assert_eq!(page.status, 401, "{page:?}");
    // No client gets there by itself.
    assert_eq!(scene.ask("GET /login", &[], "").status, 401);
    drop(scene.login);
}

#[test]
fn a_body_that_is_too_large_leads_where_its_error_does() {
    let scene = Scene::new();
    for (path, length) in [("/large/a", 1_025), ("/large/a", 500_000), ("/a", 500_000)] {
        let page = scene.ask(&format!("POST {path}"), &[], &"x".repeat(length));
        let text = page.text();
        assert_eq!(page.status, 413, "{path} {length}: {text}");
        let asked = format!("GET /login?from={path} HTTP/1.1\r\n");
        assert!(text.starts_with(&asked), "{path} {length}: {text}");
    }
    let chunk = format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800));
    let head = "POST /large/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(scene.node.address(), [head, &chunk].concat().as_bytes());
    let page = parse(&answer.expect("an answer")).expect("a page");
    assert_eq!(page.status, 413);
    assert!(page.text().starts_with("GET /login?from=/large/a "));
}

#[test]
fn a_body_stays_with_the_client_until_it_may_pass() {
    let scene = Scene::new();
    let head = |token: &str| {
        format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nToken: {token}\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let connect = || {
        let stream = TcpStream::connect(scene.node.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut client = connect();
    client.write_all(head("bad").as_bytes()).unwrap();
    let first = read_head(&mut client).expect("an answer");
    assert!(first.starts_with("HTTP/1.1 403"), "{first}");
    let mut client = connect();
    client.write_all(head("good").as_bytes()).unwrap();
    let first = read_head(&mut client).expect("an answer");
    assert!(first.starts_with("HTTP/1.1 100"), "{first}");
    client.write_all(b"a body").unwrap();
    let second = read_head(&mut client).expect("an answer");
    assert!(second.starts_with("HTTP/1.1 200"), "{second}");
    // A large one passes through.
    let body = "x".repeat(300_000);
    let page = scene.ask("POST /x", &["Token: good"], &body);
    assert!(page.text().ends_with("\r\n300000 bytes"), "{page:?}");
}

#[test]
fn upgrades_and_http2_are_decided_alike() {
    let scene = Scene::new();
    let talk = |token: &str| {
        let mut client = TcpStream::connect(scene.node.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = format!(
            "GET /chat HTTP/1.1\r\nHost: a\r\nToken: {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        client.write_all(asked.as_bytes()).unwrap();
        (read_head(&mut client).expect("an answer"), client)
    };
    let (head, _) = talk("bad");
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let (head, mut client) = talk("good");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    client.write_all(b"hello").unwrap();
    let mut said = [0; 5];
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");
    let asked = scene.decider.asked().pop().unwrap();
    assert_eq!(field(&asked, "Upgrade"), None, "{asked}");
    if !has("curl", &["--version"]) {
        return;
    }
    let url = format!("http://{}/x", scene.node.address());
    let curl = |more: &[&str]| {
        let output = Command::new("curl")
            .args([
                "-sS",
                "-o",
                "-",
                "-w",
                "\n%{http_code}",
                "--http2-prior-knowledge",
            ])
            .args(more)
            .arg(&url)
            .output()
            .expect("curl runs");
        common::stdout(&output) + &common::stderr(&output)
    };
    let body = "x".repeat(100_000);
    let said = curl(&["-H", "Token: good", "--data-binary", &body]);
    assert!(
        said.contains("X-User: ann") && said.ends_with("100000 bytes\n200"),
        "{said}"
    );
    let said = curl(&["--data-binary", &body]);
    assert!(said.ends_with("\n401"), "{said}");
    let said = curl(&["-I"]);
    assert!(said.ends_with("\n401"), "{said}");
}

#[test]
fn the_log_has_a_request_once_and_a_reload_keeps_what_is_asked() {
    let scene = Scene::new();
    assert_eq!(scene.ask("GET /first", &["Token: good"], "").status, 200);
    assert_eq!(scene.ask("GET /second", &[], "").status, 401);
    // What is handed over is decided about where the route of the new path says so: here it does not.
    let page = scene.ask("GET /give", &["Token: good"], "");
    assert_eq!((page.status, page.text().as_str()), (200, "a file"));
    let log = || scene.node.access_log();
    wait_until("it is logged", || log().lines().count() >= 3);
    let log = log();
    assert_eq!(log.lines().count(), 3, "{log}");
    assert!(
        log.contains("\"GET /first ") && log.contains("\"GET /second "),
        "{log}"
    );
    assert!(!log.contains("verify"), "{log}");
    let text = tables(&scene.decider, &scene.app, &scene.login);
    let said = scene.node.reload(&text.replace("X-Who", "X-Whom"));
    assert!(!said.contains("refused"), "{said}");
    let page = scene.ask("GET /x", &["Token: good"], "");
    assert_eq!((page.status, page.field("X-Whom")), (200, Some("ann")));
    assert_eq!(scene.ask("GET /x", &[], "").status, 401);
}
