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

/// Keys whose delete forbids a plain `set` for 100 us.
fn guarded() -> Limits {
    let guard = Some(crate::Guard {
        prefix: "k",
        hold: 100,
    });
    Limits {
        guard,
        ..Limits::default()
    }
}

#[test]
fn a_set_that_a_delete_forbids_is_found() {
    let history = [
        op(0, 1, set("a"), Outcome::Stored),
        op(2, 3, Call::Delete, Outcome::Deleted),
        op(90, 101, set("b"), Outcome::Stored),
    ];
    assert!(check(history.to_vec(), &Limits::default()).holds());
    let verdict = check(history.to_vec(), &guarded());
    assert_eq!(verdict.violations[0].kind, Kind::Unguarded);
}

#[test]
fn a_guard_holds_for_its_time_also_when_there_was_nothing_to_delete() {
    let told = |at, outcome| {
        vec![
            op(2, 3, Call::Delete, Outcome::NotFound),
            op(at, at + 5, set("b"), outcome),
        ]
    };
    for (at, outcome, holds) in [
        (50, Outcome::Stored, false),
        (50, Outcome::NotStored, true),
        (50, Outcome::Unknown, true),
        (99, Outcome::Stored, true),
        (99, Outcome::NotStored, true),
        (110, Outcome::Stored, true),
        (110, Outcome::NotStored, false),
    ] {
        let verdict = check(told(at, outcome.clone()), &guarded());
        assert_eq!(verdict.holds(), holds, "{at} {outcome:?}");
    }
}

#[test]
fn a_guard_forbids_nothing_but_a_plain_set() {
    let add = Call::Add {
        value: value("b"),
        life: None,
    };
    let history = [
        op(2, 3, Call::Delete, Outcome::NotFound),
        op(4, 5, add, Outcome::Stored),
        op(6, 7, set("c"), Outcome::NotStored),
        op(8, 9, Call::Get, hit("b")),
    ];
    assert!(check(history.to_vec(), &guarded()).holds());
}

#[test]
fn a_delete_of_unknown_outcome_may_forbid_a_set_or_not() {
    for outcome in [Outcome::Stored, Outcome::NotStored] {
        let history = [
            op(2, 3, Call::Delete, Outcome::Unknown),
            op(50, 51, set("b"), outcome),
        ];
        assert!(check(history.to_vec(), &guarded()).holds());
    }
}

#[test]
fn a_get_that_touches_gives_a_new_life_to_what_it_showed() {
    let gat = || Call::GetAndTouch { life: Some(1_000) };
    let history = |shown, seen| {
        vec![
            op(0, 10, set_for("a", 100), Outcome::Stored),
            op(50, 60, gat(), shown),
            op(800, 801, Call::Get, seen),
        ]
    };
    accepted(&history(hit("a"), hit("a")));
    refused(&history(hit("a"), Outcome::Miss), Kind::EarlyExpiry);
    refused(&history(Outcome::Miss, Outcome::Miss), Kind::EarlyExpiry);
    refused(&history(hit("b"), hit("a")), Kind::Phantom);
    accepted(&history(Outcome::Unknown, hit("a")));
    accepted(&history(Outcome::Unknown, Outcome::Miss));
}

fn flush(invoked: u64, returned: u64, delay: u64) -> Operation {
    Operation {
        key: crate::EVERY.into(),
        ..op(invoked, returned, Call::FlushAll { delay }, Outcome::Ok)
    }
}

#[test]
fn a_flush_takes_every_key() {
    let other = |op| Operation {
        key: "other".into(),
        ..op
    };
    let history = |seen| {
        vec![
            op(0, 1, set("a"), Outcome::Stored),
            other(op(2, 3, set("b"), Outcome::Stored)),
            flush(4, 5, 0),
            op(6, 7, Call::Get, Outcome::Miss),
            other(op(8, 9, Call::Get, seen)),
        ]
    };
    accepted(&history(Outcome::Miss));
    refused(&history(hit("b")), Kind::Resurrection);
}

#[test]
fn a_flush_that_takes_its_time_may_take_what_came_after_it_was_asked_for() {
    accepted(&[
        flush(0, 20, 0),
        op(2, 3, set("a"), Outcome::Stored),
        op(4, 5, Call::Get, hit("a")),
        op(21, 22, Call::Get, Outcome::Miss),
    ]);
}

#[test]
fn what_could_change_nothing_may_do_so_before_a_change_that_overlaps() {
    accepted(&[
        flush(0, 20, 0),
        op(2, 3, set("a"), Outcome::Stored),
        op(21, 22, Call::Get, hit("a")),
    ]);
    accepted(&[
        op(0, 1, set("a"), Outcome::Stored),
        op(2, 20, Call::Touch { life: None }, Outcome::Touched),
        op(3, 10, Call::Touch { life: Some(5) }, Outcome::Touched),
        op(30, 31, Call::Get, Outcome::Miss),
    ]);
}

#[test]
fn a_flush_in_a_while_does_not_come_before_it() {
    let history = |seen| {
        vec![
            op(0, 1, set("a"), Outcome::Stored),
            flush(4, 5, 100),
            op(seen, seen + 1, Call::Get, Outcome::Miss),
        ]
    };
    refused(&history(90), Kind::LostWrite);
    accepted(&history(104));
}

#[test]
fn a_number_is_counted_down_once_and_is_never_shortened() {
    let down = |n| Outcome::Number(n);
    let decr = || Call::Decr { delta: 3 };
    accepted(&[
        op(0, 1, set("11"), Outcome::Stored),
        op(2, 3, decr(), down(8)),
        op(4, 5, Call::Get, hit("8 ")),
        op(6, 7, decr(), down(5)),
        op(8, 9, Call::Incr { delta: 5 }, down(10)),
        op(10, 11, Call::Get, hit("10")),
    ]);
    refused(
        &[
            op(0, 1, set("11"), Outcome::Stored),
            op(2, 3, decr(), down(8)),
            op(4, 5, decr(), down(2)),
        ],
        Kind::NotOnce,
    );
}

#[test]
fn a_number_begins_where_it_is_told_to_or_is_counted_up() {
    let count = |first: &str| Call::Count {
        delta: 3,
        initial: value(first),
        life: None,
    };
    accepted(&[
        op(0, 1, count("10"), Outcome::Number(10)),
        op(2, 3, count("500"), Outcome::Number(13)),
        op(4, 5, Call::Delete, Outcome::Deleted),
        op(6, 7, count("900"), Outcome::Number(900)),
    ]);
    refused(
        &[
            op(0, 1, count("10"), Outcome::Number(10)),
            op(2, 3, count("500"), Outcome::Number(500)),
        ],
        Kind::NotOnce,
    );
}

#[test]
fn what_is_put_before_a_value_is_there_once() {
    let prepend = || Call::Prepend { head: value("b") };
    let history = |seen| {
        vec![
            op(0, 1, set("a"), Outcome::Stored),
            op(2, 3, prepend(), Outcome::Stored),
            op(4, 5, Call::Get, hit(seen)),
        ]
    };
    accepted(&history("ba"));
    refused(&history("bba"), Kind::NotOnce);
}

fn at(token: u64, change: Call) -> Call {
    Call::At {
        token,
        change: Box::new(change),
    }
}

#[test]
fn what_compares_changes_the_item_that_was_seen_and_no_other() {
    let seen = |text: &str, token| Outcome::Hit(value(text), Some(token));
    let tail = || Call::Append { tail: value("x") };
    accepted(&[
        op(0, 1, set("a"), Outcome::Stored),
        op(2, 3, Call::Gets, seen("a", 7)),
        op(4, 5, at(7, tail()), Outcome::Stored),
        op(6, 7, at(7, Call::Delete), Outcome::Exists),
        op(8, 9, Call::Gets, seen("ax", 8)),
        op(10, 11, at(8, Call::Delete), Outcome::Deleted),
        op(12, 13, at(8, Call::Delete), Outcome::NotFound),
        op(14, 15, at(8, tail()), Outcome::NotStored),
        op(16, 17, Call::Get, Outcome::Miss),
    ]);
    for (change, outcome) in [
        (Call::Delete, Outcome::Deleted),
        (tail(), Outcome::Stored),
        (Call::Incr { delta: 1 }, Outcome::Number(6)),
    ] {
        let verdict = check(
            [
                op(0, 1, set("4"), Outcome::Stored),
                op(2, 3, Call::Gets, seen("4", 7)),
                op(4, 5, set("5"), Outcome::Stored),
                op(6, 7, at(7, change), outcome),
            ],
            &Limits::default(),
        );
        assert!(!verdict.holds());
    }
}
