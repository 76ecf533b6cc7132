use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};

use tandem_http::handler::{Attempts, Cause, Failure, Stage};
use tandem_model::{Address, Check, HttpCheck, Member, Place, PoolPlan, Spread, Timeouts};
use tandem_telemetry::{Health, Telemetry, event::Log};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::pool::{Instances, PoolAttempts};
use crate::testing::{eventually, with_request};

const TIMING: Timing = Timing {
    every: Duration::from_millis(40),
    fast: Duration::from_millis(20),
    rise: 2,
    fall: 2,
    timeout: Duration::from_secs(10),
    errors: 0,
    port: None,
};

fn pool(check: Check, places: &[Place]) -> Arc<Pool> {
    let members = (1..).zip(places).map(|(i, place)| Member {
        name: format!("app{i}"),
        place: place.clone(),
        weight: 1,
        backup: false,
        max_connections: None,
        stick_id: None,
        from: None,
    });
    let plan = PoolPlan {
        service: "shop".into(),
        kind: "app",
        gateway: false,
        members: members.collect(),
        spread: Spread::default(),
        check,
        resolve: tandem_model::RESOLVE,
        tls: None,
        send_proxy: None,
        fastcgi: None,
        timeouts: Timeouts::default(),
        secret: None,
    };
    let telemetry = Telemetry::new("edge", 1, Log::Silent);
    Pool::new(&plan, &Instances::new(), &telemetry)
}

fn address(at: SocketAddr) -> Address {
    Address::tcp(at.ip().to_string(), at.port())
}

/// Checks while `test` runs.
async fn while_checked(pool: &Arc<Pool>, test: impl Future<Output = ()>) {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let checks = run_checks(vec![pool.clone()], async {
        let _ = ended.await;
    });
    let test = async {
        test.await;
        let _ = end.send(());
    };
    tokio::join!(checks, test);
}

async fn until(pool: &Pool, health: Health) {
    let what = format!("{health:?}");
    eventually(&what, || {
        pool.servers()
            .first()
            .is_some_and(|s| s.status().health == health)
    })
    .await;
}

fn reason(pool: &Pool) -> String {
    pool.servers()[0].status().reason
}

/// A server that answers every connection's first request with the status it holds; 0 is no answer at all.
async fn server(status: Arc<AtomicU16>, heads: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 2048];
            let length = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            if head.starts_with("OPTIONS / HTTP/1.1\r\n") && head.contains("\r\ntandem-probe: ") {
                heads.fetch_add(1, SeqCst);
            }
            match status.load(SeqCst) {
                0 => std::mem::forget(stream),
                status => {
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        }
    });
    at
}

/// A check by a plain request.
fn get(path: &str) -> HttpCheck {
    HttpCheck {
        path: path.into(),
        host: None,
        method: "GET".into(),
        status: Vec::new(),
        contains: None,
        lacks: None,
        tls: false,
    }
}

#[tokio::test]
async fn a_server_is_up_while_its_port_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let pool = pool(Check::Tcp(TIMING), &[Place::Server(address(at))]);
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        drop(listener);
        until(&pool, Health::Down).await;
        assert_eq!(reason(&pool), "check: connection refused, 2 of 2");
        let _again = TcpListener::bind(at).await.expect("the port is free again");
        until(&pool, Health::Up).await;
        assert_eq!(reason(&pool), "2 of 2 checks passed");
    })
    .await;
}

#[tokio::test]
async fn a_unix_socket_is_checked_too() {
    let path = std::env::temp_dir().join(format!("tandem-edge-{}.sock", std::process::id()));
    let listener = tokio::net::UnixListener::bind(&path).expect("a free path");
    let place = Place::Server(Address::Unix(path.to_string_lossy().into_owned()));
    let pool = pool(Check::Tcp(TIMING), &[place]);
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        drop(listener);
        std::fs::remove_file(&path).expect("it is there");
        until(&pool, Health::Down).await;
    })
    .await;
}

#[tokio::test]
async fn while_nobody_is_served_checks_are_fast() {
    let dir = std::env::temp_dir().join(format!("tandem-out-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("socket");
    let place = Place::Server(Address::Unix(path.to_string_lossy().into_owned()));
    let timing = Timing {
        every: Duration::from_hours(1),
        fall: 1,
        rise: 1,
        ..TIMING
    };
    let pool = pool(Check::Tcp(timing), &[place]);
    while_checked(&pool, async {
        until(&pool, Health::Down).await;
        assert!(!pool.is_usable());
        let _listener = tokio::net::UnixListener::bind(&path).expect("a path of its own");
        until(&pool, Health::Up).await;
    })
    .await;
    std::fs::remove_dir_all(dir).expect("it is there");
}

#[tokio::test]
async fn an_http_check_wants_its_status() {
    let status = Arc::new(AtomicU16::new(302));
    let at = server(status.clone(), Arc::default()).await;
    let http = HttpCheck {
        host: Some("shop.example".into()),
        ..get("/alive")
    };
    let pool = pool(Check::Http(http, TIMING), &[Place::Server(address(at))]);
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        status.store(404, SeqCst);
        until(&pool, Health::Down).await;
        assert_eq!(reason(&pool), "check GET /alive answered 404, 2 of 2");
        status.store(200, SeqCst);
        until(&pool, Health::Up).await;
    })
    .await;
}

#[tokio::test]
async fn an_http_check_looks_at_the_body_where_it_is_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let body = Arc::new(std::sync::Mutex::new("all is well"));
    let said = body.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 2048]).await;
            let body = *said.lock().expect("no test panics here");
            // In pieces, so that the first does not have it yet.
            let (first, second) = body.split_at(body.len() / 2);
            let head = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = format!(
                "{head}{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
                first.len(),
                second.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let expected = |text: &str| Some(tandem_model::Expected::parse(text).expect("it is one"));
    let http = HttpCheck {
        contains: expected("is well"),
        lacks: expected("~but .*slow"),
        ..get("/alive")
    };
    let pool = pool(Check::Http(http, TIMING), &[Place::Server(address(at))]);
    let says = |text| *body.lock().expect("no test panics here") = text;
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        says("all is ill");
        until(&pool, Health::Down).await;
        let why = "check GET /alive answered without \"is well\", 2 of 2";
        assert_eq!(reason(&pool), why);
        says("is well");
        until(&pool, Health::Up).await;
        says("is well but a bit slow");
        until(&pool, Health::Down).await;
        let why = "check GET /alive answered with \"~but .*slow\", 2 of 2";
        assert_eq!(reason(&pool), why);
    })
    .await;
}

#[tokio::test]
async fn a_server_may_be_checked_at_another_port() {
    let status = Arc::new(AtomicU16::new(200));
    let at = server(status.clone(), Arc::default()).await;
    let timing = Timing {
        port: Some(at.port()),
        ..TIMING
    };
    let http = get("/");
    // Nobody listens where requests would go.
    let place = Place::Server(Address::tcp("127.0.0.1", 1));
    let pool = pool(Check::Http(http, timing), &[place]);
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        status.store(503, SeqCst);
        until(&pool, Health::Down).await;
        assert!(reason(&pool).contains("answered 503"), "{}", reason(&pool));
    })
    .await;
}

#[tokio::test]
async fn a_check_does_not_outlive_its_timeout() {
    let status = Arc::new(AtomicU16::new(0));
    let at = server(status, Arc::default()).await;
    let timing = Timing {
        timeout: Duration::from_millis(30),
        ..TIMING
    };
    let http = get("/");
    let pool = pool(Check::Http(http, timing), &[Place::Server(address(at))]);
    while_checked(&pool, async {
        until(&pool, Health::Down).await;
        assert_eq!(reason(&pool), "first check GET /: no answer within 30ms");
    })
    .await;
}

#[tokio::test]
async fn a_gateway_is_asked_and_is_down_when_its_program_is() {
    let status = Arc::new(AtomicU16::new(204));
    let probes = Arc::new(AtomicUsize::new(0));
    let at = server(status.clone(), probes.clone()).await;
    let pool = pool(Check::Tcp(TIMING), &[Place::Node(address(at))]);
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        status.store(503, SeqCst);
        until(&pool, Health::Down).await;
        assert!(probes.load(SeqCst) >= 3, "each check is a probe");
        status.store(204, SeqCst);
        until(&pool, Health::Up).await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_request_takes_a_server_down_and_checks_bring_it_back_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    // The next regular check is an hour away: only the failed request can cause what follows.
    let timing = Timing {
        every: Duration::from_hours(1),
        ..TIMING
    };
    let pool = pool(Check::Tcp(timing), &[Place::Server(address(at))]);
    while_checked(&pool, async {
        until(&pool, Health::Up).await;
        let mut attempts = with_request("GET / HTTP/1.1\r\nHost: h\r\n\r\n", |request| {
            PoolAttempts::new(pool.clone(), pool.settings(), request)
        });
        assert!(attempts.next(None).is_some());
        let refused = Failure {
            stage: Stage::Unsent,
            cause: Cause::Refused,
            retryable: true,
            by_gateway: false,
        };
        assert!(attempts.next(Some(&refused)).is_none());
        assert!(!pool.is_usable(), "down at once");
        until(&pool, Health::Up).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_checked_is_tried_again_after_a_while() {
    tokio::time::pause();
    let place = Place::Server(Address::tcp("127.0.0.1", 1));
    let pool = pool(Check::Off, &[place]);
    assert_eq!(pool.servers()[0].status().health, Health::Up);
    while_checked(&pool, async {
        let failure = Failure {
            stage: Stage::Unsent,
            cause: Cause::Refused,
            retryable: true,
            by_gateway: false,
        };
        pool.failed(&pool.servers()[0], failure);
        assert!(!pool.is_usable());
        until(&pool, Health::Up).await;
    })
    .await;
}

#[tokio::test]
async fn instances_that_come_are_checked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let (sender, receiver) = tokio::sync::watch::channel(Vec::new());
    let plan = PoolPlan {
        service: "shop".into(),
        kind: "app",
        gateway: true,
        members: vec![Member {
            name: "app1".into(),
            place: Place::Instances { app: "shop".into() },
            weight: 1,
            backup: false,
            max_connections: None,
            stick_id: None,
            from: None,
        }],
        spread: Spread::default(),
        check: Check::Tcp(TIMING),
        resolve: tandem_model::RESOLVE,
        tls: None,
        send_proxy: None,
        fastcgi: None,
        timeouts: Timeouts::default(),
        secret: None,
    };
    let telemetry = Telemetry::new("app1", 1, Log::Silent);
    let pool = Pool::new(
        &plan,
        &Instances::from([("shop".into(), receiver)]),
        &telemetry,
    );
    while_checked(&pool, async {
        assert!(!pool.is_usable());
        sender.send_replace(vec![crate::InstanceAddress {
            name: "app1".into(),
            endpoint: tandem_http::handler::Endpoint::Tcp(at),
        }]);
        until(&pool, Health::Up).await;
        sender.send_replace(Vec::new());
        eventually("it is gone", || !pool.is_usable()).await;
    })
    .await;
}
