//! Clients that prove who they are, and those that do not: rustls as the client, over HTTP/1.1 and HTTP/2.

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use common::authority::{Authority, certs};
use common::{Rig, body_of, config, handler, run};
use rcgen::{DnType, DnValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tandem_http::{ListenerConfig, Plan, Reply};
use tandem_model::{ClientCert, ListenerTls, TlsVersion};
use tandem_net::ServerTls;
use tokio::process::Command;

/// Says who came, by each piece that is known of the certificate.
fn who() -> ListenerConfig {
    config(handler(|request| {
        let said = match request.certificate {
            None => "nobody".to_owned(),
            Some(known) => format!("{:?} {}", known.common_name, known.subject),
        };
        Plan::Bytes(Reply::text(200, &"site".into(), said))
    }))
}

fn with_tls(tls: &ListenerTls) -> ListenerConfig {
    ListenerConfig {
        tls: Some(ServerTls::load(tls).unwrap()),
        http2: true,
        ..who()
    }
}

/// What a listener of `ca` says, that lets in whom `ca` knows, or nobody.
fn optional(ca: &Authority, min: TlsVersion) -> ListenerTls {
    ListenerTls {
        client_ca: Some(ca.ca()),
        client_cert: ClientCert::Optional,
        min,
        ..certs(&[ca.sign("server.pem", &["a.example"])])
    }
}

fn named(ca: &Authority, name: &str) -> Arc<ClientConfig> {
    let path = certificate(ca, name);
    ca.client_with(Some(&path))
}

fn certificate(ca: &Authority, name: &str) -> std::path::PathBuf {
    let value = DnValue::Utf8String(name.into());
    ca.sign_as(&format!("{name}.crt"), &[(DnType::CommonName, value)])
}

/// What is answered over a new connection, and how the handshake was; `None` where there was none.
async fn ask(at: SocketAddr, client: &Arc<ClientConfig>) -> Option<(String, HandshakeKind)> {
    let client = client.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from("a.example").unwrap();
        let tls = ClientConnection::new(client, name).unwrap();
        let mut stream = StreamOwned::new(tls, std::net::TcpStream::connect(at).unwrap());
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(request).ok()?;
        stream.read_to_string(&mut answer).ok()?;
        let kind = stream.conn.handshake_kind()?;
        Some((body_of(&answer).to_owned(), kind))
    });
    asked.await.unwrap()
}

#[test]
fn a_client_may_come_without_a_certificate_but_not_with_a_wrong_one() {
    run(async {
        let (ca, stranger) = (Authority::new("optional"), Authority::new("forger"));
        let rig = Rig::new(with_tls(&optional(&ca, TlsVersion::V12)));
        let full = HandshakeKind::Full;
        let said = |text: &str| Some((text.to_owned(), full));
        assert_eq!(ask(rig.address, &ca.client()).await, said("nobody"));
        let ann = named(&ca, "ann");
        assert_eq!(ask(rig.address, &ann).await, said("Some(\"ann\") CN=ann"));
        let forged = ca.client_with(Some(&certificate(&stranger, "ann")));
        assert_eq!(ask(rig.address, &forged).await, None);
        let required = ListenerTls {
            client_cert: ClientCert::Required,
            ..optional(&ca, TlsVersion::V12)
        };
        let rig = Rig::new(with_tls(&required));
        assert_eq!(ask(rig.address, &ca.client()).await, None);
        assert!(ask(rig.address, &named(&ca, "bob")).await.is_some());
    });
}

#[test]
fn whoever_is_asked_for_a_certificate_is_asked_each_time() {
    run(async {
        let ca = Authority::new("resumed");
        for min in [TlsVersion::V12, TlsVersion::V13] {
            let rig = Rig::new(with_tls(&optional(&ca, min)));
            for (client, said) in [
                (ca.client(), "nobody"),
                (named(&ca, "ann"), "Some(\"ann\") CN=ann"),
                (named(&ca, "bob"), "Some(\"bob\") CN=bob"),
            ] {
                for _ in 0..3 {
                    let expected = Some((said.to_owned(), HandshakeKind::Full));
                    assert_eq!(ask(rig.address, &client).await, expected, "{min:?}");
                }
            }
        }
    });
}

#[test]
fn who_was_let_in_by_one_authority_is_not_by_another() {
    run(async {
        let (ca, other) = (Authority::new("tickets"), Authority::new("tickets2"));
        for min in [TlsVersion::V12, TlsVersion::V13] {
            let tls = optional(&ca, min);
            let elsewhere = ListenerTls {
                client_ca: Some(other.ca()),
                ..tls.clone()
            };
            let (first, second) = (Rig::new(with_tls(&tls)), Rig::new(with_tls(&elsewhere)));
            let ann = named(&ca, "ann");
            let known = "Some(\"ann\") CN=ann";
            let full = Some((known.to_owned(), HandshakeKind::Full));
            assert_eq!(ask(first.address, &ann).await, full);
            // That the other authority did not sign it is seen.
            assert_eq!(ask(second.address, &ann).await, None);
            // Nor after a reload that puts another authority in place.
            let before = first.config.load().tls.clone().unwrap();
            let reload = |tls: &ListenerTls| {
                first.config.store(Arc::new(ListenerConfig {
                    tls: Some(before.reload(tls).unwrap()),
                    http2: true,
                    ..who()
                }));
            };
            reload(&elsewhere);
            assert_eq!(ask(first.address, &ann).await, None);
            // Nor does who came without one before all had to have one.
            let nobody = ca.client();
            reload(&tls);
            assert!(ask(first.address, &nobody).await.is_some());
            reload(&ListenerTls {
                client_cert: ClientCert::Required,
                ..tls.clone()
            });
            assert_eq!(ask(first.address, &nobody).await, None);
        }
    });
}

#[test]
fn what_a_certificate_says_is_text_however_it_was_meant() {
    run(async {
        let ca = Authority::new("hostile");
        let rig = Rig::new(with_tls(&optional(&ca, TlsVersion::V12)));
        let long = "x".repeat(8000);
        for (number, (name, said)) in [
            ("ann\r\nX-Admin: 1", r"None CN=ann\0D\0AX-Admin: 1"),
            ("ann\0", r"None CN=ann\00"),
            (" ann", r"None CN=\ ann"),
            (&long, "None "),
            ("jürgen", r#"Some("jürgen") CN=j\C3\BCrgen"#),
        ]
        .into_iter()
        .enumerate()
        {
            let value = DnValue::Utf8String(name.into());
            let path = ca.sign_as(&format!("{number}.crt"), &[(DnType::CommonName, value)]);
            let client = ca.client_with(Some(&path));
            let heard = ask(rig.address, &client).await.map(|(said, _)| said);
            assert_eq!(heard.as_deref(), Some(said));
        }
    });
}

#[test]
fn requests_of_http2_are_those_of_their_connections_client() {
    run(async {
        let ca = Authority::new("streams");
        let rig = Rig::new(with_tls(&optional(&ca, TlsVersion::V12)));
        let path = certificate(&ca, "ann");
        for (own, said) in [(Some(&path), "Some(\"ann\") CN=ann"), (None, "nobody")] {
            let Some(heard) = curl(&rig, &ca, own.map(|path| &**path)).await else {
                return;
            };
            assert_eq!(heard, format!("{said}2{said}2"));
        }
    });
}

/// Two requests over one connection, each answer followed by the version of HTTP; `None` where there is no curl.
async fn curl(rig: &Rig, ca: &Authority, own: Option<&Path>) -> Option<String> {
    let port = rig.address.port();
    let url = format!("https://a.example:{port}/");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http2", "--max-time", "20", "--noproxy", "*"])
        .args(["--write-out", "%{http_version}"])
        .args(["--resolve", &format!("a.example:{port}:127.0.0.1")])
        .arg("--cacert")
        .arg(ca.ca());
    if let Some(own) = own {
        curl.arg("--cert").arg(own);
    }
    let output = match curl.args([&url, &url]).output().await {
        Err(e) if std::env::var_os("TANDEM_REQUIRE_PEERS").is_none() => {
            println!("skipped: curl does not run here: {e}");
            return None;
        }
        asked => asked.expect("curl runs"),
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
