//! TLS and the PROXY protocol towards servers: the server is another engine that speaks them.

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::authority::{Authority, certs};
use common::*;
use tandem_http::handler::Cause;
use tandem_http::{ClientTls, ListenerConfig, Plan, Reply, TlsName, Upstream};
use tandem_model::{BackendTls, ListenerTls, ProxyVersion};
use tandem_net::{ClientRule, ServerTls};
use tandem_telemetry::event::Event;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A server that says what it knows of its client.
fn server(tls: Option<&ListenerTls>, proxy_protocol: bool) -> Rig {
    Rig::new(ListenerConfig {
        tls: tls.map(|tls| ServerTls::load(tls).unwrap()),
        proxy_protocol,
        rule: ClientRule {
            trust: vec!["127.0.0.1/32".parse().unwrap()],
            ..ClientRule::default()
        },
        ..config(handler(|request| {
            let body = format!("from {} secure {}", request.peer.ip(), request.secure);
            Plan::Bytes(Reply::text(200, &"site".into(), body))
        }))
    })
}

fn over_tls(to: SocketAddr, host: &str, tls: &BackendTls) -> Upstream {
    Upstream {
        tls: Some(ClientTls::load(tls).unwrap()),
        host: TlsName::of(host),
        ..upstream(to)
    }
}

async fn ask(server: Upstream) -> (u16, String, Heard) {
    let heard = Heard::default();
    let rig = Rig::new(config(forward_to(vec![server], &heard)));
    let answer = rig.talk(GET).await;
    (status_of(&answer), body_of(&answer).to_owned(), heard)
}

/// As [`ask`]: who is not who it should be is in the log with the reason, and nobody else.
async fn ask_whom(server: Upstream) -> (u16, String, Heard) {
    let heard = Heard::default();
    let rig = Rig::new(config(forward_to(vec![server], &heard)));
    let answer = rig.talk(GET).await;
    let status = status_of(&answer);
    let is_told = |event: &Event| event.what.starts_with("a TLS handshake failed: ");
    let events = rig.telemetry.events.last(10);
    assert_eq!(events.iter().any(is_told), status == 502, "{events:?}");
    (status, body_of(&answer).to_owned(), heard)
}

#[test]
fn a_server_must_be_who_it_should_be() {
    run(async {
        let (ca, stranger) = (Authority::new("towards"), Authority::new("towards-other"));
        let own = ca.sign("1.pem", &["inside.example", "127.0.0.1"]);
        let rig = server(Some(&certs(&[own])), false);
        let trusting = |path| BackendTls {
            ca: Some(path),
            ..BackendTls::default()
        };
        let named = |name: &str| BackendTls {
            name: Some(name.into()),
            ..trusting(ca.ca())
        };
        let blind = BackendTls {
            verify: false,
            ..BackendTls::default()
        };
        for (host, tls, expected) in [
            ("inside.example", trusting(ca.ca()), 200),
            ("127.0.0.1", trusting(ca.ca()), 200),
            ("elsewhere.example", trusting(ca.ca()), 502),
            ("elsewhere.example", named("inside.example"), 200),
            ("inside.example", named("elsewhere.example"), 502),
            ("inside.example", trusting(stranger.ca()), 502),
            ("elsewhere.example", blind, 200),
        ] {
            let (status, body, heard) = ask_whom(over_tls(rig.address, host, &tls)).await;
            assert_eq!(status, expected, "{host} {tls:?}");
            if status == 200 {
                // X-Forwarded-Proto tells of the client's connection, which is plain.
                assert_eq!(body, "from 127.0.0.1 secure false");
            } else {
                assert_eq!(heard.failures()[0].cause, Cause::Broken);
                assert!(heard.failures()[0].retryable);
            }
        }
        let plain = server(None, false);
        let (status, ..) = ask(over_tls(plain.address, "a", &trusting(ca.ca()))).await;
        assert_eq!(status, 502);
    });
}

/// A certificate that a server signed itself, as an authority's; with its key, as one file.
fn own(dir: &Path, file: &str, name: &str, year: i32) -> PathBuf {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(year, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = params.self_signed(&key).unwrap();
    let path = dir.join(file);
    std::fs::write(&path, signed.pem() + &key.serialize_pem()).unwrap();
    path
}

#[test]
fn a_server_whose_own_certificate_is_named_is_trusted_with_that_one_by_its_name_and_in_its_time() {
    run(async {
        let place = Authority::new("own");
        let named = own(&place.dir, "named.pem", "inside.example", 2024);
        let twin = own(&place.dir, "twin.pem", "inside.example", 2024);
        let old = own(&place.dir, "old.pem", "inside.example", 2004);
        for (server_has, trusted, host, expected) in [
            (&named, &named, "inside.example", 200),
            (&named, &named, "elsewhere.example", 502),
            (&twin, &named, "inside.example", 502),
            (&old, &old, "inside.example", 502),
        ] {
            let rig = server(Some(&certs(std::slice::from_ref(server_has))), false);
            let tls = BackendTls {
                ca: Some(trusted.clone()),
                ..BackendTls::default()
            };
            let (status, ..) = ask_whom(over_tls(rig.address, host, &tls)).await;
            assert_eq!(status, expected, "{server_has:?} {trusted:?} {host}");
        }
    });
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_one() {
    run(async {
        let ca = Authority::new("shown");
        let listener = ListenerTls {
            client_ca: Some(ca.ca()),
            ..certs(&[ca.sign("1.pem", &["a.example"])])
        };
        let rig = server(Some(&listener), false);
        let without = BackendTls {
            ca: Some(ca.ca()),
            ..BackendTls::default()
        };
        let with = BackendTls {
            cert: Some(ca.sign("own.crt", &["proxy"])),
            ..without.clone()
        };
        assert_eq!(ask(over_tls(rig.address, "a.example", &with)).await.0, 200);
        // Its key in a file of its own.
        let own = ca.dir.join("own.crt");
        let both = std::fs::read_to_string(&own).unwrap();
        let (chain, key) = both.split_at(both.find("-----BEGIN PRIVATE").unwrap());
        std::fs::write(&own, chain).unwrap();
        std::fs::write(ca.dir.join("own.key"), key).unwrap();
        assert!(ClientTls::load(&with).is_err());
        let apart = BackendTls {
            key: Some(ca.dir.join("own.key")),
            ..with
        };
        assert_eq!(ask(over_tls(rig.address, "a.example", &apart)).await.0, 200);
        assert_eq!(
            ask(over_tls(rig.address, "a.example", &without)).await.0,
            502
        );
    });
}

#[test]
fn connections_with_tls_are_kept_and_new_ones_are_resumed() {
    run(async {
        let ca = Authority::new("kept");
        let tls = certs(&[ca.sign("1.pem", &["a.example"])]);
        let rig = server(Some(&tls), false);
        let towards = over_tls(
            rig.address,
            "a.example",
            &BackendTls {
                ca: Some(ca.ca()),
                ..BackendTls::default()
            },
        );
        let heard = Heard::default();
        let proxy = Rig::new(config(forward_to(vec![towards], &heard)));
        for _ in 0..3 {
            assert_eq!(status_of(&proxy.talk(GET).await), 200);
        }
        assert_eq!(rig.telemetry.counters.totals().accepted, 1);
    });
}

#[test]
fn a_proxy_header_tells_a_server_who_the_client_is() {
    run(async {
        let ca = Authority::new("stated");
        let tls = certs(&[ca.sign("1.pem", &["a.example"])]);
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            for tls in [None, Some(&tls)] {
                let rig = server(tls, true);
                let towards = Upstream {
                    proxy: Some(version),
                    tls: tls.map(|_| {
                        ClientTls::load(&BackendTls {
                            ca: Some(ca.ca()),
                            ..BackendTls::default()
                        })
                        .unwrap()
                    }),
                    host: TlsName::of("a.example"),
                    ..upstream(rig.address)
                };
                let heard = Heard::default();
                let mut listener = config(forward_to(vec![towards; 4], &heard));
                listener.rule.trust = vec!["127.0.0.1/32".parse().unwrap()];
                let proxy = Rig::new(listener);
                // Each client is stated on a connection of its own, which is used for this client only.
                for client in ["192.0.2.7", "192.0.2.8", "192.0.2.7"] {
                    let answer = proxy
                        .talk(GET.replace("Host:", &format!("X-Forwarded-For: {client}\r\nHost:")))
                        .await;
                    assert_eq!(
                        body_of(&answer),
                        format!("from {client} secure {}", tls.is_some())
                    );
                }
            }
        }
    });
}

#[test]
fn a_server_gone_dumb_in_its_handshake_is_a_504() {
    run(async {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        let dumb = origin(move |stream, _| {
            count.fetch_add(1, SeqCst);
            async move {
                let _held = stream;
                std::future::pending::<()>().await;
            }
        })
        .await;
        let mut towards = over_tls(
            dumb,
            "a.example",
            &BackendTls {
                verify: false,
                ..BackendTls::default()
            },
        );
        towards.timeouts.connect = std::time::Duration::from_millis(50);
        let (status, _, heard) = ask(towards).await;
        assert_eq!(status, 504);
        assert_eq!(heard.failures()[0].cause, Cause::Timeout);
        assert_eq!(seen.load(SeqCst), 1);
    });
}
