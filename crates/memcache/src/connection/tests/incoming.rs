//! Large requests that come in: what connections hold of them together.

use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::*;
use crate::input::ALONE;
use crate::room::Room;
use crate::text::MAX_RETRIEVAL_LINE;

/// As many large requests as there is room for.
const FITTING: usize = 4;
const CLIENTS: usize = 50;
/// What is sent of a large value before the pause.
const BEGUN: usize = 900_000;

/// Remembers what was stored; large values take room while they are. A `get` finds a thousand bytes under every key.
#[derive(Default)]
struct Kept {
    stored: RefCell<Vec<Vec<u8>>>,
    refused: RefCell<Vec<Vec<u8>>>,
}

impl Keyspace for Kept {
    fn call<'a>(&'a self, op: Op<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        match op {
            Op::Get { keys } => {
                for key in keys {
                    sink.hit(Hit {
                        key,
                        flags: 0,
                        version: 1,
                        remaining: None,
                        value: &[b'v'; 1_000],
                    });
                }
                Answer::Now(Reply::End)
            }
            Op::Store { key, .. } => Answer::Later(Box::pin(async move {
                yield_now().await;
                self.stored.borrow_mut().push(key.to_vec());
                Reply::Stored
            })),
            _ => Answer::Now(Reply::Ok),
        }
    }

    fn takes(&self, op: &Op<'_>) -> usize {
        match op {
            Op::Store { value, .. } if value.len() > 64 * 1024 => value.len(),
            _ => 0,
        }
    }

    fn set_refused(&self, key: &[u8]) {
        self.refused.borrow_mut().push(key.to_vec());
    }
}

struct Server {
    keyspace: Rc<Kept>,
    cx: Rc<ServerContext>,
}

impl Server {
    fn new(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let cx = context(|options| {
            options.incoming = Some(Arc::new(Room::new(FITTING * (MEGABYTE + 100))));
            change(options);
        });
        Self {
            keyspace: Rc::default(),
            cx: Rc::new(cx),
        }
    }

    fn room(&self) -> &Room {
        self.cx.options.incoming.as_deref().unwrap()
    }

    /// A client between whom and the server so many bytes may be on their way.
    fn connect(&self, between: usize) -> DuplexStream {
        let (client, server) = duplex(between);
        let (keyspace, cx) = (self.keyspace.clone(), self.cx.clone());
        spawn_local(async move {
            let _ = serve_connection(server, &*keyspace, &cx).await;
        });
        client
    }

    /// Clients that have begun and say nothing more.
    async fn pausing(&self, count: usize) -> Vec<DuplexStream> {
        let mut clients = Vec::new();
        for i in 0..count {
            let mut client = self.connect(2 * MEGABYTE);
            client.write_all(&begun(i)).await.unwrap();
            clients.push(client);
        }
        self.settle().await;
        clients
    }

    /// Lets all go on as far as they do without time passing.
    async fn settle(&self) {
        for _ in 0..1_000 {
            yield_now().await;
        }
    }

    fn read(&self) -> usize {
        let lines = stats::general(&self.cx);
        let line = lines.iter().find(|(name, _)| name == "bytes_read");
        line.unwrap().1.parse().unwrap()
    }
}

fn begun(number: usize) -> Vec<u8> {
    let mut request = format!("set l{number} 0 0 {MEGABYTE}\r\n").into_bytes();
    request.extend(vec![b'v'; BEGUN]);
    request
}

fn rest() -> Vec<u8> {
    let mut rest = vec![b'v'; MEGABYTE - BEGUN];
    rest.extend(b"\r\n");
    rest
}

async fn line(client: &mut DuplexStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let byte = timeout(DEADLINE, client.read_u8()).await;
        line.push(byte.expect("no answer").unwrap());
    }
    String::from_utf8(line).unwrap()
}

async fn ask(client: &mut DuplexStream, request: impl AsRef<[u8]>) -> String {
    client.write_all(request.as_ref()).await.unwrap();
    line(client).await
}

const NOT_STORED: &str =
    "SERVER_ERROR not stored (the large values of other clients take up all the room)\r\n";

#[tokio::test(start_paused = true)]
async fn clients_that_begin_much_and_pause_hold_what_there_is_room_for_and_hold_up_nobody_small() {
    let server = Server::new(|_| {});
    let all = async {
        let mut clients = server.pausing(CLIENTS).await;
        let most = FITTING * (BEGUN + 100) + (CLIENTS - FITTING) * ALONE;
        assert!(server.read() <= most, "{} bytes", server.read());
        // Others go on, with no time passing; and those that paused finish, as others do.
        let began = Instant::now();
        let mut small = server.connect(MEGABYTE);
        assert_eq!(ask(&mut small, "set s 0 0 1\r\n1\r\n").await, "STORED\r\n");
        let value = "v".repeat(64 * 1024);
        let largest = format!(
            "set {} 0 0 65536 noreply\r\n{value}\r\nmn\r\n",
            "k".repeat(250)
        );
        assert_eq!(ask(&mut small, largest).await, "MN\r\n");
        assert_eq!(ask(&mut small, "get s\r\n").await, "VALUE s 0 1000\r\n");
        for client in &mut clients {
            client.write_all(&rest()).await.unwrap();
        }
        for client in &mut clients {
            assert_eq!(line(client).await, "STORED\r\n");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(server.keyspace.stored.borrow().len(), CLIENTS + 2);
        assert_eq!(server.room().free(), FITTING * (MEGABYTE + 100));
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test(start_paused = true)]
async fn who_pauses_or_dawdles_makes_room_for_one_that_waits_and_can_go_on_after_it_was_told() {
    for dawdles in [false, true] {
        let server = Server::new(|_| {});
        let all = async {
            let mut paused = server.pausing(FITTING).await;
            // Nobody waits: they may take their time.
            sleep(Duration::from_secs(100)).await;
            let mut other = server.connect(2 * MEGABYTE);
            other.write_all(&begun(9)).await.unwrap();
            other.write_all(&rest()).await.unwrap();
            let began = Instant::now();
            let mut sent = 0;
            if dawdles {
                for _ in 0..10 {
                    for client in &mut paused {
                        client.write_all(b"v").await.unwrap();
                    }
                    sent += 1;
                    sleep(Duration::from_millis(500)).await;
                }
            }
            assert_eq!(line(&mut other).await, "STORED\r\n");
            assert!(began.elapsed() <= Duration::from_secs(5));
            for client in &mut paused {
                assert_eq!(line(client).await, NOT_STORED);
                client.write_all(&rest()[sent..]).await.unwrap();
                assert_eq!(ask(client, "version\r\n").await, "VERSION 1\r\n");
                let set = ask(client, [begun(3), rest()].concat());
                assert_eq!(set.await, "STORED\r\n");
            }
            assert_eq!(server.room().free(), FITTING * (MEGABYTE + 100));
        };
        LocalSet::new().run_until(all).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_request_that_finds_no_room_in_time_is_told_so_and_the_next_one_is_served() {
    let server = Server::new(|_| {});
    let all = async {
        // Somebody has all of it and goes on.
        let _share = server.room().take_now(usize::MAX).unwrap();
        let began = Instant::now();
        let mut client = server.connect(2 * MEGABYTE);
        let set = [begun(1), rest()].concat();
        assert_eq!(ask(&mut client, &set).await, NOT_STORED);
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        let value = vec![b'v'; MEGABYTE];
        let meta = [b"ms l2 1000000\r\n", &value[..], b"\r\n"].concat();
        assert_eq!(ask(&mut client, meta).await, NOT_STORED);
        let add = [b"add l3 0 0 1000000\r\n", &value[..], b"\r\n"].concat();
        assert_eq!(ask(&mut client, add).await, NOT_STORED);
        let silent = [b"set l4 0 0 1000000 noreply\r\n", &value[..], b"\r\nmn\r\n"].concat();
        assert_eq!(ask(&mut client, silent).await, "MN\r\n");
        // A cache forgets what was to be replaced.
        let refused = [b"l1", b"l2", b"l4"];
        assert_eq!(*server.keyspace.refused.borrow(), refused);
        assert!(server.keyspace.stored.borrow().is_empty());
        // Nobody knows where a line ends.
        let get = format!("get{}", " k".repeat(MAX_RETRIEVAL_LINE / 4));
        let told = ask(&mut client, get).await;
        assert!(
            told.starts_with("SERVER_ERROR cannot be read now ("),
            "{told}"
        );
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        // The same in the binary protocol.
        let mut client = server.connect(2 * MEGABYTE);
        let mut packet = vec![0x80, 0x01, 0, 2, 8, 0, 0, 0];
        packet.extend((8 + 2 + MEGABYTE as u32).to_be_bytes());
        packet.extend([0; 4 + 8 + 8]);
        packet.extend(b"l5");
        packet.extend(&value);
        // Noop.
        packet.extend([0x80, 0x0a]);
        packet.extend([0; 22]);
        client.write_all(&packet).await.unwrap();
        let mut answer = [0; 24];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer[1], &answer[6..8]), (0x01, &[0, 0x84][..]));
        let mut words = vec![0; u32::from_be_bytes(answer[8..12].try_into().unwrap()) as usize];
        client.read_exact(&mut words).await.unwrap();
        assert!(words.starts_with(b"not stored ("));
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer[1], &answer[6..8]), (0x0a, &[0, 0][..]));
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_has_to_end_gives_its_room_back() {
    let server = Server::new(|_| {});
    let all = async {
        let total = server.room().free();
        let clients = server.pausing(CLIENTS).await;
        assert!(server.room().free() < MEGABYTE);
        drop(clients);
        server.settle().await;
        assert_eq!(server.room().free(), total);
        let _clients = server.pausing(CLIENTS).await;
        server.cx.drain.begin();
        timeout(DEADLINE, server.cx.drain.emptied())
            .await
            .expect("they stay");
        assert_eq!(server.room().free(), total);
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_room_for_its_request_may_wait_for_room_for_its_value() {
    let server = Server::new(|options| options.room = Some(MEGABYTE));
    let all = async {
        let mut clients = server.pausing(CLIENTS).await;
        let began = Instant::now();
        for client in &mut clients {
            client.write_all(&rest()).await.unwrap();
        }
        for client in &mut clients {
            assert_eq!(line(client).await, "STORED\r\n");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_request_whose_answer_is_not_read_or_slowly_makes_room_for_others() {
    for slowly in [false, true] {
        let server = Server::new(|_| {});
        let all = async {
            let mut readers = Vec::new();
            // A line takes the most that it can be.
            for _ in 0..FITTING - 1 {
                let mut client = server.connect(10_000);
                let get = format!("get{}\r\n", format!(" {}", "k".repeat(250)).repeat(400));
                client.write_all(get.as_bytes()).await.unwrap();
                readers.push(client);
            }
            server.settle().await;
            assert!(server.room().free() < MEGABYTE);
            let mut other = server.connect(2 * MEGABYTE);
            other.write_all(&begun(9)).await.unwrap();
            other.write_all(&rest()).await.unwrap();
            if slowly {
                for _ in 0..10 {
                    for client in &mut readers {
                        let _ = client.read(&mut [0; 10_000]).await.unwrap();
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            }
            assert_eq!(line(&mut other).await, "STORED\r\n");
        };
        LocalSet::new().run_until(all).await;
    }
}
