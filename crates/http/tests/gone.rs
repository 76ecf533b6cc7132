//! Clients that leave while their server thinks, and clients that only seem to.

mod common;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const GET: &[u8] = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server that never answers by itself: it tells when it was asked and when its client is gone, and answers when told.
async fn thinker() -> (
    std::net::SocketAddr,
    UnboundedReceiver<&'static str>,
    UnboundedSender<()>,
) {
    let (tell, told) = unbounded_channel();
    let (go, gone) = unbounded_channel::<()>();
    let gone = std::rc::Rc::new(tokio::sync::Mutex::new(gone));
    let address = origin(move |mut stream, _| {
        let (tell, gone) = (tell.clone(), gone.clone());
        async move {
            read_head(&mut stream).await;
            tell.send("asked").unwrap();
            let mut gone = gone.lock().await;
            tokio::select! {
                _ = gone.recv() => {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                n = read_byte(&mut stream) => {
                    assert_eq!(n, 0);
                    tell.send("gone").unwrap();
                }
            }
        }
    })
    .await;
    (address, told, go)
}

async fn read_byte(stream: &mut tokio::net::TcpStream) -> usize {
    stream.read(&mut [0]).await.unwrap_or(0)
}

#[test]
fn a_client_that_leaves_while_its_server_thinks_is_noticed_and_logged() {
    run(async {
        let log = std::env::temp_dir().join(format!("tandem-gone-{}", std::process::id()));
        let (server, mut told, _go) = thinker().await;
        let heard = Heard::default();
        let mut listener = config(forward_to(vec![upstream(server)], &heard));
        listener.log = Some(log.clone());
        let rig = Rig::new(listener);
        for reset in [true, false] {
            let mut client = rig.connect().await;
            client.write_all(GET).await.unwrap();
            assert_eq!(told.recv().await, Some("asked"));
            if reset {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            assert_eq!(told.recv().await, Some("gone"));
        }
        rig.engine.drain(std::time::Duration::from_secs(10)).await;
        let lines = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        let left = |line: &str| {
            line.contains("\"GET /slow HTTP/1.1\" 0 0") && line.contains(" client-left/answer ")
        };
        assert_eq!(
            lines.lines().filter(|line| left(line)).count(),
            2,
            "{lines}"
        );
        assert_eq!(heard.failures(), []);
    });
}

#[test]
fn a_client_that_only_ended_its_half_is_asked_and_gets_its_answer() {
    run(async {
        let (server, mut told, go) = thinker().await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        client.write_all(GET).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(told.recv().await, Some("asked"));
        assert_eq!(
            read_head(&mut client).await,
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        go.send(()).unwrap();
        let answer = read_to_end(&mut client).await;
        assert_eq!((status_of(&answer), body_of(&answer)), (200, "ok"));
    });
}

#[test]
fn a_client_that_sends_its_next_request_meanwhile_is_not_gone() {
    run(async {
        let (server, mut told, go) = thinker().await;
        let (rig, _) = proxy(&[server, server]);
        let mut client = rig.connect().await;
        client.write_all(GET).await.unwrap();
        assert_eq!(told.recv().await, Some("asked"));
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..2 {
            go.send(()).unwrap();
        }
        let answers = read_to_end(&mut client).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    });
}

#[test]
fn a_client_that_breaks_its_tunnel_leaves_its_server_at_once() {
    run(async {
        let (left, leaves) = tokio::sync::oneshot::channel();
        let left = std::cell::RefCell::new(Some(left));
        let server = origin(move |mut stream, _| {
            let left = left.borrow_mut().take();
            async move {
                read_head(&mut stream).await;
                let answer = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhi";
                stream.write_all(answer).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                let _ = left.unwrap().send(());
            }
        })
        .await;
        let (rig, _) = proxy(&[server]);
        let mut client = rig.connect().await;
        let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
        client.write_all(upgrade).await.unwrap();
        read_until(&mut client, "hi").await;
        client.set_zero_linger().unwrap();
        drop(client);
        leaves.await.unwrap();
    });
}
