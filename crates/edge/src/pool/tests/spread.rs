//! Algorithms, limits and slow starts, as requests see them.

use super::*;
use tandem_model::Balance;

fn spread(balance: Balance, members: &[Member]) -> Arc<Pool> {
    let plan = PoolPlan {
        spread: Spread {
            balance,
            ..Spread::default()
        },
        ..plan(members)
    };
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    pool
}

fn limited(name: &str, port: u16, most: u32) -> Member {
    Member {
        max_connections: Some(most),
        ..member(name, port)
    }
}

/// A request with a field that is left running.
fn begin(pool: &Arc<Pool>, field: &str) -> (Option<String>, PoolAttempts) {
    let head = format!("GET /a HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
    let mut attempts = with_request(&head, |request| {
        PoolAttempts::new(pool.clone(), pool.settings(), request)
    });
    let name = attempts
        .next(None)
        .map(|upstream| upstream.name.to_string());
    (name, attempts)
}

#[test]
fn the_least_busy_server_gets_the_next_request() {
    let pool = spread(Balance::LeastConnections, &[member("a", 1), member("b", 2)]);
    let (first, _running) = begin(&pool, "X: 1");
    let other = if first.as_deref() == Some("a") {
        "b"
    } else {
        "a"
    };
    assert_eq!(requests(&pool, 4), [other; 4]);
}

#[test]
fn the_first_server_gets_all_until_it_is_full() {
    let pool = spread(Balance::First, &[limited("a", 1, 2), limited("b", 2, 1)]);
    assert_eq!(requests(&pool, 3), ["a", "a", "a"]);
    let running: Vec<_> = (0..4).map(|_| begin(&pool, "X: 1")).collect();
    let names: Vec<_> = running.iter().map(|(name, _)| name.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("a"), Some("b"), None]);
    assert!(pool.is_usable(), "it is busy, not down");
    drop(running);
    assert_eq!(requests(&pool, 1), ["a"]);
}

#[test]
fn no_server_gets_more_than_its_maximum_whoever_asks() {
    let pool = spread(
        Balance::RoundRobin,
        &[limited("a", 1, 3), limited("b", 2, 5)],
    );
    let seen = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let (name, _running) = begin(&pool, "X: 1");
                    if name.is_some() {
                        seen.fetch_add(1, Relaxed);
                    }
                    let loads: Vec<u64> = pool.servers().iter().map(|s| s.in_flight()).collect();
                    // A try that is refused is counted for a moment.
                    assert!(loads[0] <= 3 + 8 && loads[1] <= 5 + 8, "{loads:?}");
                }
            });
        }
    });
    let sum: u64 = pool.servers().iter().map(|s| s.status().requests).sum();
    assert_eq!(sum, seen.load(Relaxed));
    assert!(pool.servers().iter().all(|s| s.in_flight() == 0));
}

#[test]
fn a_clients_requests_go_to_one_server_and_to_another_when_it_is_down() {
    let members = [member("a", 1), member("b", 2), member("c", 3)];
    let pool = spread(Balance::Source, &members);
    let home = request(&pool).expect("a server is up");
    assert!(requests(&pool, 20).iter().all(|name| *name == home));
    for _ in 0..3 {
        check(&pool, &home, false);
    }
    let other = request(&pool).expect("two are up");
    assert_ne!(other, home);
    assert!(requests(&pool, 20).iter().all(|name| *name == other));
    for _ in 0..2 {
        check(&pool, &home, true);
    }
    assert_eq!(
        request(&pool).as_ref(),
        Some(&home),
        "it has its clients back"
    );
}

#[test]
fn a_users_requests_go_to_one_server_and_those_of_nobody_in_turn() {
    let members = [member("a", 1), member("b", 2), member("c", 3)];
    let pool = spread(Balance::Header("X-User".into()), &members);
    for user in ["alice", "bob", "carol", "dave"] {
        let field = format!("X-User: {user}");
        let homes: Vec<_> = (0..5).map(|_| begin(&pool, &field).0).collect();
        assert!(homes.windows(2).all(|pair| pair[0] == pair[1]), "{homes:?}");
    }
    assert_eq!(requests(&pool, 3), ["a", "b", "c"]);
}

#[test]
fn a_retry_of_a_hashed_request_goes_elsewhere() {
    let pool = spread(Balance::Uri, &[member("a", 1), member("b", 2)]);
    let (first, mut attempts) = begin(&pool, "X: 1");
    let second = attempts.next(Some(&UNANSWERED)).expect("another server");
    assert_ne!(first.as_deref(), Some(&*second.name));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_gets_its_share_bit_by_bit() {
    let slow = PoolPlan {
        spread: Spread {
            slow_start: Duration::from_secs(10),
            ..Spread::default()
        },
        ..plan(&[member("a", 1), member("b", 2)])
    };
    let pool = Pool::new(&slow, &Instances::new(), &telemetry());
    up(&pool);
    tokio::time::advance(Duration::from_secs(10)).await;
    pool.refresh();
    assert!(pool.slow_start().is_none());
    for _ in 0..3 {
        check(&pool, "b", false);
    }
    for _ in 0..2 {
        check(&pool, "b", true);
    }
    let share = |pool: &Arc<Pool>| {
        let names = requests(pool, 110);
        names.iter().filter(|name| *name == "b").count()
    };
    assert_eq!(pool.slow_start(), Some(Duration::from_secs(1)));
    assert_eq!(share(&pool), 10, "a tenth of the other's");
    tokio::time::advance(Duration::from_secs(5)).await;
    pool.refresh();
    let half = share(&pool);
    assert!((36..=37).contains(&half), "{half}");
    tokio::time::advance(Duration::from_secs(5)).await;
    pool.refresh();
    assert_eq!(share(&pool), 55);
    assert_eq!(pool.slow_start(), None);
}
