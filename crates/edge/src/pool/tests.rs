use std::net::SocketAddr;
use std::time::Duration;

use tandem_http::handler::{Attempts, Outcome, Upstream};
use tandem_model::{Address, Check, Member, Place, Spread, Timeouts};
use tandem_telemetry::event::Log;
use tandem_telemetry::{Control, ControlError, Health};

use super::*;
use crate::testing::{eventually, with_request};

mod cut_off;
mod errors;
mod keep;
mod last_resort;
mod queue;
mod spread;
mod update;

fn member(name: &str, port: u16) -> Member {
    Member {
        name: name.into(),
        place: Place::Server(Address::tcp("127.0.0.1", port)),
        weight: 1,
        backup: false,
        max_connections: None,
        stick_id: None,
        from: None,
    }
}

fn plan(members: &[Member]) -> PoolPlan {
    PoolPlan {
        service: "shop".into(),
        kind: "app",
        gateway: false,
        members: members.into(),
        spread: Spread::default(),
        check: Check::default(),
        resolve: tandem_model::RESOLVE,
        tls: None,
        send_proxy: None,
        fastcgi: None,
        timeouts: Timeouts::default(),
        secret: None,
    }
}

fn telemetry() -> Telemetry {
    Telemetry::new("edge", 1, Log::Silent)
}

fn pool(members: &[Member]) -> Arc<Pool> {
    Pool::new(&plan(members), &Instances::new(), &telemetry())
}

fn attempts(pool: &Arc<Pool>) -> PoolAttempts {
    with_request("GET / HTTP/1.1\r\nHost: h\r\n\r\n", |request| {
        PoolAttempts::new(pool.clone(), pool.settings(), request)
    })
}

fn outcome(failure: Option<Failure>) -> Outcome {
    Outcome {
        status: 200,
        failure,
        total: Duration::ZERO,
        tried: Duration::ZERO,
        first_byte: None,
    }
}

/// One request that goes well: the name of the server that got it.
fn request(pool: &Arc<Pool>) -> Option<String> {
    let mut attempts = attempts(pool);
    let upstream = attempts.next(None)?;
    attempts.done(&outcome(None));
    Some(upstream.name.to_string())
}

fn requests(pool: &Arc<Pool>, n: usize) -> Vec<String> {
    (0..n)
        .map(|_| request(pool).expect("a server is up"))
        .collect()
}

fn failure(stage: Stage, cause: Cause) -> Failure {
    Failure {
        stage,
        cause,
        retryable: true,
        by_gateway: false,
    }
}

const REFUSED: Failure = Failure {
    stage: Stage::Unsent,
    cause: Cause::Refused,
    retryable: true,
    by_gateway: false,
};
const UNANSWERED: Failure = Failure {
    stage: Stage::Unanswered,
    cause: Cause::Broken,
    ..REFUSED
};

/// A check's verdict on a server.
fn check(pool: &Pool, name: &str, good: bool) {
    let servers = pool.servers();
    let server = servers
        .iter()
        .find(|server| *server.key.name == *name)
        .expect("there is such a server");
    let result = if good { Ok(()) } else { Err("no".into()) };
    let generation = server.vitals().generation();
    pool.checked(server, generation, result);
}

fn up(pool: &Pool) {
    for server in &*pool.servers() {
        check(pool, &server.key.name, true);
    }
}

fn last_events(pool: &Pool) -> Vec<String> {
    let events = pool.telemetry.events.last(usize::MAX);
    let line = |e: &tandem_telemetry::Event| format!("{} {}: {}", e.severity, e.subject, e.what);
    events.iter().map(line).collect()
}

#[test]
fn two_servers_answer_strictly_in_turn() {
    let pool = pool(&[member("app1", 1), member("app2", 2)]);
    assert_eq!(
        requests(&pool, 2),
        ["app1", "app2"],
        "before the first check"
    );
    up(&pool);
    let got = requests(&pool, 100);
    assert!(got.windows(2).all(|pair| pair[0] != pair[1]), "{got:?}");
}

#[test]
fn checks_of_servers_that_stay_up_do_not_disturb_the_turn() {
    let pool = pool(&[member("app1", 1), member("app2", 2)]);
    up(&pool);
    for i in 0..10 {
        let expected = if i % 2 == 0 { "app1" } else { "app2" };
        assert_eq!(request(&pool).as_deref(), Some(expected));
        check(&pool, "app1", true);
        check(&pool, "app2", i % 3 != 0);
        pool.refresh();
    }
}

#[test]
fn a_server_that_went_down_gets_nothing_until_it_is_back() {
    let pool = pool(&[member("a", 1), member("b", 2), member("c", 3)]);
    up(&pool);
    assert_eq!(requests(&pool, 4), ["a", "b", "c", "a"]);
    for _ in 0..3 {
        check(&pool, "b", false);
    }
    assert_eq!(requests(&pool, 4), ["c", "a", "c", "a"]);
    check(&pool, "b", true);
    assert_eq!(
        requests(&pool, 2),
        ["c", "a"],
        "one good check is not enough"
    );
    check(&pool, "b", true);
    assert_eq!(requests(&pool, 4), ["b", "c", "a", "b"]);
}

#[test]
fn a_retry_goes_to_a_server_that_was_not_tried() {
    let pool = pool(&[member("a", 1), member("b", 2), member("c", 3)]);
    up(&pool);
    for _ in 0..7 {
        let mut attempts = attempts(&pool);
        let mut names = Vec::new();
        let mut why = None;
        for _ in 0..3 {
            let upstream: Upstream = attempts.next(why.as_ref()).expect("three servers");
            names.push(upstream.name.to_string());
            why = Some(UNANSWERED);
        }
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(
            attempts.next(why.as_ref()).is_some(),
            "all were tried, one is tried again"
        );
        assert!(attempts.next(why.as_ref()).is_none(), "retry = 3");
    }
}

#[test]
fn a_retry_takes_one_turn() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let mut first = attempts(&pool);
    assert_eq!(&*first.next(None).expect("a server").name, "a");
    assert_eq!(&*first.next(Some(&UNANSWERED)).expect("a server").name, "b");
    first.done(&outcome(None));
    assert_eq!(requests(&pool, 2), ["a", "b"]);
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    let mut attempts = attempts(&pool);
    assert!(attempts.next(None).is_some());
    let final_failure = Failure {
        retryable: false,
        ..UNANSWERED
    };
    assert!(attempts.next(Some(&final_failure)).is_none());
    assert_eq!(pool.servers()[0].status().failures, 1);
}

#[test]
fn a_refused_connection_takes_a_server_down_at_once_and_wakes_its_checker() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let mut first = attempts(&pool);
    assert_eq!(&*first.next(None).expect("a server").name, "a");
    assert_eq!(&*first.next(Some(&REFUSED)).expect("a server").name, "b");
    first.done(&outcome(None));
    assert_eq!(requests(&pool, 3), ["b", "b", "b"]);
    let a = pool.servers()[0].clone();
    let woken = futures_util::FutureExt::now_or_never(a.wake.notified());
    assert!(woken.is_some(), "the checker is asked to check");
    let status = a.status();
    assert_eq!((status.health, status.failures), (Health::Down, 1));
    let expected = "warning shop/a: down: a request could not be sent to it: connection refused";
    assert!(
        last_events(&pool).contains(&expected.into()),
        "{:?}",
        last_events(&pool)
    );
    check(&pool, "a", true);
    check(&pool, "a", true);
    assert_eq!(requests(&pool, 2), ["a", "b"]);
}

#[test]
fn a_gateways_word_that_nothing_was_sent_counts_like_a_refused_connection() {
    for (failure, down) in [
        (
            Failure {
                by_gateway: true,
                ..failure(Stage::Unsent, Cause::Broken)
            },
            true,
        ),
        (failure(Stage::Unsent, Cause::Timeout), true),
        (failure(Stage::Unsent, Cause::Broken), false),
        (
            Failure {
                by_gateway: true,
                ..failure(Stage::Unanswered, Cause::Broken)
            },
            false,
        ),
        (failure(Stage::Unanswered, Cause::Timeout), false),
        (failure(Stage::Answered, Cause::Malformed), false),
    ] {
        let pool = pool(&[member("a", 1)]);
        up(&pool);
        let mut attempts = attempts(&pool);
        attempts.next(None);
        attempts.next(Some(&failure));
        assert_eq!(!pool.is_usable(), down, "{failure:?}");
    }
}

#[test]
fn without_a_server_that_is_up_there_is_no_try() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    assert!(
        request(&pool).is_some(),
        "not checked yet: tried all the same"
    );
    check(&pool, "a", false);
    check(&pool, "b", false);
    assert_eq!(request(&pool), None);
    check(&pool, "b", true);
    assert_eq!(
        requests(&pool, 2),
        ["b", "b"],
        "one that is just coming back is better than none"
    );
    check(&pool, "a", true);
    check(&pool, "a", true);
    assert_eq!(requests(&pool, 2), ["a", "a"]);
    let events = last_events(&pool);
    assert!(
        events.contains(&"error shop: no server is left, requests to it are answered 503".into()),
        "{events:?}"
    );
    assert!(
        events.contains(&"info shop: is served again".into()),
        "{events:?}"
    );
}

#[test]
fn a_server_that_is_not_checked_yet_waits_while_another_is_up() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    check(&pool, "b", true);
    assert_eq!(requests(&pool, 2), ["b", "b"]);
    check(&pool, "a", true);
    assert_eq!(requests(&pool, 2), ["a", "b"]);
}

#[test]
fn a_backup_server_is_used_only_when_no_other_is_up() {
    let backup = Member {
        backup: true,
        ..member("spare", 3)
    };
    let pool = pool(&[member("a", 1), backup]);
    up(&pool);
    assert_eq!(requests(&pool, 2), ["a", "a"]);
    for _ in 0..3 {
        check(&pool, "a", false);
    }
    assert_eq!(requests(&pool, 2), ["spare", "spare"]);
}

#[test]
fn in_flight_counts_end_however_a_request_ends() {
    let pool = pool(&[member("a", 1)]);
    up(&pool);
    let in_flight = || pool.servers()[0].in_flight();
    let mut cancelled = attempts(&pool);
    cancelled.next(None);
    let mut failed = attempts(&pool);
    failed.next(None);
    let mut done = attempts(&pool);
    done.next(None);
    assert_eq!(in_flight(), 3);
    drop(cancelled);
    assert_eq!(in_flight(), 2);
    failed.next(Some(&Failure {
        retryable: false,
        ..UNANSWERED
    }));
    assert_eq!(in_flight(), 1);
    failed.done(&outcome(Some(UNANSWERED)));
    drop(failed);
    assert_eq!(in_flight(), 1);
    done.done(&outcome(None));
    drop(done);
    assert_eq!(in_flight(), 0);
    let status = pool.servers()[0].status();
    assert_eq!(
        (status.requests, status.failures),
        (3, 1),
        "one failure counts once"
    );
}

#[test]
fn a_drained_server_gets_no_new_requests_until_it_is_ready() {
    let telemetry = telemetry();
    let pool = Pool::new(
        &plan(&[member("a", 1), member("b", 2)]),
        &Instances::new(),
        &telemetry,
    );
    up(&pool);
    let control = telemetry
        .registry
        .find_control("shop/a")
        .expect("registered");
    control.drain().expect("it can be drained");
    assert_eq!(requests(&pool, 2), ["b", "b"]);
    let status = telemetry.registry.status();
    assert_eq!(status.services[0].servers[0].health, Health::Draining);
    control.ready().expect("it can come back");
    control.weight(3).expect("it has a weight");
    let mut got = requests(&pool, 4);
    got.sort();
    assert_eq!(got, ["a", "a", "a", "b"]);
    assert_eq!(control.kill(), Err(ControlError::Unsupported));
}

#[test]
fn orders_reach_what_another_role_registered_under_the_name() {
    struct Program;
    impl Control for Program {
        fn drain(&self) -> Result<(), ControlError> {
            Err(ControlError::Unsupported)
        }
        fn ready(&self) -> Result<(), ControlError> {
            Err(ControlError::Unsupported)
        }
        fn weight(&self, _: u16) -> Result<(), ControlError> {
            Err(ControlError::Unsupported)
        }
        fn kill(&self) -> Result<(), ControlError> {
            Ok(())
        }
    }
    let telemetry = telemetry();
    telemetry.registry.control("shop/a", Arc::new(Program));
    let pool = Pool::new(&plan(&[member("a", 1)]), &Instances::new(), &telemetry);
    let control = telemetry
        .registry
        .find_control("shop/a")
        .expect("registered");
    assert_eq!(control.kill(), Ok(()));
    assert_eq!(control.drain(), Ok(()));
    assert!(!pool.is_usable());
}

#[tokio::test]
async fn instances_come_and_go_and_those_that_stay_keep_their_state() {
    let instance = |name: &str, port: u16| InstanceAddress {
        name: name.into(),
        endpoint: Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
    };
    let (sender, receiver) = watch::channel(vec![instance("app1/0", 1)]);
    let plan = plan(&[Member {
        place: Place::Instances { app: "shop".into() },
        ..member("app1", 0)
    }]);
    let pool = Pool::new(
        &plan,
        &Instances::from([("shop".into(), receiver)]),
        &telemetry(),
    );
    up(&pool);
    assert_eq!(requests(&pool, 2), ["app1/0", "app1/0"]);
    let mut sources = pool.sources();
    sender.send_replace(vec![instance("app1/0", 1), instance("app1/1", 2)]);
    any_changed(&mut sources).await;
    pool.reconcile();
    assert_eq!(
        requests(&pool, 2),
        ["app1/0", "app1/0"],
        "the new one waits for its check"
    );
    check(&pool, "app1/1", true);
    assert_eq!(requests(&pool, 2), ["app1/1", "app1/0"]);
    assert_eq!(pool.servers()[0].status().requests, 5);
    sender.send_replace(Vec::new());
    pool.reconcile();
    assert_eq!(request(&pool), None);
}

#[test]
fn an_order_outlives_the_instance_it_was_given_to() {
    let instance = |port: u16| InstanceAddress {
        name: "app1".into(),
        endpoint: Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
    };
    let (sender, receiver) = watch::channel(vec![instance(1)]);
    let plan = plan(&[Member {
        place: Place::Instances { app: "shop".into() },
        ..member("app1", 0)
    }]);
    let telemetry = telemetry();
    let pool = Pool::new(
        &plan,
        &Instances::from([("shop".into(), receiver)]),
        &telemetry,
    );
    let control = telemetry
        .registry
        .find_control("shop/app1")
        .expect("registered");
    control.weight(7).expect("it has a weight");
    control.drain().expect("it can be drained");
    sender.send_replace(Vec::new());
    pool.reconcile();
    assert_eq!(control.ready(), Err(ControlError::NotRunning));
    sender.send_replace(vec![instance(2)]);
    pool.reconcile();
    assert_eq!(request(&pool), None);
    assert_eq!(pool.servers()[0].status().weight, 7);
    control.ready().expect("it is back");
    assert_eq!(requests(&pool, 1), ["app1"]);
}

#[tokio::test]
async fn names_are_looked_up() {
    let named = Member {
        place: Place::Node(Address::tcp("localhost", 7)),
        ..member("app1", 0)
    };
    let unknown = Member {
        place: Place::Server(Address::tcp("no.such.host.invalid", 7)),
        ..member("nobody", 0)
    };
    let telemetry = telemetry();
    let pool = Pool::new(&plan(&[named, unknown]), &Instances::new(), &telemetry);
    assert!(!pool.is_usable());
    pool.resolve().await;
    assert_eq!(requests(&pool, 2), ["app1", "app1"]);
    let status = telemetry.registry.status();
    let nobody = status.services[0].servers.last().expect("it is listed");
    assert_eq!((&*nobody.name, nobody.health), ("nobody", Health::Down));
    assert!(
        last_events(&pool)
            .iter()
            .any(|e| e.contains("no.such.host.invalid could not be looked up"))
    );
}

#[test]
fn a_service_that_is_a_listeners_and_a_gateways_is_listed_once() {
    let telemetry = telemetry();
    let mut plan = plan(&[member("app1", 1)]);
    let public = Pool::new(&plan, &Instances::new(), &telemetry);
    plan.gateway = true;
    let gateway = Pool::new(&plan, &Instances::new(), &telemetry);
    requests(&public, 2);
    requests(&gateway, 1);
    let status = telemetry.registry.status();
    assert_eq!(status.services.len(), 1);
    assert_eq!(status.services[0].servers[0].requests, 3);
    let control = telemetry
        .registry
        .find_control("shop/app1")
        .expect("registered");
    control.drain().expect("both are drained");
    assert!(!public.is_usable() && !gateway.is_usable());
}

#[tokio::test]
async fn counts_are_exact_over_workers_while_a_server_flaps() {
    let pool = pool(&[member("a", 1), member("b", 2), member("c", 3)]);
    up(&pool);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || requests(&pool, 500).len())
        })
        .collect();
    for round in 0..200 {
        check(&pool, "b", round % 8 >= 4);
    }
    let sum: usize = workers
        .into_iter()
        .map(|w| w.join().expect("no worker panics"))
        .sum();
    assert_eq!(sum, 2000);
    let total: u64 = pool.servers().iter().map(|s| s.status().requests).sum();
    assert_eq!(total, 2000);
    eventually("all ended", || {
        pool.servers().iter().all(|s| s.in_flight() == 0)
    })
    .await;
}
