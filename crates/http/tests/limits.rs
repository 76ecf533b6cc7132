//! What a peer can hold open, and for how long; malformed requests; ending in order; configurations replaced.

mod common;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use tandem_http::policy::Governance;
use tandem_http::{ListenerConfig, Plan, Reply};
use tandem_model::{BodyLimit, Limits, Policies, Size, Timeouts};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

const SHORT: Duration = Duration::from_millis(30);

fn hello(words: &'static str) -> ListenerConfig {
    config(handler(move |_| {
        Plan::Bytes(Reply::text(200, &"site".into(), words))
    }))
}

fn with(timeouts: Timeouts) -> Rig {
    Rig::new(ListenerConfig {
        timeouts,
        ..hello("hello")
    })
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    run(async {
        let rig = with(Timeouts {
            idle: SHORT,
            ..timeouts()
        });
        assert_eq!(rig.talk("").await, "");
        let answer = rig.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(body_of(&answer), "hello");
        assert!(!answer.contains("Connection: close"), "{answer}");
    });
}

#[test]
fn a_head_that_does_not_end_is_a_408() {
    run(async {
        let rig = with(Timeouts {
            head: SHORT,
            ..timeouts()
        });
        for part in ["G", "\r\nGET / HTTP/1.1\r\nHost: a\r\n"] {
            let answer = rig.talk(part).await;
            assert_eq!(status_of(&answer), 408);
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
        }
    });
}

#[test]
fn a_head_that_trickles_has_no_more_time_than_any_other() {
    run(async {
        let rig = with(Timeouts {
            head: SHORT,
            ..timeouts()
        });
        let mut client = rig.connect().await;
        let (mut from, mut to) = client.split();
        let trickle = async {
            while to.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = trickle => {}
            _ = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut answer) => {}
        }
        assert_eq!(status_of(&String::from_utf8_lossy(&answer)), 408);
    });
}

#[test]
fn a_body_that_does_not_come_is_a_408() {
    run(async {
        let server = canned("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let heard = Heard::default();
        // The listener's limit holds as much as the service's.
        for (of_service, of_listener) in [(SHORT, timeouts().body), (timeouts().body, SHORT)] {
            let mut server = upstream(server);
            server.timeouts.body = of_service;
            let rig = Rig::new(ListenerConfig {
                timeouts: Timeouts {
                    body: of_listener,
                    ..timeouts()
                },
                ..config(forward_to(vec![server], &heard))
            });
            let answer = rig
                .talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
                .await;
            assert_eq!(status_of(&answer), 408);
            assert_eq!(heard.failures(), []);
            let outcomes = heard.outcomes();
            assert_eq!(outcomes.last().map(|outcome| outcome.status), Some(408));
        }
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    run(async {
        let mut config = config(handler(|_| {
            let mut reply = Reply::text(200, &"site".into(), "");
            reply.body = vec![b'x'; 64 << 20].into();
            Plan::Bytes(reply)
        }));
        config.timeouts.body = SHORT;
        let rig = Rig::new(config);
        let mut client = rig.connect().await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        while rig.telemetry.counters.totals().requests == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let got = read_to_end(&mut client).await;
        assert!(got.len() < 64 << 20);
    });
}

#[test]
fn a_tunnel_without_a_word_ends() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
                .await
                .unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        // By the listener's limit, and by one that the route says.
        for of_route in [false, true] {
            let mut server = upstream(server);
            server.idle = of_route.then_some(SHORT);
            let mut config = config(forward_to(vec![server], &Heard::default()));
            if !of_route {
                config.timeouts.idle = SHORT;
            }
            let rig = Rig::new(config);
            let answer = rig
                .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
                .await;
            assert_eq!(status_of(&answer), 101);
        }
    });
}

#[test]
fn malformed_requests_get_their_status_and_a_closed_connection() {
    run(async {
        let rig = Rig::new(hello("hello"));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000));
        let large = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "a".repeat(40_000)
        );
        let many = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(200)
        );
        for (request, status) in [
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("\x16\x03\x01\x02", 400),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
            (&long, 414),
            (&large, 431),
            (&many, 431),
        ] {
            let answer = rig.talk(request).await;
            assert_eq!(status_of(&answer), status, "{request:.40}");
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
            assert!(
                body_of(&answer).starts_with(&status.to_string()),
                "{answer}"
            );
            assert!(body_of(&answer).ends_with('\n'), "{answer}");
        }
        assert_eq!(rig.telemetry.counters.totals().refused, 9);
        // A good request before a bad one is answered first.
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET\r\n\r\n")
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 400 "),
            "{answer}"
        );
    });
}

#[test]
fn a_malformed_body_is_a_400_and_the_server_sees_no_end_of_it() {
    run(async {
        let server = origin(|mut stream, _| async move {
            let request = read_request(&mut stream).await;
            assert_eq!(request, None, "a request that never was");
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let answer = rig
            .talk("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0x0\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 400);
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_worker_whose_place_is_taken_answers_once_more_on_connections_that_are_idle() {
    run(async {
        let rig = Rig::new(hello("hello"));
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut idle, mut fresh) = (rig.connect().await, rig.connect().await);
        idle.write_all(ask).await.unwrap();
        assert!(!read_until(&mut idle, "hello").await.contains("close"));
        while rig.engine.connections() < 2 {
            tokio::task::yield_now().await;
        }
        let engine = rig.engine.clone();
        let retiring = async move { engine.retire(Duration::from_secs(10)).await };
        let retiring = tokio::task::spawn_local(retiring);
        while tokio::net::TcpStream::connect(rig.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        for client in [&mut idle, &mut fresh] {
            client.write_all(ask).await.unwrap();
            let answer = read_to_end(client).await;
            assert!(
                answer.contains("Connection: close\r\n") && answer.ends_with("hello"),
                "{answer}"
            );
        }
        assert_eq!(retiring.await.unwrap(), 0);
    });
}

#[test]
fn draining_lets_requests_finish_and_closes_idle_connections() {
    run(async {
        let (asked, go) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (told, wait) = (asked.clone(), go.clone());
        let server = origin(move |mut stream, _| {
            let (told, wait) = (told.clone(), wait.clone());
            async move {
                read_request(&mut stream).await;
                told.notify_one();
                wait.notified().await;
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut idle = rig.connect().await;
        let mut busy = rig.connect().await;
        busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        asked.notified().await;
        let draining = {
            let engine = rig.engine.clone();
            tokio::task::spawn_local(async move { engine.drain(Duration::from_secs(10)).await })
        };
        assert_eq!(read_to_end(&mut idle).await, "");
        go.notify_one();
        let answer = read_to_end(&mut busy).await;
        assert!(
            answer.contains("Connection: close\r\n") && answer.ends_with("done"),
            "{answer}"
        );
        assert_eq!(draining.await.unwrap(), 0);
        assert!(tokio::net::TcpStream::connect(rig.address).await.is_err());
    });
}

#[test]
fn draining_ends_at_its_deadline() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut busy = rig.connect().await;
        busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        while rig.engine.connections() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.engine.drain(SHORT).await, 1);
    });
}

#[test]
fn a_replaced_configuration_holds_from_the_next_request_on_the_same_connection() {
    run(async {
        let rig = Rig::new(hello("old"));
        let mut client = rig.connect().await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut client, "old").await;
        rig.config.store(Arc::new(hello("new")));
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut client, "new").await;
    });
}

#[test]
fn connections_over_the_limit_wait_for_their_turn() {
    run(async {
        let telemetry =
            tandem_telemetry::Telemetry::new("local", 1, tandem_telemetry::event::Log::Silent);
        let engine = tandem_http::Engine::new(0, 1, telemetry);
        let address = tandem_model::Address::tcp("127.0.0.1", 0);
        let mut bound = tandem_net::listen::bind(&address, 1).unwrap().remove(0);
        let config = Arc::new(arc_swap::ArcSwap::from_pointee(hello("hello")));
        engine.listen(bound.sockets.remove(0), config).unwrap();
        let address = bound.address.unwrap();
        let connect = || tokio::net::TcpStream::connect(address);
        let mut first = connect().await.unwrap();
        first
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut first, "hello").await;
        let mut second = connect().await.unwrap();
        second.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert_eq!(engine.connections(), 1);
        drop(first);
        assert_eq!(body_of(&read_to_end(&mut second).await), "hello");
    });
}

fn limited(limits: Limits) -> Rig {
    Rig::new(ListenerConfig {
        limits,
        ..hello("hello")
    })
}

#[test]
fn heads_are_as_large_as_the_limits_say() {
    run(async {
        let request = |path: usize, fields: usize, value: usize| {
            let field = |i| format!("X-{i}: {}\r\n", "v".repeat(value));
            let fields = (0..fields).map(field).collect::<Vec<_>>().concat();
            let path = "p".repeat(path);
            format!("GET /{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")
        };
        let usual = limited(Limits::default());
        let narrow = limited(Limits {
            head: Size(1024),
            fields: 10,
            uri: Size(64),
            ..Limits::default()
        });
        let wide = limited(Limits {
            head: Size(64 * 1024),
            fields: 250,
            uri: Size(32 * 1024),
            ..Limits::default()
        });
        for (rig, path, fields, value, status) in [
            (&usual, 8000, 90, 10, 200),
            (&usual, 8200, 1, 1, 414),
            (&usual, 1, 101, 1, 431),
            (&usual, 1, 10, 2000, 431),
            (&narrow, 60, 8, 50, 200),
            (&narrow, 65, 8, 1, 414),
            (&narrow, 1, 11, 1, 431),
            (&narrow, 1, 8, 200, 431),
            (&wide, 30_000, 240, 100, 200),
            (&wide, 33_000, 1, 1, 414),
            (&wide, 1, 251, 1, 431),
            (&wide, 1, 240, 300, 431),
        ] {
            let answer = rig.talk(request(path, fields, value)).await;
            assert_eq!(status_of(&answer), status, "{path} {fields} {value}");
        }
        // A large head leaves the rest of what came where it was.
        let two = format!(
            "{}{}",
            request(20_000, 100, 100).replace("Connection: close\r\n", ""),
            request(1, 1, 1)
        );
        let answers = wide.talk(two).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    });
}

#[test]
fn a_body_larger_than_it_may_be_is_a_413() {
    run(async {
        let heard = Heard::default();
        let server =
            origin(
                |mut stream, _| async move { while read_request(&mut stream).await.is_some() {} },
            )
            .await;
        let rig = Rig::new(ListenerConfig {
            limits: Limits {
                body: Some(Size(10)),
                ..Limits::default()
            },
            ..config(forward_to(vec![upstream(server)], &heard))
        });
        let head = "POST / HTTP/1.1\r\nHost: a\r\n";
        for body in [
            "Content-Length: 11\r\n\r\n",
            "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n",
            "Content-Length: 999999999999\r\n\r\nx",
            "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
            "Transfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n3\r\n890\r\n",
        ] {
            let answer = rig.talk(format!("{head}{body}")).await;
            assert_eq!(status_of(&answer), 413, "{body}");
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
        }
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_route_takes_larger_or_smaller_bodies_than_its_listener() {
    run(async {
        let heard = Heard::default();
        let server = origin(|mut stream, _| async move {
            while read_request(&mut stream).await.is_some() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
            }
        })
        .await;
        for (listener, route, body, status) in [
            (Some(100), BodyLimit::Most(Size(10)), 10, 200),
            (Some(100), BodyLimit::Most(Size(10)), 11, 413),
            (None, BodyLimit::Most(Size(10)), 11, 413),
            (None, BodyLimit::Unlimited, 11, 200),
        ] {
            let policies = Policies {
                body: Some(route),
                rate: Some("1/s".parse().unwrap()),
                ..Policies::default()
            };
            let governance = Governance::new(&"web".into()).and(&policies).unwrap();
            let forward = forward_to(vec![upstream(server)], &heard);
            let rig = Rig::new(ListenerConfig {
                limits: Limits {
                    body: listener.map(Size),
                    ..Limits::default()
                },
                ..config(governance.around(forward).unwrap())
            });
            let data = "x".repeat(body);
            let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
            let known = format!("{head}Content-Length: {body}\r\n\r\n{data}");
            let answer = rig.talk(known).await;
            assert_eq!(status_of(&answer), status, "{route:?}: {answer}");
            // What is refused by its length did not count.
            let again =
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{body:x}\r\n{data}\r\n0\r\n\r\n");
            let answer = rig.talk(again).await;
            let expected = if status == 413 { 413 } else { 429 };
            assert_eq!(status_of(&answer), expected, "{route:?}: {answer}");
        }
    });
}

#[test]
fn a_client_has_so_many_requests_at_once_and_more_when_they_have_ended() {
    run(async {
        let (asked, go) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (heard, wait) = (asked.clone(), go.clone());
        let server = origin(move |mut stream, _| {
            let (heard, wait) = (heard.clone(), wait.clone());
            async move {
                while read_request(&mut stream).await.is_some() {
                    heard.notify_one();
                    wait.notified().await;
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            }
        })
        .await;
        let limited = |most| Policies {
            per_source: Some(most),
            ..Policies::default()
        };
        // Of a group and of its route: both hold.
        let governance = Governance::new(&"web".into()).and(&limited(2)).unwrap();
        let governance = governance.and(&limited(1)).unwrap();
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rc::new(Rig::new(config(governance.around(forward).unwrap())));
        let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        for _ in 0..3 {
            let asking = rig.clone();
            let first = tokio::task::spawn_local(async move { asking.talk(get).await });
            asked.notified().await;
            assert_eq!(status_of(&rig.talk(get).await), 429);
            go.notify_one();
            assert_eq!(status_of(&first.await.unwrap()), 200);
        }
        // Who leaves while the server thinks has ended, too.
        let mut gone = rig.connect().await;
        gone.write_all(get.as_bytes()).await.unwrap();
        asked.notified().await;
        drop(gone);
        go.notify_one();
        loop {
            let asking = rig.clone();
            let mut next = tokio::task::spawn_local(async move { asking.talk(get).await });
            tokio::select! {
                () = asked.notified() => {
                    go.notify_one();
                    assert_eq!(status_of(&next.await.unwrap()), 200);
                    break;
                }
                // The engine has not seen it go yet.
                refused = &mut next => assert_eq!(status_of(&refused.unwrap()), 429),
            }
        }
    });
}

#[test]
fn a_source_that_holds_too_many_connections_is_a_429_and_a_full_listener_a_503() {
    run(async {
        for (limits, status) in [
            (
                Limits {
                    per_source: Some(2),
                    ..Limits::default()
                },
                429,
            ),
            (
                Limits {
                    connections: Some(2),
                    ..Limits::default()
                },
                503,
            ),
        ] {
            let rig = limited(limits);
            let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let mut held = Vec::new();
            for _ in 0..2 {
                let mut client = rig.connect().await;
                client.write_all(get.as_bytes()).await.unwrap();
                assert!(read_until(&mut client, "hello").await.contains("200 OK"));
                held.push(client);
            }
            // Nothing was asked, and it is answered all the same.
            let answer = rig.talk("").await;
            assert_eq!(status_of(&answer), status);
            assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
            let answer = rig.talk(get).await;
            assert_eq!(status_of(&answer), status);
            // A configuration that takes its place knows of them.
            let before = rig.config.load_full();
            rig.config.store(Arc::new(ListenerConfig {
                limits,
                admission: before.admission.clone(),
                ..hello("later")
            }));
            assert_eq!(status_of(&rig.talk(get).await), status);
            drop(held.pop());
            while rig.telemetry.counters.totals().open > 1 {
                tokio::task::yield_now().await;
            }
            let mut client = rig.connect().await;
            client.write_all(get.as_bytes()).await.unwrap();
            assert!(read_until(&mut client, "later").await.contains("200 OK"));
        }
    });
}

#[test]
fn those_who_stand_for_many_are_no_source() {
    run(async {
        let mut config = hello("hello");
        config.limits.per_source = Some(1);
        config.rule.trust = vec!["127.0.0.1/32".parse().unwrap()];
        let rig = Rig::new(config);
        let _held = rig.connect().await;
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 200);
        // By the PROXY protocol each client is stated, and counts for itself.
        let mut config = hello("hello");
        config.limits.per_source = Some(1);
        config.proxy_protocol = true;
        config.rule.trust = vec!["127.0.0.1/32".parse().unwrap()];
        let rig = Rig::new(config);
        let get = |from: &str| {
            format!("PROXY TCP4 {from} 10.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        };
        let mut held = rig.connect().await;
        held.write_all(get("192.0.2.1").as_bytes()).await.unwrap();
        read_until(&mut held, "hello").await;
        assert_eq!(status_of(&rig.talk(get("192.0.2.1")).await), 429);
        let mut other = rig.connect().await;
        other.write_all(get("192.0.2.2").as_bytes()).await.unwrap();
        assert!(read_until(&mut other, "hello").await.contains("200 OK"));
    });
}

#[test]
fn a_server_that_does_not_take_a_connection_in_time_is_a_504() {
    run(async {
        // A listening socket whose queue is full takes no more, and says nothing.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await
        {
            queue.push(stream);
        }
        let mut server = upstream(address);
        server.timeouts.connect = SHORT;
        let heard = Heard::default();
        let rig = Rig::new(config(forward_to(vec![server], &heard)));
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 504);
    });
}
