//! Accepting, with real sockets.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tandem_memcache::listen::{hand_over, serve_local, take_over};
use tandem_memcache::{
    Answer, Keyspace, Op, Reply, ServerContext, ServerOptions, ServerStats, Sink, accept, listen,
};
use tandem_telemetry::Events;
use tandem_telemetry::event::Log;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

/// Holds nothing.
struct Empty;

impl Keyspace for Empty {
    fn call<'a>(&'a self, _: Op<'a>, _: &'a mut dyn Sink) -> Answer<'a> {
        Answer::Now(Reply::End)
    }
}

struct Running {
    address: std::net::SocketAddr,
    stats: Arc<ServerStats>,
    events: Events,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn start(max_connections: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stats = Arc::new(ServerStats::new(1, max_connections, 0));
    let events = Events::new("test", Log::Silent);
    let mut options = ServerOptions::new("1", || 0);
    options.events = Some(events.clone());
    let cx = Rc::new(ServerContext::new(options, stats.clone(), 0));
    let (stop, stopped) = watch::channel(false);
    let keyspace: Rc<dyn Keyspace> = Rc::new(Empty);
    let task = spawn_local(listen(listener, keyspace, cx, stopped));
    Running {
        address,
        stats,
        events,
        stop,
        task,
    }
}

async fn ask(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; "VERSION 1\r\n".len()];
    let asked = async {
        stream.write_all(b"version\r\n").await?;
        stream.read_exact(&mut answer).await
    };
    timeout(DEADLINE, asked)
        .await
        .expect("no answer in time")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut rest))
        .await
        .expect("the connection stays open")
        .unwrap();
    rest
}

#[test]
fn one_connection_too_many_is_told_so_and_a_freed_place_is_taken() {
    LocalRuntime::new().unwrap().block_on(async {
        let server = start(2).await;
        let mut first = TcpStream::connect(server.address).await.unwrap();
        let mut second = TcpStream::connect(server.address).await.unwrap();
        ask(&mut first).await;
        ask(&mut second).await;
        let mut third = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(
            rest(&mut third).await,
            "ERROR Too many open connections\r\n"
        );
        let mut another = TcpStream::connect(server.address).await.unwrap();
        rest(&mut another).await;
        assert_eq!(server.stats.rejected(), 2);
        let told = server.events.last(10);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].what.starts_with("has 2 clients, the most it takes"));
        first.write_all(b"quit\r\n").await.unwrap();
        assert_eq!(rest(&mut first).await, "");
        let counted = async {
            while server.stats.open() > 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, counted).await.expect("it is not counted");
        let mut fourth = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(ask(&mut fourth).await, "VERSION 1\r\n");
    });
}

#[test]
fn a_stop_ends_idle_connections_and_the_listener() {
    LocalRuntime::new().unwrap().block_on(async {
        let server = start(10).await;
        let mut client = TcpStream::connect(server.address).await.unwrap();
        ask(&mut client).await;
        server.stop.send(true).unwrap();
        assert_eq!(rest(&mut client).await, "");
        timeout(DEADLINE, server.task).await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
        assert_eq!(server.stats.open(), 0);
    });
}

#[test]
fn a_server_without_descriptors_waits_and_says_so_once() {
    if std::env::var_os("TANDEM_TEST_DESCRIPTORS").is_none() {
        // In a process of its own, because the limit is the process's and the other tests need descriptors.
        let test = "a_server_without_descriptors_waits_and_says_so_once";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env("TANDEM_TEST_DESCRIPTORS", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    LocalRuntime::new().unwrap().block_on(async {
        let server = start(10).await;
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(64);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        taken.pop();
        // It takes the last one; the kernel accepts it, the server cannot.
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let told = async {
            while server.events.last(10).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, told).await.expect("nothing is told");
        taken.clear();
        assert_eq!(ask(&mut client).await, "VERSION 1\r\n");
        assert_eq!(server.events.last(10).len(), 1);
    });
}

/// A server whose connections are given away when that is ordered, and where they go.
struct Leaving {
    address: std::net::SocketAddr,
    leave: watch::Sender<bool>,
    given: UnboundedReceiver<OwnedFd>,
    task: JoinHandle<()>,
}

async fn leaving() -> Leaving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stats = Arc::new(ServerStats::new(1, 10, 0));
    let cx = Rc::new(ServerContext::new(ServerOptions::new("1", || 0), stats, 0));
    let (leave, left) = watch::channel(false);
    let (give, given) = unbounded_channel();
    let keyspace: Rc<dyn Keyspace> = Rc::new(Empty);
    let task = spawn_local(async move {
        let each = |stream, admitted| serve_local(stream, admitted, &keyspace, &cx);
        accept(&listener, cx.stats(), None, left, each).await;
        hand_over(&cx, give, DEADLINE).await;
    });
    Leaving {
        address,
        leave,
        given,
        task,
    }
}

#[test]
fn a_connection_is_given_away_between_two_requests_and_served_by_its_heir() {
    LocalRuntime::new().unwrap().block_on(async {
        let mut server = leaving().await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        let mut half = TcpStream::connect(server.address).await.unwrap();
        let mut swallowed = TcpStream::connect(server.address).await.unwrap();
        for client in [&mut idle, &mut half, &mut swallowed] {
            assert_eq!(ask(client).await, "VERSION 1\r\n");
        }
        half.write_all(b"vers").await.unwrap();
        // Its value is too large, is refused before it is all there, and is no request.
        swallowed
            .write_all(b"set k 0 0 2000000\r\nversion\r\n")
            .await
            .unwrap();
        let mut refused = vec![0; "SERVER_ERROR object too large for cache\r\n".len()];
        swallowed.read_exact(&mut refused).await.unwrap();
        // By this answer, what was sent before it was read.
        assert_eq!(ask(&mut idle).await, "VERSION 1\r\n");
        server.leave.send_replace(true);
        let first = server.given.recv().await.expect("the idle one");
        // The heir: another context, as another process would have it.
        let stats = Arc::new(ServerStats::new(1, 10, 0));
        let heir = Rc::new(ServerContext::new(
            ServerOptions::new("2", || 0),
            stats.clone(),
            0,
        ));
        let keyspace: Rc<dyn Keyspace> = Rc::new(Empty);
        take_over(first.into(), &keyspace, &heir).unwrap();
        assert_eq!(ask(&mut idle).await, "VERSION 2\r\n");
        half.write_all(b"ion\r\n").await.unwrap();
        let mut answer = vec![0; "VERSION 1\r\n".len()];
        half.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"VERSION 1\r\n", "it was begun there");
        let second = server.given.recv().await.expect("the other");
        take_over(second.into(), &keyspace, &heir).unwrap();
        assert_eq!(ask(&mut half).await, "VERSION 2\r\n");
        let rest = vec![b'x'; 2_000_000 + 2 - "version\r\n".len()];
        swallowed.write_all(&rest).await.unwrap();
        let third = server.given.recv().await.expect("the last");
        take_over(third.into(), &keyspace, &heir).unwrap();
        assert_eq!(ask(&mut swallowed).await, "VERSION 2\r\n");
        assert!(server.given.recv().await.is_none());
        server.task.await.unwrap();
        drop((idle, half, swallowed));
    });
}
