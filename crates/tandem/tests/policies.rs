//! Policies of routes as an operator writes them, seen from outside.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};

use common::origin::Origin;
use common::{Dir, send, tandem, wait_until};
use rustix::process::Signal;

/// A node of a file.
struct Node {
    dir: Dir,
    child: Child,
    port: u16,
}

impl Node {
    /// Starts a node with these tables behind the common ones; `{port}` is its port. `prepare` puts files beside it.
    fn start(tables: &str, prepare: impl FnOnce(&Dir)) -> Self {
        let dir = Dir::new();
        dir.file("www/index.html", "a page");
        prepare(&dir);
        let port = common::ports::free().port();
        let tables = tables.replace("{port}", &port.to_string());
        let common = "[cluster]\nstate = \"state\"\nadmin = false\nworkers = 2\n[site.www]\nroot = \"www\"\n";
        let file = dir.file("cluster.toml", &format!("{common}{tables}"));
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child = tandem()
            .args(["run", &file])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut node = Self { dir, child, port };
        wait_until("the node serves", || {
            let ended = node.child.try_wait().expect("it is a child");
            assert!(ended.is_none(), "{}", node.log());
            node.log().contains("serves as")
        });
        node
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits until the access log has a line for which this holds.
    fn wait_until_logged(&self, holds: impl Fn(&str) -> bool) {
        let path = self.dir.path().join("state/local/access.log");
        wait_until("it is in the access log", || {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            log.lines().any(&holds)
        });
    }

    /// Asks for a reload and waits until the log says this; what the log said of it.
    fn reload(&self, expected: &str) -> String {
        let before = self.log().len();
        send(self.child.id(), Signal::HUP);
        let news = || self.log().split_off(before);
        wait_until("the reload is over", || news().contains("reloaded"));
        assert!(news().contains(expected), "{}", news());
        news()
    }

    /// One request on a connection of its own: the whole answer.
    fn ask(&self, line: &str, fields: &[&str]) -> String {
        let at: SocketAddr = ([127, 0, 0, 1], self.port).into();
        let mut stream = TcpStream::connect(at).expect("it listens");
        let fields = [fields, &[""]].concat().join("\r\n");
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{fields}\r\n"
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        send(self.child.id(), Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn paths_heads_redirects_and_answers_are_as_the_file_says() {
    let node = Node::start(
        r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        limits = { body = "100 B" }
        route = [
          { path = "/pages/*", strip = "/pages", to = "www", headers = { response = { set = { X-Id = "{request-id}", Cache-Control = "no-store" }, remove = "ETag" } } },
          { path = "/old/*", rewrite = { "~^/old/(\\w+)$" = "/new/{1}" }, redirect = { to = "https://{host}{uri}", status = 308 } },
          { path = "/robots.txt", respond = { status = 200, file = "robots.txt", headers = { X-Asked = "{method} {uri}" } } },
          { path = "/tea", respond = { status = 418, body = "short and {stout}" } },
          { path = "~^/user/(\\w+)$", respond = { status = 200, template = "{1} {arg:q} {port} {node} {version}\n{{{client}}}", headers = { X-Asked = "{header:X-A}" } } },
          { path = "/small", limits = { body = "10 B" }, route = { respond = { status = 200, body = "small" } } },
          { path = "/large", limits = { body = false }, respond = { status = 200, body = "large" } },
          { path = "/nobody", deny = "close" },
          { deny = true },
        ]
        "#,
        |dir| {
            dir.file("robots.txt", "User-agent: *");
        },
    );
    let page = node.ask("GET /pages/", &[]);
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.ends_with("a page"),
        "{page}"
    );
    assert!(
        page.contains("\r\nCache-Control: no-store\r\n") && page.contains("\r\nX-Id: "),
        "{page}"
    );
    assert!(!page.to_lowercase().contains("etag"), "{page}");
    let id = page
        .split("X-Id: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let id = id.expect("an id").to_owned();
    node.wait_until_logged(|line| {
        line.contains("\"GET /pages/ ") && line.ends_with(&format!(" {id}"))
    });
    let moved = node.ask("GET /old/thing?a=b", &[]);
    assert!(moved.starts_with("HTTP/1.1 308 "), "{moved}");
    assert!(
        moved.contains("\r\nLocation: https://shop.example/new/thing?a=b\r\n"),
        "{moved}"
    );
    let robots = node.ask("GET /robots.txt?x", &[]);
    assert!(
        robots.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"),
        "{robots}"
    );
    assert!(
        robots.contains("\r\nX-Asked: GET /robots.txt?x\r\n"),
        "{robots}"
    );
    assert!(robots.ends_with("\r\n\r\nUser-agent: *"), "{robots}");
    assert!(node.ask("GET /tea", &[]).ends_with("short and {stout}"));
    let filled = node.ask("GET /user/%61lice?q=%0d%0aX:y", &["X-A: 7"]);
    let expected = format!(
        "\r\n\r\nalice %0d%0aX:y {} local HTTP/1.1\n{{127.0.0.1}}",
        node.port
    );
    assert!(filled.ends_with(&expected), "{filled}");
    assert!(filled.contains("\r\nX-Asked: 7\r\n"), "{filled}");
    for (path, length, status) in [
        ("/small", 10, 200),
        ("/small", 11, 413),
        ("/large", 101, 200),
        ("/tea", 101, 413),
        ("/tea", 100, 418),
    ] {
        let length = format!("Content-Length: {length}");
        let answer = node.ask(&format!("POST {path}"), &[&length]);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{path} {length}: {answer}");
    }
    assert!(node.ask("GET /else", &[]).starts_with("HTTP/1.1 403 "));
    assert_eq!(node.ask("GET /nobody", &[]), "");
    node.wait_until_logged(|line| line.contains("\"GET /nobody HTTP/1.1\" 0 0 "));
}

#[test]
fn errors_have_the_pages_of_the_file_and_works_hold_all_but_a_few_off() {
    let node = Node::start(
        r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        errors = { 4xx = "sorry.html", 502 = "sorry.html" }
        route = [
          { path = "/teapot", respond = { status = 418, body = "short and stout" } },
          { path = "/down", to = "down", errors = { 5xx = "down.txt" } },
          { to = "www" },
        ]
        [backend.down]
        servers = "127.0.0.1:1"
        check = false
        "#,
        |dir| {
            dir.file("sorry.html", "sorry");
            dir.file("down.txt", "down");
        },
    );
    let missing = node.ask("GET /nothing", &[]);
    assert!(
        missing.starts_with("HTTP/1.1 404 ") && missing.ends_with("\r\n\r\nsorry"),
        "{missing}"
    );
    assert!(
        missing.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"),
        "{missing}"
    );
    let down = node.ask("GET /down", &[]);
    assert!(
        down.starts_with("HTTP/1.1 502 ") && down.ends_with("\r\n\r\ndown"),
        "{down}"
    );
    assert!(node.ask("GET /teapot", &[]).ends_with("short and stout"));

    let node = Node::start(
        r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        trust = "127.0.0.1"
        maintenance = { page = "works.html", allow = "192.0.2.0/24", active = true }
        route = { to = "www" }
        "#,
        |dir| {
            dir.file("works.html", "works");
        },
    );
    let held = node.ask("GET /", &["X-Forwarded-For: 198.51.100.1"]);
    assert!(
        held.starts_with("HTTP/1.1 503 ") && held.ends_with("works"),
        "{held}"
    );
    assert!(held.contains("\r\nRetry-After: 60\r\n"), "{held}");
    assert!(
        node.ask("GET /", &["X-Forwarded-For: 192.0.2.1"])
            .ends_with("a page")
    );
}

#[test]
fn an_error_may_lead_elsewhere_and_says_nothing_else() {
    let origin = Origin::http("app", |request| {
        if request.starts_with("GET /app/members") {
            "401 Unauthorized\r\nX-Own: 1"
        } else {
            "503 Service Unavailable\r\nX-Own: 1"
        }
    });
    let text = format!(
        r#"
        [listener.web]
        bind = "127.0.0.1:{{port}}"
        errors = {{ 404 = {{ redirect = "https://sorry.example/?a=b" }}, 403 = {{ redirect = "/login", status = 303 }}, 4xx = {{ redirect = "/sorry" }} }}
        route = [
          {{ path = "/private", deny = true }},
          {{ path = "/app/members", to = "app", errors = {{ 401 = {{ redirect = "/login", upstream = true }} }} }},
          {{ path = "/app/*", to = "app", errors = {{ 503 = {{ redirect = "/sorry" }} }} }},
          {{ to = "www" }},
        ]
        [backend.app]
        servers = "{}"
        check = false
        "#,
        origin.address
    );
    let node = Node::start(&text, |_| {});
    for (line, status, place) in [
        ("GET /nothing", "302", "https://sorry.example/?a=b"),
        ("HEAD /nothing", "302", "https://sorry.example/?a=b"),
        ("GET /private", "303", "/login"),
        ("GET /app/members", "302", "/login"),
        // What is no request at all.
        ("GET /%zz", "302", "/sorry"),
    ] {
        let answer = node.ask(line, &[]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(
            answer.contains(&format!("\r\nLocation: {place}\r\n")),
            "{line}: {answer}"
        );
        assert!(
            answer.contains("\r\nContent-Length: 0\r\n"),
            "{line}: {answer}"
        );
        assert!(
            answer.ends_with("\r\n\r\n") && !answer.contains("X-Own"),
            "{line}: {answer}"
        );
    }
    // What a server answers is passed on unless the page says otherwise.
    let theirs = node.ask("GET /app/x", &[]);
    assert!(
        theirs.starts_with("HTTP/1.1 503 ") && theirs.ends_with("app"),
        "{theirs}"
    );
}

#[test]
fn a_split_route_gives_each_service_its_share_and_keeps_a_client_where_it_is() {
    let node = Node::start(
        r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        route = [
          { path = "/turn*", strip = "/turn", to = { www = 3, next = 1 } },
          { path = "/kept*", strip = "/kept", to = { www = 1, next = 1 }, split-by = "cookie:id" },
        ]
        [site.next]
        root = "next"
        "#,
        |dir| {
            dir.file("next/index.html", "the next");
        },
    );
    let next = (0..8)
        .filter(|_| node.ask("GET /turn", &[]).ends_with("the next"))
        .count();
    assert_eq!(next, 2);
    let of = |id: u32| {
        node.ask("GET /kept", &[&format!("Cookie: id={id}")])
            .ends_with("the next")
    };
    let first: Vec<bool> = (0..20).map(of).collect();
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    assert_eq!((0..20).map(of).collect::<Vec<_>>(), first);
}

#[test]
fn passwords_of_a_file_let_in_and_a_reload_reads_them_again() {
    const HORSE: &str = "$2b$04$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW";
    let node = Node::start(
        r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        route = [
          { path = "/open*", to = "www" },
          { auth = "staff", rate = { limit = "100/h", burst = 50 }, to = "www", headers = { response = { set = { X-User = "{user}" } } } },
        ]
        "#,
        |dir| {
            dir.file("staff", &format!("alice:{HORSE}\n"));
        },
    );
    let alice = "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==";
    let bob = "Authorization: Basic Ym9iOmNvcnJlY3QgaG9yc2U=";
    let status = |fields: &[&str]| node.ask("GET /", fields)[9..12].to_owned();
    assert_eq!(status(&[]), "401");
    let page = node.ask("GET /", &[alice]);
    assert!(
        page.ends_with("a page") && page.contains("\r\nX-User: alice\r\n"),
        "{page}"
    );
    node.wait_until_logged(|line| line.contains(" - alice [") && line.contains(" 200 "));
    assert_eq!(status(&[bob]), "401");
    assert!(node.ask("GET /open", &[]).starts_with("HTTP/1.1 404 "));

    node.dir.file("staff", &format!("bob:{HORSE}\n"));
    node.reload("the file is in effect");
    assert_eq!(status(&[bob]), "200");
    assert_eq!(status(&[alice]), "401");

    node.dir.file("staff", "bob:horse\n");
    let said = node.reload("not reloaded");
    assert!(
        said.contains("line 1: user bob: this is no hash of a password"),
        "{said}"
    );
    assert_eq!(status(&[bob]), "200");
}

#[test]
fn who_asks_too_often_waits() {
    let node = Node::start(
        r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        route = { rate = { limit = "1/h", burst = 2 }, to = "www" }
        "#,
        |_| {},
    );
    let answers: Vec<String> = (0..4).map(|_| node.ask("GET /", &[])).collect();
    let statuses: Vec<&str> = answers.iter().map(|answer| &answer[9..12]).collect();
    assert_eq!(statuses, ["200", "200", "429", "429"]);
    assert!(answers[3].contains("\r\nRetry-After: 3"), "{}", answers[3]);
}

#[test]
fn who_has_enough_requests_going_on_is_not_let_in_with_another() {
    let slow = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let at = slow.local_addr().expect("it has one").port();
    let tables = r#"
        [listener.web]
        bind = "127.0.0.1:{port}"
        route = [
          { path = "/slow/*", limits = { per-source = 1 }, to = "slow" },
          { to = "www" },
        ]
        [backend.slow]
        servers = "127.0.0.1:AT"
        check   = false
        "#;
    let node = Node::start(&tables.replace("AT", &at.to_string()), |_| {});
    std::thread::scope(|scope| {
        let first = scope.spawn(|| node.ask("GET /slow/a", &[]));
        let (mut stream, _) = slow.accept().expect("it is asked");
        assert!(node.ask("GET /slow/b", &[]).starts_with("HTTP/1.1 429 "));
        assert!(node.ask("GET /", &[]).starts_with("HTTP/1.1 200 "));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).expect("it reads");
        assert!(first.join().expect("it asks").ends_with("ok"));
    });
}

#[test]
fn who_is_answered_with_errors_too_often_is_refused_and_nobody_else() {
    let origin = Origin::http("shop", |head| {
        if head.contains(" /no") {
            "404 Not Found"
        } else {
            "200 OK"
        }
    });
    let tables = format!(
        "[listener.web]\nbind = \"127.0.0.1:{{port}}\"\nroute = {{ to = \"shop\", rate = {{ limit = \"1/h\", burst = 3, counts = \"errors\" }} }}\n\
         [backend.shop]\nservers = \"{}\"\n",
        origin.address
    );
    let node = Node::start(&tables, |_| {});
    let status = |path: &str| {
        let answer = node.ask(&format!("GET {path}"), &[]);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for _ in 0..10 {
        assert_eq!(status("/yes"), "200");
    }
    for _ in 0..3 {
        assert_eq!(status("/no"), "404");
        // It counts when it is over, which is after its answer has come.
        node.wait_until_logged(|line| line.contains("/no"));
    }
    wait_until("it is refused", || status("/yes") == "429");
    assert_eq!(status("/no"), "429");
    let asked = origin
        .heads()
        .iter()
        .filter(|head| head.contains("/no"))
        .count();
    assert_eq!(asked, 3);
}
