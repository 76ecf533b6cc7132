//! The client of health checks; servers and clients on Unix sockets; connections from a chosen address.

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::*;
use tandem_http::client::{FetchError, MAX_BODY, fetch};
use tandem_http::handler::Endpoint;
use tandem_model::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const LONG: Duration = Duration::from_secs(20);

async fn ask(answer: impl Into<Vec<u8>>, request: &[u8]) -> Result<(u16, String), FetchError> {
    let server = Endpoint::Tcp(canned(answer).await);
    let answer = fetch(&server, None, request, LONG).await?;
    Ok((answer.status, String::from_utf8(answer.body).unwrap()))
}

#[test]
fn an_answer_is_read_whatever_its_framing() {
    run(async {
        for (answer, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
                204,
                "",
            ),
            (
                "HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n",
                503,
                "no!",
            ),
        ] {
            assert_eq!(ask(answer, GET).await.unwrap(), (status, body.to_owned()));
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let request = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(ask(head, request).await.unwrap(), (200, String::new()));
        let closes = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end")
                .await
                .unwrap();
        })
        .await;
        let answer = fetch(&Endpoint::Tcp(closes), None, GET, LONG)
            .await
            .unwrap();
        assert_eq!(answer.body, b"to the end");
        let large = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n{}",
            "x".repeat(999_999)
        );
        assert_eq!(ask(large, GET).await.unwrap().1.len(), MAX_BODY);
    });
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    run(async {
        assert!(matches!(
            ask("SSH-2.0\r\n\r\n", GET).await,
            Err(FetchError::Malformed)
        ));
        let closed = Endpoint::Tcp(closed_port().await);
        assert!(matches!(
            fetch(&closed, None, GET, LONG).await,
            Err(FetchError::Connect(_))
        ));
        let breaks = origin(|mut stream, _| async move {
            read_request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal")
                .await
                .unwrap();
        })
        .await;
        let broken = fetch(&Endpoint::Tcp(breaks), None, GET, LONG).await;
        assert!(matches!(broken, Err(FetchError::Broken(_))));
        let silent = origin(|stream, _| async move {
            let _open = stream;
            std::future::pending::<()>().await;
        })
        .await;
        let late = fetch(&Endpoint::Tcp(silent), None, GET, Duration::from_millis(20)).await;
        assert!(matches!(late, Err(FetchError::Timeout)));
    });
}

#[test]
fn clients_and_servers_may_be_on_unix_sockets() {
    run(async {
        let path = |name| {
            let file = format!("tandem-http-{}-{name}", std::process::id());
            std::env::temp_dir().join(file).to_str().unwrap().to_owned()
        };
        let (front, back) = (path("front"), path("back"));
        let listener = UnixListener::bind(&back).unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 1000];
                let n = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                assert!(request.contains("Host: localhost\r\n"), "{request}");
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
                    .await
                    .unwrap();
            }
        });
        let mut server = upstream(closed_port().await);
        server.address = Endpoint::Unix(back.as_str().into());
        let rig = Rig::new(config(forward_to(vec![server], &Heard::default())));
        let mut bound = tandem_net::listen::bind(&Address::Unix(front.clone()), 1).unwrap();
        let socket = bound[0].sockets.remove(0);
        let listening = rig.engine.listen(socket, rig.config.clone()).unwrap();
        assert_eq!(listening.address(), None);
        let mut client = UnixStream::connect(&front).await.unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(body_of(&answer), "unix");
        for path in [front, back] {
            std::fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn a_server_sees_the_address_that_was_chosen_for_it() {
    run(async {
        let server = origin(|mut stream, _| async move {
            let peer = stream.peer_addr().unwrap().ip().to_string();
            while read_request(&mut stream).await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", peer.len());
                stream.write_all((head + &peer).as_bytes()).await.unwrap();
            }
        })
        .await;
        let from = IpAddr::from([127, 9, 8, 7]);
        let mut chosen = upstream(server);
        chosen.from = Some(tandem_model::Outgoing::Preferred(from));
        let rig = Rig::new(config(forward_to(vec![chosen], &Heard::default())));
        let answer = rig.talk("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(body_of(&answer), "127.9.8.7");
        let answer = fetch(&Endpoint::Tcp(server), Some(from), GET, LONG)
            .await
            .unwrap();
        assert_eq!(answer.body, b"127.9.8.7");
    });
}
