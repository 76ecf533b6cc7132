mod incoming;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::timeout;

use super::*;
use crate::context::ServerOptions;
use crate::keyspace::{Answer, Hit, Sink};
use crate::stats::ServerStats;

const DEADLINE: Duration = Duration::from_secs(20);

/// Remembers what it was asked. `set` answers later, after the scheduler has been round a few times; a `get` finds
/// `value` under every key.
#[derive(Default)]
struct Slow {
    seen: RefCell<Vec<String>>,
    value: Vec<u8>,
    fails_at: Option<Vec<u8>>,
    refused: RefCell<Vec<Vec<u8>>>,
}

impl Keyspace for Slow {
    fn call<'a>(&'a self, op: Op<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match op {
            Op::Get { keys } => {
                for key in keys {
                    if self.fails_at.as_deref() == Some(key) {
                        return Answer::Now(Reply::ServerError("unknown".into()));
                    }
                    self.seen.borrow_mut().push(format!("get {}", text(key)));
                    sink.hit(Hit {
                        key,
                        flags: 0,
                        version: 1,
                        remaining: None,
                        value: &self.value,
                    });
                }
                Answer::Now(Reply::End)
            }
            Op::Store { key, value, .. } => Answer::Later(Box::pin(async move {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                let seen = format!("set {} {}", text(key), text(value));
                self.seen.borrow_mut().push(seen);
                Reply::Stored
            })),
            _ => Answer::Now(Reply::Ok),
        }
    }

    fn set_refused(&self, key: &[u8]) {
        self.refused.borrow_mut().push(key.to_vec());
    }
}

fn context(change: impl FnOnce(&mut ServerOptions)) -> ServerContext {
    let mut options = ServerOptions::new("1", || 1_800_000_000);
    change(&mut options);
    ServerContext::new(options, Arc::new(ServerStats::new(1, 10, 0)), 0)
}

/// Counts the writes that pass.
struct Counted {
    inner: DuplexStream,
    writes: Rc<Cell<usize>>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.set(self.writes.get() + 1);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Sends `input`, ends, and returns the answers and the number of writes they took.
async fn talk(keyspace: &impl Keyspace, cx: &ServerContext, input: &[u8]) -> (String, usize) {
    let (mut client, server) = duplex(1 << 20);
    let writes = Rc::new(Cell::new(0));
    let server = Counted {
        inner: server,
        writes: writes.clone(),
    };
    client.write_all(input).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = Vec::new();
    let both = async {
        tokio::join!(
            serve_connection(server, keyspace, cx),
            client.read_to_end(&mut answers)
        )
    };
    let (served, _) = timeout(DEADLINE, both).await.expect("the loop hangs");
    served.unwrap();
    (String::from_utf8(answers).unwrap(), writes.get())
}

#[tokio::test]
async fn silent_and_slow_operations_keep_their_place() {
    let keyspace = Slow::default();
    let input = b"set a 0 0 1 noreply\r\n1\r\nget a\r\nset b 0 0 1\r\n2\r\nget b\r\n";
    let (answers, _) = talk(&keyspace, &context(|_| {}), input).await;
    assert_eq!(
        answers,
        "VALUE a 0 0\r\n\r\nEND\r\nSTORED\r\nVALUE b 0 0\r\n\r\nEND\r\n"
    );
    assert_eq!(
        *keyspace.seen.borrow(),
        ["set a 1", "get a", "set b 2", "get b"]
    );
}

#[tokio::test]
async fn the_answers_to_pipelined_requests_are_one_write() {
    let (answers, writes) = talk(
        &Slow::default(),
        &context(|_| {}),
        &b"get a\r\n".repeat(500),
    )
    .await;
    assert_eq!(answers, "VALUE a 0 0\r\n\r\nEND\r\n".repeat(500));
    assert_eq!(writes, 1);
}

#[tokio::test]
async fn much_output_is_written_before_all_of_it_is_there() {
    let keyspace = Slow {
        value: vec![b'v'; 1_000],
        ..Slow::default()
    };
    let input = format!("get{}\r\n", " k".repeat(1_000));
    let (answers, writes) = talk(&keyspace, &context(|_| {}), input.as_bytes()).await;
    assert_eq!(answers.matches("VALUE k 0 1000").count(), 1_000);
    assert!(answers.ends_with("END\r\n"));
    // 64 KiB gathered, plus one call's hits, a million bytes in all.
    assert!((8..=16).contains(&writes), "{writes} writes");
}

#[tokio::test]
async fn an_error_in_a_retrieval_is_not_a_miss() {
    let keyspace = Slow {
        fails_at: Some(b"b".to_vec()),
        ..Slow::default()
    };
    let (answers, _) = talk(&keyspace, &context(|_| {}), b"get a b c\r\nversion\r\n").await;
    assert_eq!(answers, "SERVER_ERROR unknown\r\nVERSION 1\r\n");
}

/// Finds a megabyte under every key that begins with `l`, one in a call, and a byte under others.
#[derive(Default)]
struct Large {
    shown: Cell<usize>,
    fails_after: Option<usize>,
    asked: RefCell<Vec<&'static str>>,
}

const MEGABYTE: usize = 1_000_000;

impl Keyspace for Large {
    fn call<'a>(&'a self, op: Op<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        let Op::Get { keys } = op else {
            self.asked.borrow_mut().push("other");
            return Answer::Now(Reply::Ok);
        };
        self.asked.borrow_mut().push("get");
        self.find(keys, sink)
    }

    fn takes(&self, op: &Op<'_>) -> usize {
        match op {
            Op::Get { .. } | Op::GetAndTouch { .. } => MEGABYTE,
            Op::Store { value, .. } if value.len() > 1 => MEGABYTE,
            _ => 0,
        }
    }

    fn get_within<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
        bytes: usize,
        sink: &'a mut dyn Sink,
    ) -> Answer<'a> {
        assert!(bytes < MEGABYTE);
        self.asked.borrow_mut().push("get_within");
        if keys[0].starts_with(b"l") {
            return Answer::Now(Reply::Partly(0));
        }
        self.find(keys, sink)
    }

    fn fit<'a>(&'a self, keys: &'a [&'a [u8]], _: usize) -> crate::Fit<'a> {
        self.asked.borrow_mut().push("fit");
        let small = keys.iter().take_while(|key| !key.starts_with(b"l"));
        Box::pin(std::future::ready(small.count()))
    }
}

impl Large {
    fn find(&self, keys: &[&[u8]], sink: &mut dyn Sink) -> Answer<'static> {
        if self.fails_after == Some(self.shown.get()) {
            return Answer::Now(Reply::ServerError("unknown".into()));
        }
        let size = if keys[0].starts_with(b"l") {
            MEGABYTE
        } else {
            1
        };
        self.shown.set(self.shown.get() + 1);
        sink.hit(Hit {
            key: keys[0],
            flags: 0,
            version: 1,
            remaining: None,
            value: &vec![b'v'; size],
        });
        Answer::Now(if keys.len() > 1 {
            Reply::Partly(1)
        } else {
            Reply::End
        })
    }
}

#[tokio::test]
async fn an_answer_in_pieces_is_whole_or_ends_in_an_error() {
    let cx = context(|options| options.room = Some(4 * MEGABYTE));
    for (fails_after, last) in [(None, "END\r\n"), (Some(2), "SERVER_ERROR unknown\r\n")] {
        let keyspace = Large {
            fails_after,
            ..Large::default()
        };
        let (answer, _) = talk(&keyspace, &cx, b"get l1 l2 s3 l4\r\n").await;
        let keys = answer
            .split("VALUE ")
            .skip(1)
            .map(|hit| &hit[..2])
            .collect::<Vec<_>>();
        let all = ["l1", "l2", "s3", "l4"];
        assert_eq!(keys, all[..fails_after.unwrap_or(all.len())]);
        assert!(answer.ends_with(last));
        assert_eq!(answer.contains("END"), fails_after.is_none());
    }
}

/// Clients that ask for much and read nothing; they stay for as long as what is returned lives.
async fn ask_and_do_not_read<'a>(
    count: usize,
    keyspace: &'a Large,
    cx: &'a ServerContext,
) -> (
    Vec<DuplexStream>,
    Vec<Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>>,
) {
    let mut clients = Vec::new();
    let mut served: Vec<Pin<Box<dyn Future<Output = _>>>> = Vec::new();
    for _ in 0..count {
        let (mut client, server) = duplex(1_000);
        client.write_all(b"get l1 l2 l3 l4\r\n").await.unwrap();
        clients.push(client);
        served.push(Box::pin(serve_connection(server, keyspace, cx)));
    }
    // Until none of them goes on by itself.
    for _ in 0..100 {
        for one in &mut served {
            let poll = poll_fn(|task| Poll::Ready(one.as_mut().poll(task))).await;
            assert!(poll.is_pending());
        }
        tokio::task::yield_now().await;
    }
    (clients, served)
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_read_hold_no_more_than_there_is_room_for() {
    let cx = context(|options| options.room = Some(4 * MEGABYTE));
    let keyspace = Large::default();
    let (_clients, _served) = ask_and_do_not_read(50, &keyspace, &cx).await;
    assert_eq!(keyspace.shown.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_little_does_not_wait_for_clients_that_do_not_read() {
    let cx = context(|options| options.room = Some(4 * MEGABYTE));
    let keyspace = Large::default();
    let (_clients, _served) = ask_and_do_not_read(50, &keyspace, &cx).await;
    let began = tokio::time::Instant::now();
    let (answer, _) = talk(&keyspace, &cx, b"get s1 s2\r\nmg s3 v\r\n").await;
    assert_eq!(
        answer,
        "VALUE s1 0 1\r\nv\r\nVALUE s2 0 1\r\nv\r\nEND\r\nVA 1\r\nv\r\n"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// How connections end that are served together.
async fn ends(
    mut served: Vec<Pin<Box<dyn Future<Output = io::Result<()>> + '_>>>,
) -> Vec<io::Result<()>> {
    let mut results = Vec::new();
    poll_fn(|task| {
        served.retain_mut(|one| match one.as_mut().poll(task) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
        if served.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    results
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_in_time_is_told_that_nothing_was_done() {
    let cx = context(|options| {
        options.room = Some(4 * MEGABYTE);
        options.write_timeout = Duration::from_hours(1);
    });
    let keyspace = Large::default();
    // Somebody has all of it and goes on.
    let share = cx.room.as_ref().unwrap().take_now(4 * MEGABYTE).unwrap();
    let asked = b"get l1\r\nset k 0 0 2\r\nvv\r\nms k 2\r\nvv\r\nset k 0 0 1\r\nv\r\n";
    let (answer, _) = talk(&keyspace, &cx, asked).await;
    drop(share);
    let words: Vec<_> = answer
        .lines()
        .map(|line| line.split(" (").next().unwrap())
        .collect();
    let none = "SERVER_ERROR not stored";
    assert_eq!(words, ["SERVER_ERROR cannot be read now", none, none, "OK"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_makes_room_for_one_that_waits() {
    let cx = context(|options| options.room = Some(4 * MEGABYTE));
    let keyspace = Large::default();
    let (_clients, served) = ask_and_do_not_read(4, &keyspace, &cx).await;
    let reading = talk(&keyspace, &cx, b"get l1 l2\r\n");
    let (stalled, (answer, _)) = tokio::join!(ends(served), reading);
    assert!(answer.ends_with("END\r\n"));
    let is_given_up = |end: &io::Result<()>| {
        end.as_ref()
            .is_err_and(|e| e.kind() == io::ErrorKind::TimedOut)
    };
    assert!(stalled.iter().all(is_given_up));
}

#[tokio::test]
async fn the_keyspace_is_told_of_a_set_that_was_too_large() {
    let keyspace = Slow::default();
    let cx = context(|options| options.max_value = 3);
    let input = b"set k 0 0 4\r\n1234\r\nadd l 0 0 4 noreply\r\n1234\r\nget m\r\n";
    let (answers, _) = talk(&keyspace, &cx, input).await;
    let expected = "SERVER_ERROR object too large for cache\r\nVALUE m 0 0\r\n\r\nEND\r\n";
    assert_eq!(answers, expected);
    assert_eq!(*keyspace.refused.borrow(), [b"k".to_vec()]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let cx = context(|options| options.write_timeout = Duration::from_millis(10));
    let keyspace = Slow {
        value: vec![0; 10_000],
        ..Slow::default()
    };
    let (mut client, server) = duplex(1_000);
    client.write_all(b"get k\r\n").await.unwrap();
    let served = timeout(DEADLINE, serve_connection(server, &keyspace, &cx)).await;
    let error = served.expect("it is waited for").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn an_idle_client_is_hung_up_on_when_told_so() {
    let cx = context(|options| options.idle_timeout = Some(Duration::from_millis(10)));
    let (mut client, server) = duplex(1_000);
    client.write_all(b"version\r\n").await.unwrap();
    let served = timeout(DEADLINE, serve_connection(server, &Slow::default(), &cx)).await;
    served.expect("it is waited for").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "VERSION 1\r\n");
}

#[tokio::test]
async fn half_a_request_is_not_waited_for_without_end() {
    for half in ["get k", "set k 0 0 10\r\n123"] {
        let cx = context(|options| options.stall_timeout = Duration::from_millis(10));
        let (mut client, server) = duplex(1_000);
        client.write_all(half.as_bytes()).await.unwrap();
        let served = timeout(DEADLINE, serve_connection(server, &Slow::default(), &cx)).await;
        served.expect("it is waited for").unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stops_lets_idle_clients_go_after_their_answer() {
    let cx = context(|_| {});
    let keyspace = Slow::default();
    let (mut client, server) = duplex(1_000);
    let serving = serve_connection(server, &keyspace, &cx);
    let asking = async {
        client.write_all(b"set k 0 0 1\r\n1\r\n").await.unwrap();
        let mut answer = [0; 8];
        client.read_exact(&mut answer).await.unwrap();
        cx.drain.begin();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        cx.drain.emptied().await;
        assert_eq!((&answer, rest.len()), (b"STORED\r\n", 0));
    };
    let both = async { tokio::join!(serving, asking) };
    let (served, ()) = timeout(DEADLINE, both).await.expect("it does not end");
    served.unwrap();
}

/// A request of the binary protocol for one key.
fn binary_get(opcode: u8, key: &[u8]) -> Vec<u8> {
    let mut packet = vec![MAGIC, opcode, 0, key.len() as u8, 0, 0, 0, 0];
    packet.extend((key.len() as u32).to_be_bytes());
    packet.extend([0; 12]);
    packet.extend(key);
    packet
}

#[tokio::test(start_paused = true)]
async fn without_room_a_small_value_is_read_in_one_round_whatever_the_protocol() {
    let cx = context(|options| options.room = Some(4 * MEGABYTE));
    let _share = cx.room.as_ref().unwrap().take_now(4 * MEGABYTE).unwrap();
    let keyspace = Large::default();
    let began = tokio::time::Instant::now();
    let (answer, _) = talk(&keyspace, &cx, b"mg s v\r\nmg s k v q\r\nget s\r\n").await;
    assert_eq!(
        answer,
        "VA 1\r\nv\r\nVA 1 ks\r\nv\r\nVALUE s 0 1\r\nv\r\nEND\r\n"
    );
    // get, getq, getk, getkq: an answer has 24 bytes, flags, the key where it is asked for, and the value.
    for (opcode, length) in [(0x00, 29), (0x09, 29), (0x0c, 30), (0x0d, 30)] {
        let (mut client, server) = duplex(1_000);
        client.write_all(&binary_get(opcode, b"s")).await.unwrap();
        client.shutdown().await.unwrap();
        serve_connection(server, &keyspace, &cx).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((answer.len(), &answer[6..8]), (length, &[0, 0][..]));
        assert!(answer.ends_with(b"v"));
    }
    assert_eq!(*keyspace.asked.borrow(), ["get_within"; 7]);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_room_a_large_value_is_waited_for_whatever_the_protocol() {
    let cx = context(|options| options.room = Some(4 * MEGABYTE));
    let keyspace = Large::default();
    for request in [b"mg l v\r\n".to_vec(), binary_get(0x00, b"l")] {
        let share = cx.room.as_ref().unwrap().take_now(4 * MEGABYTE).unwrap();
        let (mut client, server) = duplex(2 * MEGABYTE);
        client.write_all(&request).await.unwrap();
        client.shutdown().await.unwrap();
        let frees = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(share);
        };
        let served = tokio::join!(serve_connection(server, &keyspace, &cx), frees);
        served.0.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > MEGABYTE, "{}", answer.len());
    }
    assert_eq!(*keyspace.asked.borrow(), ["get_within", "get"].repeat(2));
    // What changes the item asks for its size first.
    let _share = cx.room.as_ref().unwrap().take_now(4 * MEGABYTE).unwrap();
    keyspace.asked.borrow_mut().clear();
    talk(&keyspace, &cx, b"mg s v T30\r\nmg s v u\r\n").await;
    assert_eq!(*keyspace.asked.borrow(), ["fit", "other", "fit", "get"]);
}
