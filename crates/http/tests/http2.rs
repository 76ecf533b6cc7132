//! HTTP/2 as clients meet it: h2's client for what it shows, curl, and raw frames for what no client sends.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::authority::{Authority, certs};
use common::*;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tandem_http::{FileBody, ListenerConfig, Plan, Reply};
use tandem_net::ServerTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

const SHORT: Duration = Duration::from_millis(60);

fn speaking(config: ListenerConfig) -> ListenerConfig {
    ListenerConfig {
        http2: true,
        ..config
    }
}

fn hello() -> ListenerConfig {
    speaking(config(handler(|request| {
        let said = format!(
            "{} {} host {} secure {} cookie {}",
            request.method().escape_ascii(),
            request.target().escape_ascii(),
            request.host().escape_ascii(),
            request.secure,
            request.field("cookie").unwrap_or_default().escape_ascii(),
        );
        Plan::Bytes(Reply::text(200, &"site".into(), said))
    })))
}

/// A client that knows that HTTP/2 is spoken.
async fn client(rig: &Rig) -> SendRequest<Bytes> {
    client_with(rig, h2::client::Builder::new()).await
}

async fn client_with(rig: &Rig, builder: h2::client::Builder) -> SendRequest<Bytes> {
    let (client, connection) = builder.handshake(rig.connect().await).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    let uri = format!("http://a.example{path}");
    Request::builder().uri(uri).body(()).unwrap()
}

fn post(path: &str) -> Request<()> {
    let (mut head, ()) = get(path).into_parts();
    head.method = http::Method::POST;
    Request::from_parts(head, ())
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        all.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(all)
}

/// Asks without a body; the answer with its body.
async fn ask(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Response<Vec<u8>>, h2::Error> {
    let (answer, _) = client.send_request(request, true)?;
    let (head, mut body) = answer.await?.into_parts();
    Ok(Response::from_parts(head, read(&mut body).await?))
}

/// Sends a body as the windows allow.
async fn send(stream: &mut h2::SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let n = room.unwrap().unwrap().min(body.len());
        stream.send_data(body.split_to(n), false).unwrap();
    }
}

#[test]
fn a_request_is_what_it_would_be_in_http1() {
    run(async {
        let rig = Rig::new(hello());
        let mut client = client(&rig).await;
        let mut request = get("/x/../y?z=%20");
        for crumb in ["a=1", "b=2"] {
            let crumb = http::HeaderValue::from_static(crumb);
            request.headers_mut().append("cookie", crumb);
        }
        let answer = ask(&mut client, request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("date"));
        assert!(!answer.headers().contains_key("connection"));
        assert_eq!(
            String::from_utf8_lossy(answer.body()),
            "GET /x/../y?z=%20 host a.example secure false cookie a=1; b=2"
        );
        let mut head = get("/");
        *head.method_mut() = http::Method::HEAD;
        let answer = ask(&mut client, head).await.unwrap();
        assert_ne!(answer.headers()["content-length"], "0");
        assert_eq!(answer.body(), b"");
        // HTTP/1 goes on being spoken at the same port.
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
            .await;
        assert!(body_of(&answer).starts_with("GET / host b"), "{answer}");
        assert_eq!(rig.telemetry.counters.totals().requests, 3);
    });
}

#[test]
fn what_http1_would_be_refused_for_http2_is_refused_for() {
    run(async {
        let rig = Rig::new(hello());
        let mut client = client(&rig).await;
        let with = |name: &'static str, value: String| {
            let mut request = get("/");
            request
                .headers_mut()
                .append(name, value.try_into().unwrap());
            request
        };
        let mut connect = get("/");
        *connect.method_mut() = http::Method::CONNECT;
        *connect.uri_mut() = "a.example:443".parse().unwrap();
        for (request, status) in [
            (get("/../x"), 400),
            (get("/%00"), 400),
            (with("host", "b.example".into()), 400),
            (with("host", "a.example".into()), 200),
            (with("x-long", "x".repeat(20_000)), 431),
            (get(&format!("/{}", "x".repeat(10_000))), 414),
            (connect, 501),
        ] {
            let answer = ask(&mut client, request).await.unwrap();
            assert_eq!(answer.status(), status, "{:?}", answer.body());
        }
        // A stream that is refused is not the connection.
        assert_eq!(ask(&mut client, get("/")).await.unwrap().status(), 200);
    });
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    run(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let server = {
            let seen = seen.clone();
            origin(move |mut stream, _| {
                let seen = seen.clone();
                async move {
                    let mut got = read_head(&mut stream).await.into_bytes();
                    let mut piece = vec![0; 65536];
                    while !got.ends_with(b"\r\n\r\n") || got.len() < 100_000 {
                        let n = stream.read(&mut piece).await.unwrap();
                        got.extend_from_slice(&piece[..n]);
                    }
                    seen.borrow_mut().push(String::from_utf8(got).unwrap());
                    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nChecksum: y\r\nHost: z\r\n\r\n";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            })
            .await
        };
        let heard = Heard::default();
        let servers = vec![upstream(closed_port().await), upstream(server)];
        let rig = Rig::new(speaking(config(forward_to(servers, &heard))));
        let mut client = client(&rig).await;
        let mut request = post("/x");
        request
            .headers_mut()
            .append("te", "trailers".try_into().unwrap());
        let (answer, mut stream) = client.send_request(request, false).unwrap();
        send(&mut stream, Bytes::from(vec![b'x'; 300_000])).await;
        let mut trailers = HeaderMap::new();
        trailers.append("checksum", "x".try_into().unwrap());
        trailers.append("authorization", "Basic x".try_into().unwrap());
        stream.send_trailers(trailers).unwrap();
        let (head, mut body) = answer.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert!(!head.headers.contains_key("transfer-encoding"));
        assert_eq!(read(&mut body).await.unwrap(), b"hello");
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["checksum"], "y");
        assert_eq!(trailers.len(), 1);
        let seen = seen.borrow();
        assert!(seen[0].contains("Transfer-Encoding: chunked\r\n"));
        assert!(
            seen[0].ends_with("0\r\nchecksum: x\r\n\r\n"),
            "{}",
            &seen[0][300_000..]
        );
        assert_eq!(heard.failures().len(), 1);
    });
}

#[test]
fn large_answers_and_files_arrive_whole_on_many_streams_at_once() {
    run(async {
        let content = "0123456789abcdef".repeat(40_000).into_bytes();
        let path = std::env::temp_dir().join(format!("tandem-http2-{}", std::process::id()));
        std::fs::write(&path, &content).unwrap();
        let file = Arc::new(std::fs::File::open(&path).unwrap().into());
        std::fs::remove_file(&path).unwrap();
        let length = content.len() as u64;
        let whole = content.clone();
        let rig = Rig::new(speaking(config(handler(move |request| {
            if request.path() == b"/memory" {
                let mut reply = Reply::text(200, &"site".into(), "");
                reply.body = whole.clone().into();
                return Plan::Bytes(reply);
            }
            Plan::File(FileBody {
                status: 200,
                fields: Bytes::new(),
                file: Arc::clone(&file),
                offset: 0,
                length,
                before: Bytes::new(),
                service: "www".into(),
            })
        }))));
        let client = client(&rig).await;
        let mut all = Vec::new();
        for path in ["/memory", "/file"].into_iter().cycle().take(10) {
            let mut client = client.clone();
            all.push(async move { ask(&mut client, get(path)).await.unwrap() });
        }
        for answer in futures_util::future::join_all(all).await {
            assert!(*answer.body() == content);
        }
    });
}

#[test]
fn a_client_is_told_to_go_on_and_an_early_answer_needs_no_body() {
    run(async {
        let server = canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(speaking(config(handler(move |request| {
            if request.path() == b"/early" {
                return Plan::Bytes(Reply::text(403, &"site".into(), "no"));
            }
            let cx = tandem_http::Cx::new(0, tandem_http::Moment::now());
            match forward.step(request, &cx) {
                tandem_http::Step::Plan(plan) => plan,
                tandem_http::Step::Later(_) => unreachable!(),
            }
        }))));
        let mut client = client(&rig).await;
        let mut request = post("/");
        let expect = http::HeaderValue::from_static("100-continue");
        request.headers_mut().append("expect", expect);
        let (mut answer, mut stream) = client.send_request(request, false).unwrap();
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        stream.send_data("body".into(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);

        let (answer, mut stream) = client.send_request(post("/early"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 403);
        let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        assert_eq!(reset.unwrap(), Reason::NO_ERROR);
    });
}

#[test]
fn a_stream_that_its_client_resets_costs_the_server_no_more() {
    run(async {
        let (told, mut gone) = tokio::sync::mpsc::unbounded_channel();
        let server = origin(move |mut stream, _| {
            let told = told.clone();
            async move {
                read_head(&mut stream).await;
                told.send("asked").unwrap();
                assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
                told.send("gone").unwrap();
            }
        })
        .await;
        let heard = Heard::default();
        let rig = Rig::new(speaking(config(forward_to(vec![upstream(server)], &heard))));
        let mut client = client(&rig).await;
        let (answer, mut stream) = client.send_request(get("/"), true).unwrap();
        assert_eq!(gone.recv().await, Some("asked"));
        stream.send_reset(Reason::CANCEL);
        drop(answer);
        assert_eq!(gone.recv().await, Some("gone"));
        assert_eq!(heard.outcomes()[0].status, 0);
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_server_that_breaks_off_resets_the_stream_and_not_the_connection() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
            stream.write_all(half.as_bytes()).await.unwrap();
        })
        .await;
        let servers = vec![upstream(server)];
        let rig = Rig::new(speaking(config(forward_to(servers, &Heard::default()))));
        let mut client = client(&rig).await;
        for _ in 0..2 {
            let broken = ask(&mut client, get("/")).await.unwrap_err();
            assert_eq!(broken.reason(), Some(Reason::INTERNAL_ERROR));
        }
        assert_eq!(rig.telemetry.counters.totals().accepted, 1);
    });
}

#[test]
fn a_client_that_opens_no_window_is_cut_off() {
    run(async {
        let mut config = speaking(config(handler(|_| {
            let mut reply = Reply::text(200, &"site".into(), "");
            reply.body = vec![b'x'; 1 << 20].into();
            Plan::Bytes(reply)
        })));
        config.timeouts.body = SHORT;
        let rig = Rig::new(config);
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1000);
        let mut client = client_with(&rig, builder).await;
        let (answer, _) = client.send_request(get("/"), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut got = 0;
        let end = loop {
            // What came is never given back to the window.
            match body.data().await {
                Some(Ok(piece)) => got += piece.len(),
                end => break end,
            }
        };
        assert_eq!(got, 1000);
        let reason = end.unwrap().unwrap_err().reason();
        assert_eq!(reason, Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn an_idle_connection_is_told_and_closed() {
    run(async {
        let mut config = hello();
        config.timeouts.idle = SHORT;
        let rig = Rig::new(config);
        let (mut client, connection) = h2::client::handshake(rig.connect().await).await.unwrap();
        let ended = tokio::task::spawn_local(connection);
        let (answer, _) = client.send_request(get("/"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        ended.await.unwrap().unwrap();
    });
}

#[test]
fn draining_lets_streams_finish() {
    run(async {
        let (go, gone) = (
            Rc::new(tokio::sync::Notify::new()),
            Rc::new(tokio::sync::Notify::new()),
        );
        let server = {
            let (go, asked) = (go.clone(), gone.clone());
            origin(move |mut stream, _| {
                let (go, asked) = (go.clone(), asked.clone());
                async move {
                    read_head(&mut stream).await;
                    asked.notify_one();
                    go.notified().await;
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            })
            .await
        };
        let servers = vec![upstream(server)];
        let rig = Rig::new(speaking(config(forward_to(servers, &Heard::default()))));
        let (mut client, connection) = h2::client::handshake(rig.connect().await).await.unwrap();
        let ended = tokio::task::spawn_local(connection);
        let (answer, _) = client.send_request(get("/"), true).unwrap();
        gone.notified().await;
        let engine = rig.engine.clone();
        let drained =
            tokio::task::spawn_local(async move { engine.drain(Duration::from_secs(20)).await });
        tokio::task::yield_now().await;
        go.notify_one();
        let (head, mut body) = answer.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(read(&mut body).await.unwrap(), b"ok");
        assert_eq!(drained.await.unwrap(), 0);
        ended.await.unwrap().unwrap();
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http://a/` in HPACK: indexed and literal fields without Huffman.
const FIELDS: &[u8] = b"\x82\x84\x86\x41\x01a";

/// Sends `flood` again and again until the connection is closed; the GOAWAY's reason, if there was one.
async fn flood(rig: &Rig, begin: Vec<u8>, flood: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut stream = rig.connect().await;
    let begin = [PREFACE, &frame(4, 0, 0, b""), &begin].concat();
    stream.write_all(&begin).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let sender = async move {
        for i in 0.. {
            if to.write_all(&flood(i)).await.is_err() {
                return;
            }
            if i % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let mut got = Vec::new();
    let reader = async {
        let _ = from.read_to_end(&mut got).await;
    };
    tokio::select! {
        () = sender => {}
        () = reader => {}
    }
    // Frames that came after the sender met the end.
    let _ = from.read_to_end(&mut got).await;
    let mut at = &got[..];
    let mut reason = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = at {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if *kind == 7 && rest.len() >= 8 {
            reason = Some(u32::from_be_bytes(rest[4..8].try_into().unwrap()));
        }
        at = rest.get(length..).unwrap_or_default();
    }
    reason
}

#[test]
fn floods_end_their_connection_and_nothing_else() {
    run(async {
        let rig = Rig::new(hello());
        let opened = frame(1, 0x4, 1, FIELDS);
        let id = |i: u32| (2 * i + 1) & 0x7fff_ffff;
        let reset = Reason::CANCEL;
        let code = u32::from(reset).to_be_bytes();
        for (name, begin, one) in [
            (
                "PING",
                Vec::new(),
                &(|_| frame(6, 0, 0, &[0; 8])) as &dyn Fn(u32) -> Vec<u8>,
            ),
            ("SETTINGS", Vec::new(), &|_| frame(4, 0, 0, b"")),
            ("PRIORITY", Vec::new(), &|_| {
                frame(2, 0, 1, &[0, 0, 0, 0, 9])
            }),
            ("WINDOW_UPDATE", Vec::new(), &|_| {
                frame(8, 0, 0, &[0, 0, 0, 1])
            }),
            ("unknown", Vec::new(), &|_| frame(0x99, 0, 0, b"")),
            ("empty DATA", opened, &|_| frame(0, 0, 1, b"")),
            ("CONTINUATION", frame(1, 0, 1, FIELDS), &|_| {
                frame(9, 0, 1, b"")
            }),
            ("rapid reset", Vec::new(), &|i| {
                [frame(1, 0x5, id(i), FIELDS), frame(3, 0, id(i), &code)].concat()
            }),
        ] {
            let reason = flood(&rig, begin, one).await;
            let calm = u32::from(Reason::ENHANCE_YOUR_CALM);
            // What h2 itself ends may be called a breach of the protocol.
            let expected = [Some(calm), Some(u32::from(Reason::PROTOCOL_ERROR))];
            assert!(
                reason.is_none() || expected.contains(&reason),
                "{name}: {reason:?}"
            );
            let mut client = client(&rig).await;
            assert_eq!(
                ask(&mut client, get("/")).await.unwrap().status(),
                200,
                "{name}"
            );
        }
        let events = rig.telemetry.events.last(100);
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].what.contains("carry nothing"), "{events:?}");
    });
}

#[test]
fn a_head_that_does_not_end_ends_the_connection() {
    run(async {
        let mut config = hello();
        config.timeouts.head = SHORT;
        let rig = Rig::new(config);
        for part in [
            PREFACE[..10].to_vec(),
            [PREFACE, &frame(4, 0, 0, b""), b"\0\0"].concat(),
            [PREFACE, &frame(4, 0, 0, b""), &frame(1, 0, 1, FIELDS)].concat(),
            [PREFACE, &frame(4, 0, 0, b""), &frame(1, 4, 1, FIELDS)[..12]].concat(),
        ] {
            let mut stream = rig.connect().await;
            stream.write_all(&part).await.unwrap();
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got).await;
            assert_eq!(rig.telemetry.counters.totals().requests, 0);
        }
    });
}

#[test]
fn no_more_streams_are_answered_at_once_than_was_said() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        let servers = vec![upstream(server)];
        let rig = Rig::new(speaking(config(forward_to(servers, &Heard::default()))));
        let mut stream = rig.connect().await;
        let mut bytes = [PREFACE, &frame(4, 0, 0, b"")].concat();
        for i in 0..150 {
            bytes.extend(frame(1, 0x5, 2 * i + 1, FIELDS));
        }
        stream.write_all(&bytes).await.unwrap();
        // Fifty streams are refused (REFUSED_STREAM), each with a frame of 13 bytes.
        let mut refused = 0;
        while refused < 50 {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == 3 {
                assert_eq!(payload, [0, 0, 0, 7]);
                refused += 1;
            }
        }
        while rig.telemetry.counters.totals().answering < 100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.telemetry.counters.totals().answering, 100);
    });
}

#[test]
fn curl_speaks_it_over_tls_and_by_prior_knowledge() {
    run(async {
        let ca = Authority::new("curl2");
        let tls = certs(&[ca.sign("1.pem", &["a.example"])]);
        let origin = origin(|mut stream, _| async move {
            while let Some(request) = read_request(&mut stream).await {
                let body = body_of(&request).to_owned();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        })
        .await;
        let body = "0123456789abcdef".repeat(20_000);
        let path = ca.dir.join("body");
        std::fs::write(&path, &body).unwrap();
        for with_tls in [true, false] {
            let servers = vec![upstream(origin)];
            let rig = Rig::new(ListenerConfig {
                tls: with_tls.then(|| ServerTls::load(&tls).unwrap()),
                ..speaking(config(forward_to(servers, &Heard::default())))
            });
            let port = rig.address.port();
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "20", "--noproxy", "*"]);
            curl.args(["--resolve", &format!("a.example:{port}:127.0.0.1")]);
            curl.arg("--cacert").arg(ca.ca());
            curl.arg("--data-binary")
                .arg(format!("@{}", path.display()));
            curl.args(["-w", " over %{http_version}"]);
            if with_tls {
                curl.arg(format!("https://a.example:{port}/"));
            } else {
                curl.arg("--http2-prior-knowledge");
                curl.arg(format!("http://a.example:{port}/"));
            }
            let output = match curl.output().await {
                Err(e) if std::env::var_os("TANDEM_REQUIRE_PEERS").is_none() => {
                    println!("skipped: curl does not run here: {e}");
                    return;
                }
                asked => asked.expect("curl runs"),
            };
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}");
            let got = String::from_utf8(output.stdout).unwrap();
            assert!(got == format!("{body} over 2"), "{}", got.len());
        }
    });
}

#[test]
fn a_listener_that_does_not_speak_it_says_so() {
    run(async {
        let rig = Rig::new(config(handler(|_| unreachable!())));
        assert_eq!(status_of(&rig.talk(PREFACE).await), 505);
        let _: TcpStream = rig.connect().await;
    });
}

#[test]
fn policies_hold_as_for_http1() {
    use tandem_http::policy::Governance;
    use tandem_model::{
        Auth, Compress, Compression, FieldChanges, Headers, PathChange, Policies, Secret, Template,
        Users,
    };
    run(async {
        let text = "some text that repeats itself. ".repeat(3_000);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: x\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let (heard, asked) = (Heard::default(), Rc::new(RefCell::new(String::new())));
        let keep = asked.clone();
        let server = origin(move |mut stream, _| {
            let (keep, answer) = (keep.clone(), answer.clone());
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    *keep.borrow_mut() = request;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let set = |name: &str, value: &str| FieldChanges {
            set: [(name.into(), Template::parse(value).unwrap())].into(),
            remove: vec!["Server".into()],
            ..FieldChanges::default()
        };
        let hash = "$2b$04$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW";
        let policies = Policies {
            path: Some(PathChange::Strip("/shop".into())),
            headers: Headers {
                request: set("X-User", "{user}"),
                response: set("X-Asked", "{method} {scheme}://{host}{uri}"),
                ..Headers::default()
            },
            auth: Some(Auth::Basic(Users {
                realm: "r".into(),
                users: [("alice".into(), Secret::new(hash))].into(),
                file: None,
            })),
            compress: Some(Compress::On(Compression::default())),
            ..Policies::default()
        };
        let forward = forward_to(vec![upstream(server)], &heard);
        let governance = Governance::new(&"test".into()).and(&policies).unwrap();
        let rig = Rig::new(speaking(config(governance.around(forward).unwrap())));
        let mut client = client(&rig).await;
        let refused = ask(&mut client, get("/shop/a")).await.unwrap();
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.headers()["x-asked"], "GET http://a.example/shop/a");
        let mut request = get("/shop/a?b");
        for (name, value) in [
            ("authorization", "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ=="),
            ("accept-encoding", "gzip"),
            ("x-user", "eve"),
        ] {
            let value = http::HeaderValue::from_static(value);
            request.headers_mut().append(name, value);
        }
        let answer = ask(&mut client, request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert!(!answer.headers().contains_key("server"));
        assert!(!answer.headers().contains_key("content-length"));
        let mut out = String::new();
        let mut packed = flate2::read::GzDecoder::new(&answer.body()[..]);
        std::io::Read::read_to_string(&mut packed, &mut out).unwrap();
        assert_eq!(out, text);
        let sent = asked.borrow();
        assert!(sent.starts_with("GET /a?b HTTP/1.1\r\n"), "{sent}");
        assert!(
            sent.contains("X-User: alice\r\n") && !sent.contains("eve"),
            "{sent}"
        );
    });
}

#[test]
fn an_answer_may_have_more_fields_than_its_server_may_send() {
    run(async {
        let rig = Rig::new(speaking(config(handler(|_| {
            let mut reply = Reply::text(200, &"site".into(), "whole");
            reply.fields = "Set-Cookie: a=1\r\n".repeat(150).into();
            Plan::Bytes(reply)
        }))));
        let mut client = client(&rig).await;
        let response = ask(&mut client, get("/")).await.unwrap();
        let cookies = response.headers().get_all("set-cookie");
        assert_eq!(cookies.iter().count(), 150);
        assert_eq!(response.body(), b"whole");
    });
}

#[test]
fn a_route_takes_larger_bodies_than_its_listener_on_streams_too() {
    run(async {
        let server = origin(|mut stream, _| async move {
            while read_request(&mut stream).await.is_some() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
            }
        })
        .await;
        let policies = tandem_model::Policies {
            body: Some(tandem_model::BodyLimit::Most(tandem_model::Size(10))),
            ..tandem_model::Policies::default()
        };
        let governance = tandem_http::policy::Governance::new(&"web".into());
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let handler = governance.and(&policies).unwrap().around(forward).unwrap();
        let rig = Rig::new(speaking(config(handler)));
        let mut client = client(&rig).await;
        for (length, stated, status) in [
            (10, true, 200),
            (10, false, 200),
            (11, true, 413),
            (11, false, 413),
        ] {
            let mut request = post("/x");
            if stated {
                request
                    .headers_mut()
                    .insert("content-length", length.into());
            }
            let (answer, mut stream) = client.send_request(request, false).unwrap();
            stream
                .send_data(Bytes::from(vec![b'x'; length]), true)
                .unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), status, "{length} {stated}");
        }
    });
}

#[test]
fn a_connection_without_requests_makes_room_for_one_that_waits() {
    run(async {
        let mut config = hello();
        config.limits.connections = Some(1);
        config.limits.beyond = tandem_model::Beyond::Wait;
        config.timeouts.idle = Duration::from_hours(1);
        let rig = Rig::new(config);
        let mut kept = client(&rig).await;
        for _ in 0..2 {
            let answer = ask(&mut kept, get("/")).await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 200);
        // It was told so, not cut off.
        let error = match ask(&mut kept, get("/")).await {
            Ok(answer) => panic!("it goes on: {}", answer.status()),
            Err(error) => error,
        };
        assert!(
            error.is_go_away() || error.is_io() || error.is_reset() || error.is_library(),
            "{error}"
        );
    });
}
