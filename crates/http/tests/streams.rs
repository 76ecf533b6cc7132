//! Large bodies, which the kernel moves: they arrive whole, and whoever stalls or leaves in the middle of one is dealt
//! with as in any other.

mod common;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use common::*;
use tandem_http::handler::{Cause, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SIZE: usize = 3 << 20;
const SHORT: Duration = Duration::from_millis(50);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Bytes that differ from place to place.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}

fn put(size: usize) -> String {
    format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
}

/// A server that answers with a head for [`SIZE`] bytes and the first `part` of them, and then does nothing.
async fn stalls_after(part: usize) -> SocketAddr {
    sends(part, true).await
}

/// Likewise; or it closes the connection.
async fn sends(part: usize, stalls: bool) -> SocketAddr {
    origin(move |mut stream, _| async move {
        read_request(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(&bytes(part)).await;
        if stalls {
            std::future::pending::<()>().await;
        }
    })
    .await
}

/// What comes until the end, however that comes about.
async fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got).await;
    got
}

/// The rig that forwards to one server under these limits of it.
fn rig_with(server: SocketAddr, change: impl FnOnce(&mut tandem_model::Timeouts)) -> (Rig, Heard) {
    let heard = Heard::default();
    let mut server = upstream(server);
    change(&mut server.timeouts);
    (Rig::new(config(forward_to(vec![server], &heard))), heard)
}

#[test]
fn large_bodies_arrive_whole_and_what_is_behind_them_is_the_next_request() {
    run(async {
        let connections = Rc::new(Cell::new(0));
        let seen = connections.clone();
        // Answers each request with its body.
        let server = origin(move |mut stream, n| {
            seen.set(n + 1);
            async move {
                loop {
                    let head = read_head(&mut stream).await.to_lowercase();
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await.unwrap();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(&body).await.unwrap();
                }
            }
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        // Around the sizes at which buffers end, and a pipe is worth it.
        let sizes = [SIZE, 65_537, 16_384, 100_000, 131_072, 1, SIZE + 1];
        let (mut from, mut to) = client.split();
        let up = async {
            for size in sizes {
                to.write_all(put(size).as_bytes()).await.unwrap();
                to.write_all(&bytes(size)).await.unwrap();
            }
        };
        let down = async {
            for size in sizes {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(from.read_u8().await.unwrap());
                }
                let mut got = vec![0; size];
                from.read_exact(&mut got).await.unwrap();
                assert!(got == bytes(size), "{size}");
            }
        };
        tokio::join!(up, down);
        assert_eq!(connections.get(), 1, "a connection is used again");
        assert_eq!(heard.failures(), []);
        let sent: usize = sizes.iter().sum();
        let counted = rig.telemetry.counters.totals().bytes_out;
        assert!(counted > sent as u64, "{counted}");
    });
}

#[test]
fn a_server_that_stalls_in_a_large_body_is_given_up() {
    run(async {
        let server = stalls_after(SIZE / 2).await;
        let (rig, heard) = rig_with(server, |timeouts| timeouts.body = SHORT);
        let mut client = rig.connect().await;
        client.write_all(GET.as_bytes()).await.unwrap();
        let got = rest(&mut client).await;
        assert!(got.ends_with(&bytes(SIZE / 2)[1000..]));
        assert_eq!(heard.failures()[0].cause, Cause::Timeout);
        assert_eq!(heard.failures()[0].stage, Stage::Answered);
    });
}

#[test]
fn a_large_body_that_ends_early_does_not_look_complete() {
    run(async {
        let (rig, heard) = proxy(&[sends(SIZE / 2, false).await]);
        let mut client = rig.connect().await;
        client.write_all(GET.as_bytes()).await.unwrap();
        let got = rest(&mut client).await;
        assert!(got.len() < SIZE, "{}", got.len());
        assert_eq!(heard.failures()[0].cause, Cause::Broken);
        assert_eq!(heard.outcomes()[0].status, 200);
    });
}

#[test]
fn a_body_that_ends_with_its_connection_ends_the_clients() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            stream.write_all(&bytes(SIZE)).await.unwrap();
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let got = rest(&mut client).await;
        assert!(got.ends_with(&bytes(SIZE)));
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_client_that_takes_nothing_of_a_large_body_is_cut_off() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&bytes(8192)).await.is_ok() {}
        })
        .await;
        let heard = Heard::default();
        let mut config = config(forward_to(vec![upstream(server)], &heard));
        config.timeouts.body = SHORT;
        let rig = Rig::new(config);
        let mut client = rig.connect().await;
        client.write_all(GET.as_bytes()).await.unwrap();
        while heard.outcomes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(heard.failures(), [], "the server is not to blame");
        assert!(rest(&mut client).await.len() < 100_000_000);
    });
}

#[test]
fn a_client_that_stalls_in_a_large_body_is_a_408() {
    run(async {
        let server = origin(|mut stream, _| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let (rig, heard) = rig_with(server, |timeouts| timeouts.body = SHORT);
        let mut client = rig.connect().await;
        client.write_all(put(SIZE).as_bytes()).await.unwrap();
        client.write_all(&bytes(SIZE / 2)).await.unwrap();
        assert_eq!(status_of(&read_to_end(&mut client).await), 408);
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_client_that_leaves_in_a_large_body_leaves_the_server_with_an_incomplete_one() {
    run(async {
        let got = Rc::new(Cell::new(None));
        let seen = got.clone();
        let server = origin(move |mut stream, _| {
            let seen = seen.clone();
            async move {
                read_head(&mut stream).await;
                let mut body = Vec::new();
                let _ = stream.read_to_end(&mut body).await;
                seen.set(Some(body.len()));
            }
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        client.write_all(put(SIZE).as_bytes()).await.unwrap();
        client.write_all(&bytes(SIZE / 2)).await.unwrap();
        drop(client);
        while got.get().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(got.get().unwrap() <= SIZE / 2);
        assert_eq!(heard.failures(), []);
        assert_eq!(heard.outcomes()[0].status, 0);
    });
}

#[test]
fn a_server_that_takes_nothing_of_a_large_body_is_a_504() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            stream.read_exact(&mut vec![0; 200_000]).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let (rig, heard) = rig_with(server, |timeouts| timeouts.body = SHORT);
        let mut client = rig.connect().await;
        client.write_all(put(64 << 20).as_bytes()).await.unwrap();
        let (mut from, mut to) = client.split();
        let mut answer = Vec::new();
        let body = bytes(64 << 20);
        let (_, _) = tokio::join!(to.write_all(&body), from.read_to_end(&mut answer));
        assert_eq!(status_of(&String::from_utf8_lossy(&answer)), 504);
        let failure = heard.failures()[0];
        assert_eq!(
            (failure.stage, failure.cause, failure.retryable),
            (Stage::Unanswered, Cause::Timeout, false)
        );
    });
}

#[test]
fn a_server_that_answers_in_the_middle_of_a_large_body_is_heard() {
    run(async {
        let server = origin(|mut stream, _| async move {
            read_head(&mut stream).await;
            stream.read_exact(&mut vec![0; 500_000]).await.unwrap();
            let no = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
            stream.write_all(no.as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut client = rig.connect().await;
        client.write_all(put(SIZE).as_bytes()).await.unwrap();
        client.write_all(&bytes(SIZE / 2)).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert_eq!(status_of(&answer), 413);
        assert_eq!(body_of(&answer), "no");
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn clients_that_take_nothing_hold_the_pipes_and_no_one_up() {
    run(async {
        let large: Rc<[u8]> = bytes(2 * SIZE).into();
        let body = large.clone();
        let server = origin(move |mut stream, _| {
            let body = body.clone();
            async move {
                read_request(&mut stream).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                let _ = stream.write_all(&body).await;
            }
        })
        .await;
        let (rig, heard) = proxy(&[server]);
        let mut held = Vec::new();
        for _ in 0..40 {
            let mut client = rig.connect().await;
            client.write_all(GET.as_bytes()).await.unwrap();
            // Its body has begun, and is not read.
            client.read_exact(&mut [0; 1000]).await.unwrap();
            held.push(client);
        }
        let mut client = rig.connect().await;
        let get = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        client.write_all(get.as_bytes()).await.unwrap();
        assert!(rest(&mut client).await.ends_with(&large));
        assert_eq!(heard.outcomes().len(), 1, "the others are held up");
        // And those get theirs when they read.
        let mut client = held.swap_remove(0);
        let mut left = large.len() - 1000;
        let mut buf = vec![0; 1 << 16];
        while left > 0 {
            let n = client.read(&mut buf).await.unwrap();
            assert!(n > 0, "{left} bytes are missing");
            left = left.saturating_sub(n);
        }
        drop(held);
        while heard.outcomes().len() < 41 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(heard.failures(), []);
    });
}
