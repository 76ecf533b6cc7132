//! Programs that speak uWSGI's protocol and SCGI, from outside: an application in Python behind a real uWSGI.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::node::Node;
use common::origin::Origin;
use common::uwsgi::{self, Uwsgi};
use common::{Dir, Page, parse, raw, wait_until};

fn ask(node: &Node, line: &str, fields: &[&str], body: &str) -> Page {
    let answer = common::ask(node.address(), line, fields, body);
    parse(&answer).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)))
}

#[test]
fn an_application_gets_what_cgi_has_and_its_answer_passes() {
    if !uwsgi::is_here() {
        return;
    }
    let dir = Dir::new();
    let program = Uwsgi::start(dir.path());
    let node = Node::start(&format!(
        r#"
        [listener.web]
        bind = "127.0.0.1:{{a}}"
        route = [
          {{ path = "/socket/*", strip = "/socket", to = "socket" }},
          {{ path = "/scgi/*", strip = "/scgi", to = "scgi" }},
          {{ to = "tcp", headers = {{ request = {{ set = {{ X-Real-IP = "{{client}}" }} }} }} }},
        ]
        [backend.tcp]
        servers = "127.0.0.1:{}"
        uwsgi = {{ params = {{ APP_ENV = "test" }} }}
        [backend.socket]
        servers = "unix:{}"
        uwsgi = true
        [backend.scgi]
        servers = "127.0.0.1:{}"
        scgi = {{ params = {{ APP_ENV = "test" }} }}
        "#,
        program.port,
        program.socket.display(),
        program.scgi
    ));
    wait_until("its servers are up", || {
        ["/", "/socket/", "/scgi/"]
            .iter()
            .all(|path| ask(&node, &format!("GET {path}"), &[], "").status == 200)
    });
    for at in ["", "/socket", "/scgi"] {
        let body = "a body ".repeat(30_000);
        let page = ask(
            &node,
            &format!("POST {at}/a%20b?c=d%20e"),
            &[
                "Content-Type: text/x",
                "X-A: 1",
                "x-a: 2",
                "Proxy: evil",
                "Cookie: k=v",
            ],
            &body,
        );
        assert_eq!(page.status, 200, "{at}: {page:?}");
        assert_eq!(page.field("X-Server"), Some("uwsgi"), "{at}: {page:?}");
        let text = page.text();
        for line in [
            "REQUEST_METHOD=POST",
            "PATH_INFO=/a b",
            "QUERY_STRING=c=d%20e",
            "REQUEST_URI=/a%20b?c=d%20e",
            "CONTENT_TYPE=text/x",
            "REMOTE_ADDR=127.0.0.1",
            "SERVER_PROTOCOL=HTTP/1.1",
            "SERVER_NAME=shop.example",
            "HTTP_COOKIE=k=v",
            "HTTP_X_A=1, 2",
            "scheme http",
            &format!("{} bytes", body.len()),
        ] {
            assert!(
                text.lines().any(|known| known == line),
                "{at} {line}: {text}"
            );
        }
        assert!(!text.contains("HTTP_PROXY"), "{at}: {text}");
        assert_eq!(
            text.contains("APP_ENV=test"),
            at != "/socket",
            "{at}: {text}"
        );
        assert_eq!(text.contains("HTTP_X_REAL_IP=127.0.0.1"), at.is_empty());
        let status = |path: &str| ask(&node, &format!("GET {at}{path}"), &[], "").status;
        assert_eq!((status("/status/404"), status("/status/503")), (404, 503));
        let large = ask(&node, &format!("GET {at}/large"), &[], "");
        assert_eq!(large.text().len(), 1_000_000, "{at}");
        let page = ask(&node, &format!("GET {at}/cookies"), &[], "");
        assert_eq!(page.head.matches("Set-Cookie: ").count(), 2, "{page:?}");
        let moved = ask(&node, &format!("GET {at}/moved"), &[], "");
        assert_eq!(
            (moved.status, moved.field("Location")),
            (302, Some("/there"))
        );
    }
    // Connections to clients are kept, those to programs are not.
    let mut client = TcpStream::connect(node.address()).unwrap();
    for _ in 0..3 {
        let asked = b"GET /sized HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(asked).unwrap();
        let head = common::origin::read_head(&mut client).expect("an answer");
        let (_, length) = head.split_once("Content-Length: ").expect("a length");
        let length = length.lines().next().and_then(|n| n.parse().ok());
        let mut body = vec![0; length.expect("a number")];
        client.read_exact(&mut body).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    // A body in chunks is whole when the program gets it.
    let asked = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = raw(node.address(), asked.as_bytes()).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("5 bytes"), "{answer}");
    // More than the protocol can say.
    let long = format!("X-A: {}", "x".repeat(15_000));
    assert_eq!(ask(&node, "GET /x", &[&long], "").status, 200);
}

#[test]
fn who_does_not_answer_is_passed_by_and_what_is_no_answer_is_an_error() {
    let fine = Origin::start(|_, mut stream| {
        let mut head = [0; 4];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let length = u16::from_le_bytes([head[1], head[2]]);
        let mut told = vec![0; usize::from(length)];
        let _ = stream.read_exact(&mut told);
        let said: &[u8] = if told.windows(5).any(|part| part == b"/none") {
            b"what is this\r\n\r\n"
        } else {
            b"Status: 201 So\r\nX-Modifier: 7\r\n\r\nfine"
        };
        let modifier = head[0] == 7 && head[3] == 0;
        let _ = stream.write_all(if modifier { said } else { b"" });
    });
    let broken = Origin::start(|_, _| {});
    let node = Node::start(&format!(
        r#"
        [listener.web]
        bind = "127.0.0.1:{{a}}"
        route = {{ to = "shop" }}
        [backend.shop]
        servers = ["{}", "{}"]
        check = false
        uwsgi = {{ modifier = 7 }}
        "#,
        broken.address, fine.address
    ));
    for _ in 0..4 {
        let page = ask(&node, "GET /x", &[], "");
        assert_eq!((page.status, page.text().as_str()), (201, "fine"));
        assert_eq!(page.field("X-Modifier"), Some("7"));
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(ask(&node, "POST /none", &[], "a").status);
    }
    assert_eq!(seen, [502, 502]);
}
