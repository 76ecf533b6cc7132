//! Servers that fail, the one retry rule, and what gateways and nodes tell one another.

mod common;

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use common::*;
use tandem_http::handler::{Cause, Stage};
use tandem_net::ClientRule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";

/// A server that reads a request, writes this much of an answer and closes.
async fn breaks_after(answer: &'static str) -> SocketAddr {
    origin(move |mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

#[test]
fn a_request_that_was_not_sent_is_tried_elsewhere_whatever_its_method() {
    run(async {
        for request in [GET, POST] {
            let (rig, heard) = proxy(&[closed_port().await, canned(OK).await]);
            assert_eq!(body_of(&rig.talk(request).await), "hello");
            let failures = heard.failures();
            assert_eq!(failures.len(), 1);
            assert_eq!(
                (failures[0].stage, failures[0].cause),
                (Stage::Unsent, Cause::Refused)
            );
            assert!(failures[0].retryable);
            assert_eq!(rig.telemetry.counters.totals().retries, 1);
            assert_eq!(heard.outcomes().len(), 1);
        }
    });
}

#[test]
fn a_request_without_an_answer_is_tried_again_only_when_it_may_be_repeated() {
    run(async {
        let (rig, heard) = proxy(&[breaks_after("").await, canned(OK).await]);
        assert_eq!(body_of(&rig.talk(GET).await), "hello");
        assert_eq!(heard.failures()[0].stage, Stage::Unanswered);

        let put = POST.replace("POST", "PUT");
        let (rig, _) = proxy(&[breaks_after("").await, canned(OK).await]);
        assert_eq!(body_of(&rig.talk(put).await), "hello");

        let (rig, heard) = proxy(&[breaks_after("").await, canned(OK).await]);
        assert_eq!(status_of(&rig.talk(POST).await), 502);
        assert_eq!(heard.failures()[0].stage, Stage::Unanswered);
        assert!(!heard.failures()[0].retryable);
        assert_eq!(heard.outcomes()[0].status, 502);
    });
}

#[test]
fn after_a_byte_of_an_answer_there_is_no_other_try() {
    run(async {
        for (answer, cause) in [
            ("H", Cause::Broken),
            ("HTTP/1.1 200 OK\r\nContent-Le", Cause::Broken),
            ("HTTP/1.1 100 Continue\r\n\r\n", Cause::Broken),
            ("garbage\r\n\r\n", Cause::Malformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Cause::Malformed,
            ),
        ] {
            let (rig, heard) = proxy(&[breaks_after(answer).await, canned(OK).await]);
            let page = rig.talk(GET).await;
            assert_eq!(status_of(&page), 502, "{answer}");
            let why = match cause {
                Cause::Broken => "the server broke off before it had answered",
                _ => {
                    "the server's answer is malformed, or its head has more than 16 KiB or 100 fields"
                }
            };
            assert!(body_of(&page).contains(why), "{page}");
            let failure = heard.failures()[0];
            assert_eq!(
                (failure.stage, failure.cause),
                (Stage::Answered, cause),
                "{answer}"
            );
            assert!(!failure.retryable);
        }
        let huge = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"y".repeat(20_000);
        let (rig, heard) = proxy(&[canned(huge).await]);
        assert_eq!(status_of(&rig.talk(GET).await), 502);
        assert_eq!(heard.failures()[0].cause, Cause::Malformed);
    });
}

#[test]
fn an_answer_that_breaks_off_does_not_look_complete() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let (rig, heard) = proxy(&[breaks_after(answer).await]);
            let got = rig.talk(GET).await;
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
            assert!(!got.ends_with("0\r\n\r\n"), "{got}");
            assert_eq!(heard.failures()[0].stage, Stage::Answered);
            assert_eq!(heard.outcomes()[0].status, 200);
            assert!(heard.outcomes()[0].failure.is_some());
        }
    });
}

#[test]
fn a_reset_is_not_the_end_of_a_body_that_ends_with_its_connection() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
                .await
                .unwrap();
            // Closed with a byte unread, the kernel sends a reset.
            stream.peek(&mut [0]).await.unwrap();
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            .await
            .unwrap();
        let mut got = read_until(&mut client, "half\r\n").await;
        client.write_all(b"no").await.unwrap();
        got += &read_to_end(&mut client).await;
        assert!(!got.ends_with("0\r\n\r\n"), "{got}");
        assert_eq!(heard.failures()[0].stage, Stage::Answered);
    });
}

#[test]
fn a_body_that_came_in_pieces_is_sent_again_as_a_whole() {
    run(async {
        let server = origin(|mut stream, _| async move {
            let request = read_request(&mut stream).await.unwrap();
            let body = body_of(&request);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.unwrap();
        })
        .await;
        for (field, pieces, expected) in [
            ("Content-Length: 6", ["on", "e", "two"], "onetwo"),
            (
                "Transfer-Encoding: chunked",
                ["3\r\none\r\n", "3\r\ntwo", "\r\n0\r\n\r\n"],
                "6\r\nonetwo\r\n0\r\n\r\n",
            ),
        ] {
            // Reads all of the body, then breaks.
            let breaks = breaks_after("").await;
            let (rig, heard) = proxy(&[breaks, server]);
            let mut client = rig.connect().await;
            let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(body_of(&read_to_end(&mut client).await), expected);
            assert_eq!(heard.failures().len(), 1);
        }
    });
}

#[test]
fn a_body_too_large_to_keep_is_not_sent_again() {
    run(async {
        let breaks = origin(|mut stream, _| async move {
            let mut sink = vec![0; 300_000];
            let _ = stream.read_exact(&mut sink).await;
        })
        .await;
        let (rig, heard) = proxy(&[breaks, canned(OK).await]);
        let mut client = rig.connect().await;
        let body = "x".repeat(400_000);
        let put = format!("PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 400000\r\n\r\n{body}");
        let (mut from, mut to) = client.split();
        let mut answer = Vec::new();
        let (_, _) = tokio::join!(to.write_all(put.as_bytes()), from.read_to_end(&mut answer));
        assert_eq!(status_of(&String::from_utf8_lossy(&answer)), 502);
        assert!(!heard.failures()[0].retryable);
    });
}

#[test]
fn an_idle_connection_that_the_server_closed_is_not_used() {
    run(async {
        let connections = Rc::new(Cell::new(0));
        let seen = connections.clone();
        let server = origin(move |mut stream, n| {
            seen.set(n + 1);
            async move {
                read_request(&mut stream).await;
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        // A POST would fail if it were sent on the closed connection.
        for n in 1..=3 {
            let post = POST.replace("Connection: close\r\n", "");
            client.write_all(post.as_bytes()).await.unwrap();
            assert_eq!(body_of(&read_until(&mut client, "hello").await), "hello");
            assert_eq!(connections.get(), n);
        }
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_connection_that_closes_under_a_repeatable_request_is_no_failure_of_the_server() {
    run(async {
        let server = origin(|mut stream, n| async move {
            read_request(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            if n == 0 {
                // The next request is read, and not answered.
                read_request(&mut stream).await;
            }
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        for _ in 0..2 {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            read_until(&mut client, "hello").await;
        }
        assert_eq!(heard.failures(), []);
        assert_eq!(heard.outcomes().len(), 2);
    });
}

#[test]
fn without_a_server_the_answer_is_503() {
    run(async {
        let (rig, heard) = proxy(&[]);
        let page = rig.talk(GET).await;
        assert_eq!(status_of(&page), 503);
        assert_eq!(
            body_of(&page),
            "503 Service Unavailable: no server is available\n"
        );
        assert_eq!(heard.outcomes()[0].status, 503);
    });
}

#[test]
fn a_server_that_takes_too_long_is_a_504() {
    run(async {
        let silent = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        let heard = Heard::default();
        let mut slow = upstream(silent);
        slow.timeouts.first_byte = Duration::from_millis(30);
        let rig = Rig::new(config(forward_to(vec![slow], &heard)));
        assert_eq!(status_of(&rig.talk(GET).await), 504);
        let failure = heard.failures()[0];
        assert_eq!(
            (failure.stage, failure.cause),
            (Stage::Unanswered, Cause::Timeout)
        );

        let stalls = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                .await
                .unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let heard = Heard::default();
        let mut slow = upstream(stalls);
        slow.timeouts.body = Duration::from_millis(30);
        let rig = Rig::new(config(forward_to(vec![slow], &heard)));
        assert_eq!(body_of(&rig.talk(GET).await), "half");
        assert_eq!(heard.failures()[0].cause, Cause::Timeout);
    });
}

#[test]
fn the_pool_hears_of_the_end_also_when_the_client_goes_away() {
    run(async {
        let started = Rc::new(tokio::sync::Notify::new());
        let begun = started.clone();
        let server = origin(move |mut stream, _| {
            let begun = begun.clone();
            async move {
                read_request(&mut stream).await;
                begun.notify_one();
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
            }
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        client.write_all(GET.as_bytes()).await.unwrap();
        started.notified().await;
        drop(client);
        while heard.outcomes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(heard.failures(), []);
        assert_eq!(heard.outcomes()[0].status, 0);
    });
}

fn local_node() -> ClientRule {
    ClientRule {
        nodes: [IpAddr::V4(Ipv4Addr::LOCALHOST)].into(),
        trust: Vec::new(),
    }
}

#[test]
fn a_gateway_tells_nodes_and_nobody_else_why_its_try_failed() {
    run(async {
        for (internal, rule, marked) in [
            (true, local_node(), true),
            (true, ClientRule::default(), false),
            (false, local_node(), false),
        ] {
            for (server, request, word) in [
                (closed_port().await, POST, "unsent"),
                (breaks_after("").await, POST, "unanswered"),
                (breaks_after("HTTP/").await, GET, "never"),
            ] {
                let mut config = config(forward_to(vec![upstream(server)], &Heard::default()));
                config.internal = internal;
                config.rule = rule.clone();
                let page = Rig::new(config).talk(request).await;
                let field = format!("\r\ntandem-failed: {word}\r\n");
                assert_eq!(page.contains(&field), marked && word != "never", "{page}");
                assert!(marked || !page.contains("tandem-"), "{page}");
            }
        }
    });
}

#[test]
fn a_gateways_failure_is_a_failed_connection_of_the_same_kind() {
    run(async {
        let gateway = |word: &str| {
            format!(
                "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\ntandem-failed: {word}\r\n\r\nno"
            )
        };
        for (word, request, again) in [
            ("unsent", POST, true),
            ("unanswered", GET, true),
            ("unanswered", POST, false),
        ] {
            let heard = Heard::default();
            let mut node = upstream(canned(gateway(word)).await);
            node.node = true;
            let servers = vec![node, upstream(canned(OK).await)];
            let rig = Rig::new(config(forward_to(servers, &heard)));
            let answer = rig.talk(request).await;
            assert_eq!(status_of(&answer), if again { 200 } else { 502 });
            assert!(!answer.contains("tandem-"), "{answer}");
            assert!(heard.failures()[0].by_gateway);
            assert_eq!(heard.failures()[0].retryable, again);
        }
        // From a server that is no node the field is nothing but a field, and does not pass.
        let (rig, heard) = proxy(&[canned(gateway("unsent")).await]);
        let answer = rig.talk(GET).await;
        assert_eq!(body_of(&answer), "no");
        assert!(!answer.contains("tandem-"), "{answer}");
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn words_between_nodes_that_a_program_says_are_not_a_nodes() {
    run(async {
        let says = |word: &str| format!("HTTP/1.1 503 X\r\nContent-Length: 2\r\n{word}\r\n\r\nno");
        for (word, node, passes) in [
            ("tandem-failed: unsent", false, false),
            ("Tandem_Own: 1", false, false),
            ("tandem-own: 1", true, true),
        ] {
            let mut program = upstream(canned(says(word)).await);
            program.node = node;
            let mut config = config(forward_to(vec![program], &Heard::default()));
            (config.internal, config.rule) = (true, local_node());
            let answer = Rig::new(config).talk(POST).await;
            assert_eq!(body_of(&answer), "no");
            assert_eq!(answer.contains(word), passes, "{answer}");
        }
    });
}

#[test]
fn an_answer_to_what_cannot_be_sent_again_is_the_servers() {
    const BUSY: &str = "HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\nbusy";
    run(async {
        for (size, answered) in [(1_000, "hello"), (200_000, "busy")] {
            let heard = Heard::default();
            let mut first = upstream(canned(BUSY).await);
            first.retry_on = Some([503].into());
            let servers = vec![first, upstream(canned(OK).await)];
            let rig = Rig::new(config(forward_to(servers, &heard)));
            let head = "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
            let body = "x".repeat(size);
            let put = format!("{head}Content-Length: {size}\r\n\r\n{body}");
            assert_eq!(body_of(&rig.talk(put).await), answered);
        }
    });
}
