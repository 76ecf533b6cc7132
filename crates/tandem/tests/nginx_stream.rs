//! `stream` of nginx.conf from outside: the same file goes to nginx, where its module for streams is installed, and to
//! Tandem, and connections through both go where they are to go.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use common::origin::Origin;
use common::{Dir, PATIENCE, certificate, has, tandem, wait_until};

/// What it begins with; nginx's workers are other users.
const MAIN: &str = "load_module modules/ngx_stream_module.so;\ndaemon off;\npid @DIR@/@WHO@.pid;\n\
                    error_log @DIR@/@WHO@.err;\nevents { }\n";

const STREAM: &str = "stream {
    map $ssl_preread_server_name $name {
        hostnames;
        a.example       a;
        *.b.example     b;
        .x.b.example    a;
        d.*             b;
        ~^r\\d+\\.example$ a;
        default         c;
    }
    map $ssl_preread_server_name $known { a.example a; *.b.example b; }
    geo $from { default b; 192.0.2.0/24 a; 192.0.2.7 c; }
    limit_conn_zone $binary_remote_addr zone=clients:1m;
    upstream a { server 127.0.0.1:@A@; }
    upstream b { server 127.0.0.1:@B@; }
    upstream c { server 127.0.0.1:@C@; }
    upstream localhost { server 127.0.0.1:@SECRET@; server 127.0.0.1:@HIDDEN@; }
    set_real_ip_from 127.0.0.1;
    server { listen 127.0.0.1:@NAMES@; ssl_preread on; proxy_pass $name; }
    server { listen 127.0.0.1:@KNOWN@; ssl_preread on; proxy_pass $known; }
    server { listen 127.0.0.1:@UNREAD@; proxy_pass $name; }
    server { listen 127.0.0.1:@FROM@ proxy_protocol; proxy_pass $from; }
    server { listen 127.0.0.1:@MAY@ proxy_protocol; deny 192.0.2.66; allow 192.0.2.0/24; deny all; proxy_pass a; }
    server { listen 127.0.0.1:@TOLD@ proxy_protocol; proxy_protocol on; proxy_pass 127.0.0.1:@TELLS@; }
    server { listen 127.0.0.1:@TELL@; proxy_protocol on; proxy_pass 127.0.0.1:@TELLS@; }
    server { listen 127.0.0.1:@ONE@; limit_conn clients 1; proxy_pass a; }
    ssl_certificate @DIR@/cert.pem;
    ssl_certificate_key @DIR@/cert.pem;
    server { listen 127.0.0.1:@TLS@ ssl; proxy_pass b; }
    server {
        listen 127.0.0.1:@ASKS@ ssl;
        ssl_client_certificate @DIR@/ca.pem;
        ssl_crl @DIR@/revoked.pem;
        ssl_verify_client on;
        proxy_pass c;
    }
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate @DIR@/cert.pem;
    server { listen 127.0.0.1:@TO@; proxy_ssl on; proxy_pass localhost; }
    server { listen 127.0.0.1:@WRONG@; proxy_ssl on; proxy_ssl_name other.example; proxy_pass 127.0.0.1:@SECRET@; }
}
";

/// The addresses of its servers.
const LISTENS: [&str; 12] = [
    "NAMES", "KNOWN", "UNREAD", "FROM", "MAY", "TOLD", "TELL", "ONE", "TLS", "ASKS", "TO", "WRONG",
];

/// Says its name at once, and reads to the client's end.
fn saying(name: &'static str) -> Origin {
    Origin::start(move |_, mut stream| {
        let _ = writeln!(stream, "{name}");
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// Says the first line that it gets.
fn telling() -> Origin {
    Origin::start(|_, mut stream| {
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        if reader.read_line(&mut line).is_ok() {
            let _ = stream.write_all(line.as_bytes());
            let _ = reader.read_to_end(&mut Vec::new());
        }
    })
}

/// Says its name over TLS, in which it speaks one protocol to those that name some.
fn secret(pem: &str) -> Origin {
    let chain = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key);
    let mut config = config.expect("they belong together");
    config.alpn_protocols = vec![b"imap".to_vec()];
    let config = Arc::new(config);
    Origin::start(move |_, mut stream| {
        let mut session = rustls::ServerConnection::new(config.clone()).expect("a session");
        let mut over = rustls::Stream::new(&mut session, &mut stream);
        let _ = over.write_all(b"secret\n");
        let _ = over.read_to_end(&mut Vec::new());
    })
}

/// A program that is ended with the test, in order, so that a master ends its workers, too.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        common::send(self.0.id(), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A program that runs the file, and the ports of its servers.
struct Front {
    program: Program,
    ports: [u16; 12],
}

impl Front {
    fn start(who: &str, dir: &Dir, origins: &[(&str, &Origin)]) -> Self {
        let ports = common::ports::several::<12>();
        let mut text = format!("{MAIN}{STREAM}")
            .replace("@WHO@", who)
            .replace("@DIR@", &dir.path().display().to_string());
        for (name, port) in LISTENS.iter().zip(ports) {
            text = text.replace(&format!("@{name}@"), &port.to_string());
        }
        for (name, origin) in origins {
            let port = origin.address.port().to_string();
            text = text.replace(&format!("@{name}@"), &port);
        }
        let file = dir.file(&format!("{who}.conf"), &text);
        let mut command = if who == "nginx" {
            let mut command = Command::new("nginx");
            command.args(["-e", "stderr", "-c", &file]);
            command
        } else {
            let mut command = tandem();
            command.args(["nginx", "-c", &file]);
            command
        };
        command.env("TMPDIR", dir.path()).stdin(Stdio::null());
        let program = Program(command.spawn().expect("it starts"));
        let mut front = Self { program, ports };
        // All but the one where connections are counted.
        for name in LISTENS.iter().filter(|name| **name != "ONE") {
            let what = format!("{who} listens: {name}");
            wait_until(&what, || {
                let ended = front.program.0.try_wait().expect("it is known");
                assert!(ended.is_none(), "{who} ended: {ended:?}");
                TcpStream::connect(front.at(name)).is_ok()
            });
        }
        front
    }

    fn at(&self, name: &str) -> SocketAddr {
        let place = LISTENS.iter().position(|listen| *listen == name);
        ([127, 0, 0, 1], self.ports[place.expect("one of the file")]).into()
    }

    fn open(&self, name: &str) -> TcpStream {
        let stream = TcpStream::connect(self.at(name)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// The line that comes back for these bytes; nothing from a connection that is closed.
    fn said(&self, name: &str, bytes: &[u8]) -> String {
        let mut stream = self.open(name);
        let _ = stream.write_all(bytes);
        hear(&stream)
    }

    /// The line that comes over TLS, to OpenSSL's client.
    fn over_tls(&self, name: &str, options: &[&str]) -> String {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &self.at(name).to_string()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        let mut line = String::new();
        let out = client.stdout.take().expect("it is piped");
        let _ = BufReader::new(out).read_line(&mut line);
        let _ = client.kill();
        let _ = client.wait();
        line.trim_end().to_owned()
    }
}

fn hear(stream: &TcpStream) -> String {
    let mut line = String::new();
    // Whoever resets the connection has closed it.
    let _ = BufReader::new(stream).read_line(&mut line);
    line.trim_end().to_owned()
}

/// What a TLS client that asks for this name says first.
fn hello(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes
}

/// Whether nginx takes files with a `stream`.
fn has_nginx(dir: &Dir) -> bool {
    let file = dir.file(
        "tiny.conf",
        "load_module modules/ngx_stream_module.so;\nevents { }\nstream { }\n",
    );
    has("nginx", &["-t", "-q", "-e", "stderr", "-c", &file])
}

#[test]
fn connections_of_a_stream_go_where_nginx_sends_them() {
    let dir = Dir::new();
    let (pem, _) = certificate::localhost();
    dir.file("cert.pem", &pem);
    for (name, text) in certificate::clients() {
        dir.file(&format!("{name}.pem"), &text);
    }
    let (a, b, c, tells) = (saying("a"), saying("b"), saying("c"), telling());
    let (one, other) = (secret(&pem), secret(&pem));
    let origins = [
        ("A", &a),
        ("B", &b),
        ("C", &c),
        ("TELLS", &tells),
        ("SECRET", &one),
        ("HIDDEN", &other),
    ];
    let programs = ["tandem", "nginx"];
    for who in programs {
        if who == "nginx" && !has_nginx(&dir) {
            continue;
        }
        let front = Front::start(who, &dir, &origins);
        names(who, &front);
        clients(who, &front);
        tls(who, &front, &dir);
        let first = front.open("ONE");
        assert_eq!(hear(&first), "a", "{who}");
        assert_eq!(front.said("ONE", b""), "", "{who}: one too many");
    }
}

fn names(who: &str, front: &Front) {
    for (name, names, known) in [
        ("a.example", "a", "a"),
        ("A.Example", "a", "a"),
        ("b.example", "c", ""),
        ("www.b.example", "b", ""),
        ("x.b.example", "a", ""),
        ("y.x.b.example", "a", ""),
        ("d.test", "b", ""),
        ("d.x.test", "b", ""),
        ("r12.example", "a", ""),
        ("r.example", "c", ""),
        ("10.0.0.1", "c", ""),
    ] {
        let hello = hello(name);
        assert_eq!(front.said("NAMES", &hello), names, "{who}: {name}");
        assert_eq!(front.said("KNOWN", &hello), known, "{who}: {name}");
        assert_eq!(front.said("UNREAD", &hello), "c", "{who}: {name}");
    }
    let other = b"SSH-2.0-x\r\n";
    assert_eq!(front.said("NAMES", other), "c", "{who}");
    assert_eq!(front.said("KNOWN", other), "", "{who}");
}

fn clients(who: &str, front: &Front) {
    for (client, from, may) in [
        ("192.0.2.1", "a", "a"),
        ("192.0.2.7", "c", "a"),
        ("192.0.2.66", "a", ""),
        ("198.51.100.1", "b", ""),
    ] {
        let header = format!("PROXY TCP4 {client} 127.0.0.1 5555 80\r\n");
        assert_eq!(
            front.said("FROM", header.as_bytes()),
            from,
            "{who}: {client}"
        );
        assert_eq!(front.said("MAY", header.as_bytes()), may, "{who}: {client}");
        assert_eq!(
            front.said("TOLD", format!("{header}x").as_bytes()),
            format!(
                "PROXY TCP4 {client} 127.0.0.1 5555 {}",
                front.at("TOLD").port()
            ),
            "{who}"
        );
    }
    let mut stream = front.open("TELL");
    stream.write_all(b"x").expect("it is sent");
    let port = stream.local_addr().expect("an address").port();
    assert_eq!(
        hear(&stream),
        format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}",
            front.at("TELL").port()
        ),
        "{who}"
    );
}

fn tls(who: &str, front: &Front, dir: &Dir) {
    assert_eq!(front.over_tls("TLS", &[]), "b", "{who}");
    // Whatever is spoken within, nobody says a word about it.
    assert_eq!(front.over_tls("TLS", &["-alpn", "imap"]), "b", "{who}");
    assert_ne!(front.said("TLS", b"no TLS\r\n"), "b", "{who}");
    assert_eq!(front.over_tls("ASKS", &[]), "", "{who}");
    for (own, said) in [("ann", "c"), ("odd", ""), ("forged", "")] {
        let file = dir.path().join(format!("{own}.pem")).display().to_string();
        let options = ["-cert", &file, "-key", &file];
        assert_eq!(front.over_tls("ASKS", &options), said, "{who}: {own}");
    }
    for _ in 0..2 {
        assert_eq!(front.said("TO", b""), "secret", "{who}");
    }
    assert_eq!(front.said("WRONG", b""), "", "{who}");
}

#[test]
fn a_stream_that_nginx_refuses_is_refused() {
    let dir = Dir::new();
    let asks_nginx = has_nginx(&dir);
    let to = "proxy_pass 127.0.0.1:82;";
    let map = |entries: &str| {
        format!(
            "map $ssl_preread_server_name $n {{ hostnames; {entries} }} server {{ listen 127.0.0.1:81; proxy_pass $n; }}"
        )
    };
    for (text, words) in [
        (
            format!(
                "server {{ listen 127.0.0.1:81; {to} }} server {{ listen 127.0.0.1:81; {to} }}"
            ),
            "duplicate \"127.0.0.1:81\" address and port pair",
        ),
        (
            format!("server {{ listen 127.0.0.1:81 default_server; {to} }}"),
            "the invalid \"default_server\" parameter",
        ),
        (
            format!("server {{ {to} }}"),
            "no \"listen\" is defined for server",
        ),
        (
            "server { listen 127.0.0.1:81; }".into(),
            "no handler for server",
        ),
        (
            "server { listen 127.0.0.1:81; proxy_pass 127.0.0.1; }".into(),
            "no port in upstream \"127.0.0.1\"",
        ),
        (
            "upstream u { server 127.0.0.1:82; } server { listen 127.0.0.1:81; proxy_pass u:82; }"
                .into(),
            "upstream \"u\" may not have port 82",
        ),
        (
            format!("server {{ listen 127.0.0.1:81 ssl; {to} }}"),
            "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive",
        ),
        (
            format!("server {{ listen 127.0.0.1:81; proxy_ssl on; proxy_ssl_verify on; {to} }}"),
            "no proxy_ssl_trusted_certificate for proxy_ssl_verify",
        ),
        (map(".a b:1; *.a b:2;"), "conflicting parameter \"*.a\""),
        (map("a b:1; A b:2;"), "conflicting parameter \"a\""),
        (map("a*b b:1;"), "invalid hostname or wildcard \"a*b\""),
    ] {
        let text = format!("{MAIN}stream {{ {text} }}\n")
            .replace("@DIR@", &dir.path().display().to_string())
            .replace("@WHO@", "t");
        let file = dir.file("t.conf", &text);
        let mut programs = vec![(tandem(), vec!["nginx", "-t", "-c", &file])];
        if asks_nginx {
            programs.push((
                Command::new("nginx"),
                vec!["-t", "-e", "stderr", "-c", &file],
            ));
        }
        for (mut program, args) in programs {
            let done = program.args(args).output().expect("it runs");
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(
                !done.status.success() && said.contains(words),
                "{text}: {words}: {said}"
            );
        }
    }
}
