//! Maxima of servers, and the queue before them.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tandem_http::handler::Queue as Line;
use tandem_model::Queue;

use super::*;

fn small(name: &str, port: u16, most: u32) -> Member {
    Member {
        max_connections: Some(most),
        ..member(name, port)
    }
}

fn queued(members: &[Member], max: u32) -> Arc<Pool> {
    let spread = Spread {
        queue: Queue {
            max,
            ..Queue::default()
        },
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

/// The server that a request which waits has got by now.
fn got(attempts: &mut PoolAttempts) -> Poll<Option<String>> {
    let mut cx = Context::from_waker(Waker::noop());
    let polled = attempts.poll_queue(&mut cx);
    polled.map(|upstream| upstream.map(|upstream| upstream.name.to_string()))
}

/// A request that waits.
fn waiting(pool: &Arc<Pool>) -> PoolAttempts {
    let mut attempts = attempts(pool);
    assert!(attempts.next(None).is_none(), "all are busy");
    assert!(matches!(attempts.queue(), Line::Wait(_)));
    attempts
}

#[test]
fn who_waits_is_served_in_the_order_of_coming() {
    let pool = queued(&[small("a", 1, 1)], 10);
    let mut first = attempts(&pool);
    assert!(first.next(None).is_some());
    let (mut second, mut third) = (waiting(&pool), waiting(&pool));
    assert_eq!(got(&mut second), Poll::Pending);
    drop(first);
    assert_eq!(got(&mut third), Poll::Pending);
    assert_eq!(got(&mut second), Poll::Ready(Some("a".into())));
    second.done(&outcome(None));
    assert_eq!(got(&mut third), Poll::Ready(Some("a".into())));
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let pool = queued(&[small("a", 1, 1), small("b", 2, 1)], 10);
    let (mut one, mut two) = (attempts(&pool), attempts(&pool));
    assert!(one.next(None).is_some() && two.next(None).is_some());
    let mut waits = waiting(&pool);
    drop(one);
    // The place is given away already.
    let mut late = attempts(&pool);
    assert!(late.next(None).is_none());
    assert!(matches!(late.queue(), Line::Wait(_)));
    assert_eq!(got(&mut late), Poll::Pending);
    assert!(got(&mut waits).is_ready());
}

#[test]
fn who_leaves_makes_room_and_returns_what_it_was_given() {
    let pool = queued(&[small("a", 1, 1)], 2);
    let mut first = attempts(&pool);
    assert!(first.next(None).is_some());
    let (second, mut third) = (waiting(&pool), waiting(&pool));
    let mut fourth = attempts(&pool);
    assert!(fourth.next(None).is_none());
    assert_eq!(fourth.queue(), Line::Full);
    // It was given the place and never took it.
    drop(first);
    drop(second);
    assert_eq!(got(&mut third), Poll::Ready(Some("a".into())));
    drop(third);
    assert_eq!(pool.servers()[0].in_flight(), 0);
    assert!(pool.queue.is_empty());
}

#[test]
fn without_a_queue_nobody_waits() {
    let pool = queued(&[small("a", 1, 1)], 0);
    let mut first = attempts(&pool);
    assert!(first.next(None).is_some());
    let mut second = attempts(&pool);
    assert!(second.next(None).is_none());
    assert_eq!(second.queue(), Line::Full);
    drop(first);
    assert_eq!(request(&pool).as_deref(), Some("a"));
}

#[test]
fn a_server_that_comes_up_takes_from_the_queue_and_with_none_left_nobody_waits() {
    let pool = queued(&[small("a", 1, 1), small("b", 2, 1)], 10);
    pool.failed(&pool.servers()[1], REFUSED);
    let mut first = attempts(&pool);
    assert!(first.next(None).is_some());
    let (mut second, mut third) = (waiting(&pool), waiting(&pool));
    check(&pool, "b", true);
    check(&pool, "b", true);
    assert_eq!(got(&mut second), Poll::Ready(Some("b".into())));
    for server in &*pool.servers() {
        pool.failed(server, REFUSED);
        check(&pool, &server.key.name, false);
    }
    assert_eq!(got(&mut third), Poll::Ready(None));
    let mut fourth = attempts(&pool);
    assert!(fourth.next(None).is_none());
    assert_eq!(
        fourth.queue(),
        Line::Nothing,
        "there is nothing to wait for"
    );
}

#[test]
fn a_full_gateway_is_not_a_failed_one() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let mut attempts = attempts(&pool);
    assert!(attempts.next(None).is_some());
    let busy = Failure {
        by_gateway: true,
        cause: Cause::Busy,
        ..REFUSED
    };
    assert!(
        attempts.next(Some(&busy)).is_some(),
        "the other may have room"
    );
    assert!(
        pool.servers()
            .iter()
            .all(|server| server.state() == State::Up)
    );
}

#[test]
fn maxima_are_exact_and_nobody_is_forgotten_whoever_asks() {
    let pool = queued(&[small("a", 1, 2), small("b", 2, 3)], 1_000);
    let (a, b, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let mut attempts = attempts(&pool);
                    let upstream = attempts.next(None).or_else(|| {
                        assert!(matches!(attempts.queue(), Line::Wait(_)));
                        run(std::future::poll_fn(|cx| attempts.poll_queue(cx)))
                    });
                    let upstream = upstream.expect("there is a server");
                    let (now, limit) = match &*upstream.name {
                        "a" => (&a, 2),
                        _ => (&b, 3),
                    };
                    assert!(now.fetch_add(1, SeqCst) < limit, "{}", upstream.name);
                    std::thread::yield_now();
                    now.fetch_sub(1, SeqCst);
                    attempts.done(&outcome(None));
                    done.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(done.load(SeqCst), 8 * 300);
    assert!(pool.queue.is_empty());
    assert!(pool.servers().iter().all(|server| server.in_flight() == 0));
}

/// Runs a future on this thread.
fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, ends and leaves: no server has more than it takes, no place is free while someone waits, and
    /// those who wait are served in order.
    #[test]
    fn no_place_is_free_while_someone_waits(
        steps in proptest::collection::vec((0u8..3, 0usize..8), 1..80),
    ) {
        let pool = queued(&[small("a", 1, 1), small("b", 2, 2)], 4);
        let mut running: Vec<PoolAttempts> = Vec::new();
        let mut line: Vec<PoolAttempts> = Vec::new();
        for (step, which) in steps {
            match step {
                0 => {
                    let mut new = attempts(&pool);
                    if new.next(None).is_some() {
                        running.push(new);
                    } else if new.queue() == Line::Full {
                        prop_assert_eq!(line.len(), 4);
                    } else {
                        line.push(new);
                    }
                }
                1 if !running.is_empty() => {
                    let which = which % running.len();
                    running.swap_remove(which).done(&outcome(None));
                }
                2 if !line.is_empty() => {
                    let which = which % line.len();
                    line.remove(which);
                }
                _ => {}
            }
            // Those at the front, and nobody behind them, were served.
            while let Some(first) = line.first_mut() && got(first).is_ready() {
                running.push(line.remove(0));
            }
            for waits in &mut line {
                prop_assert!(got(waits).is_pending());
            }
            let servers = pool.servers();
            let room = servers.iter().zip([1, 2]).map(|(server, most)| {
                assert!(server.in_flight() <= most);
                most - server.in_flight()
            });
            let room: u64 = room.sum();
            prop_assert!(room == 0 || line.is_empty(), "{} places, {} wait", room, line.len());
            prop_assert_eq!(3 - room, running.len() as u64);
        }
    }
}

#[test]
fn who_has_waited_for_too_long_keeps_no_place_while_it_is_told() {
    let pool = queued(&[small("a", 1, 1)], 10);
    let mut first = attempts(&pool);
    assert!(first.next(None).is_some());
    let (mut second, mut third) = (waiting(&pool), waiting(&pool));
    second.stop_waiting();
    drop(first);
    assert_eq!(got(&mut second), Poll::Ready(None));
    assert_eq!(got(&mut third), Poll::Ready(Some("a".into())));
    assert_eq!(pool.waits.late.load(Relaxed), 1);
}

#[test]
fn who_enters_is_counted_before_it_looks() {
    let pool = queued(&[small("a", 1, 1)], 10);
    let mut first = attempts(&pool);
    assert!(first.next(None).is_some());
    let wish = super::super::queue::Wish {
        only: None,
        strict: false,
        key: None,
        tried: Vec::new(),
    };
    let waiter = pool.queue.enter(wish, 10, || {
        // Whoever takes servers away now sees that somebody waits for one.
        assert!(!pool.queue.is_empty());
        pool.view.load()
    });
    assert!(waiter.is_some());
}
