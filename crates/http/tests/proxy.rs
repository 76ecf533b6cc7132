//! Requests passed on to servers and answers passed back.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use common::*;
use tandem_http::handler::{Cause, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_request_is_passed_on_and_its_answer_back() {
    run(async {
        let (rig, heard) = proxy(&[canned(OK).await]);
        let answer = rig
            .talk("GET /a HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(
            undated(&answer),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        );
        assert_eq!(heard.outcomes()[0].status, 200);
        assert_eq!(rig.telemetry.counters.totals().requests, 1);
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    run(async {
        let server = origin(|mut stream, n| async move {
            let mut served = 0;
            while read_request(&mut stream).await.is_some() {
                served += 1;
                let body = format!("{n}/{served}");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        for expected in ["0/1", "0/2", "0/3"] {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            read_until(&mut client, expected).await;
        }
    });
}

#[test]
fn as_many_connections_are_kept_as_were_busy_at_once() {
    const CLIENTS: usize = 200;
    run(async {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let together = Rc::new(tokio::sync::Barrier::new(CLIENTS));
        let server = origin(move |mut stream, _| {
            count.set(count.get() + 1);
            let together = together.clone();
            async move {
                while read_request(&mut stream).await.is_some() {
                    together.wait().await;
                    stream.write_all(OK.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(rig.connect().await);
        }
        for _ in 0..3 {
            for client in &mut clients {
                client
                    .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    .await
                    .unwrap();
            }
            for client in &mut clients {
                read_until(client, "hello").await;
            }
        }
        assert_eq!(opened.get(), CLIENTS);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let server = origin(|mut stream, _| async move {
            while let Some(request) = read_request(&mut stream).await {
                let body = request.split(' ').nth(1).unwrap().to_owned();
                let body = body + request.split_once("\r\n\r\n").unwrap().1;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let answer = rig
            .talk(
                "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy\
                 POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n\
                 GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            )
            .await;
        let bodies: Vec<_> = answer
            .split("HTTP/1.1 200 OK\r\n")
            .skip(1)
            .map(body_of)
            .collect();
        assert_eq!(bodies, ["/1", "/2xy", "/31\r\nz\r\n0\r\n\r\n", "/4"]);
    });
}

/// RFC 9110 section 6.6.1.
#[test]
fn an_answer_without_a_date_gets_one_and_another_keeps_its_own() {
    run(async {
        let own = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let dated = OK.replacen("\r\n", &format!("\r\n{own}"), 1);
        let early = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}");
        for (answer, is_own) in [(OK, false), (&*dated, true), (&*early, false)] {
            let (rig, _) = proxy(&[canned(answer).await]);
            let got = rig
                .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await;
            assert_eq!(got.matches("\r\nDate: ").count(), 1, "{got}");
            assert_eq!(got.contains(own), is_own, "{got}");
            let (_, last) = got.rsplit_once("HTTP/1.1 200").unwrap();
            assert!(last.contains("\r\nDate: "), "{got}");
        }
    });
}

#[test]
fn chunked_answers_pass_with_their_trailers_dropped() {
    run(async {
        let server = canned(
            "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
        )
        .await;
        let (rig, _) = proxy(&[server]);
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(
            undated(&answer),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
        );
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        let answer = rig
            .talk("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(
            undated(&answer),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde"
        );
    });
}

#[test]
fn trailers_pass_to_those_who_take_them() {
    run(async {
        let seen = Rc::new(RefCell::new(String::new()));
        let server = {
            let seen = seen.clone();
            origin(move |mut stream, _| {
                let seen = seen.clone();
                async move {
                    let request = read_until(&mut stream, "b\r\n0\r\nDigest: x\r\n\r\n").await;
                    *seen.borrow_mut() = request;
                    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nDigest: y\r\nSet-Cookie: z\r\n\r\n";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            })
            .await
        };
        let (rig, _) = proxy(&[server]);
        let answer = rig
            .talk("POST / HTTP/1.1\r\nHost: a\r\nConnection: TE, close\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nDigest: x\r\nContent-Length: 9\r\n\r\n")
            .await;
        assert_eq!(body_of(&answer), "1\r\na\r\n0\r\nDigest: y\r\n\r\n");
        let seen = seen.borrow();
        assert!(
            seen.contains("TE: trailers\r\nConnection: TE\r\n"),
            "{seen}"
        );
    });
}

#[test]
fn an_answer_without_length_is_chunked_anew() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it")
                .await
                .unwrap();
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let answer = read_until(&mut client, "0\r\n\r\n").await;
        assert!(answer.contains("Transfer-Encoding: chunked"), "{answer}");
        assert!(answer.contains("\r\n9\r\nall of it\r\n"), "{answer}");
        let answer = rig.talk("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(body_of(&answer), "all of it");
    });
}

#[test]
fn answers_without_a_body_have_none() {
    run(async {
        for (request, head) in [
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
            (
                "HEAD",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
            (
                "GET",
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
            ),
        ] {
            let (rig, _) = proxy(&[canned(head).await]);
            let mut client = rig.connect().await;
            for _ in 0..2 {
                let request = format!("{request} / HTTP/1.1\r\nHost: a\r\n\r\n");
                client.write_all(request.as_bytes()).await.unwrap();
                let answer = read_head(&mut client).await;
                assert_eq!(answer.contains("Length: 500"), head.contains("Length: 500"));
            }
        }
    });
}

#[test]
fn the_client_is_told_to_go_on_and_the_server_does_not_hear_of_it() {
    run(async {
        let server = origin(|mut stream, _| async move {
            let request = read_request(&mut stream).await.unwrap();
            assert!(!request.to_lowercase().contains("expect"), "{request}");
            assert!(request.ends_with("\r\n\r\nhello"), "{request}");
            let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{OK}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        client
            .write_all(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            )
            .await
            .unwrap();
        assert_eq!(
            read_head(&mut client).await,
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        client.write_all(b"hello").await.unwrap();
        assert!(
            read_until(&mut client, "hello")
                .await
                .starts_with("HTTP/1.1 200")
        );
    });
}

#[test]
fn early_hints_pass_to_clients_that_know_them() {
    run(async {
        let hints =
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 X\r\n\r\n{OK}");
        let (rig, _) = proxy(&[canned(hints).await]);
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
            "{answer}"
        );
        let answer = rig.talk("GET / HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    });
}

#[test]
fn large_bodies_pass_both_ways_at_once() {
    const SIZE: usize = 5 << 20;
    run(async {
        // Echoes while it reads: an engine that sends first and reads later would stand still.
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let sent: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
        let mut got = vec![0; SIZE];
        let (mut from, mut to) = client.split();
        let up = async { to.write_all(&sent).await.unwrap() };
        let down = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(from.read_u8().await.unwrap());
            }
            from.read_exact(&mut got).await.unwrap();
        };
        tokio::join!(up, down);
        assert!(got == sent);
    });
}

#[test]
fn a_server_that_answers_early_is_heard() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
                .await
                .unwrap();
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nbeginning")
            .await
            .unwrap();
        let answer = read_to_end(&mut client).await;
        assert_eq!(status_of(&answer), 413);
        assert!(answer.contains("Connection: close"), "{answer}");
        assert_eq!(body_of(&answer), "no");
    });
}

#[test]
fn a_client_that_has_closed_its_half_gets_its_answer() {
    run(async {
        let (rig, _) = proxy(&[canned(OK).await]);
        let mut client = rig.connect().await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(body_of(&read_to_end(&mut client).await), "hello");
    });
}

#[test]
fn a_websocket_is_a_tunnel_after_its_upgrade_and_not_before() {
    run(async {
        let server = origin(|mut stream, _| async move {
            let head = read_head(&mut stream).await;
            assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi ")
                .await
                .unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly ")
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Upgrade: websocket\r\n"), "{head}");
        assert_eq!(read_until(&mut client, "early ").await, "hi early ");
        client.write_all(b"later").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "later");
    });
}

#[test]
fn an_upgrade_nobody_asked_for_is_malformed() {
    run(async {
        let (rig, heard) = proxy(&[canned("HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n").await]);
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 502);
        assert_eq!(heard.failures()[0].cause, Cause::Malformed);
        assert_eq!(heard.failures()[0].stage, Stage::Answered);
    });
}
