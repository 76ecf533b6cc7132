use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tandem_telemetry::event::Log;
use tandem_telemetry::{Events, Severity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// A node `b` that answers each request for `echo` with what it was sent, and holds back those that say `hold`.
async fn echo(key: &[u8]) -> (SocketAddr, Events) {
    echo_of(key, None).await
}

/// The same, where it is part of this cluster.
async fn echo_of(key: &[u8], id: Option<u64>) -> (SocketAddr, Events) {
    let events = Events::new("b", Log::Silent);
    let key = ClusterKey::new(key);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = ClusterServer::bind(any, "b", key, events.clone())
        .await
        .unwrap();
    let address = server.local_addr().unwrap();
    let purposes = server.purposes();
    purposes.register_in(&cluster(id), "echo", |accepted| {
        assert_eq!(accepted.peer, "a");
        tokio::spawn(serve(accepted, |body: Bytes| match &body[..] {
            b"hold" => Answer::Later(std::future::pending()),
            b"never" => Answer::Never,
            _ => Answer::Now(body),
        }));
    });
    tokio::spawn(server.serve(std::future::pending()));
    (address, events)
}

fn link(address: SocketAddr, key: &[u8], peer: &str, purpose: &'static str) -> Link {
    Link::new(options(address, key, peer, purpose))
}

fn options(address: SocketAddr, key: &[u8], peer: &str, purpose: &'static str) -> LinkOptions {
    LinkOptions {
        node: "a".into(),
        peer: peer.into(),
        address,
        purpose,
        key: ClusterKey::new(key),
        cluster: ClusterId::default(),
        accepts: None,
        incarnation: Incarnation::NONE,
        outgoing: Some("127.0.0.1".parse().unwrap()),
    }
}

#[test]
fn a_derived_key_depends_on_key_and_purpose_and_shows_neither() {
    let of = |key: &str, purpose| ClusterKey::new(key.as_bytes()).derive(purpose);
    assert_eq!(of("secret", "a"), of("secret", "a"));
    assert_ne!(of("secret", "a"), of("secret", "b"));
    assert_ne!(of("secret", "a"), of("other", "a"));
    assert_eq!(of("secret", "a").len(), 64);
}

#[tokio::test]
async fn many_requests_share_a_connection_and_none_waits_for_another() {
    let (address, _) = echo(b"secret").await;
    let link = link(address, b"secret", "b", "echo");
    let held = tokio::spawn({
        let link = link.clone();
        async move { link.request(Bytes::from_static(b"hold"), LONG).await }
    });
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..500u32 {
        let link = link.clone();
        calls.spawn(async move {
            let body = Bytes::from(vec![i as u8; i as usize * 100]);
            assert_eq!(link.request(body.clone(), LONG).await.unwrap(), body);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert!(!held.is_finished());
    held.abort();
}

#[tokio::test]
async fn a_lost_first_packet_is_no_failed_connection() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    // With one connection that nobody accepts the queue is full: the kernel drops what comes next.
    socket.listen(0).unwrap();
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let _waits = std::net::TcpStream::connect(address).unwrap();
    let link = link(address, b"secret", "b", "echo");
    let asked = tokio::spawn(async move { link.request(Bytes::from_static(b"a"), LONG).await });
    // If this is too short on a slow machine, nothing was lost and nothing is shown.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!asked.is_finished());

    let key = ClusterKey::new(b"secret");
    let events = Events::new("b", Log::Silent);
    let server = ClusterServer::take_over(listener, "b", key, events).unwrap();
    server.purposes().register("echo", |accepted| {
        tokio::spawn(serve(accepted, |body| {
            Answer::Now::<std::future::Ready<Bytes>>(body)
        }));
    });
    tokio::spawn(server.serve(std::future::pending()));
    assert_eq!(asked.await.unwrap().unwrap(), "a");
}

#[tokio::test]
async fn answers_that_nobody_takes_are_not_gathered_without_bound() {
    const ANSWER: usize = 1024 * 1024;
    const REQUESTS: usize = 100;
    let key = ClusterKey::new(b"secret");
    let events = Events::new("b", Log::Silent);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = ClusterServer::bind(any, "b", key.clone(), events)
        .await
        .unwrap();
    let address = server.local_addr().unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    server.purposes().register("large", move |accepted| {
        let made = count.clone();
        tokio::spawn(serve(accepted, move |_: Bytes| {
            let made = made.clone();
            Answer::Later(async move {
                // Asked for, and there when others are.
                tokio::task::yield_now().await;
                made.fetch_add(1, Relaxed);
                Bytes::from(vec![0; ANSWER])
            })
        }));
    });
    tokio::spawn(server.serve(std::future::pending()));

    // Of what was made and not taken, the kernel has this much in its buffers at most.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    hello::connect(
        &mut stream,
        &key,
        "large",
        ("a", Incarnation::NONE),
        "b",
        None,
    )
    .await
    .unwrap();
    let mut requests = BytesMut::new();
    for id in 0..REQUESTS {
        frame::put(&mut requests, id as u64, frame::Kind::Request, b"");
    }
    stream.write_all(&requests).await.unwrap();
    let mut input = BytesMut::new();
    let mut taken = 0;
    while taken < REQUESTS {
        assert_ne!(stream.read_buf(&mut input).await.unwrap(), 0);
        while frame::take(&mut input).unwrap().is_some() {
            taken += 1;
        }
        let ahead = made.load(Relaxed) - taken;
        assert!(ahead < 24, "{ahead} answers are waiting to be taken");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_words_on_both_sides() {
    let (address, events) = echo(b"secret").await;
    let error = link(address, b"guess", "b", "echo")
        .request(Bytes::new(), LONG)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, LinkError::Rejected(why) if why.contains("another cluster key")),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
    told(&events, "another cluster key").await;
}

/// Waits until the last event says this.
async fn told(events: &Events, what: &str) {
    let deadline = std::time::Instant::now() + LONG;
    while !events.last(1).iter().any(|e| e.what.contains(what)) {
        assert!(std::time::Instant::now() < deadline, "no event was raised");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn another_purpose_or_another_node_than_expected_is_refused_in_words() {
    let (address, _) = echo(b"secret").await;
    for (peer, purpose, expected) in [
        (
            "b",
            "raft",
            "has no part in this now (\"raft\"): it has stopped, as the log there says why, or",
        ),
        ("c", "echo", "this is node b"),
    ] {
        let link = link(address, b"secret", peer, purpose);
        let error = link.request(Bytes::new(), LONG).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A node `b` of this cluster, and whether what `a` of another says to it is answered.
async fn asked_by(ours: Option<u64>, theirs: Option<u64>) -> (Result<Bytes, LinkError>, Events) {
    let (address, events) = echo_of(b"secret", ours).await;
    let link = Link::new(LinkOptions {
        node: "a".into(),
        peer: "b".into(),
        address,
        purpose: "echo",
        key: ClusterKey::new(b"secret"),
        cluster: cluster(theirs),
        accepts: None,
        incarnation: Incarnation::NONE,
        outgoing: None,
    });
    (link.request(Bytes::from_static(b"x"), LONG).await, events)
}

fn cluster(id: Option<u64>) -> ClusterId {
    let cluster = ClusterId::default();
    cluster.set(id);
    cluster
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_in_words_on_both_sides() {
    let (answer, events) = asked_by(Some(7), Some(8)).await;
    let error = answer.unwrap_err().to_string();
    let expected =
        "node b holds the state of cluster 0000000000000007 and node a that of 0000000000000008";
    assert!(error.contains(expected), "{error}");
    told(&events, expected).await;
}

#[tokio::test]
async fn nodes_of_one_cluster_and_such_as_are_of_none_yet_speak_to_one_another() {
    for (ours, theirs) in [(7, 7), (0, 7), (7, 0), (0, 0)] {
        let known = |id| Some(id).filter(|id| *id != 0);
        let (answer, _) = asked_by(known(ours), known(theirs)).await;
        assert_eq!(answer.unwrap(), "x", "{ours} {theirs}");
    }
}

#[tokio::test]
async fn who_connects_learns_of_which_cluster_the_other_side_is_and_may_ask_it_nothing() {
    for (ours, is_answered) in [(Some(7), false), (Some(8), true), (None, true)] {
        let (address, _) = echo_of(b"secret", ours).await;
        let only_others = Accepts::by(|cluster| match cluster {
            7 => Err("it was given up".into()),
            _ => Ok(()),
        });
        let link = Link::new(LinkOptions {
            accepts: Some(only_others),
            ..options(address, b"secret", "b", "echo")
        });
        let answer = link.request(Bytes::from_static(b"x"), LONG).await;
        match answer {
            Ok(_) => assert!(is_answered, "{ours:?}"),
            Err(LinkError::Rejected(why)) => {
                assert!(!is_answered && why == "it was given up", "{ours:?} {why}");
            }
            Err(other) => panic!("{ours:?} {other}"),
        }
    }
}

#[tokio::test]
async fn a_connection_over_which_there_is_no_answer_ends_and_another_is_made() {
    let (address, _) = echo(b"secret").await;
    let link = link(address, b"secret", "b", "echo");
    let never = link.request(Bytes::from_static(b"never"), LONG).await;
    assert!(matches!(never, Err(LinkError::Lost)), "{never:?}");
    // At once it would be told that it broke.
    let answer = loop {
        match link.request(Bytes::from_static(b"x"), LONG).await {
            Err(LinkError::Unreachable(_)) => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    assert_eq!(answer.unwrap(), "x");
}

#[tokio::test]
async fn a_node_of_a_version_that_knows_of_no_clusters_is_welcome() {
    let key = ClusterKey::new(b"secret");
    let (mut a, mut from_a) = tokio::io::duplex(4096);
    let (mut to_b, mut b) = tokio::io::duplex(4096);
    let asked = tokio::spawn({
        let key = key.clone();
        async move {
            hello::connect(
                &mut a,
                &key,
                "raft",
                ("a", Incarnation::of(5)),
                "b",
                Some(8),
            )
            .await
        }
    });
    let between = tokio::spawn(async move {
        // The hello of such a version ends sixteen bytes earlier.
        let mut head = [0; 8];
        from_a.read_exact(&mut head).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[6], head[7]]))];
        from_a.read_exact(&mut hello).await.unwrap();
        let shorter = &hello[..hello.len() - 16];
        head[6..].copy_from_slice(&(shorter.len() as u16).to_be_bytes());
        to_b.write_all(&head).await.unwrap();
        to_b.write_all(shorter).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut from_a, &mut to_b).await;
    });
    let known = |_: &str| Some(cluster(Some(7)));
    let client = hello::accept(&mut b, &key, "b", known, |_| Ok(()))
        .await
        .ok()
        .unwrap();
    assert_eq!((client.name.as_str(), client.cluster), ("a", None));
    assert_eq!(asked.await.unwrap().unwrap(), Some(7));
    between.abort();
}

/// Connections that say nothing take all places of hellos; a node comes from elsewhere, and one from there.
#[tokio::test]
async fn who_says_nothing_keeps_no_node_out() {
    let events = Events::new("b", Log::Silent);
    let key = ClusterKey::new(b"secret");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = ClusterServer::on(listener, "b", key.clone(), events.clone(), 8);
    server.purposes().register("echo", |accepted| {
        tokio::spawn(serve(accepted, |body| {
            Answer::Now::<std::future::Ready<Bytes>>(body)
        }));
    });
    tokio::spawn(server.serve(std::future::pending()));
    let mut silent = Vec::new();
    for _ in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(address).await.unwrap());
    }
    // All of them were accepted, since the first gave their places up.
    let mut byte = [0];
    for first in &mut silent[..12] {
        assert_eq!(first.read(&mut byte).await.unwrap(), 0);
    }
    for from in ["127.0.0.1", "127.0.0.2"] {
        let link = Link::new(LinkOptions {
            node: "a".into(),
            peer: "b".into(),
            address,
            purpose: "echo",
            key: key.clone(),
            cluster: ClusterId::default(),
            accepts: None,
            incarnation: Incarnation::NONE,
            outgoing: Some(from.parse().unwrap()),
        });
        assert_eq!(
            link.request(Bytes::from_static(b"x"), LONG).await.unwrap(),
            "x"
        );
    }
    // The others wait, as long as a hello may.
    let last = silent.last_mut().unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(10), last.read(&mut byte));
    assert!(waits.await.is_err());
    told(
        &events,
        "more connections are being opened than there is room for",
    )
    .await;
}

#[tokio::test]
async fn an_unknown_version_is_refused_in_words() {
    let (address, _) = echo(b"secret").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"TNDM\x00\x63\x00\x00").await.unwrap();
    let mut refusal = Vec::new();
    stream.read_to_end(&mut refusal).await.unwrap();
    let text = String::from_utf8_lossy(&refusal);
    assert!(
        text.contains("speaks version 1 of the cluster protocol, not 99"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_told_at_once() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let error = link(address, b"secret", "b", "echo")
        .request(Bytes::new(), LONG)
        .await
        .unwrap_err();
    assert!(matches!(error, LinkError::Refused), "{error}");
}

#[tokio::test]
async fn a_link_comes_back_when_its_node_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let link = link(address, b"secret", "b", "echo");
    assert!(link.request(Bytes::new(), LONG).await.is_err());
    let events = Events::new("b", Log::Silent);
    let server = ClusterServer::bind(address, "b", ClusterKey::new(b"secret"), events)
        .await
        .unwrap();
    server.purposes().register("echo", |accepted| {
        tokio::spawn(serve(accepted, |body: Bytes| {
            Answer::Later(std::future::ready(body))
        }));
    });
    tokio::spawn(server.serve(std::future::pending()));
    let deadline = std::time::Instant::now() + LONG;
    while link.request(Bytes::from_static(b"x"), LONG).await.is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_ends_at_its_deadline_and_says_that_it_may_have_been_sent() {
    let (address, _) = echo(b"secret").await;
    let link = link(address, b"secret", "b", "echo");
    link.request(Bytes::new(), LONG).await.unwrap();
    let held = link.request(Bytes::from_static(b"hold"), Duration::from_millis(20));
    let error = held.await.unwrap_err();
    assert!(error.may_have_been_sent(), "{error}");
}

#[tokio::test]
async fn who_comes_with_many_others_need_not_come_twice() {
    let events = Events::new("b", Log::Silent);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = ClusterServer::bind(any, "b", ClusterKey::new(b"secret"), events);
    let server = server.await.unwrap();
    let address = server.local_addr().unwrap();
    // Nobody takes them. One for which there is no place is tried again after a second.
    let soon = Duration::from_millis(500);
    let come = |_| std::net::TcpStream::connect_timeout(&address, soon);
    let all: Result<Vec<_>, _> = (0..300).map(come).collect();
    assert_eq!(all.unwrap().len(), 300);
}

/// A link of node `a`, as the start of this number, from an address of its own.
fn run_of_a(address: SocketAddr, number: u8) -> Link {
    Link::new(LinkOptions {
        node: "a".into(),
        peer: "b".into(),
        address,
        purpose: "echo",
        key: ClusterKey::new(b"secret"),
        cluster: ClusterId::default(),
        accepts: None,
        incarnation: Incarnation::of(number.into()),
        outgoing: Some([127, 0, 0, number].into()),
    })
}

/// Asks until that comes to what is wanted.
async fn comes_to(link: &Link, wanted: impl Fn(&Result<Bytes, LinkError>) -> bool) {
    let begun = Instant::now();
    loop {
        let told = link.request(Bytes::from_static(b"x"), LONG).await;
        if wanted(&told) {
            return;
        }
        assert!(begun.elapsed() < LONG, "{told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn of_two_processes_under_one_name_the_later_is_refused_and_that_is_an_error_until_the_first_ends()
 {
    let (address, events) = echo(b"secret").await;
    let (first, second) = (run_of_a(address, 1), run_of_a(address, 2));
    let refused = |what: &'static str| {
        move |told: &Result<Bytes, LinkError>| {
            let error = told.as_ref().err().map(ToString::to_string);
            error.is_some_and(|error| error.contains(what))
        }
    };
    comes_to(&first, Result::is_ok).await;
    comes_to(&second, refused("finds out whether that still runs")).await;
    // Its connection was closed, and it opens another.
    comes_to(&first, Result::is_ok).await;
    comes_to(&second, refused("node b knows it at 127.0.0.1")).await;
    comes_to(&first, Result::is_ok).await;
    let what = "node a runs twice: at 127.0.0.1, and at 127.0.0.2 by a process that came later";
    let events = events.last(usize::MAX).into_iter();
    let mut errors = events.filter(|event| event.severity == Severity::Error);
    assert!(errors.next().is_some_and(|error| error.what.contains(what)));
    assert!(errors.next().is_none());
    drop(first);
    comes_to(&second, Result::is_ok).await;
}

#[tokio::test]
async fn a_node_that_is_started_again_and_again_is_no_error() {
    let (address, events) = echo(b"secret").await;
    for number in 1..20 {
        let links = [run_of_a(address, number), run_of_a(address, number)];
        for link in &links {
            comes_to(link, Result::is_ok).await;
        }
    }
    assert!(events.last(usize::MAX).is_empty());
}
