//! How servers are spoken to, from outside: TLS and who they are, PROXY headers that others read, names that change, and
//! what is done to text on its way back.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use common::calls::{calls, has_strace};
use common::node::Node;
use common::origin::{Origin, read_head};
use common::{Dir, get, has, request, send, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::Signal;

/// An nginx of the test's own with one server of these lines, on a free port of 127.0.0.1.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _dir: Dir,
}

impl Nginx {
    /// `listen` is what stands behind the address; files of `prepare` are in `{dir}`.
    fn start(listen: &str, server: &str, prepare: impl FnOnce(&Dir)) -> Self {
        let dir = Dir::new();
        prepare(&dir);
        let address = common::ports::free();
        let path = dir.path().to_string_lossy().into_owned();
        let server = server.replace("{dir}", &path);
        let conf = dir.file(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; pid {path}/pid; error_log {path}/errors;\n\
                 events {{}}\nhttp {{ access_log off; client_body_temp_path {path}/t1; proxy_temp_path {path}/t2;\n\
                 fastcgi_temp_path {path}/t3; uwsgi_temp_path {path}/t4; scgi_temp_path {path}/t5;\n\
                 server {{ listen {address} {listen};\n{server} }} }}\n"
            ),
        );
        let child = Command::new("nginx")
            .args(["-c", &conf, "-e", &format!("{path}/errors")])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        wait_until("nginx listens", || TcpStream::connect(address).is_ok());
        Self {
            child,
            address,
            _dir: dir,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        send(self.child.id(), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn has_nginx() -> bool {
    has("nginx", &["-v"])
}

/// An authority of this name.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root")
}

/// An nginx with a certificate of this name, that answers whether the TLS session was resumed (`r` or `.`).
fn over_tls(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Nginx {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let signed = params.signed_by(&key, authority).expect("a certificate");
    Nginx::start(
        "ssl",
        "ssl_certificate {dir}/chain.pem; ssl_certificate_key {dir}/key.pem; keepalive_timeout 0;\n\
         ssl_session_cache shared:a:1m; location / { return 200 $ssl_session_reused; }",
        |dir| {
            dir.file("chain.pem", &signed.pem());
            dir.file("key.pem", &key.serialize_pem());
        },
    )
}

/// A listener before one server with these keys of its backend.
fn before(server: &str, keys: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"shop\" }}]\n\
         [backend.shop]\nservers = {{ address = \"{server}\", name = \"s1\" }}\n{keys}\n"
    )
}

#[test]
fn a_server_is_spoken_to_over_tls_when_it_is_who_it_should_be_and_its_sessions_are_resumed() {
    if !has_nginx() {
        return;
    }
    let authority = authority("trusted");
    let server = over_tls(&authority, "shop.internal");
    let keys = "tls = { ca = \"ca.pem\", name = \"shop.internal\" }";
    let text = before(&server.address.to_string(), keys);
    let node = Node::start_with(&text, |dir| {
        dir.file("ca.pem", &authority.pem());
    });
    assert_eq!(get(node.address(), "/").status, 200);
    // Each is a connection of its own: the server keeps none.
    wait_until("a session is resumed", || {
        get(node.address(), "/").text() == "r"
    });
}

#[test]
fn a_server_of_the_wrong_name_or_of_nobody_known_is_down_and_the_log_says_why() {
    if !has_nginx() {
        return;
    }
    let (trusted, stranger) = (authority("trusted"), authority("stranger"));
    for (signer, name, why) in [
        (&trusted, "other.internal", "not valid for name"),
        (
            &stranger,
            "shop.internal",
            "nobody who is trusted signed it",
        ),
    ] {
        let server = over_tls(signer, name);
        let keys = "tls = { ca = \"ca.pem\", name = \"shop.internal\" }";
        let node = Node::start_with(&before(&server.address.to_string(), keys), |dir| {
            dir.file("ca.pem", &trusted.pem());
        });
        wait_until("it is down, and the log says why", || {
            let log = node.log();
            let mut lines = log.lines();
            lines.any(|line| line.contains("shop/s1: down: ") && line.contains(why))
        });
        let page = get(node.address(), "/");
        assert!((500..=503).contains(&page.status), "{page:?}");
    }
}

#[test]
fn a_server_that_cannot_be_verified_is_used_where_the_file_says_so() {
    if !has_nginx() {
        return;
    }
    let server = over_tls(&authority("trusted"), "other.internal");
    let keys = "tls = { verify = false }";
    let node = Node::start(&before(&server.address.to_string(), keys));
    assert_eq!(get(node.address(), "/").status, 200);
}

#[test]
fn a_tls_check_finds_out_whether_a_server_speaks_tls() {
    if !has_nginx() {
        return;
    }
    let server = over_tls(&authority("trusted"), "shop.internal");
    let plain = Origin::http("plain", common::origin::fine);
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nmode = \"tcp\"\nto = \"shop\"\n[backend.shop]\n\
         servers = [{{ address = \"{}\", name = \"tls\" }}, {{ address = \"{}\", name = \"plain\" }}]\ncheck = \"tls\"\n",
        server.address, plain.address
    );
    let node = Node::start(&text);
    wait_until("one is up and one is down", || {
        let log = node.log();
        log.contains("shop/tls: up") && log.contains("shop/plain: down: first check")
    });
}

#[test]
fn nginx_reads_our_proxy_headers_of_both_versions() {
    if !has_nginx() {
        return;
    }
    let server = Nginx::start(
        "proxy_protocol",
        "location / { return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; }",
        |_| {},
    );
    for version in ["v1", "v2"] {
        let keys = format!("send-proxy = \"{version}\"");
        let node = Node::start(&before(&server.address.to_string(), &keys));
        let page = get(node.address(), "/");
        let expected = format!("127.0.0.1 {}", node.address().port());
        assert_eq!((page.status, page.text()), (200, expected), "{version}");
        // The check says who it is, too: the server would not have taken it else.
        wait_until("it is up", || node.log().contains("shop/s1: up"));
    }
}

#[test]
fn a_name_is_looked_up_again_and_each_of_its_addresses_is_a_server() {
    // A file of names of the node's own, in a mount namespace.
    let private = ["--mount", "--map-root-user", "true"];
    if !has("unshare", &private) {
        return;
    }
    let port = common::ports::free().port();
    let serve = |ip: [u8; 4], name: &'static str| {
        Origin::http_at((ip, port).into(), name, common::origin::fine)
    };
    serve([127, 0, 0, 21], "one");
    serve([127, 0, 0, 22], "two");
    serve([127, 0, 0, 23], "three");
    let keys = "resolve = \"1s\"";
    let text =
        before(&format!("shop.internal:{port}"), keys).replace("name = \"s1\"", "weight = 1");
    let hosts = |addresses: &[&str]| {
        let lines = addresses.iter().map(|a| format!("{a} shop.internal\n"));
        format!("127.0.0.1 localhost\n{}", lines.collect::<String>())
    };
    let node = Node::start_around(
        &text,
        |dir| {
            dir.file("hosts", &hosts(&["127.0.0.21", "127.0.0.22"]));
        },
        |dir, command| {
            let mount = format!(
                "mount --bind {}/hosts /etc/hosts && exec \"$@\"",
                dir.path().display()
            );
            let around = [
                "unshare",
                "--mount",
                "--map-root-user",
                "sh",
                "-c",
                &mount,
                "sh",
            ];
            around
                .iter()
                .map(|word| (*word).to_owned())
                .chain(command)
                .collect()
        },
    );
    let asked = |times: usize| {
        let mut names: Vec<String> = (0..times)
            .map(|_| get(node.address(), "/").text())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    wait_until("both addresses serve", || asked(4) == ["one", "two"]);
    node.dir
        .file("hosts", &hosts(&["127.0.0.22", "127.0.0.23"]));
    wait_until("the new one serves and the old one no longer", || {
        asked(4) == ["three", "two"]
    });
    assert!(node.log().contains("127.0.0.23"), "{}", node.log());
}

#[test]
fn text_of_servers_is_compressed_for_those_who_take_it_and_ranges_stay_true() {
    const TEXT: &str = "All work and no play makes Jack a dull boy. ";
    let server = Origin::start(|_, mut stream| {
        use std::io::Write as _;
        while let Some(head) = common::origin::read_head(&mut stream) {
            let body = TEXT.repeat(200);
            let fields = "Content-Type: text/html\r\nETag: \"abc\"\r\nAccept-Ranges: bytes\r\n";
            let answer = if head.contains("Range: bytes=0-9") {
                format!(
                    "HTTP/1.1 206 Partial Content\r\n{fields}Content-Range: bytes 0-9/{}\r\nContent-Length: 10\r\n\r\n{}",
                    body.len(),
                    &body[..10]
                )
            } else {
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let text = before(&server.address.to_string(), "")
        .replace("{ to = \"shop\" }", "{ to = \"shop\", compress = true }");
    let node = Node::start(&text);
    let ask = |fields: &str| request(node.address(), "GET", "/", fields, b"").expect("an answer");
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("gzip, br", Some("br")),
        ("gzip;q=1, br;q=0.1", Some("gzip")),
        ("identity", None),
    ] {
        let page = ask(&format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!(page.field("content-encoding"), coding, "{accepted}");
        let vary = page.field("vary").unwrap_or_default().to_ascii_lowercase();
        assert_eq!(vary, "accept-encoding", "{accepted}");
        let tag = if coding.is_some() {
            "W/\"abc\""
        } else {
            "\"abc\""
        };
        assert_eq!(page.field("etag"), Some(tag), "{accepted}");
        let whole = match coding {
            Some("gzip") => {
                let mut text = String::new();
                let mut decoder = flate2::read::GzDecoder::new(&page.body[..]);
                std::io::Read::read_to_string(&mut decoder, &mut text).expect("gzip");
                text
            }
            Some(_) => {
                assert!(page.body.len() < TEXT.len() * 20, "{}", page.body.len());
                continue;
            }
            None => page.text(),
        };
        assert_eq!(whole, TEXT.repeat(200), "{accepted}");
    }
    // A part is a part of the text as it is.
    let part = ask("Accept-Encoding: gzip, br\r\nRange: bytes=0-9\r\n");
    assert_eq!(part.status, 206);
    assert_eq!(part.field("content-encoding"), None);
    assert_eq!(part.text(), TEXT[..10]);
    assert_eq!(part.field("etag"), Some("\"abc\""));
}

/// Takes a body of [`LARGE`] bytes, or sends one.
fn large() -> Origin {
    Origin::start(|_, mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let length = if head.starts_with("POST ") {
                let mut body = std::io::Read::by_ref(&mut stream).take(LARGE as u64);
                let read = std::io::copy(&mut body, &mut std::io::sink());
                assert_eq!(read.expect("the body"), LARGE as u64);
                0
            } else {
                LARGE
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("it listens");
            stream.write_all(&vec![b'x'; length]).expect("it listens");
        }
    })
}

/// Bytes of a large body.
const LARGE: usize = 32 << 20;

#[test]
fn large_bodies_go_both_ways_without_passing_through_the_process() {
    if !has_strace() {
        return;
    }
    let origin = large();
    let node = Node::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"s\" }}]\nlimits = {{ body = \"1GiB\" }}\n\
         [backend.s]\nservers = \"{}\"\ncheck = false\n",
        origin.address
    ));
    let ask = |request: &str, body: usize| {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        let head = format!(
            "{request} / HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.write_all(&vec![b'y'; body]).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        answer.len()
    };
    for (request, body) in [("GET", 0), ("POST", LARGE)] {
        let mut answered = 0;
        let calls = calls(node.id(), || answered = ask(request, body));
        assert!(answered + body > LARGE);
        let count = |name: &str| calls.get(name).copied().unwrap_or(0);
        assert!(count("splice") > 0, "{request}: {calls:?}");
        // The beginning is read, and what came too slowly for the kernel to be asked; in pieces of 64 KiB at most.
        let copied = (count("recvfrom") + count("read")) * (64 << 10);
        assert!(copied < LARGE / 4, "{request}: {calls:?}");
    }
}
