//! What an update keeps and what it changes.

use super::*;
use tandem_model::{Retry, Timing};

/// `pool` with other members.
fn update(pool: &Arc<Pool>, members: &[Member]) {
    pool.update(&plan(members), &Instances::new());
}

fn server(pool: &Pool, name: &str) -> Arc<Server> {
    let servers = pool.servers();
    let found = servers.iter().find(|server| *server.key.name == *name);
    found.expect("there is such a server").clone()
}

#[test]
fn a_server_that_is_still_there_keeps_health_counts_and_requests_in_flight() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let mut running = attempts(&pool);
    assert_eq!(&*running.next(None).expect("a server").name, "a");
    for _ in 0..3 {
        check(&pool, "b", false);
    }
    let (a, b) = (server(&pool, "a"), server(&pool, "b"));
    update(&pool, &[member("c", 3), member("b", 2), member("a", 1)]);
    assert!(Arc::ptr_eq(&a, &server(&pool, "a")) && Arc::ptr_eq(&b, &server(&pool, "b")));
    assert_eq!(b.state(), State::Down);
    assert_eq!(server(&pool, "a").in_flight(), 1);
    assert_eq!(server(&pool, "c").state(), State::Starting);
    assert_eq!(
        requests(&pool, 2),
        ["a", "a"],
        "c waits for its first check"
    );
    check(&pool, "c", true);
    assert_eq!(requests(&pool, 2), ["c", "a"]);
    running.done(&outcome(None));
    assert_eq!(a.in_flight(), 0);
}

#[test]
fn a_server_that_went_gets_nothing_new_and_ends_what_it_has() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let a = server(&pool, "a");
    let mut running = attempts(&pool);
    assert_eq!(&*running.next(None).expect("a server").name, "a");
    update(&pool, &[member("b", 2)]);
    assert_eq!(requests(&pool, 3), ["b", "b", "b"]);
    assert_eq!(a.in_flight(), 1);
    drop(running);
    assert_eq!(a.in_flight(), 0);
}

#[test]
fn a_server_with_another_address_is_another_server() {
    let pool = pool(&[member("a", 1)]);
    up(&pool);
    update(&pool, &[member("a", 2)]);
    assert_eq!(server(&pool, "a").state(), State::Starting);
    assert_eq!(server(&pool, "a").in_flight(), 0);
}

#[test]
fn the_turn_goes_on_across_updates() {
    let members = [member("a", 1), member("b", 2), member("c", 3)];
    let pool = pool(&members);
    up(&pool);
    let mut names = Vec::new();
    for _ in 0..50 {
        names.extend(requests(&pool, 1));
        update(&pool, &members);
    }
    let expected: Vec<&str> = ["a", "b", "c"].into_iter().cycle().take(50).collect();
    assert_eq!(names, expected);
}

#[test]
fn the_files_weight_holds_again_when_the_file_changes_it() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    assert!(pool.order("a", Order::Weight(0)));
    assert!(pool.order("b", Order::Drain));
    update(&pool, &[member("a", 1), member("b", 2)]);
    assert_eq!(server(&pool, "a").weight(), 0);
    let heavy = Member {
        weight: 5,
        ..member("a", 1)
    };
    update(&pool, &[heavy, member("b", 2)]);
    assert_eq!(server(&pool, "a").weight(), 5);
    assert_eq!(server(&pool, "b").mode(), crate::server::Mode::Draining);
}

#[test]
fn a_server_may_become_a_backup() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let backup = Member {
        backup: true,
        ..member("b", 2)
    };
    update(&pool, &[member("a", 1), backup]);
    assert_eq!(requests(&pool, 2), ["a", "a"]);
}

#[test]
fn a_request_that_has_begun_keeps_its_tries() {
    let pool = pool(&[member("a", 1)]);
    up(&pool);
    let mut old = attempts(&pool);
    assert!(old.next(None).is_some());
    let none = PoolPlan {
        spread: Spread {
            retry: Retry {
                tries: 0,
                ..Retry::default()
            },
            ..Spread::default()
        },
        ..plan(&[member("a", 1)])
    };
    pool.update(&none, &Instances::new());
    assert!(old.next(Some(&UNANSWERED)).is_some());
    let mut new = attempts(&pool);
    assert!(new.next(None).is_some());
    assert!(new.next(Some(&UNANSWERED)).is_none());
}

#[test]
fn a_pool_is_of_its_service_and_side() {
    let mine = plan(&[]);
    let pool = pool(&[]);
    assert!(pool.is_of(&mine));
    assert!(!pool.is_of(&PoolPlan {
        gateway: true,
        ..mine
    }));
}

#[test]
fn a_retired_pool_is_in_no_status_and_leaves_what_it_covered() {
    let telemetry = telemetry();
    let registry = &telemetry.registry;
    let two = plan(&[member("a", 1), member("b", 2)]);
    let one = plan(&[member("a", 1)]);
    let first = Pool::new(&two, &Instances::new(), &telemetry);
    let second = Pool::new(&one, &Instances::new(), &telemetry);
    let usable = |server: &str| registry.find_control(server).map(|found| found.drain());
    second.retire();
    assert_eq!(registry.controls(), ["shop/a", "shop/b"]);
    assert_eq!(usable("shop/a"), Some(Ok(())), "it is the first pool's");
    assert!(second.is_usable());
    let third = Pool::new(&one, &Instances::new(), &telemetry);
    first.retire();
    assert_eq!(registry.controls(), ["shop/a"], "what came over it stays");
    assert_eq!(usable("shop/a"), Some(Ok(())));
    assert!(!third.is_usable());
    assert_eq!(usable("shop/b"), None);
    third.retire();
    assert_eq!(registry.status().services.len(), 0);
}

#[tokio::test]
async fn checks_follow_an_update() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let off = PoolPlan {
        check: Check::Off,
        ..plan(&[member("a", port)])
    };
    let pool = Pool::new(&off, &Instances::new(), &telemetry());
    let checks = crate::run_checks(vec![pool.clone()], std::future::pending());
    let test = async {
        // Checked from now on, with a server more.
        let timing = Timing {
            every: Duration::from_millis(20),
            fast: Duration::from_millis(20),
            rise: 1,
            fall: 1,
            timeout: Duration::from_secs(10),
            errors: 0,
            port: None,
        };
        let checked = PoolPlan {
            check: Check::Tcp(timing),
            ..plan(&[member("a", port), member("b", port)])
        };
        pool.update(&checked, &Instances::new());
        eventually("b is checked", || server(&pool, "b").state() == State::Up).await;
        drop(listener);
        eventually("both are down", || {
            pool.servers().iter().all(|s| s.state() == State::Down)
        })
        .await;
        // And not any more.
        pool.update(&off, &Instances::new());
        assert_eq!(request(&pool).as_deref(), Some("a"));
        assert_eq!(pool.servers().len(), 1);
    };
    tokio::select! {
        () = checks => unreachable!("checks end with the test"),
        () = test => {}
    }
}

#[test]
fn of_thousands_of_addresses_that_came_and_went_nothing_is_kept() {
    let named = Member {
        place: Place::Server(Address::tcp("shop.example", 80)),
        ..member("a", 1)
    };
    let telemetry = telemetry();
    let pool = Pool::new(&plan(&[named]), &Instances::new(), &telemetry);
    for round in 0..7_u32 {
        let name = pool.members().names().remove(0);
        let found = (0..1_000).map(|i| {
            let ip = (0x0a00_0000 + round * 1_000 + i).to_be_bytes();
            SocketAddr::new(ip.into(), 80)
        });
        pool.members().looked_up(vec![(name, Ok(found.collect()))]);
        pool.reconcile();
    }
    let controls = telemetry.registry.controls();
    assert!(controls.len() < 4_096 + 1_000, "{}", controls.len());
    for server in &*pool.servers() {
        assert!(controls.contains(&format!("shop/{}", server.key.name)));
    }
}
