//! Whatever a client sends, in whatever pieces, what reaches a server is well-formed messages and nothing else.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What differs between parsers, to be put anywhere.
const SPLINTERS: [&str; 24] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "0",
    "0\r\n\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 7\r\n",
    "Content-Length : 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Host: b\r\n",
    "Connection: content-length, transfer-encoding\r\n",
    "Expect: 100-continue\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n",
    " HTTP/1.0",
    "\u{80}",
];

/// One or two good requests, broken in some places, and where to cut them.
fn streams() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let body = "[a-z]{0,12}";
    let request =
        (body, any::<bool>(), "(/|/x%2fy|/../a|http://c/)").prop_map(|(body, chunked, target)| {
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nX: y\r\n");
            if chunked && !body.is_empty() {
                let size = body.len();
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
            } else {
                format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
            }
        });
    let requests = proptest::collection::vec(request, 1..3);
    let splinter = (any::<prop::sample::Index>(), 0..SPLINTERS.len(), 0usize..3);
    let splinters = proptest::collection::vec(splinter, 0..3);
    let cuts = proptest::collection::vec(1usize..60, 0..6);
    (requests, splinters, cuts).prop_map(|(requests, splinters, cuts)| {
        let mut bytes = requests.concat().into_bytes();
        for (at, which, instead_of) in splinters {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + instead_of);
            bytes.splice(at..end, SPLINTERS[which].bytes());
        }
        (bytes, cuts)
    })
}

/// Reads one message from the beginning of `bytes` by the strictest reading of RFC 9112; its length. `Ok(None)`: it is
/// not complete.
fn message(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|e| e.to_string())?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Err(format!("request line {line:?}"));
    };
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    if !is_token(method) || !(target.starts_with('/') || target == "*") {
        return Err(format!("request line {line:?}"));
    }
    let (mut hosts, mut length, mut chunked) = (0, None, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(format!("field {line:?}"))?;
        if !is_token(name) || value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(format!("field {line:?}"));
        }
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("host", _) => hosts += 1,
            ("content-length", value) => {
                let n = value.parse().map_err(|_| format!("field {line:?}"))?;
                if length.replace(n).is_some() {
                    return Err("two lengths".into());
                }
            }
            ("transfer-encoding", "chunked") if !chunked => chunked = true,
            ("transfer-encoding" | "connection" | "keep-alive" | "expect", _) => {
                return Err(format!("field {line:?}"));
            }
            _ => {}
        }
    }
    if hosts != 1 || (chunked && length.is_some()) {
        return Err(format!("{hosts} hosts, or both framings: {head:?}"));
    }
    let mut at = end + 4;
    if !chunked {
        at += length.unwrap_or(0);
        return Ok((at <= bytes.len()).then_some(at));
    }
    loop {
        let rest = &bytes[at..];
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..line]).map_err(|e| e.to_string())?;
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk {size:?}"))?;
        at += line + 2 + size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if &bytes[at - 2..at] != b"\r\n" {
            return Err("a chunk without its end, or trailers nobody sent".into());
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[test]
fn what_reaches_a_server_is_well_formed_or_nothing() {
    run(async {
        let wrong = Rc::new(RefCell::new(Vec::new()));
        let server = {
            let wrong = wrong.clone();
            origin(move |mut stream, _| {
                let wrong = wrong.clone();
                async move {
                    let (mut got, mut piece) = (Vec::new(), [0; 4096]);
                    loop {
                        match message(&got) {
                            Ok(Some(length)) => {
                                got.drain(..length);
                                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                                if stream.write_all(answer.as_bytes()).await.is_err() {
                                    return;
                                }
                                continue;
                            }
                            Ok(None) => {}
                            Err(what) => {
                                wrong.borrow_mut().push(what);
                                return;
                            }
                        }
                        match stream.read(&mut piece).await {
                            Ok(n) if n > 0 => got.extend_from_slice(&piece[..n]),
                            // What was begun and not ended is no message.
                            _ => return,
                        }
                    }
                }
            })
            .await
        };
        let heard = Heard::default();
        let rig = Rig::new(config(forward_to(vec![upstream(server); 4], &heard)));
        let mut runner = TestRunner::new(Config::default());
        let mut answered = 0;
        for _ in 0..400 {
            let (bytes, cuts) = streams().new_tree(&mut runner).unwrap().current();
            let mut client = rig.connect().await;
            let mut at = 0;
            for cut in cuts {
                let end = bytes.len().min(at + cut);
                if client.write_all(&bytes[at..end]).await.is_err() {
                    break;
                }
                at = end;
                tokio::task::yield_now().await;
            }
            let _ = client.write_all(&bytes[at..]).await;
            let _ = client.shutdown().await;
            let answers = read_to_end(&mut client).await;
            answered += answers.matches("HTTP/1.1 200 OK").count();
            assert_eq!(
                *wrong.borrow(),
                Vec::<String>::new(),
                "{}",
                bytes.escape_ascii()
            );
        }
        // Most are left whole, or are broken where it does not matter.
        assert!(answered > 100, "{answered}");
    });
}
