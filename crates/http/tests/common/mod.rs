//! An engine, servers that behave and misbehave, and a client that sends raw bytes: all on one thread.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod authority;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_http::handler::Endpoint;
use tandem_http::{
    Attempts, Cx, Engine, Failure, Handler, ListenerConfig, Listening, Outcome, Plan, Request,
    Step, Upstream,
};
use tandem_model::{Address, Timeouts};
use tandem_net::ClientRule;
use tandem_telemetry::{Telemetry, event::Log};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

/// Runs a test on a worker's kind of runtime; a test that hangs fails.
pub fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await })
        .expect("the test hangs");
}

/// A handler made of a function.
pub struct Func<F>(pub F);

impl<F: Fn(&Request<'_>) -> Plan + Send + Sync> Handler for Func<F> {
    fn step(&self, request: &Request<'_>, _: &Cx) -> Step {
        Step::Plan((self.0)(request))
    }
}

pub fn handler(f: impl Fn(&Request<'_>) -> Plan + Send + Sync + 'static) -> Arc<dyn Handler> {
    Arc::new(Func(f))
}

/// Generous limits: a test that meets one did not want to.
pub fn timeouts() -> Timeouts {
    Timeouts::default()
}

/// A running engine with one listener.
pub struct Rig {
    pub address: SocketAddr,
    pub engine: Engine,
    pub listening: Listening,
    pub config: Arc<ArcSwap<ListenerConfig>>,
    pub telemetry: Telemetry,
}

pub fn config(handler: Arc<dyn Handler>) -> ListenerConfig {
    ListenerConfig {
        name: "test".into(),
        handler,
        timeouts: timeouts(),
        rule: ClientRule::default(),
        proxy_protocol: false,
        tls: None,
        http2: false,
        limits: tandem_model::Limits::default(),
        admission: Arc::default(),
        internal: false,
        hands_over: false,
        errors: None,
        log: None,
        log_format: tandem_model::AccessFormat::Combined,
        request_id: false,
        meters: tandem_http::ListenerMeters::default(),
    }
}

impl Rig {
    pub fn new(config: ListenerConfig) -> Self {
        let telemetry = Telemetry::new("local", 1, Log::Silent);
        let engine = Engine::new(0, 1000, telemetry.clone());
        let mut bound = tandem_net::listen::bind(&Address::tcp("127.0.0.1", 0), 1).unwrap();
        let config = Arc::new(ArcSwap::from_pointee(config));
        let socket = bound[0].sockets.remove(0);
        let listening = engine.listen(socket, config.clone()).unwrap();
        Self {
            address: bound[0].address.unwrap(),
            engine,
            listening,
            config,
            telemetry,
        }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` and reads until the server closes.
    pub async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(&mut client).await
    }
}

pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an error of the one who sends too much.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until what was read ends with `end`.
pub async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let n = stream.read(&mut byte).await.unwrap();
        assert!(n > 0, "ended after {}", String::from_utf8_lossy(&got));
        got.push(byte[0]);
    }
    String::from_utf8(got).unwrap()
}

/// Reads a head, with its empty line.
pub async fn read_head(stream: &mut TcpStream) -> String {
    read_until(stream, "\r\n\r\n").await
}

/// A server; `serve` gets each connection and its number from 0.
pub async fn origin<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        for n in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::task::spawn_local(serve(stream, n));
        }
    });
    address
}

/// A server that reads one head (and its Content-Length body) at a time and answers each with `answer`.
pub async fn canned(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    origin(move |mut stream, _| {
        let answer = answer.clone();
        async move {
            while let Some(_request) = read_request(&mut stream).await {
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// Reads one request with its body, as it came; `None` at the end.
pub async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => got.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(got.clone()).unwrap().to_lowercase();
    if let Some(at) = head.find("content-length: ") {
        let length: usize = head[at + 16..].lines().next().unwrap().parse().unwrap();
        let start = got.len();
        got.resize(start + length, 0);
        stream.read_exact(&mut got[start..]).await.ok()?;
    } else if head.contains("transfer-encoding: chunked") {
        while !got.ends_with(b"0\r\n\r\n") {
            match stream.read(&mut byte).await {
                Ok(1) => got.push(byte[0]),
                _ => return None,
            }
        }
    }
    Some(String::from_utf8_lossy(&got).into_owned())
}

/// What a pool heard.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<(Vec<Failure>, Vec<Outcome>)>>);

impl Heard {
    pub fn failures(&self) -> Vec<Failure> {
        self.0.lock().unwrap().0.clone()
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        self.0.lock().unwrap().1.clone()
    }
}

struct Tries {
    servers: VecDeque<Upstream>,
    heard: Heard,
    service: Arc<str>,
}

impl Attempts for Tries {
    fn next(&mut self, why: Option<&Failure>) -> Option<Upstream> {
        self.heard.0.lock().unwrap().0.extend(why.copied());
        self.servers.pop_front()
    }

    fn done(&mut self, outcome: &Outcome) {
        self.heard.0.lock().unwrap().1.push(*outcome);
    }

    fn service(&self) -> &Arc<str> {
        &self.service
    }
}

pub fn upstream(to: SocketAddr) -> Upstream {
    Upstream {
        address: Endpoint::Tcp(to),
        name: to.to_string().into(),
        node: false,
        elsewhere: false,
        from: None,
        tls: None,
        host: None,
        proxy: None,
        fastcgi: None,
        timeouts: timeouts(),
        idle: None,
        retry_on: None,
        cookies: None,
    }
}

/// Forwards every request to these servers, in this order.
pub fn forward_to(servers: Vec<Upstream>, heard: &Heard) -> Arc<dyn Handler> {
    let heard = heard.clone();
    handler(move |_| {
        Plan::Forward(Box::new(Tries {
            servers: servers.clone().into(),
            heard: heard.clone(),
            service: "shop".into(),
        }))
    })
}

/// An engine in front of these servers.
pub fn proxy(servers: &[SocketAddr]) -> (Rig, Heard) {
    let heard = Heard::default();
    let servers = servers.iter().copied().map(upstream).collect();
    (Rig::new(config(forward_to(servers, &heard))), heard)
}

/// A port where nothing listens.
pub async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

pub fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

pub fn status_of(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// An answer's lines without its date.
pub fn undated(answer: &str) -> String {
    let dated = |line: &&str| !line.starts_with("Date: ");
    answer.split_inclusive('\n').filter(dated).collect()
}
