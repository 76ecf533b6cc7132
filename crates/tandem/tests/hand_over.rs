//! Requests that an application hands over (`X-Accel-Redirect`), from outside.

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;

use common::fpm::{self, Fpm};
use common::node::Node;
use common::origin::{Origin, read_head};
use common::{PATIENCE, Page, parse, raw, wait_until};

/// An application that says what the `Say` field of a request has, its lines parted by `|`, and takes a body whole.
fn application() -> Origin {
    Origin::start(|_, mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(':'));
                let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map_or("", |(_, value)| value.trim())
            };
            let length = field("Content-Length").parse().unwrap_or(0);
            if stream.read_exact(&mut vec![0; length]).is_err() {
                return;
            }
            let mut answer = "HTTP/1.1 200 OK\r\nX-App: 1\r\n".to_owned();
            for line in field("Say").split('|').filter(|line| !line.is_empty()) {
                let _ = write!(answer, "{line}\r\n");
            }
            let body = "the application itself";
            let _ = write!(answer, "Content-Length: {}\r\n\r\n", body.len());
            if !head.starts_with("HEAD ") {
                answer.push_str(body);
            }
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// A node with an application whose files are in a site that no client gets to.
fn node(app: &Origin) -> Node {
    let text = format!(
        r#"
        [listener.web]
        bind = "127.0.0.1:{{a}}"
        http2 = true
        errors = {{ 404 = "404.html" }}
        route = [
          {{ internal = true, route = [
            {{ path = "/vault/*", strip = "/vault", to = "vault", headers = {{ response = {{ set = {{ X-Frame-Options = "DENY" }} }} }} }},
            {{ path = "/again", to = "again" }},
            {{ path = "/closed/*", deny = true }},
          ] }},
          {{ path = "/www/*", strip = "/www", to = "www" }},
          {{ to = "app" }},
        ]
        [site.vault]
        root = "vault"
        compress = true
        [site.www]
        root = "www"
        [backend.app]
        servers = ["{0}", "{1}"]
        stick = {{ by = "cookie", name = "at" }}
        [backend.again]
        servers = ["{0}"]
        "#,
        app.address,
        application().address
    );
    Node::start_with(&text, |dir| {
        dir.file("vault/report.pdf", "0123456789");
        dir.file("vault/a b/ü.txt", "with a space");
        dir.file("vault/large.txt", &"a line of a text\n".repeat(4_000));
        dir.file("404.html", "our 404");
    })
}

fn ask(node: &Node, line: &str, fields: &[&str], body: &str) -> Page {
    let answer = common::ask(node.address(), line, fields, body);
    let is_head = line.starts_with("HEAD ");
    let answer = if is_head {
        [&answer[..], b""].concat()
    } else {
        answer
    };
    parse_of(is_head, &answer)
}

/// The answer to a HEAD says the length of what it does not have.
fn parse_of(is_head: bool, answer: &[u8]) -> Page {
    if is_head {
        let text = String::from_utf8_lossy(answer).replace("Content-Length", "Its-Length");
        return parse(text.as_bytes()).expect("a head");
    }
    parse(answer).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(answer)))
}

#[test]
fn what_an_application_names_is_sent_in_its_place_and_nobody_else_gets_there() {
    let app = application();
    let node = node(&app);
    let say = "Say: X-Accel-Redirect: /vault/report.pdf|Content-Type: application/x-report|\
               Content-Disposition: attachment|Set-Cookie: a=1|Set-Cookie: b=2|Cache-Control: private";
    for method in ["GET", "POST", "HEAD", "PUT"] {
        let body = if method == "GET" || method == "HEAD" {
            ""
        } else {
            "a body"
        };
        let page = ask(&node, &format!("{method} /orders/7"), &[say], body);
        assert_eq!(page.status, 200, "{method}: {page:?}");
        for (name, value) in [
            ("Content-Type", Some("application/x-report")),
            ("Content-Disposition", Some("attachment")),
            ("Cache-Control", Some("private")),
            ("X-Frame-Options", Some("DENY")),
            ("X-App", None),
            ("X-Accel-Redirect", None),
        ] {
            assert_eq!(page.field(name), value, "{method}: {page:?}");
        }
        let cookies: Vec<&str> = page
            .head
            .lines()
            .filter(|line| line.starts_with("Set-Cookie"))
            .collect();
        assert!(
            cookies.contains(&"Set-Cookie: a=1") && cookies.contains(&"Set-Cookie: b=2"),
            "{page:?}"
        );
        // And the cookie by which the client stays at its server.
        assert!(
            cookies
                .iter()
                .any(|line| line.starts_with("Set-Cookie: at=")),
            "{page:?}"
        );
        assert!(page.field("ETag").is_some(), "{method}: {page:?}");
        let (length, text) = if method == "HEAD" {
            (Some("10"), "")
        } else {
            (None, "0123456789")
        };
        assert_eq!(page.field("Its-Length"), length);
        assert_eq!(page.text(), text, "{method}");
    }
    // No client gets there, however it is spelt, nor by saying what only an application says.
    for path in [
        "/vault/report.pdf",
        "/vault/",
        "/%76ault/report.pdf",
        "/x/../vault/report.pdf",
        "//vault//report.pdf",
    ] {
        let page = ask(
            &node,
            &format!("GET {path}"),
            &["X-Accel-Redirect: /vault/report.pdf"],
            "",
        );
        assert_eq!(
            (page.status, page.text().as_str()),
            (200, "the application itself"),
            "{path}"
        );
    }
    let log = || node.access_log();
    wait_until("all is logged, as it was asked", || {
        let log = log();
        log.contains("\"POST /orders/7 HTTP/1.1\" 200 10 ")
            && !log.contains("\"GET /vault/report.pdf HTTP/1.1\" 200 10 ")
    });
}

#[test]
fn what_is_handed_over_is_sent_as_a_site_sends_it() {
    let app = application();
    let node = node(&app);
    let say = "Say: X-Accel-Redirect: /vault/report.pdf|Content-Type:";
    let whole = ask(&node, "GET /", &[say], "");
    assert_eq!(whole.field("Content-Type"), Some("application/pdf"));
    let tag = whole.field("ETag").expect("a tag").to_owned();
    let part = ask(&node, "GET /", &[say, "Range: bytes=2-4"], "");
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.field("Content-Range"), Some("bytes 2-4/10"));
    // Of several parts each would have the type that is said of all.
    let parts = ask(&node, "GET /", &[say, "Range: bytes=0-1,4-5"], "");
    assert_eq!((parts.status, parts.text().as_str()), (200, "0123456789"));
    let known = ask(&node, "GET /", &[say, &format!("If-None-Match: {tag}")], "");
    assert_eq!((known.status, known.text().as_str()), (304, ""));
    let say = "Say: X-Accel-Redirect: /vault/large.txt";
    let packed = ask(&node, "GET /", &[say, "Accept-Encoding: gzip"], "");
    assert_eq!(packed.field("Content-Encoding"), Some("gzip"));
    // Names as applications write them, and as they should.
    for path in [
        "/vault/a b/ü.txt",
        "/vault/a%20b/%C3%BC.txt",
        "/vault/a b/ü.txt?x=y",
    ] {
        let page = ask(
            &node,
            "GET /",
            &[&format!("Say: X-Accel-Redirect: {path}")],
            "",
        );
        assert_eq!(
            (page.status, page.text().as_str()),
            (200, "with a space"),
            "{path}"
        );
    }
    let elsewhere = ask(
        &node,
        "GET /",
        &["Say: X-Accel-Redirect: /www/index.html"],
        "",
    );
    assert_eq!(
        (elsewhere.status, elsewhere.text().as_str()),
        (200, "a page")
    );
}

#[test]
fn what_each_application_said_stays_and_a_hint_does_not_show_the_path() {
    let hints = Origin::start(|_, mut stream| {
        while read_head(&mut stream).is_some() {
            let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Accel-Redirect: /vault/secret\r\n\r\n\
                          HTTP/1.1 200 OK\r\nX-Accel-Redirect: /more\r\nSet-Cookie: a=1\r\nCache-Control: private\r\n\
                          Content-Type: text/first\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let more = Origin::http(
        "more",
        |_| "200 OK\r\nX-Accel-Redirect: /vault/a\r\nSet-Cookie: b=2\r\nContent-Type: text/second",
    );
    let node = Node::start_with(
        &format!(
            r#"
            [listener.web]
            bind = "127.0.0.1:{{a}}"
            route = [
              {{ path = "/vault/*", internal = true, strip = "/vault", to = "vault" }},
              {{ path = "/more", internal = true, to = "more" }},
              {{ to = "hints" }},
            ]
            [site.vault]
            root = "vault"
            [backend.hints]
            servers = ["{}"]
            check = "tcp"
            [backend.more]
            servers = ["{}"]
            check = "tcp"
            "#,
            hints.address, more.address
        ),
        |dir| {
            dir.file("vault/a", "the file");
        },
    );
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(node.address(), request).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (hint, page) = answer.split_once("\r\n\r\n").expect("two heads");
    assert!(
        hint.starts_with("HTTP/1.1 103 ") && hint.contains("Link: </a.css>"),
        "{answer}"
    );
    assert!(!answer.contains("X-Accel-Redirect"), "{answer}");
    for wanted in [
        "Set-Cookie: a=1\r\n",
        "Set-Cookie: b=2\r\n",
        "Cache-Control: private\r\n",
        "Content-Type: text/second\r\n",
        "\r\n\r\nthe file",
    ] {
        assert!(page.contains(wanted), "{wanted}: {answer}");
    }
    assert!(!page.contains("text/first"), "{answer}");
}

#[test]
fn a_request_that_is_handed_over_counts_once_for_each_limit() {
    let app = application();
    let node = Node::start_with(
        &format!(
            r#"
            [listener.web]
            bind = "127.0.0.1:{{a}}"
            route = [
              {{ path = ["/g/*", "/v/*"], rate = {{ limit = "3/h", burst = 3 }}, limits = {{ per-source = 1 }}, route = [
                {{ path = "/v/*", internal = true, strip = "/v", to = "vault" }},
                {{ to = "app" }},
              ] }},
              {{ path = "/once/*", internal = true, rate = {{ limit = "1/h", burst = 1 }}, strip = "/once", to = "vault" }},
              {{ to = "app" }},
            ]
            [site.vault]
            root = "vault"
            [backend.app]
            servers = ["{}"]
            "#,
            app.address
        ),
        |dir| {
            dir.file("vault/a", "the file");
        },
    );
    let status = |path: &str, to: &str| {
        let say = format!("Say: X-Accel-Redirect: {to}");
        ask(&node, &format!("GET {path}"), &[&say], "").status
    };
    let all: Vec<u16> = (0..4).map(|_| status("/g/x", "/v/a")).collect();
    assert_eq!(all, [200, 200, 200, 429]);
    // A limit of the place itself holds.
    assert_eq!(
        [status("/x", "/once/a"), status("/x", "/once/a")],
        [200, 429]
    );
}

#[test]
fn what_leads_nowhere_is_an_error_and_says_so() {
    let app = application();
    let node = node(&app);
    for (named, status, text) in [
        ("/vault/none", 404, "our 404"),
        ("/vault/../../etc/passwd", 502, "no path"),
        ("https://elsewhere.example/", 502, "no path"),
        ("@named", 502, "no path"),
        ("", 502, "no path"),
        ("/closed/x", 403, "Forbidden"),
        // It says the same again, and again.
        ("/again", 500, "too often"),
    ] {
        let say =
            format!("Say: X-Accel-Redirect: {named}|Content-Type: application/pdf|Set-Cookie: a=1");
        let page = ask(&node, "GET /", &[&say], "");
        assert_eq!(page.status, status, "{named}: {page:?}");
        assert!(page.text().contains(text), "{named}: {page:?}");
        // An error is not what the application said it would be.
        assert_ne!(
            page.field("Content-Type"),
            Some("application/pdf"),
            "{named}"
        );
    }
}

#[test]
fn the_connection_goes_on_behind_what_was_handed_over() {
    let app = application();
    let node = node(&app);
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let say = "Say: X-Accel-Redirect: /vault/report.pdf";
    // In one piece, so that the second request is there before the first is answered.
    let text = format!(
        "POST /a HTTP/1.1\r\nHost: a\r\n{say}\r\nContent-Length: 3\r\n\r\nabc\
         GET /b HTTP/1.1\r\nHost: a\r\n{say}\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let count = |what: &str| answer.matches(what).count();
    assert_eq!(
        (
            count("HTTP/1.1 200"),
            count("0123456789"),
            count("the application itself")
        ),
        (3, 2, 1),
        "{answer}"
    );
    let curl = std::process::Command::new("curl")
        .args(["-s", "--http2-prior-knowledge", "-H", say])
        .arg(format!("http://{}/x", node.address()))
        .output();
    if let Ok(curl) = curl {
        assert_eq!(String::from_utf8_lossy(&curl.stdout), "0123456789");
    }
}

#[test]
fn php_hands_over_what_a_node_has() {
    if !fpm::is_here() {
        return;
    }
    let mut php = None;
    let node = Node::start_with(
        r#"
        [listener.web]
        bind = "127.0.0.1:{a}"
        route = [{ path = "/vault/*", internal = true, strip = "/vault", to = "vault" }, { to = "php" }]
        [site.vault]
        root = "vault"
        [backend.php]
        servers = ["unix:{dir}/php.sock"]
        fastcgi = { root = "{dir}/scripts", front = "/index.php" }
        "#,
        |dir| {
            dir.file("vault/a.pdf", "a file");
            dir.file(
                "scripts/index.php",
                "<?php if ($_SERVER['REQUEST_URI'] == '/mine') { header('X-Accel-Redirect: /vault/a.pdf'); header('Content-Type: application/pdf'); } \
                 else { http_response_code(403); echo 'not yours'; }",
            );
            php = Some(Fpm::start(dir, "php", 1));
        },
    );
    let page = ask(&node, "GET /mine", &[], "");
    assert_eq!((page.status, page.text().as_str()), (200, "a file"));
    assert_eq!(page.field("Content-Type"), Some("application/pdf"));
    for path in ["/theirs", "/vault/a.pdf"] {
        let page = ask(&node, &format!("GET {path}"), &[], "");
        assert_eq!(
            (page.status, page.text().as_str()),
            (403, "not yours"),
            "{path}"
        );
    }
}
