//! Whatever pieces a client sends its bytes in, the server sees the same one well-formed message.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::AsyncWriteExt;

/// A request in two framings with the same body, and where to cut it.
fn requests() -> impl Strategy<Value = (Vec<u8>, String, Vec<usize>)> {
    let chunk = ("[a-z]{1,40}", "(;x=y)?");
    let chunks = proptest::collection::vec(chunk, 0..6);
    let cuts = proptest::collection::vec(1usize..400, 0..8);
    let name = "[A-Za-z-]{1,8}";
    (chunks, any::<bool>(), name, cuts, "(\r\n)?").prop_map(
        |(chunks, chunked, name, cuts, before)| {
            let body: String = chunks.iter().map(|(data, _)| data.as_str()).collect();
            let head = format!("{before}POST /x HTTP/1.1\r\nHost: a\r\nX-{name}: 1\r\n");
            let framed = if chunked {
                let mut framed = "Transfer-Encoding: chunked\r\n\r\n".to_owned();
                for (data, extension) in &chunks {
                    let size = data.len();
                    framed.extend([&format!("{size:X}{extension}\r\n"), data.as_str(), "\r\n"]);
                }
                framed + "0\r\nHost: dropped\r\n\r\n"
            } else {
                format!("Content-Length: {}\r\n\r\n{body}", body.len())
            };
            ((head + &framed).into_bytes(), body, cuts)
        },
    )
}

/// The data of a chunked body, read by the simplest of decoders.
fn unchunk(mut framed: &str) -> String {
    let mut data = String::new();
    loop {
        let (size, rest) = framed.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            assert_eq!(rest, "\r\n");
            return data;
        }
        data += &rest[..size];
        framed = rest[size..].strip_prefix("\r\n").unwrap();
    }
}

#[test]
fn pieces_make_no_difference() {
    run(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let server = {
            let seen = seen.clone();
            origin(move |mut stream, _| {
                let seen = seen.clone();
                async move {
                    while let Some(request) = read_request(&mut stream).await {
                        seen.borrow_mut().push(request);
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            })
            .await
        };
        let (rig, _) = proxy(&[server]);
        let mut runner = TestRunner::new(Config::default());
        let mut client = rig.connect().await;
        for _ in 0..150 {
            let tree = requests().new_tree(&mut runner).unwrap();
            let (bytes, body, cuts) = tree.current();
            let mut at = 0;
            for cut in cuts {
                let end = bytes.len().min(at + cut);
                client.write_all(&bytes[at..end]).await.unwrap();
                at = end;
                // The engine gets its turn to read this piece alone.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            client.write_all(&bytes[at..]).await.unwrap();
            read_until(&mut client, "ok").await;
            let request = seen.borrow_mut().pop().unwrap();
            assert!(seen.borrow().is_empty(), "one request became two");
            let (head, framed) = request.split_once("\r\n\r\n").unwrap();
            let chunked = head.contains("Transfer-Encoding: chunked");
            assert_ne!(chunked, head.contains("Content-Length"), "{head}");
            let got = if chunked {
                unchunk(framed)
            } else {
                framed.to_owned()
            };
            assert_eq!(got, body, "{}", bytes.escape_ascii());
        }
    });
}
