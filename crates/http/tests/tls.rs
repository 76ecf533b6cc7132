//! TLS and the PROXY protocol as clients meet them: rustls as the client for what it shows, and curl.

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::authority::{Authority, certs};
use common::{
    Heard, Rig, body_of, config, forward_to, handler, read_to_end, run, status_of, upstream,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tandem_http::{FileBody, ListenerConfig, Plan, Reply};
use tandem_model::{ListenerTls, TlsVersion};
use tandem_net::{ClientRule, ServerTls};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

fn with_tls(tls: &ListenerTls, config: ListenerConfig) -> ListenerConfig {
    ListenerConfig {
        tls: Some(ServerTls::load(tls).unwrap()),
        ..config
    }
}

fn hello() -> ListenerConfig {
    config(handler(|request| {
        let said = format!("secure {} client {}", request.secure, request.client);
        Plan::Bytes(Reply::text(200, &"site".into(), said))
    }))
}

/// What a client saw.
struct Seen {
    answer: std::io::Result<String>,
    kind: Option<HandshakeKind>,
    /// The server's certificate.
    own: Vec<u8>,
}

/// One request over a new connection, from another thread.
async fn ask(at: SocketAddr, client: &Arc<ClientConfig>, name: &str, request: &str) -> Seen {
    let (client, name, request) = (client.clone(), name.to_owned(), request.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from(name).unwrap();
        let tls = ClientConnection::new(client, name).unwrap();
        let mut stream = StreamOwned::new(tls, std::net::TcpStream::connect(at).unwrap());
        let mut answer = Vec::new();
        let result = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_end(&mut answer))
            .map(|_| String::from_utf8_lossy(&answer).into_owned());
        let own = stream.conn.peer_certificates();
        Seen {
            answer: result,
            kind: stream.conn.handshake_kind(),
            own: own.map_or(Vec::new(), |chain| chain[0].to_vec()),
        }
    });
    asked.await.unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn der(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

#[test]
fn clients_get_the_certificate_of_the_name_they_ask_for() {
    run(async {
        let ca = Authority::new("sni");
        let first = ca.sign("1.pem", &["a.example", "other.test"]);
        let wild = ca.sign("2.pem", &["*.example.test"]);
        let rig = Rig::new(with_tls(&certs(&[ca.dir.join("*.pem")]), hello()));
        let client = ca.client();
        for (name, expected) in [
            ("a.example", &first),
            ("A.Example", &first),
            ("b.example.test", &wild),
            ("other.test", &first),
        ] {
            let seen = ask(rig.address, &client, name, GET).await;
            assert_eq!(
                body_of(&seen.answer.unwrap()),
                "secure true client 127.0.0.1"
            );
            assert!(seen.own == der(expected), "{name}");
        }
        // A wildcard stands for one label: the first certificate answers, which the client does not take.
        for name in ["x.b.example.test", "unknown.test"] {
            let seen = ask(rig.address, &client, name, GET).await;
            assert!(seen.answer.is_err(), "{name}");
        }
    });
}

/// Puts the key of a file into one of its own.
fn part(file: &Path) -> PathBuf {
    let both = std::fs::read_to_string(file).unwrap();
    let (chain, key) = both.split_at(both.find("-----BEGIN PRIVATE").unwrap());
    let path = file.with_extension("key");
    std::fs::write(file, chain).unwrap();
    std::fs::write(&path, key).unwrap();
    path
}

#[test]
fn a_key_in_a_file_of_its_own_is_found_by_its_certificate() {
    run(async {
        let ca = Authority::new("keys");
        let files = ["a", "b"].map(|n| ca.sign(&format!("{n}.pem"), &[&format!("{n}.example")]));
        let whole = ca.sign("c.pem", &["c.example"]);
        let [a, b] = [part(&files[0]), part(&files[1])];
        let all = [&files[..], &[whole]].concat();
        for keys in [vec![b.clone(), a.clone()], vec![ca.dir.join("*.key")]] {
            let tls = ListenerTls {
                keys,
                ..certs(&all)
            };
            let rig = Rig::new(with_tls(&tls, hello()));
            for name in ["a.example", "b.example", "c.example"] {
                let seen = ask(rig.address, &ca.client(), name, GET).await;
                assert_eq!(status_of(&seen.answer.unwrap()), 200, "{name}");
            }
        }
        let wrong = |keys: &[PathBuf]| {
            let tls = ListenerTls {
                keys: keys.to_vec(),
                ..certs(&files)
            };
            ServerTls::load(&tls)
                .err()
                .expect("it is refused")
                .to_string()
        };
        let said = wrong(std::slice::from_ref(&a));
        assert!(
            said.contains("b.pem: ") && said.contains("a.key does not have its private key"),
            "{said}"
        );
        assert!(wrong(&[a.clone(), a.clone()]).contains("none of the files with keys"));
        assert!(wrong(&[]).contains("there is no private key in it"));
        let said = wrong(&[a, files[0].clone()]);
        assert!(
            said.contains("a.pem: there is no private key in it"),
            "{said}"
        );
        for (name, form) in [
            (
                "pkcs8.key",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
            ),
            (
                "old.key",
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
            ),
        ] {
            let path = ca.dir.join(name);
            std::fs::write(&path, form).unwrap();
            let said = wrong(&[path]);
            assert!(
                said.contains(name) && said.contains("openssl pkey"),
                "{said}"
            );
        }
        let missing = ca.dir.join("gone.key");
        assert!(wrong(&[missing]).contains("gone.key"));
    });
}

#[test]
fn a_client_that_returns_is_resumed_also_after_a_reload() {
    run(async {
        let ca = Authority::new("resume");
        let path = ca.sign("1.pem", &["a.example"]);
        for min in [TlsVersion::V12, TlsVersion::V13] {
            let tls = ListenerTls {
                min,
                ..certs(std::slice::from_ref(&path))
            };
            let rig = Rig::new(with_tls(&tls, hello()));
            let client = ca.client();
            let first = ask(rig.address, &client, "a.example", GET).await;
            assert_eq!(first.kind, Some(HandshakeKind::Full));
            let again = ask(rig.address, &client, "a.example", GET).await;
            assert_eq!(again.kind, Some(HandshakeKind::Resumed));
            let before = rig.config.load().tls.clone().unwrap();
            assert!(Arc::ptr_eq(&before, &before.reload(&tls).unwrap()));
            // Another certificate under the same authority.
            ca.sign("1.pem", &["a.example"]);
            let reloaded = before.reload(&tls).unwrap();
            assert!(!Arc::ptr_eq(&before, &reloaded));
            rig.config.store(Arc::new(ListenerConfig {
                tls: Some(reloaded),
                ..hello()
            }));
            let later = ask(rig.address, &client, "a.example", GET).await;
            assert_eq!(later.kind, Some(HandshakeKind::Resumed));
            assert_eq!(status_of(&later.answer.unwrap()), 200);
        }
    });
}

#[test]
fn a_client_that_waits_after_its_last_words_hears_that_they_have_arrived() {
    run(async {
        let ca = Authority::new("waits");
        let path = ca.sign("1.pem", &["a.example"]);
        let rig = Rig::new(with_tls(&certs(std::slice::from_ref(&path)), hello()));
        let (client, at) = (ca.client(), rig.address);
        let heard = tokio::task::spawn_blocking(move || {
            let name = ServerName::try_from("a.example").unwrap();
            let mut tls = ClientConnection::new(client, name).unwrap();
            let mut socket = std::net::TcpStream::connect(at).unwrap();
            socket
                .set_read_timeout(Some(std::time::Duration::from_secs(20)))
                .unwrap();
            while tls.is_handshaking() || tls.wants_write() {
                tls.complete_io(&mut socket).unwrap();
            }
            assert_eq!(
                tls.protocol_version(),
                Some(rustls::ProtocolVersion::TLSv1_3)
            );
            // No request was sent. What comes are the session's tickets, and with them the word that all was received: by
            // Nagle's algorithm (RFC 9293 section 3.7.4) a client may wait for that.
            tls.read_tls(&mut socket).unwrap()
        });
        assert!(heard.await.unwrap() > 0);
    });
}

#[test]
fn new_certificates_are_used_without_a_restart_and_broken_ones_change_nothing() {
    run(async {
        let ca = Authority::new("reload");
        let path = ca.sign("1.pem", &["a.example"]);
        let settings = certs(std::slice::from_ref(&path));
        let rig = Rig::new(with_tls(&settings, hello()));
        let old = der(&path);
        let tls = rig.config.load().tls.clone().unwrap();
        std::fs::write(&path, "nothing").unwrap();
        let error = tls.reload(&settings).err().unwrap().to_string();
        assert!(error.contains("1.pem: there is no certificate"), "{error}");
        let seen = ask(rig.address, &ca.client(), "a.example", GET).await;
        assert!(seen.own == old);
        ca.sign("1.pem", &["a.example"]);
        rig.config.store(Arc::new(ListenerConfig {
            tls: Some(tls.reload(&settings).unwrap()),
            ..hello()
        }));
        let seen = ask(rig.address, &ca.client(), "a.example", GET).await;
        assert!(seen.own == der(&path) && seen.own != old);
    });
}

#[test]
fn with_client_ca_only_clients_with_a_certificate_are_heard() {
    run(async {
        let (ca, stranger) = (Authority::new("mutual"), Authority::new("stranger"));
        let tls = ListenerTls {
            client_ca: Some(ca.ca()),
            ..certs(&[ca.sign("1.pem", &["a.example"])])
        };
        let rig = Rig::new(with_tls(&tls, hello()));
        let mine = ca.client_with(Some(&ca.sign("me.crt", &["me"])));
        let seen = ask(rig.address, &mine, "a.example", GET).await;
        assert_eq!(status_of(&seen.answer.unwrap()), 200);
        let forged = ca.client_with(Some(&stranger.sign("me.crt", &["me"])));
        for client in [ca.client(), forged] {
            let seen = ask(rig.address, &client, "a.example", GET).await;
            assert!(seen.answer.is_err());
        }
    });
}

#[test]
fn bodies_pass_whole_both_ways_and_files_too() {
    run(async {
        let ca = Authority::new("bodies");
        let tls = certs(&[ca.sign("1.pem", &["a.example"])]);
        let origin = common::origin(|mut stream, _| async move {
            let request = common::read_request(&mut stream).await.unwrap();
            let body = body_of(&request).to_owned();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        })
        .await;
        let servers = vec![upstream(origin)];
        let rig = Rig::new(with_tls(
            &tls,
            config(forward_to(servers, &Heard::default())),
        ));
        let body = "0123456789abcdef".repeat(40_000);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let seen = ask(rig.address, &ca.client(), "a.example", &request).await;
        assert!(body_of(&seen.answer.unwrap()) == body);

        let path = ca.dir.join("content");
        std::fs::write(&path, &body).unwrap();
        let file = Arc::new(std::fs::File::open(&path).unwrap().into());
        let length = body.len() as u64 - 7;
        let files = config(handler(move |_| {
            Plan::File(FileBody {
                before: bytes::Bytes::new(),
                status: 200,
                fields: bytes::Bytes::new(),
                file: Arc::clone(&file),
                offset: 7,
                length,
                service: "www".into(),
            })
        }));
        let rig = Rig::new(with_tls(&tls, files));
        let seen = ask(rig.address, &ca.client(), "a.example", GET).await;
        assert!(body_of(&seen.answer.unwrap()) == &body[7..]);
    });
}

#[test]
fn a_handshake_that_does_not_come_or_is_none_ends_the_connection() {
    run(async {
        let ca = Authority::new("late");
        let tls = certs(&[ca.sign("1.pem", &["a.example"])]);
        let mut config = hello();
        config.timeouts.head = std::time::Duration::from_millis(50);
        let rig = Rig::new(with_tls(&tls, config));
        let mut silent = rig.connect().await;
        assert_eq!(read_to_end(&mut silent).await, "");
        // However many fail, the log has a line about them, and not one for each.
        for _ in 0..20 {
            let answer = rig.talk(GET).await;
            assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
        }
        let events = rig.telemetry.events.last(100);
        assert_eq!(events.len(), 1, "{events:?}");
        let what = &events[0].what;
        assert!(
            what.starts_with("a TLS handshake with 127.0.0.1 failed"),
            "{what}"
        );
    });
}

#[test]
fn what_is_wrong_with_certificates_is_said_in_one_sentence() {
    let ca = Authority::new("wrong");
    let (one, two) = (ca.sign("1.pem", &["a"]), ca.sign("2.pem", &["b"]));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let key_of_two = text(&two)
        .split_once("-----BEGIN PRIVATE")
        .unwrap()
        .1
        .to_owned();
    let cert_of_one = text(&one)
        .split_once("-----BEGIN PRIVATE")
        .unwrap()
        .0
        .to_owned();
    std::fs::write(
        ca.dir.join("mixed.crt"),
        cert_of_one.clone() + "-----BEGIN PRIVATE" + &key_of_two,
    )
    .unwrap();
    std::fs::write(ca.dir.join("keyless.crt"), cert_of_one).unwrap();
    for (file, expected) in [
        ("absent.pem", "absent.pem: No such file"),
        ("*.none", "no file has such a name"),
        ("keyless.crt", "no private key"),
        ("mixed.crt", "cannot be used"),
    ] {
        let error = ServerTls::load(&certs(&[ca.dir.join(file)])).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn the_source_a_trusted_proxy_states_is_the_client() {
    run(async {
        let trusting = || ListenerConfig {
            proxy_protocol: true,
            rule: ClientRule {
                trust: vec!["127.0.0.1/32".parse().unwrap()],
                ..ClientRule::default()
            },
            ..hello()
        };
        let rig = Rig::new(trusting());
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x15\xb3\0\x50";
        for (header, client) in [
            (
                &b"PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\n"[..],
                "192.0.2.7",
            ),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
            (v2, "192.0.2.7"),
        ] {
            let answer = rig.talk([header, GET.as_bytes()].concat()).await;
            assert_eq!(body_of(&answer), format!("secure false client {client}"));
            // In any pieces.
            let mut slow = rig.connect().await;
            for byte in header {
                slow.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            slow.write_all(GET.as_bytes()).await.unwrap();
            let answer = read_to_end(&mut slow).await;
            assert_eq!(body_of(&answer), format!("secure false client {client}"));
        }
        // Whoever is sent away without a word is in the log, once for all.
        for _ in 0..3 {
            assert_eq!(rig.talk(GET).await, "");
        }
        let events = rig.telemetry.events.last(100);
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].what.contains("did not begin with a PROXY header"));

        let rig = Rig::new(ListenerConfig {
            rule: ClientRule::default(),
            ..trusting()
        });
        let forged = format!("PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\n{GET}");
        assert_eq!(rig.talk(forged).await, "");
        let events = rig.telemetry.events.last(100);
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].what.contains("in `trust`"), "{events:?}");
    });
}

#[test]
fn curl_speaks_tls_behind_the_proxy_protocol() {
    run(async {
        let ca = Authority::new("curl");
        let rig = Rig::new(ListenerConfig {
            proxy_protocol: true,
            rule: ClientRule {
                trust: vec!["127.0.0.1/32".parse().unwrap()],
                ..ClientRule::default()
            },
            ..with_tls(&certs(&[ca.sign("1.pem", &["a.example"])]), hello())
        });
        for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let port = rig.address.port();
            let asked = Command::new("curl")
                .args([
                    "-sS",
                    "--max-time",
                    "20",
                    "--haproxy-protocol",
                    "--noproxy",
                    "*",
                ])
                .args(["--resolve", &format!("a.example:{port}:127.0.0.1")])
                .arg("--cacert")
                .arg(ca.ca())
                .args(version)
                .arg(format!("https://a.example:{port}/"))
                .output()
                .await;
            let output = match asked {
                Err(e) if std::env::var_os("TANDEM_REQUIRE_PEERS").is_none() => {
                    println!("skipped: curl does not run here: {e}");
                    return;
                }
                asked => asked.expect("curl runs"),
            };
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}");
            assert_eq!(output.stdout, b"secure true client 127.0.0.1");
        }
    });
}

#[test]
fn a_tunnel_goes_on_to_a_client_that_has_no_more_to_say() {
    run(async {
        let ca = Authority::new("half");
        let path = ca.sign("1.pem", &["a.example"]);
        // Answers when it has heard all.
        let server = common::origin(|mut stream, _| async move {
            use tokio::io::AsyncReadExt as _;
            common::read_head(&mut stream).await;
            let head = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            stream.write_all(&heard).await.unwrap();
        })
        .await;
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(with_tls(&certs(&[path]), config(forward)));
        let (client, at) = (ca.client(), rig.address);
        let talk = move || {
            let name = ServerName::try_from("a.example").unwrap();
            let tls = ClientConnection::new(client, name).unwrap();
            let mut stream = StreamOwned::new(tls, std::net::TcpStream::connect(at).unwrap());
            let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
            stream.write_all(upgrade).unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(b"all of it").unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            rest
        };
        let rest = tokio::task::spawn_blocking(talk).await.unwrap();
        assert_eq!(rest, "all of it");
    });
}

#[test]
fn a_client_that_takes_no_hints_and_breaks_its_request_is_cut_off() {
    run(async {
        let ca = Authority::new("hints");
        let path = ca.sign("1.pem", &["a.example"]);
        // More hints than a Unix socket takes of one side.
        let (told, tell) = tokio::sync::oneshot::channel();
        let told = std::cell::RefCell::new(Some(told));
        let server = common::origin(move |mut stream, _| {
            let told = told.borrow_mut().take();
            async move {
                use tokio::io::AsyncReadExt as _;
                common::read_head(&mut stream).await;
                let hint = format!("HTTP/1.1 103 Hints\r\nLink: {}\r\n\r\n", "x".repeat(15_000));
                for _ in 0..16 {
                    stream.write_all(hint.as_bytes()).await.unwrap();
                }
                let _ = told.unwrap().send(());
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(config(handler(|_| unreachable!())));
        let at = ca.dir.join("socket");
        let address = tandem_model::Address::Unix(at.to_str().unwrap().into());
        let mut bound = tandem_net::listen::bind(&address, 1).unwrap();
        let tls = with_tls(&certs(&[path]), config(forward));
        let tls = Arc::new(arc_swap::ArcSwap::from_pointee(tls));
        let socket = bound[0].sockets.remove(0);
        let _listening = rig.engine.listen(socket, tls).unwrap();
        let (go, wait) = std::sync::mpsc::channel();
        let (say, mut said) = tokio::sync::mpsc::channel(1);
        let client = ca.client();
        let talk = move || {
            let name = ServerName::try_from("a.example").unwrap();
            let tls = ClientConnection::new(client, name).unwrap();
            let stream = std::os::unix::net::UnixStream::connect(at).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            let post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(post).unwrap();
            wait.recv().unwrap();
            stream.write_all(b"no size\r\n").unwrap();
            say.blocking_send(()).unwrap();
            wait.recv().unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            String::from_utf8(rest).unwrap()
        };
        let talk = tokio::task::spawn_blocking(talk);
        tell.await.unwrap();
        // The engine has its turns until nothing more can be sent, and then until it has heard what is wrong.
        let turns = async || {
            for _ in 0..20_000 {
                tokio::task::yield_now().await;
            }
        };
        turns().await;
        go.send(()).unwrap();
        said.recv().await.unwrap();
        turns().await;
        go.send(()).unwrap();
        let answers = talk.await.unwrap();
        assert!(!answers.contains(" 400 "), "in the middle of a hint");
        assert_eq!(rig.telemetry.counters.totals().panics, 0);
    });
}
