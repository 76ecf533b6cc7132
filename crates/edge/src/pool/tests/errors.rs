//! What failed requests do to servers, and what operators do.

use tandem_model::{Backups, Check, Cut, Retry, Timing};

use super::*;
use crate::server::Mode;

fn counting(errors: u32) -> Arc<Pool> {
    let timing = Timing {
        errors,
        ..Timing::default()
    };
    let plan = PoolPlan {
        check: Check::Tcp(timing),
        ..plan(&[member("a", 1)])
    };
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    pool
}

fn answered(pool: &Arc<Pool>, status: u16) {
    let mut attempts = attempts(pool);
    assert!(attempts.next(None).is_some());
    attempts.done(&Outcome {
        status,
        ..outcome(None)
    });
}

#[test]
fn errors_in_a_row_take_a_server_down_until_checks_pass() {
    let pool = counting(3);
    for status in [500, 503, 200, 502, 504] {
        answered(&pool, status);
    }
    assert_eq!(pool.servers()[0].state(), State::Up, "not in a row");
    answered(&pool, 500);
    assert_eq!(pool.servers()[0].state(), State::Down);
    let last = last_events(&pool);
    assert!(
        last.contains(
            &"warning shop/a: down: 3 requests in a row failed, the last: answered 500".into()
        ),
        "{last:?}"
    );
    check(&pool, "a", true);
    assert_ne!(
        pool.servers()[0].state(),
        State::Up,
        "one check is not enough"
    );
    check(&pool, "a", true);
    assert_eq!(pool.servers()[0].state(), State::Up);
    answered(&pool, 500);
    assert_eq!(pool.servers()[0].state(), State::Up, "counted from anew");
}

#[test]
fn broken_connections_are_errors_and_other_answers_are_not() {
    let pool = counting(2);
    for status in [400, 404, 501, 505, 599] {
        answered(&pool, status);
    }
    let mut attempts = attempts(&pool);
    assert!(attempts.next(None).is_some());
    assert!(attempts.next(Some(&UNANSWERED)).is_some());
    assert!(attempts.next(Some(&UNANSWERED)).is_none());
    let reason = pool.servers()[0].vitals().reason().to_owned();
    assert_eq!(
        reason,
        "2 requests in a row failed, the last: the connection broke"
    );
}

#[test]
fn unless_the_file_says_so_answers_take_nobody_down() {
    let pool = counting(0);
    for _ in 0..50 {
        answered(&pool, 500);
    }
    assert_eq!(pool.servers()[0].state(), State::Up);
}

#[test]
fn maintenance_is_no_requests_and_no_verdicts_until_ready() {
    let pool = pool(&[member("a", 1), member("b", 2)]);
    up(&pool);
    let control = pool.telemetry.registry.find_control("shop/b");
    let control = control.expect("each server has a control");
    assert_eq!(control.maintenance(), Ok(()));
    assert_eq!(requests(&pool, 3), ["a", "a", "a"]);
    check(&pool, "b", false);
    let server = pool.servers()[1].clone();
    assert_eq!(
        (server.mode(), server.state()),
        (Mode::Maintenance, State::Up)
    );
    assert_eq!(
        server.status().health,
        tandem_telemetry::Health::Maintenance
    );
    pool.update(&plan(&[member("a", 1), member("b", 2)]), &Instances::new());
    assert_eq!(requests(&pool, 2), ["a", "a"], "kept over a reload");
    assert_eq!(control.ready(), Ok(()));
    assert_eq!(server.mode(), Mode::Ready);
    let events = last_events(&pool);
    let line = "info shop/b: in maintenance by order: no requests, no checks";
    assert!(events.contains(&line.to_owned()), "{events:?}");
}

#[test]
fn of_backup_servers_the_first_is_used_unless_the_file_says_all() {
    let backup = |name, port| Member {
        backup: true,
        ..member(name, port)
    };
    let members = [member("a", 1), backup("b", 2), backup("c", 3)];
    for (backups, expected) in [
        (Backups::First, ["b", "b", "b", "b"]),
        (Backups::All, ["b", "c", "b", "c"]),
    ] {
        let spread = Spread {
            backups,
            ..Spread::default()
        };
        let plan = PoolPlan {
            spread,
            ..plan(&members)
        };
        let pool = Pool::new(&plan, &Instances::new(), &telemetry());
        up(&pool);
        assert_eq!(requests(&pool, 2), ["a", "a"]);
        pool.failed(&pool.servers()[0], REFUSED);
        assert_eq!(requests(&pool, 4), expected);
        pool.failed(&pool.servers()[1], REFUSED);
        assert_eq!(requests(&pool, 2), ["c", "c"], "the next one that is up");
    }
}

#[test]
fn retries_end_with_the_budget() {
    let retry = Retry {
        tries: 1,
        budget: Some(0),
        ..Retry::default()
    };
    let spread = Spread {
        retry,
        ..Spread::default()
    };
    let plan = PoolPlan {
        spread,
        ..plan(&[member("a", 1), member("b", 2)])
    };
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    let retried = (0..30).filter(|_| {
        let mut attempts = attempts(&pool);
        assert!(attempts.next(None).is_some());
        attempts.next(Some(&UNANSWERED)).is_some()
    });
    assert_eq!(retried.count(), 10, "those that are always allowed");
}

#[test]
fn a_try_has_its_own_limit_and_statuses_are_named_while_there_is_another_try() {
    let retry = Retry {
        tries: 1,
        timeout: Some(Duration::from_secs(1)),
        on: vec![503],
        ..Retry::default()
    };
    let spread = Spread {
        retry,
        ..Spread::default()
    };
    let plan = PoolPlan {
        spread,
        ..plan(&[member("a", 1), member("b", 2)])
    };
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    let mut attempts = attempts(&pool);
    let first = attempts.next(None).expect("a server");
    assert_eq!(first.timeouts.first_byte, Duration::from_secs(1));
    assert_eq!(first.timeouts.connect, Duration::from_secs(1));
    assert_eq!(first.retry_on.as_deref(), Some(&[503][..]));
    let busy = failure(Stage::Unanswered, Cause::Status(503));
    let last = attempts.next(Some(&busy)).expect("the other");
    assert_eq!(last.retry_on, None, "its answer is the client's");
}

#[test]
fn a_server_that_did_not_answer_in_time_is_not_asked_again_unless_tries_have_a_time_of_their_own() {
    let late = failure(Stage::Unanswered, Cause::Timeout);
    let mut plan = plan(&[member("a", 1), member("b", 2)]);
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    let mut attempts = attempts(&pool);
    let first = attempts.next(None).expect("both are up");
    let second = attempts.next(Some(&late)).expect("the other one");
    assert_ne!(first.name, second.name);
    assert!(attempts.next(Some(&late)).is_none(), "it waited for both");
    attempts.done(&outcome(Some(late)));
    plan.spread.retry.timeout = Some(Duration::from_secs(1));
    pool.update(&plan, &Instances::new());
    let mut attempts = super::attempts(&pool);
    let mut why = None;
    for _ in 0..=plan.spread.retry.tries {
        assert!(attempts.next(why).is_some());
        why = Some(&late);
    }
}

#[test]
fn a_client_that_leaves_says_nothing_of_its_server() {
    let pool = counting(3);
    for status in [500, 0, 503, 0] {
        answered(&pool, status);
        assert_eq!(pool.servers()[0].state(), State::Up);
    }
    answered(&pool, 500);
    assert_eq!(pool.servers()[0].state(), State::Down);
}

#[test]
fn connections_are_cut_off_when_their_server_goes_down_or_by_order() {
    use futures_util::FutureExt as _;
    for (down, is_cut) in [(false, false), (true, true)] {
        let timing = Timing {
            errors: 1,
            ..Timing::default()
        };
        let spread = Spread {
            cut: Cut {
                down,
                backups: false,
            },
            ..Spread::default()
        };
        let plan = PoolPlan {
            check: Check::Tcp(timing),
            spread,
            ..plan(&[member("a", 1)])
        };
        let pool = Pool::new(&plan, &Instances::new(), &telemetry());
        up(&pool);
        let (mut first, mut second) = (attempts(&pool), attempts(&pool));
        assert!(first.next(None).is_some() && second.next(None).is_some());
        let mut cut = first.cut().expect("it has a server");
        assert_eq!((&mut cut).now_or_never(), None);
        answered(&pool, 500);
        assert_eq!(cut.now_or_never().is_some(), is_cut);
        pool.cut_off("a");
        let late = second.cut().expect("it has a server");
        assert!(
            late.now_or_never().is_some(),
            "also of one that was asked later"
        );
    }
}

#[test]
fn connections_at_backups_are_cut_off_when_another_server_comes_up() {
    use futures_util::FutureExt as _;
    let spread = Spread {
        cut: Cut {
            down: false,
            backups: true,
        },
        ..Spread::default()
    };
    let backup = Member {
        backup: true,
        ..member("b", 1)
    };
    let plan = PoolPlan {
        check: Check::Tcp(Timing {
            errors: 1,
            ..Timing::default()
        }),
        spread,
        ..plan(&[member("a", 1), backup])
    };
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    answered(&pool, 500);
    let mut attempts = attempts(&pool);
    assert_eq!(
        attempts.next(None).map(|up| up.name.to_string()),
        Some("b".into())
    );
    let mut cut = attempts.cut().expect("it has a server");
    assert_eq!((&mut cut).now_or_never(), None);
    pool.order("a", Order::Drain);
    for _ in 0..5 {
        up(&pool);
    }
    assert_eq!(
        (&mut cut).now_or_never(),
        None,
        "nobody is sent to one that drains"
    );
    pool.order("a", Order::Ready);
    answered(&pool, 500);
    for _ in 0..5 {
        up(&pool);
    }
    assert!(cut.now_or_never().is_some());
}

#[test]
fn who_waits_to_be_cut_off_is_woken_whoever_asked_for_it_last() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    let pool = Pool::new(&plan(&[member("a", 1)]), &Instances::new(), &telemetry());
    let mut attempts = attempts(&pool);
    assert!(attempts.next(None).is_some());
    let mut cut = attempts.cut().expect("it has a server");
    let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    for woken in [&first, &first, &second, &second] {
        let waker = Waker::from(woken.clone());
        assert!(
            cut.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    pool.cut_off("a");
    let woken = [&first, &second].map(|one| one.0.load(SeqCst));
    assert_eq!(woken, [0, 1]);
    let waker = Waker::from(second);
    assert!(
        cut.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    );
}
