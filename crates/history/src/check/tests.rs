use super::*;
use crate::{Kind, Value};

fn value(text: &str) -> Value {
    text.as_bytes().into()
}

fn set(text: &str) -> Call {
    Call::Set {
        value: value(text),
        life: None,
    }
}

fn set_for(text: &str, life: u64) -> Call {
    Call::Set {
        value: value(text),
        life: Some(life),
    }
}

fn hit(text: &str) -> Outcome {
    Outcome::Hit(value(text), None)
}

fn op(invoked: u64, returned: u64, call: Call, outcome: Outcome) -> Operation {
    Operation {
        client: 0,
        key: "k".into(),
        invoked,
        returned,
        call,
        outcome,
    }
}

#[track_caller]
fn accepted(history: &[Operation]) {
    let verdict = check(history.to_vec(), &Limits::default());
    assert!(verdict.holds(), "{}", verdict.violations[0]);
}

#[track_caller]
fn refused(history: &[Operation], kind: Kind) {
    let verdict = check(history.to_vec(), &Limits::default());
    assert_eq!(verdict.violations.len(), 1, "it was accepted");
    assert_eq!(
        verdict.violations[0].kind, kind,
        "{}",
        verdict.violations[0]
    );
}

#[test]
fn overlapping_operations_may_have_any_order() {
    accepted(&[
        op(0, 10, set("a"), Outcome::Stored),
        op(5, 30, set("b"), Outcome::Stored),
        op(6, 29, set("c"), Outcome::Stored),
        op(7, 28, Call::Get, hit("c")),
        op(31, 32, Call::Get, hit("b")),
    ]);
}

#[test]
fn a_stale_read_is_found() {
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 3, set("b"), Outcome::Stored),
            op(4, 5, Call::Get, hit("a")),
        ],
        Kind::StaleRead,
    );
    // Another client has seen the newer value, whose write has not even returned.
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 20, set("b"), Outcome::Stored),
            op(4, 5, Call::Get, hit("b")),
            op(6, 7, Call::Get, hit("a")),
        ],
        Kind::StaleRead,
    );
}

#[test]
fn a_lost_write_is_found() {
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 3, Call::Get, Outcome::Miss),
        ],
        Kind::LostWrite,
    );
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(
                2,
                3,
                Call::Add {
                    value: value("b"),
                    life: None,
                },
                Outcome::Stored,
            ),
        ],
        Kind::LostWrite,
    );
}

#[test]
fn a_resurrection_is_found() {
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 3, Call::Delete, Outcome::Deleted),
            op(4, 5, Call::Get, Outcome::Miss),
            op(6, 7, Call::Get, hit("a")),
        ],
        Kind::Resurrection,
    );
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 3, Call::Delete, Outcome::Deleted),
            op(4, 5, Call::Delete, Outcome::Deleted),
        ],
        Kind::Resurrection,
    );
}

#[test]
fn a_change_applied_twice_is_found() {
    let incr = || Call::Incr { delta: 1 };
    refused(
        &[
            op(0, 1, set("5"), Outcome::Stored),
            op(2, 3, incr(), Outcome::Number(7)),
        ],
        Kind::NotOnce,
    );
    // Unknown is at most once.
    let mut history = vec![
        op(0, 1, set("5"), Outcome::Stored),
        op(2, 3, incr(), Outcome::Unknown),
        op(4, 5, Call::Get, hit("5")),
        op(6, 7, Call::Get, hit("6")),
    ];
    accepted(&history);
    history.push(op(8, 9, Call::Get, hit("7")));
    assert!(!check(history, &Limits::default()).holds());
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 3, Call::Append { tail: value("+") }, Outcome::Stored),
            op(4, 5, Call::Get, hit("a++")),
        ],
        Kind::NotOnce,
    );
}

#[test]
fn a_token_is_good_for_one_change() {
    let cas = |text: &str| Call::Cas {
        value: value(text),
        life: None,
        token: 7,
    };
    let mut history = vec![
        op(0, 1, set("a"), Outcome::Stored),
        op(2, 3, Call::Gets, Outcome::Hit(value("a"), Some(7))),
        op(4, 9, cas("b"), Outcome::Stored),
        op(4, 9, cas("c"), Outcome::Exists),
        op(10, 11, Call::Get, hit("b")),
    ];
    accepted(&history);
    history[3].outcome = Outcome::Stored;
    refused(&history[..4], Kind::NotOnce);
    // A token that stopped to be valid though nothing changed.
    history[2].outcome = Outcome::Exists;
    refused(&history[..3], Kind::NotOnce);
}

#[test]
fn an_early_expiry_is_found() {
    let mut history = [
        op(0, 1, set_for("a", 100), Outcome::Stored),
        op(90, 99, Call::Get, Outcome::Miss),
    ];
    refused(&history, Kind::EarlyExpiry);
    history[1].returned = 100;
    accepted(&history);
    let limits = Limits {
        early: 1,
        ..Limits::default()
    };
    history[1].returned = 99;
    assert!(check(history, &limits).holds());
}

#[test]
fn an_expiry_that_is_undone_is_found() {
    let history = [
        op(0, 1, set_for("a", 100), Outcome::Stored),
        op(98, 102, Call::Get, Outcome::Miss),
        op(103, 104, Call::Get, hit("a")),
    ];
    let limits = Limits {
        late: 50,
        ..Limits::default()
    };
    let verdict = check(history, &limits);
    assert_eq!(verdict.violations[0].kind, Kind::ExpiryUndone);
}

#[test]
fn an_item_that_outlives_its_life_is_found() {
    refused(
        &[
            op(0, 1, set_for("a", 100), Outcome::Stored),
            op(102, 103, Call::Get, hit("a")),
        ],
        Kind::LateExpiry,
    );
}

#[test]
fn a_touch_gives_a_new_life() {
    let touch = |life| Call::Touch { life };
    accepted(&[
        op(0, 1, set_for("a", 100), Outcome::Stored),
        op(90, 91, touch(Some(100)), Outcome::Touched),
        op(180, 181, Call::Get, hit("a")),
        op(182, 183, touch(None), Outcome::Touched),
        op(500, 501, Call::Get, hit("a")),
    ]);
    refused(
        &[
            op(0, 1, set("a"), Outcome::Stored),
            op(90, 91, touch(Some(100)), Outcome::Touched),
            op(150, 151, Call::Get, Outcome::Miss),
        ],
        Kind::EarlyExpiry,
    );
}

#[test]
fn an_unknown_write_may_take_effect_any_time_later_or_never() {
    let unknown = op(0, 5, set("late"), Outcome::Unknown);
    accepted(&[
        unknown.clone(),
        op(10, 11, set("a"), Outcome::Stored),
        op(20, 21, Call::Get, hit("a")),
        op(30, 31, Call::Get, hit("late")),
    ]);
    accepted(&[unknown.clone(), op(10, 11, Call::Get, Outcome::Miss)]);
    refused(
        &[
            unknown,
            op(10, 11, set("a"), Outcome::Stored),
            op(20, 21, Call::Get, hit("late")),
            op(30, 31, set("b"), Outcome::Stored),
            op(40, 41, Call::Get, hit("late")),
        ],
        Kind::NotLinearizable,
    );
}

#[test]
fn a_write_that_failed_never_happens() {
    refused(
        &[
            op(0, 1, set("a"), Outcome::Failed),
            op(2, 3, Call::Get, hit("a")),
        ],
        Kind::Phantom,
    );
}

#[test]
fn what_is_shown_is_the_shortest_history() {
    let mut history: Vec<_> = (0..200u64)
        .flat_map(|i| {
            let text = format!("v{i}");
            [
                op(i * 10, i * 10 + 1, set(&text), Outcome::Stored),
                op(i * 10 + 2, i * 10 + 3, Call::Get, hit(&text)),
            ]
        })
        .collect();
    history[301].outcome = hit("v100");
    let verdict = check(history, &Limits::default());
    let violation = &verdict.violations[0];
    let last = violation.history.last().unwrap();
    assert_eq!((last.invoked, &last.outcome), (1502, &hit("v100")));
    let reads = violation.history.iter().filter(|op| op.only_looks());
    assert_eq!(reads.count(), 1, "{violation}");
}
