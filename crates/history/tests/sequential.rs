//! Histories that were made by a keyspace that keeps every promise are accepted, however their operations overlap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tandem_history::{Call, EVERY, Guard, Limits, Operation, Outcome, Value, check};

/// Microseconds from one operation's moment to the next one's.
const STEP: u64 = 100;

/// A delete forbids a plain `set` for so long.
const HOLD: u64 = 5 * STEP;

fn limits() -> Limits {
    let guard = Some(Guard {
        prefix: "k",
        hold: HOLD,
    });
    Limits {
        guard,
        ..Limits::default()
    }
}

/// A keyspace of one key, one operation after the other.
#[derive(Default)]
struct Real {
    item: Option<(Vec<u8>, u64, u64)>,
    tokens: u64,
    guarded: u64,
    flushes: Vec<u64>,
}

impl Real {
    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn apply(&mut self, now: u64, call: &Call) -> Outcome {
        let flushes = self.flushes.len();
        self.flushes.retain(|at| *at > now);
        let flushed = self.flushes.len() < flushes;
        if flushed || self.item.as_ref().is_some_and(|(_, _, end)| *end <= now) {
            self.item = None;
        }
        if matches!(call, Call::Set { .. }) && now < self.guarded {
            return Outcome::NotStored;
        }
        if let (Call::At { token, .. }, Some((_, current, _))) = (call, &self.item)
            && token != current
        {
            return Outcome::Exists;
        }
        let call = match call {
            Call::At { change, .. } => change,
            plain => plain,
        };
        if *call == Call::Delete {
            self.guarded = now + HOLD;
        }
        let end = |life: &Option<u64>| life.map_or(u64::MAX, |life| now + life);
        let token = self.token();
        match (call, &mut self.item) {
            (Call::Get, Some((value, ..))) => Outcome::Hit(value.as_slice().into(), None),
            (Call::Gets, Some((value, token, _))) => {
                Outcome::Hit(value.as_slice().into(), Some(*token))
            }
            (Call::Get | Call::Gets | Call::GetAndTouch { .. }, None) => Outcome::Miss,
            (Call::Add { .. }, Some(_))
            | (Call::Replace { .. } | Call::Append { .. } | Call::Prepend { .. }, None) => {
                Outcome::NotStored
            }
            (Call::Cas { token, .. }, Some((_, current, _))) if token != current => Outcome::Exists,
            (
                Call::Cas { .. }
                | Call::Delete
                | Call::Incr { .. }
                | Call::Decr { .. }
                | Call::Touch { .. },
                None,
            ) => Outcome::NotFound,
            (Call::Count { initial, life, .. }, item @ None) => {
                *item = Some((initial.to_vec(), token, end(life)));
                Outcome::Number(String::from_utf8_lossy(initial).parse().unwrap())
            }
            (
                Call::Set { value, life }
                | Call::Add { value, life }
                | Call::Replace { value, life }
                | Call::Cas { value, life, .. },
                item,
            ) => {
                *item = Some((value.to_vec(), token, end(life)));
                Outcome::Stored
            }
            (Call::Append { tail }, Some((value, current, _))) => {
                value.extend_from_slice(tail);
                *current = token;
                Outcome::Stored
            }
            (Call::Prepend { head }, Some((value, current, _))) => {
                value.splice(0..0, head.iter().copied());
                *current = token;
                Outcome::Stored
            }
            (Call::Delete, item) => {
                *item = None;
                Outcome::Deleted
            }
            (Call::FlushAll { delay: 0 }, item) => {
                *item = None;
                Outcome::Ok
            }
            (Call::FlushAll { delay }, _) => {
                self.flushes.push(now + delay);
                Outcome::Ok
            }
            (
                Call::Incr { delta } | Call::Count { delta, .. } | Call::Decr { delta },
                Some((value, current, _)),
            ) => {
                let text = String::from_utf8(value.clone()).unwrap();
                let Ok(number) = text.trim_end().parse::<u64>() else {
                    return Outcome::Failed;
                };
                let number = match call {
                    Call::Decr { .. } => number.saturating_sub(*delta),
                    _ => number + delta,
                };
                *value = format!("{number:<0$}", value.len()).into_bytes();
                *current = token;
                Outcome::Number(number)
            }
            (Call::GetAndTouch { life }, Some((value, _, until))) => {
                *until = end(life);
                Outcome::Hit(value.as_slice().into(), None)
            }
            (Call::Touch { life }, Some((_, _, until))) => {
                *until = end(life);
                Outcome::Touched
            }
            (Call::At { .. }, _) => unreachable!("what it does was taken out of it"),
        }
    }
}

/// Which operation, its life in steps (0: for ever), how much earlier it was asked and later answered, and whether
/// the answer was lost.
type Draw = (u8, u64, u64, u64, u8);

fn history(key: &Arc<str>, draws: &[Draw]) -> Vec<Operation> {
    let mut real = Real::default();
    let mut last_token = 0;
    // A number is counted up or down: both ways it is not unique, and then to find the order can take for ever.
    let down = draws.len().is_multiple_of(2);
    let made = draws.iter().enumerate().map(|(i, draw)| {
        let (which, life, early, late, lost) = *draw;
        let now = 10_000 + i as u64 * STEP;
        let life = (life > 0).then_some(life * STEP);
        let value: Value = format!("v{i}").into_bytes().into();
        let call = match which {
            0..=3 => Call::Get,
            4..=5 => Call::Gets,
            6 => Call::Set { value, life },
            7 => Call::Set {
                value: format!("{}", (i as u64 + 1) * 1_000_000)
                    .into_bytes()
                    .into(),
                life,
            },
            8 => Call::Add { value, life },
            9 => Call::Replace { value, life },
            10 => Call::Cas {
                value,
                life,
                token: last_token,
            },
            11 => Call::Append {
                tail: format!("+{i}").into_bytes().into(),
            },
            12 => Call::Delete,
            13..=15 if down => Call::Decr { delta: 5 },
            13..=14 => Call::Incr { delta: 3 },
            15 => Call::Count {
                delta: 2,
                initial: format!("{}", (i as u64 + 1) * 1_000_000)
                    .into_bytes()
                    .into(),
                life,
            },
            16 => Call::Prepend {
                head: format!("{i}+").into_bytes().into(),
            },
            17 => Call::GetAndTouch { life },
            18 if !i.is_multiple_of(7) => Call::Touch { life },
            18 => Call::FlushAll {
                delay: draw.1 * STEP,
            },
            19 => Call::Touch { life },
            _ => {
                let change = match which {
                    20 => Call::Delete,
                    21 => Call::Append {
                        tail: format!("+{i}").into_bytes().into(),
                    },
                    22 if down => Call::Decr { delta: 2 },
                    22 => Call::Incr { delta: 2 },
                    _ => Call::Prepend {
                        head: format!("{i}+").into_bytes().into(),
                    },
                };
                Call::At {
                    token: last_token,
                    change: Box::new(change),
                }
            }
        };
        // A lost request is not applied; a lost answer is.
        let mut outcome = if lost == 1 {
            Outcome::Unknown
        } else {
            real.apply(now, &call)
        };
        if lost == 2 {
            outcome = Outcome::Unknown;
        }
        let mut returned = now + late;
        if let Outcome::Hit(_, Some(token)) = outcome {
            // Whoever uses a token has seen it before.
            last_token = token;
            returned = now;
        }
        Operation {
            client: i as u32,
            key: match call {
                Call::FlushAll { .. } => EVERY.into(),
                _ => key.clone(),
            },
            invoked: if matches!(call, Call::Cas { .. } | Call::At { .. }) {
                now
            } else {
                now - early
            },
            returned,
            call,
            outcome,
        }
    });
    made.collect()
}

fn draws(most: usize) -> impl Strategy<Value = Vec<Draw>> {
    let lost = prop_oneof![20 => Just(0u8), 1 => Just(1), 1 => Just(2)];
    vec((0u8..24, 0u64..12, 0u64..500, 0u64..500, lost), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_really_happened_is_always_accepted(draws in draws(60)) {
        let verdict = check(history(&"k".into(), &draws), &limits());
        prop_assert!(verdict.holds(), "{} {:?}", verdict.violations[0], verdict.undecided);
    }

}

proptest! {
    // To show that there is no order all have to be tried.
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn a_value_from_before_the_last_change_is_never_accepted(draws in draws(25)) {
        let mut history = history(&"k".into(), &draws);
        let at = 10_000_000;
        let late = |nth: u64, call, outcome| Operation {
            client: 0,
            key: "k".into(),
            invoked: at + nth * 10,
            returned: at + nth * 10 + 1,
            call,
            outcome,
        };
        let value = |text: &str| Value::from(text.as_bytes());
        let set = |text| Call::Set { value: value(text), life: None };
        // By now whatever a delete forbade is allowed again.
        history.push(late(0, set("before"), Outcome::Stored));
        history.push(late(1, set("after"), Outcome::Stored));
        history.push(late(2, Call::Get, Outcome::Hit(value("before"), None)));
        let verdict = check(history, &limits());
        prop_assert_eq!(verdict.violations.len(), 1);
    }
}

#[test]
fn a_hundred_thousand_operations_are_checked_in_seconds() {
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    // One hot key with a fifth of it all, a hundred others.
    let mut operations = Vec::new();
    for key in 0..=100u32 {
        let count = if key == 0 { 20_000 } else { 800 };
        let draws: Vec<Draw> = (0..count)
            .map(|_| {
                let lost = match random(500) {
                    0 => 1,
                    1 => 2,
                    _ => 0,
                };
                // Not counted down: what is unique is what makes it quick.
                let which = [random(14), 16, 17, 19][random(18).saturating_sub(14) as usize];
                (which as u8, random(12), random(500), random(500), lost)
            })
            .collect();
        operations.extend(history(&format!("k{key}").into(), &draws));
    }
    assert!(operations.len() >= 100_000);
    let begun = Instant::now();
    let verdict = check(operations, &limits());
    assert!(verdict.holds(), "{:?}", verdict.undecided);
    assert!(
        begun.elapsed() < Duration::from_mins(1),
        "{:?}",
        begun.elapsed()
    );
    eprintln!("checked in {:?}", begun.elapsed());
}
