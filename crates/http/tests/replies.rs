//! Answers of handlers: from memory, from files, one handler after another, the access log.

mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::*;
use tandem_http::{Cx, FileBody, Handler, Plan, Reply, Request, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn text(status: u16, words: &'static str) -> Plan {
    Plan::Bytes(Reply::text(status, &"site".into(), words))
}

fn temporary(name: &str, content: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tandem-http-{}-{name}", std::process::id()));
    File::create(&path).unwrap().write_all(content).unwrap();
    path
}

fn file(path: &PathBuf, offset: u64, length: u64) -> FileBody {
    FileBody {
        before: Bytes::new(),
        status: 200,
        fields: Bytes::from_static(b"Content-Type: text/plain\r\n"),
        file: Arc::new(OwnedFd::from(File::open(path).unwrap())),
        offset,
        length,
        service: "site".into(),
    }
}

#[test]
fn an_answer_from_memory_has_its_date_and_length() {
    run(async {
        let rig = Rig::new(config(handler(|_| text(200, "hello"))));
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "hello");
        let lines: Vec<_> = head.lines().collect();
        assert_eq!(lines[0], "HTTP/1.1 200 OK");
        assert!(
            lines[1].starts_with("Date: ") && lines[1].ends_with(" GMT"),
            "{head}"
        );
        assert_eq!(lines[2], "Content-Type: text/plain; charset=utf-8");
        assert_eq!(lines[3..], ["Content-Length: 5", "Connection: close"]);
    });
}

#[test]
fn a_head_request_gets_the_head_alone_and_the_connection_lives() {
    run(async {
        let rig = Rig::new(config(handler(|_| text(200, "hello"))));
        let mut client = rig.connect().await;
        for _ in 0..2 {
            client
                .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let head = read_head(&mut client).await;
            assert!(head.contains("Content-Length: 5\r\n"), "{head}");
        }
        client
            .write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await
            .unwrap();
        let answer = read_until(&mut client, "hello").await;
        assert!(answer.contains("Connection: keep-alive\r\n"), "{answer}");
    });
}

#[test]
fn whatever_was_sent_before_an_answer_is_the_one_that_was_asked_for() {
    let of = |status, fields: &'static str, body: &'static str| Reply {
        status,
        fields: Bytes::from_static(fields.as_bytes()),
        body: Bytes::from_static(body.as_bytes()),
        service: "site".into(),
        close: false,
    };
    let replies = [
        of(200, "A: 1\r\n", "some words"),
        of(200, "A: 2\r\n", "some words"),
        of(200, "A: 1\r\n", "other words"),
        of(206, "A: 1\r\n", "some words"),
        of(404, "A: 1\r\n", "some words"),
        of(200, "A: 1\r\n", ""),
    ];
    let serve = move |request: &Request<'_>| {
        let number = usize::from(request.path()[1] - b'0');
        Plan::Bytes(replies[number].clone())
    };
    let kinds = [
        ("GET", "1.1", "X: 1"),
        ("HEAD", "1.1", "X: 1"),
        ("GET", "1.0", "Connection: keep-alive"),
    ];
    let asked = |number: usize, (method, minor, field): (&str, &str, &str)| {
        format!("{method} /{number} HTTP/{minor}\r\nHost: a\r\n{field}\r\n\r\n")
    };
    let all: Vec<_> = (0..6)
        .flat_map(|number| kinds.map(|kind| (number, kind)))
        .collect();
    let closing = "GET /0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    run(async move {
        let mut alone = Vec::new();
        for &(number, kind) in &all {
            let rig = Rig::new(config(handler(serve.clone())));
            let mut client = rig.connect().await;
            let request = asked(number, kind);
            client.write_all(request.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            alone.push(undated(&read_to_end(&mut client).await));
        }
        let rig = Rig::new(config(handler(serve.clone())));
        let last = undated(&rig.talk(closing).await);
        // Every one after every other one, twice in a row, too.
        let rig = Rig::new(config(handler(serve)));
        for first in 0..all.len() {
            let order = (0..all.len()).flat_map(|second| [first, second, second]);
            let (mut requests, mut answers) = (String::new(), String::new());
            for index in order {
                let (number, kind) = all[index];
                requests += &asked(number, kind);
                answers += &alone[index];
            }
            let got = rig.talk(requests + closing).await;
            assert_eq!(undated(&got), answers + &last);
        }
    });
}

#[test]
fn the_date_of_an_answer_that_is_sent_again_is_that_of_today() {
    run(async {
        let words = Bytes::from_static(b"words");
        let rig = Rig::new(config(handler(move |_| {
            let mut reply = Reply::text(200, &"site".into(), "");
            reply.body = words.clone();
            Plan::Bytes(reply)
        })));
        let mut client = rig.connect().await;
        let mut dates = Vec::<String>::new();
        // Until two seconds are over.
        while dates.len() < 3 {
            // The kernel's coarse clock, which answers tell, is some milliseconds late.
            let before = SystemTime::now() - Duration::from_millis(20);
            let asked = client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            asked.await.unwrap();
            let answer = read_until(&mut client, "words").await;
            let possible = [before, SystemTime::now()].map(date);
            let is_told = |date: &String| answer.contains(&format!("\r\nDate: {date}\r\n"));
            let told = possible.iter().find(|date| is_told(date));
            let told = told.unwrap_or_else(|| panic!("{possible:?}: {answer}"));
            if dates.last() != Some(told) {
                dates.push(told.clone());
            }
        }
    });
}

/// As in a Date field (RFC 9110 section 5.6.7).
fn date(at: SystemTime) -> String {
    let t = time::OffsetDateTime::from(at);
    let (day, month) = (t.weekday().to_string(), t.month().to_string());
    let (hour, minute, second) = t.to_hms();
    let (day, month) = (&day[..3], &month[..3]);
    format!(
        "{day}, {:02} {month} {} {hour:02}:{minute:02}:{second:02} GMT",
        t.day(),
        t.year()
    )
}

#[test]
fn large_answers_from_memory_arrive_whole() {
    run(async {
        let body = Bytes::from(vec![b'x'; 3 << 20]);
        let rig = Rig::new(config(handler(move |_| {
            let mut reply = Reply::text(200, &"site".into(), "");
            reply.body = body.clone();
            Plan::Bytes(reply)
        })));
        let answer = rig.talk("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(body_of(&answer).len(), 3 << 20);
    });
}

#[test]
fn files_of_every_size_arrive_whole() {
    run(async {
        let content: Vec<u8> = (0..5 << 20).map(|i: u32| b'a' + (i % 23) as u8).collect();
        let path = temporary("large", &content);
        for (offset, length) in [
            (0, 0),
            (0, 1),
            (7, 16 * 1024),
            (1, 16 * 1024 + 1),
            (3, (5 << 20) - 3),
        ] {
            let body = file(&path, offset, length);
            let rig = Rig::new(config(handler(move |_| Plan::File(body.clone()))));
            let mut client = rig.connect().await;
            client
                .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            assert!(
                read_head(&mut client)
                    .await
                    .contains(&format!("Content-Length: {length}\r\n"))
            );
            for _ in 0..2 {
                client
                    .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    .await
                    .unwrap();
                read_head(&mut client).await;
                let mut got = vec![0; length as usize];
                client.read_exact(&mut got).await.unwrap();
                assert!(got == content[offset as usize..(offset + length) as usize]);
            }
        }
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_file_that_became_shorter_breaks_the_connection_and_is_told() {
    run(async {
        for length in [100, 1 << 20] {
            let path = temporary(&format!("short{length}"), b"only this");
            let body = file(&path, 0, length);
            let rig = Rig::new(config(handler(move |_| Plan::File(body.clone()))));
            let answer = rig.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(answer.len() < 300, "{answer}");
            let events = rig.telemetry.events.last(1);
            assert!(events[0].what.contains("shorter"), "{events:?}");
            std::fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn what_one_handler_misses_another_is_asked_for() {
    run(async {
        let missing = canned("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone").await;
        let then = handler(|request| match request.method() {
            b"GET" | b"HEAD" => text(200, "found"),
            _ => text(500, "must not be asked"),
        });
        let in_process = {
            let then = then.clone();
            handler(move |_| Plan::OrElse {
                first: Box::new(text(404, "gone")),
                then: then.clone(),
            })
        };
        let inner = forward_to(vec![upstream(missing)], &Heard::default());
        let forwarded = handler(move |request| {
            let cx = Cx::new(0, tandem_http::Moment::now());
            let Step::Plan(first) = inner.step(request, &cx) else {
                unreachable!()
            };
            Plan::OrElse {
                first: Box::new(first),
                then: then.clone(),
            }
        });
        for handler in [in_process, forwarded] {
            let rig = Rig::new(config(handler));
            let mut client = rig.connect().await;
            for _ in 0..2 {
                client
                    .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    .await
                    .unwrap();
                let answer = read_until(&mut client, "found").await;
                assert_eq!(status_of(&answer), 200);
            }
            client
                .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
            assert_eq!(status_of(&read_until(&mut client, "gone").await), 404);
        }
    });
}

struct Slow;

impl Handler for Slow {
    fn step(&self, request: &Request<'_>, _: &Cx) -> Step {
        let panics = request.path() == b"/panic";
        Step::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(!panics, "on purpose");
            text(200, "later")
        }))
    }
}

#[test]
fn a_panic_ends_its_connection_and_nothing_else() {
    run(async {
        let rig = Rig::new(config(Arc::new(Slow)));
        assert_eq!(rig.talk("GET /panic HTTP/1.0\r\n\r\n").await, "");
        assert_eq!(body_of(&rig.talk("GET / HTTP/1.0\r\n\r\n").await), "later");
        let totals = rig.telemetry.counters.totals();
        assert_eq!((totals.panics, totals.accepted), (1, 2));
        while rig.engine.connections() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.telemetry.counters.totals().open, 0);
    });
}

#[test]
fn requests_are_logged_unless_the_route_says_not() {
    run(async {
        let path = temporary("log", b"");
        let mut logged = config(handler(|request| match request.path() {
            b"/quiet" => Plan::Unlogged(Box::new(text(200, "quiet"))),
            _ => text(200, "hello"),
        }));
        logged.log = Some(path.clone());
        let rig = Rig::new(logged);
        rig.talk("GET /quiet HTTP/1.0\r\n\r\n").await;
        rig.talk("GET /a?b HTTP/1.0\r\nUser-Agent: test\r\nReferer: r\r\n\r\n")
            .await;
        rig.talk("nonsense\r\n\r\n").await;
        assert_eq!(rig.engine.drain(Duration::from_secs(10)).await, 0);
        let log = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(
            lines[0].contains("\"GET /a?b HTTP/1.0\" 200 5 \"r\" \"test\" site/- 0 "),
            "{log}"
        );
        assert!(lines[1].contains("\"- - HTTP/1.1\" 400 "), "{log}");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn an_unread_body_is_dropped_to_keep_the_connection_or_ends_it() {
    run(async {
        let rig = Rig::new(config(handler(|_| text(200, "hello"))));
        let mut client = rig.connect().await;
        let small = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n".to_owned()
            + &"x".repeat(30_000);
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for request in [small.as_str(), chunked, small.as_str()] {
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = read_until(&mut client, "hello").await;
            assert!(!answer.contains("Connection: close"), "{answer}");
        }
        // Too much to read, or not sent before a 100 that never comes.
        for head in [
            "Content-Length: 1000000",
            "Content-Length: 5\r\nExpect: 100-continue",
        ] {
            let answer = rig
                .talk(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n"))
                .await;
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
        }
    });
}

#[test]
fn a_client_that_sends_many_requests_at_once_keeps_nobody_waiting_until_the_last() {
    run(async {
        const MANY: usize = 400;
        let order = Arc::new(Mutex::new(Vec::new()));
        let handler = {
            let order = order.clone();
            handler(move |request| {
                order.lock().unwrap().push(request.path() == b"/one");
                text(200, "ok")
            })
        };
        let rig = Rig::new(config(handler));
        let (mut many, mut one) = (rig.connect().await, rig.connect().await);
        // Both connections are open, and nothing has come over them yet.
        let first = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
        for client in [&mut many, &mut one] {
            client.write_all(first).await.unwrap();
            read_until(client, "ok").await;
        }
        let all = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(MANY);
        assert!(all.len() < 16 * 1024, "they come with one read");
        // Without a pause between the two, so that the engine is told of both at once.
        assert_eq!(many.try_write(&all).unwrap(), all.len());
        let alone = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(one.try_write(alone).unwrap(), alone.len());
        read_until(&mut one, "ok").await;
        let before = order.lock().unwrap().iter().position(|one| *one).unwrap();
        assert!(before < MANY / 2, "{before} of {MANY} went first");
    });
}

#[test]
fn what_is_told_of_a_file_that_cannot_be_sent_is_one_line() {
    run(async {
        let path = temporary("short", &[b'x'; 100]);
        let promised = file(&path, 0, 30_000);
        let rig = Rig::new(config(handler(move |_| Plan::File(promised.clone()))));
        rig.talk("GET /a%0Ab HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let told = rig.telemetry.events.last(1);
        assert!(told[0].what.contains("became shorter"), "{told:?}");
        assert!(!told[0].what.contains('\n'), "{told:?}");
        std::fs::remove_file(path).unwrap();
    });
}
