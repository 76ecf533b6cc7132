//! Where no server is left: those that requests alone say are down.

use tandem_http::handler::Queue as Line;
use tandem_model::Balance;

use super::*;

fn unchecked(members: &[Member], balance: Balance) -> Arc<Pool> {
    let spread = Spread {
        balance,
        ..Spread::default()
    };
    let plan = PoolPlan {
        spread,
        check: Check::Off,
        ..plan(members)
    };
    Pool::new(&plan, &Instances::new(), &telemetry())
}

fn fail_all(pool: &Pool) {
    for server in &*pool.servers() {
        pool.failed(server, REFUSED);
    }
    assert!(!pool.is_usable());
}

#[test]
fn where_no_server_is_left_those_that_requests_alone_say_are_down_are_tried_once_each() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::First,
        Balance::Random,
        Balance::Source,
        Balance::Uri,
        Balance::Header("host".into()),
    ] {
        let pool = unchecked(&[member("a", 1), member("b", 2)], balance.clone());
        fail_all(&pool);
        for _ in 0..3 {
            let mut attempts = attempts(&pool);
            let first = attempts.next(None).expect("it is tried").name;
            let second = attempts.next(Some(&REFUSED)).expect("the other").name;
            assert_ne!(first, second, "{balance:?}");
            assert!(attempts.next(Some(&REFUSED)).is_none(), "{balance:?}");
            assert_eq!(attempts.queue(), Line::Nothing, "{balance:?}");
        }
    }
}

#[test]
fn a_connection_is_tried_at_the_last_resort_too() {
    let pool = unchecked(&[member("a", 1)], Balance::RoundRobin);
    fail_all(&pool);
    let client = [192, 0, 2, 7].into();
    let mut attempts = PoolAttempts::connection(pool.clone(), pool.settings(), client);
    assert!(attempts.next(None).is_some());
    assert!(attempts.next(Some(&REFUSED)).is_none());
}

#[test]
fn a_last_resort_is_used_only_while_there_is_no_other() {
    let backup = Member {
        backup: true,
        ..member("c", 3)
    };
    let pool = unchecked(
        &[member("a", 1), member("b", 2), backup],
        Balance::RoundRobin,
    );
    pool.failed(&pool.servers()[0], REFUSED);
    assert_eq!(requests(&pool, 3), ["b", "b", "b"]);
    pool.failed(&pool.servers()[1], REFUSED);
    assert_eq!(requests(&pool, 3), ["c", "c", "c"]);
    pool.failed(&pool.servers()[2], REFUSED);
    let got = requests(&pool, 4);
    assert!(
        !got.contains(&"c".into()),
        "those that are no backups: {got:?}"
    );
    pool.pardon(&pool.servers()[1], "time has passed");
    assert_eq!(requests(&pool, 3), ["b", "b", "b"]);
}

#[test]
fn what_checks_found_down_and_what_operators_took_out_is_no_last_resort() {
    let pool = pool(&[member("a", 1), member("b", 2), member("c", 3)]);
    up(&pool);
    fail_all(&pool);
    assert!(request(&pool).is_some());
    check(&pool, "a", false);
    assert!(pool.order("b", Order::Drain));
    assert_eq!(requests(&pool, 3), ["c", "c", "c"]);
    assert!(pool.order("c", Order::Maintain));
    assert_eq!(request(&pool), None);
    let last = last_events(&pool);
    let told = last.iter().any(|e| e.contains("no server is left"));
    assert!(told, "{last:?}");
}

#[test]
fn whoever_waits_is_given_a_place_at_the_last_resort() {
    let small = Member {
        max_connections: Some(1),
        ..member("a", 1)
    };
    let pool = unchecked(&[small], Balance::RoundRobin);
    let (mut first, mut second) = (attempts(&pool), attempts(&pool));
    assert!(first.next(None).is_some());
    assert!(second.next(None).is_none());
    assert!(matches!(second.queue(), Line::Wait(_)));
    fail_all(&pool);
    drop(first);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = second.poll_queue(&mut cx);
    assert!(
        matches!(&polled, std::task::Poll::Ready(Some(upstream)) if &*upstream.name == "a"),
        "its turn to try"
    );
    assert!(second.next(Some(&REFUSED)).is_none());
    assert_eq!(second.queue(), Line::Nothing);
}
