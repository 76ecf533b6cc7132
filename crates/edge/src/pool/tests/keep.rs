//! Clients that are kept with their servers, by a pool.

use std::task::{Context, Poll, Waker};

use tandem_http::handler::Queue as Line;
use tandem_model::{Gone, Overrides, Stick, StickBy, StickCookie};

use super::*;
use crate::PoolHandler;

fn sticky(gone: Gone, members: &[Member]) -> Arc<Pool> {
    let by = StickBy::Cookie(StickCookie::default());
    let spread = Spread {
        stick: Some(Stick { by, gone }),
        ..Spread::default()
    };
    let plan = PoolPlan {
        spread,
        ..plan(members)
    };
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    pool
}

/// A request with this cookie.
fn with_cookie(pool: &Arc<Pool>, cookie: &str) -> PoolAttempts {
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: tandem={cookie}\r\n\r\n");
    with_request(&head, |request| {
        PoolAttempts::new(pool.clone(), pool.settings(), request)
    })
}

/// Where it goes.
fn goes(pool: &Arc<Pool>, cookie: &str) -> Option<String> {
    let mut attempts = with_cookie(pool, cookie);
    attempts
        .next(None)
        .map(|upstream| upstream.name.to_string())
}

fn set(upstream: &Upstream) -> String {
    let set = upstream
        .cookies
        .as_ref()
        .and_then(|edits| edits.set.clone());
    String::from_utf8(set.unwrap_or_default().to_vec()).expect("text")
}

fn two(gone: Gone) -> Arc<Pool> {
    sticky(gone, &[member("a", 1), member("b", 2)])
}

#[test]
fn a_client_stays_with_its_server_and_the_turn_of_others_is_not_taken() {
    let pool = two(Gone::Rebalance);
    for _ in 0..3 {
        assert_eq!(goes(&pool, "b").as_deref(), Some("b"));
    }
    assert_eq!(requests(&pool, 2), ["a", "b"]);
}

#[test]
fn a_drained_server_and_one_of_weight_0_keep_their_clients_and_get_no_others() {
    for order in [Order::Drain, Order::Weight(0)] {
        let pool = two(Gone::Rebalance);
        assert!(pool.order("b", order));
        assert_eq!(requests(&pool, 3), ["a", "a", "a"]);
        assert_eq!(goes(&pool, "b").as_deref(), Some("b"), "{order:?}");
        assert!(pool.order("b", Order::Maintain));
        assert_eq!(goes(&pool, "b").as_deref(), Some("a"), "in maintenance");
    }
}

#[test]
fn a_client_whose_server_is_gone_gets_another_and_is_told() {
    let pool = two(Gone::Rebalance);
    pool.failed(&pool.servers()[1], REFUSED);
    let mut attempts = with_cookie(&pool, "b");
    let upstream = attempts.next(None).expect("the other");
    assert_eq!(&*upstream.name, "a");
    assert!(
        set(&upstream).starts_with("Set-Cookie: tandem=a;"),
        "{}",
        set(&upstream)
    );
}

#[test]
fn a_try_that_fails_moves_the_client() {
    let pool = two(Gone::Rebalance);
    let mut attempts = with_cookie(&pool, "b");
    assert_eq!(attempts.next(None).map(|u| u.name), Some("b".into()));
    let upstream = attempts.next(Some(&UNANSWERED)).expect("the other");
    assert_eq!(&*upstream.name, "a");
    assert!(set(&upstream).starts_with("Set-Cookie: tandem=a;"));
}

#[test]
fn where_the_file_says_so_a_client_gets_no_other_server() {
    let pool = two(Gone::Fail);
    let mut attempts = with_cookie(&pool, "b");
    assert_eq!(attempts.next(None).map(|u| u.name), Some("b".into()));
    let again = attempts.next(Some(&UNANSWERED)).map(|u| u.name);
    assert_eq!(again, Some("b".into()), "the same, once more");
    drop(attempts);
    pool.failed(&pool.servers()[1], REFUSED);
    let mut attempts = with_cookie(&pool, "b");
    let last = attempts.next(None).map(|u| u.name);
    assert_eq!(last, Some("b".into()), "only a request says it is down");
    assert!(attempts.next(Some(&REFUSED)).is_none(), "it is tried once");
    check(&pool, "b", false);
    let mut attempts = with_cookie(&pool, "b");
    assert!(attempts.next(None).is_none());
    assert_eq!(attempts.queue(), Line::Nothing);
    assert_eq!(
        goes(&pool, "unknown").as_deref(),
        Some("a"),
        "of no server of ours"
    );
}

#[test]
fn a_client_waits_for_its_own_server_and_not_for_the_next_that_is_free() {
    let small = |name, port| Member {
        max_connections: Some(1),
        ..member(name, port)
    };
    let pool = sticky(Gone::Rebalance, &[small("a", 1), small("b", 2)]);
    let (mut a, mut b) = (with_cookie(&pool, "a"), with_cookie(&pool, "b"));
    assert!(a.next(None).is_some() && b.next(None).is_some());
    let mut own = with_cookie(&pool, "b");
    let mut any = attempts(&pool);
    for attempts in [&mut own, &mut any] {
        assert!(attempts.next(None).is_none());
        assert!(matches!(attempts.queue(), Line::Wait(_)));
    }
    let mut cx = Context::from_waker(Waker::noop());
    drop(a);
    assert!(own.poll_queue(&mut cx).is_pending());
    let Poll::Ready(Some(upstream)) = any.poll_queue(&mut cx) else {
        panic!("the one behind it takes the place")
    };
    assert_eq!(&*upstream.name, "a");
    drop(b);
    assert!(own.poll_queue(&mut cx).is_ready());
}

#[test]
fn a_route_may_keep_clients_where_the_service_does_not() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let by = StickBy::JvmRoute {
        name: "JSESSIONID".into(),
    };
    let over = Overrides {
        stick: Some(Stick {
            by,
            gone: Gone::Rebalance,
        }),
        ..Overrides::default()
    };
    let handler = PoolHandler::over(pool.clone(), over);
    let settings = handler.settings();
    assert!(
        Arc::ptr_eq(&settings, &handler.settings()),
        "worked out once"
    );
    let head = "GET / HTTP/1.1\r\nHost: h\r\nCookie: JSESSIONID=x.b\r\n\r\n";
    for _ in 0..3 {
        let mut attempts = with_request(head, |request| {
            PoolAttempts::new(pool.clone(), handler.settings(), request)
        });
        assert_eq!(attempts.next(None).map(|u| u.name), Some("b".into()));
    }
}
