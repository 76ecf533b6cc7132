//! Servers of a backend from outside: who gets which request, who waits, what is tried again.

mod common;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::node::Node;
use common::origin::{Origin, fine};
use common::{Page, get, request, wait_until};

/// A listener before a backend of two servers `a` and `b` with these keys.
fn before(a: &Origin, b: &Origin, keys: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"shop\" }}]\n[backend.shop]\n\
         servers = [{{ address = \"{}\", name = \"a\" }}, {{ address = \"{}\", name = \"b\" }}]\n{keys}\n",
        a.address, b.address
    )
}

fn two() -> (Origin, Origin) {
    (Origin::http("a", fine), Origin::http("b", fine))
}

fn with_cookie(address: SocketAddr, path: &str, cookie: &str) -> Page {
    let fields = format!("Cookie: {cookie}\r\n");
    request(address, "GET", path, &fields, b"").expect("an answer")
}

/// What a browser would send back.
fn set(page: &Page) -> Option<String> {
    let line = page.field("set-cookie")?;
    line.split(';').next().map(str::to_owned)
}

#[test]
fn a_cookie_keeps_a_client_with_its_server_and_the_server_does_not_see_it() {
    let (a, b) = two();
    let node = Node::start(&before(&a, &b, "stick = \"cookie\""));
    let first = get(node.address(), "/");
    assert_eq!(
        first.field("set-cookie"),
        Some("tandem=a; Path=/; HttpOnly; SameSite=Lax")
    );
    let cookie = set(&first).expect("a cookie");
    for _ in 0..4 {
        let page = with_cookie(node.address(), "/", &format!("x=1; {cookie}; y=2"));
        assert_eq!(
            (page.text().as_str(), page.field("set-cookie")),
            ("a", None)
        );
    }
    let seen = a.heads().join("");
    assert!(
        seen.contains("Cookie: x=1; y=2\r\n") && !seen.contains("tandem=a"),
        "{seen}"
    );

    // Its server goes: another takes the client, and keeps it.
    a.close();
    let moved = with_cookie(node.address(), "/", &cookie);
    assert_eq!((moved.status, moved.text().as_str()), (200, "b"));
    assert_eq!(set(&moved).as_deref(), Some("tandem=b"));
}

#[test]
fn a_signed_cookie_cannot_be_made_by_a_client() {
    let (a, b) = two();
    let keys = "stick = { signed = true, name = \"SRV\" }";
    let text = before(&a, &b, keys);
    let node = Node::start(&format!("key = \"0123456789abcdef\"\n{text}"));
    let cookie = set(&get(node.address(), "/")).expect("a cookie");
    assert!(cookie.starts_with("SRV=a."), "{cookie}");
    for _ in 0..3 {
        assert_eq!(with_cookie(node.address(), "/", &cookie).text(), "a");
    }
    let turns: Vec<String> = (0..4)
        .map(|_| with_cookie(node.address(), "/", "SRV=a").text())
        .collect();
    assert!(turns.contains(&"b".to_owned()), "{turns:?}");
}

#[test]
fn where_the_file_says_so_a_client_whose_server_is_gone_is_answered_503() {
    let (a, b) = two();
    let keys = "stick = { gone = \"fail\" }\nretry = 0";
    let node = Node::start(&before(&a, &b, keys));
    assert_eq!(with_cookie(node.address(), "/", "tandem=a").text(), "a");
    a.close();
    wait_until("it is down", || {
        with_cookie(node.address(), "/", "tandem=a").status == 503
    });
    assert_eq!(with_cookie(node.address(), "/", "tandem=b").text(), "b");
    assert_eq!(get(node.address(), "/").text(), "b");
}

#[test]
fn a_tomcats_route_is_followed_from_cookie_and_path() {
    let (a, b) = two();
    let node = Node::start(&before(&a, &b, "stick = \"jvm-route\""));
    for _ in 0..3 {
        assert_eq!(
            with_cookie(node.address(), "/", "JSESSIONID=AB12.b").text(),
            "b"
        );
        assert_eq!(
            get(node.address(), "/shop;jsessionid=AB12.b?x=1").text(),
            "b"
        );
    }
    assert!(
        b.heads()[0].contains("Cookie: JSESSIONID=AB12.b\r\n"),
        "as it came"
    );
}

#[test]
fn a_prefix_is_put_before_the_applications_own_cookie() {
    fn session(_: &str) -> &'static str {
        "200 OK\r\nSet-Cookie: sid=xyz; Path=/"
    }
    let (a, b) = (Origin::http("a", session), Origin::http("b", session));
    let keys = "stick = { by = \"prefix\", name = \"sid\" }";
    let node = Node::start(&before(&a, &b, keys));
    let first = get(node.address(), "/");
    assert_eq!(first.field("set-cookie"), Some("sid=a~xyz; Path=/"));
    for _ in 0..3 {
        assert_eq!(with_cookie(node.address(), "/", "sid=a~xyz").text(), "a");
    }
    assert!(
        a.heads()[1].contains("Cookie: sid=xyz\r\n"),
        "{}",
        a.heads()[1]
    );
}

#[test]
fn a_client_is_kept_by_its_address() {
    let (a, b) = two();
    let node = Node::start(&before(&a, &b, "stick = \"source\""));
    let first = get(node.address(), "/").text();
    for _ in 0..5 {
        assert_eq!(get(node.address(), "/").text(), first);
    }
}

#[test]
fn a_route_has_its_own_stickiness_and_retries() {
    fn refuses(_: &str) -> &'static str {
        "503 Service Unavailable"
    }
    let (a, b) = (Origin::http("a", refuses), Origin::http("b", fine));
    let text = before(&a, &b, "").replace(
        "{ to = \"shop\" }",
        "{ path = \"/again*\", to = \"shop\", retry = { tries = 1, on = 503 } }, { path = \"/kept\", to = \"shop\", \
         stick = \"cookie\" }, { to = \"shop\" }",
    );
    let node = Node::start(&text);
    for _ in 0..4 {
        assert_eq!(get(node.address(), "/again").text(), "b");
    }
    let statuses: Vec<u16> = (0..4).map(|_| get(node.address(), "/").status).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
    // What may not be repeated is not.
    let posted: Vec<u16> = (0..4)
        .map(|_| request(node.address(), "POST", "/again", "", b"x").expect("an answer"))
        .map(|page| page.status)
        .collect();
    assert!(posted.contains(&503), "{posted:?}");
    assert!(set(&get(node.address(), "/kept")).is_some());
    assert!(set(&get(node.address(), "/")).is_none());
}

/// A backend of one server that takes one request at a time.
fn narrow(origin: &Origin, queue: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"shop\" }}]\n[backend.shop]\n\
         servers = {{ address = \"{}\", name = \"a\", max-connections = 1 }}\ncheck = false\nqueue = {queue}\n",
        origin.address
    )
}

/// A request that is not answered yet.
fn ask(node: &Node, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is sent");
    stream
}

fn answer(mut stream: TcpStream) -> Page {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).expect("an answer");
    common::parse(&bytes).expect("a whole answer")
}

#[test]
fn a_request_waits_for_a_busy_server_and_one_that_waits_too_long_is_answered_503() {
    let origin = Origin::http("a", fine);
    let node = Node::start(&narrow(&origin, "{ max = 5, timeout = \"300ms\" }"));
    let held = ask(&node, "/hold");
    wait_until("it is busy", || origin.heads().len() == 1);
    let late = answer(ask(&node, "/late"));
    assert_eq!(late.status, 503);
    assert!(late.text().contains("busy"), "{}", late.text());
    let waits = ask(&node, "/waits");
    origin.release();
    assert_eq!(answer(held).status, 200);
    let page = answer(waits);
    // It may have waited for too long on a slow machine; then it was told so.
    assert!(page.status == 200 || page.status == 503, "{}", page.status);
    wait_until("the log says why", || {
        let log = node.access_log();
        let line = log.lines().find(|line| line.contains("GET /late"));
        line.is_some_and(|line| line.contains("\" 503 ") && line.contains(" queue-timeout/queue "))
    });
}

#[test]
fn a_client_that_leaves_makes_room_in_the_queue() {
    let origin = Origin::http("a", fine);
    let node = Node::start(&narrow(&origin, "{ max = 1, timeout = \"60s\" }"));
    let held = ask(&node, "/hold");
    wait_until("it is busy", || origin.heads().len() == 1);
    let leaves = ask(&node, "/leaves");
    wait_until("the queue is full", || answer_now(&node) == Some(503));
    leaves.shutdown(Shutdown::Both).expect("it leaves");
    drop(leaves);
    // From now on one may wait again.
    let waits = std::cell::RefCell::new(None);
    wait_until("there is room", || {
        let stream = ask(&node, "/waits");
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a timeout");
        let waiting = stream.peek(&mut [0]).is_err();
        *waits.borrow_mut() = Some(stream);
        waiting
    });
    origin.release();
    assert_eq!(answer(held).status, 200);
    let stream = waits.into_inner().expect("it waits");
    stream.set_read_timeout(None).expect("no timeout");
    assert_eq!(answer(stream).status, 200);
    assert!(
        !origin
            .heads()
            .iter()
            .any(|head| head.starts_with("GET /leaves"))
    );
}

/// The status of a request that is answered at once.
fn answer_now(node: &Node) -> Option<u16> {
    let stream = ask(node, "/now");
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let mut bytes = [0; 12];
    stream.peek(&mut bytes).ok()?;
    std::str::from_utf8(&bytes[9..]).ok()?.parse().ok()
}

#[test]
fn without_a_queue_a_busy_server_is_503_at_once() {
    let origin = Origin::http("a", fine);
    let node = Node::start(&narrow(&origin, "false"));
    let held = ask(&node, "/hold");
    wait_until("it is busy", || origin.heads().len() == 1);
    assert_eq!(get(node.address(), "/").status, 503);
    origin.release();
    assert_eq!(answer(held).status, 200);
}

#[test]
fn errors_in_a_row_take_a_server_down_and_the_log_says_why() {
    fn fails(head: &str) -> &'static str {
        if head.contains("tandem-check") {
            "200 OK"
        } else {
            "500 Internal Server Error"
        }
    }
    let (a, b) = (Origin::http("a", fails), Origin::http("b", fine));
    let keys = "check = { path = \"/alive\", every = \"1h\", errors = 3 }";
    let node = Node::start(&before(&a, &b, keys));
    wait_until("both are up", || {
        let log = node.log();
        log.contains("shop/a: up") && log.contains("shop/b: up")
    });
    for _ in 0..6 {
        get(node.address(), "/");
    }
    let why = "shop/a: down: 3 requests in a row failed, the last: answered 500";
    wait_until("it is down", || node.log().contains(why));
}

#[test]
fn a_check_says_what_it_asked_and_what_it_got() {
    fn sick(_: &str) -> &'static str {
        "503 Service Unavailable"
    }
    let (a, b) = (Origin::http("a", sick), Origin::http("b", fine));
    let keys = "check = { path = \"/alive\", every = \"50ms\", status = [204, \"200-299\"] }";
    let node = Node::start(&before(&a, &b, keys));
    wait_until("it is down", || {
        node.log()
            .contains("shop/a: down: first check GET /alive answered 503")
    });
    for _ in 0..3 {
        assert_eq!(get(node.address(), "/").text(), "b");
    }
}

#[test]
fn the_only_server_of_a_service_that_nobody_checks_is_asked_by_every_request() {
    let address = common::ports::free();
    let node = Node::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = {{ to = \"shop\" }}\n[backend.shop]\nservers = \"{address}\"\ncheck = false\n"
    ));
    for _ in 0..3 {
        assert_eq!(get(node.address(), "/").status, 502, "refused, not untried");
    }
    let _server = Origin::http_at(address, "back", fine);
    assert_eq!(get(node.address(), "/").status, 200, "at once");
}

#[test]
fn parameters_in_a_path_pass_by_no_rule_that_denies() {
    let node = Node::start(
        "[listener.web]\nbind = \"127.0.0.1:{a}\"\n\
         route = [{ path = \"/admin/*\", deny = true }, { respond = 204 }]\n",
    );
    for (path, status) in [
        ("/admin/users", 403),
        ("/admin;x/users", 403),
        ("/;x/admin/users;y", 403),
        ("/shop;jsessionid=1", 204),
    ] {
        assert_eq!(get(node.address(), path).status, status, "{path}");
    }
}

#[test]
fn a_request_that_waits_for_a_server_that_goes_down_is_asked_again_if_it_may_be() {
    static WELL: AtomicBool = AtomicBool::new(true);
    let a = Origin::http("a", |head| {
        if head.contains("/alive") && !WELL.load(SeqCst) {
            "500 Down"
        } else {
            "200 OK"
        }
    });
    let b = Origin::http("b", fine);
    b.release();
    let keys = "balance = \"first\"\ncheck = { path = \"/alive\", every = \"100ms\", fall = 2 }";
    let node = Node::start(&before(&a, &b, keys));
    // It is the first, and holds what it is asked for.
    let waits = ask(&node, "/hold");
    let mut post = TcpStream::connect(node.address()).expect("it listens");
    post.set_read_timeout(Some(common::PATIENCE)).expect("set");
    post.write_all(
        b"POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    )
    .expect("it reads");
    wait_until("both are at the first", || {
        a.heads()
            .iter()
            .filter(|head| head.contains(" /hold "))
            .count()
            == 2
    });
    WELL.store(false, SeqCst);
    assert_eq!(answer(waits).text(), "b");
    let taken = |of: &Origin, method: &str| {
        let heads = of.heads();
        heads.iter().filter(|head| head.starts_with(method)).count()
    };
    assert_eq!((taken(&a, "GET"), taken(&b, "GET")), (1, 1));
    // What may not be repeated is waited for where it is.
    a.release();
    assert_eq!(answer(post).text(), "a");
    assert_eq!((taken(&a, "POST"), taken(&b, "POST")), (1, 0));
}
