use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Key {
    Key::try_from(name.as_bytes()).unwrap()
}

fn store(mode: Mode, name: &str, life: Option<u64>, value: &str) -> Command {
    Command::Store {
        mode,
        key: key(name),
        flags: 0,
        life,
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

fn delete(name: &str, guard: u64) -> Command {
    Command::Delete {
        key: key(name),
        guard,
    }
}

/// A state with an agent in it, driven an entry at a time.
struct Driven {
    state: State,
    index: u64,
    agent: AgentId,
    sequence: u64,
}

impl Driven {
    fn new() -> Self {
        let mut driven = Self {
            state: State::default(),
            index: 0,
            agent: AgentId {
                number: 0,
                nonce: 9,
            },
            sequence: 0,
        };
        let registered = driven.entry(0, vec![Change::Register { nonce: 9 }]);
        let [Outcome::Registered(number)] = registered[..] else {
            panic!("{registered:?}");
        };
        driven.agent.number = number;
        driven
    }

    fn entry(&mut self, stamp: u64, changes: Vec<Change>) -> Vec<Outcome> {
        self.index += 1;
        self.state.apply(self.index, &Batch { stamp, changes })
    }

    fn operation(&mut self, command: Command) -> Operation {
        self.sequence += 1;
        Operation {
            agent: self.agent,
            sequence: self.sequence,
            lowest_open: 0,
            command,
        }
    }

    fn at(&mut self, stamp: u64, command: Command) -> Outcome {
        let operation = self.operation(command);
        self.entry(stamp, vec![Change::Operation(operation)])
            .remove(0)
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        self.state.get(name.as_bytes()).map(|item| &item.value[..])
    }
}

#[test]
fn every_change_has_a_version_of_its_own() {
    let mut s = Driven::new();
    let changes = (0..3)
        .map(|i| Change::Operation(s.operation(store(Mode::Set, &format!("k{i}"), None, "v"))))
        .collect();
    s.entry(0, changes);
    s.at(0, store(Mode::Set, "k3", None, "v"));
    let versions: Vec<_> = (0..4)
        .map(|i| s.state.get(format!("k{i}").as_bytes()).unwrap().version)
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[test]
fn a_cas_holds_to_the_version_that_was_read() {
    let mut s = Driven::new();
    s.at(0, store(Mode::Set, "k", None, "1"));
    let read = s.state.get(b"k").unwrap().version;
    s.at(0, store(Mode::Set, "k", None, "2"));
    let stale = store(Mode::Cas(read), "k", None, "3");
    assert_eq!(s.at(0, stale), Outcome::Exists);
    let fresh = store(
        Mode::Cas(s.state.get(b"k").unwrap().version),
        "k",
        None,
        "4",
    );
    assert_eq!(s.at(0, fresh), Outcome::Stored);
    assert_eq!(s.value("k"), Some(&b"4"[..]));
}

fn compared(version: u64, name: &str, change: Compared) -> Command {
    Command::Compared {
        key: key(name),
        version,
        change,
    }
}

#[test]
fn what_compares_changes_the_version_that_was_read_and_no_other() {
    let mut s = Driven::new();
    let delete = || Compared::Delete { guard: 30_000 };
    let count = || Compared::Arithmetic {
        delta: 2,
        down: false,
    };
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    s.at(0, store(Mode::Set, "k", None, "5"));
    let stale = s.state.get(b"k").unwrap().version;
    s.at(0, store(Mode::Set, "k", None, "6"));
    for change in [
        delete(),
        count(),
        Compared::Append { value: text("x") },
        Compared::Prepend { value: text("x") },
    ] {
        assert_eq!(s.at(0, compared(stale, "k", change)), Outcome::Exists);
        assert_eq!(s.value("k"), Some(&b"6"[..]));
    }
    // What did not delete forbids nothing.
    assert_eq!(s.at(0, store(Mode::Set, "k", None, "7")), Outcome::Stored);
    let fresh = |s: &Driven| s.state.get(b"k").unwrap().version;
    let version = fresh(&s);
    assert_eq!(s.at(0, compared(version, "k", count())), Outcome::Number(9));
    let version = fresh(&s);
    let append = Compared::Append { value: text("1") };
    assert_eq!(s.at(0, compared(version, "k", append)), Outcome::Stored);
    let version = fresh(&s);
    let prepend = Compared::Prepend { value: text("0") };
    assert_eq!(s.at(0, compared(version, "k", prepend)), Outcome::Stored);
    assert_eq!(s.value("k"), Some(&b"091"[..]));
    let version = fresh(&s);
    let done = s.operation(compared(version, "k", delete()));
    for _ in 0..2 {
        let outcome = s.entry(0, vec![Change::Operation(done.clone())]);
        assert_eq!(outcome, [Outcome::Deleted]);
    }
    let set = || store(Mode::Set, "k", None, "zombie");
    assert_eq!(s.at(29_999, set()), Outcome::NotStored);
    assert_eq!(
        s.at(29_999, compared(version, "k", delete())),
        Outcome::NotFound
    );
    assert_eq!(
        s.at(29_999, compared(version, "k", count())),
        Outcome::NotFound
    );
    let append = Compared::Append { value: text("1") };
    assert_eq!(
        s.at(29_999, compared(version, "k", append)),
        Outcome::NotStored
    );
}

#[test]
fn a_retried_operation_is_applied_once_and_gets_its_answer_again() {
    let mut s = Driven::new();
    s.at(0, store(Mode::Set, "n", None, "5"));
    let incr = s.operation(Command::Arithmetic {
        key: key("n"),
        delta: 1,
        down: false,
    });
    for _ in 0..3 {
        let outcome = s.entry(0, vec![Change::Operation(incr.clone()); 2]);
        assert_eq!(outcome, [Outcome::Number(6), Outcome::Number(6)]);
    }
    assert_eq!(s.value("n"), Some(&b"6"[..]));
}

#[test]
fn an_operation_that_its_agent_gave_up_is_never_applied() {
    let mut s = Driven::new();
    let late = s.operation(store(Mode::Set, "k", None, "late"));
    let next = s.operation(delete("k", 0));
    let next = Operation {
        lowest_open: next.sequence,
        ..next
    };
    s.entry(0, vec![Change::Operation(next)]);
    assert_eq!(s.entry(0, vec![Change::Operation(late)]), [Outcome::Closed]);
    assert_eq!(s.value("k"), None);
}

#[test]
fn an_operation_of_a_forgotten_agent_is_refused_and_its_identity_is_not_given_again() {
    let mut s = Driven::new();
    let late = s.operation(store(Mode::Set, "k", None, "late"));
    let two_hours = 2 * 60 * 60 * 1000;
    let outcomes = s.entry(
        two_hours,
        vec![
            Change::Operation(late.clone()),
            Change::Register { nonce: 9 },
            Change::Operation(late),
        ],
    );
    assert_eq!(outcomes[0], Outcome::UnknownAgent);
    assert_eq!(outcomes[2], Outcome::UnknownAgent);
    assert!(matches!(outcomes[1], Outcome::Registered(id) if id != s.agent.number));
}

#[test]
fn an_item_lives_exactly_as_long_as_it_should_by_the_keyspaces_clock() {
    let mut s = Driven::new();
    s.at(1_000, store(Mode::Set, "k", Some(5_000), "v"));
    s.entry(5_999, vec![]);
    assert!(s.value("k").is_some());
    assert!(!s.state.is_unsettled(b"k", 5_999));
    assert!(s.state.is_unsettled(b"k", 6_000));
    s.entry(6_000, vec![]);
    assert_eq!(s.value("k"), None);
    assert_eq!((s.state.items(), s.state.bytes()), (0, 0));
    // A stamp that is behind does not bring it back.
    s.entry(1_000, vec![]);
    assert_eq!(s.value("k"), None);
    assert_eq!(s.state.now(), 6_000);
}

#[test]
fn a_touch_moves_the_end_and_keeps_the_version() {
    let mut s = Driven::new();
    s.at(0, store(Mode::Set, "k", Some(1_000), "v"));
    let version = s.state.get(b"k").unwrap().version;
    let touch = Command::GetAndTouch {
        key: key("k"),
        life: Some(10_000),
    };
    let Outcome::Hit(item) = s.at(500, touch) else {
        panic!("a miss");
    };
    assert_eq!((item.version, item.expiry), (version, 10_500));
    s.entry(10_499, vec![]);
    assert!(s.value("k").is_some());
}

#[test]
fn a_set_after_a_guarded_delete_is_refused_for_the_time_given() {
    let mut s = Driven::new();
    s.at(0, store(Mode::Set, "k", None, "v"));
    assert_eq!(s.at(0, delete("k", 30_000)), Outcome::Deleted);
    let set = || store(Mode::Set, "k", None, "zombie");
    assert_eq!(s.at(29_999, set()), Outcome::NotStored);
    assert_eq!(s.value("k"), None);
    assert_eq!(s.at(30_000, set()), Outcome::Stored);
    assert_eq!(s.at(30_000, delete("k", 0)), Outcome::Deleted);
    assert_eq!(s.at(30_000, set()), Outcome::Stored);
}

#[test]
fn what_a_flush_takes_away_is_handed_out_so_that_nobody_waits_until_it_is_freed() {
    let mut s = Driven::new();
    s.at(0, store(Mode::Set, "k", Some(5_000), "v"));
    assert!(s.state.take_gone().is_empty());
    s.at(0, Command::FlushAll { delay: 0 });
    s.at(0, Command::FlushAll { delay: 10 });
    s.at(20, store(Mode::Set, "k", None, "w"));
    let gone = s.state.take_gone();
    let items = |gone: &Gone| gone.partitions.iter().map(|p| p.items.len()).sum::<usize>();
    assert_eq!(gone.iter().map(items).collect::<Vec<_>>(), [1, 0]);
    assert!(s.state.take_gone().is_empty());
    assert_eq!(s.value("k"), Some(&b"w"[..]));
}

#[test]
fn flush_all_takes_what_was_there_and_nothing_that_comes_later() {
    let mut s = Driven::new();
    s.at(0, store(Mode::Set, "a", None, "v"));
    assert_eq!(s.at(0, Command::FlushAll { delay: 0 }), Outcome::Ok);
    assert_eq!(s.value("a"), None);
    s.at(0, Command::FlushAll { delay: 1_000 });
    s.at(999, store(Mode::Set, "b", None, "v"));
    assert!(s.state.is_unsettled(b"b", 1_000));
    s.at(1_000, store(Mode::Set, "c", None, "v"));
    assert_eq!(s.value("b"), None);
    assert!(s.value("c").is_some());
    assert_eq!(s.state.items(), 1);
}

#[test]
fn a_value_that_grows_too_large_is_refused() {
    let mut s = Driven::new();
    let half = "x".repeat(MAX_VALUE / 2 + 1);
    s.at(0, store(Mode::Set, "k", None, &half));
    let grown = s.at(0, store(Mode::Append, "k", None, &half));
    assert!(matches!(grown, Outcome::Refused(_)), "{grown:?}");
    assert_eq!(s.value("k").map(<[u8]>::len), Some(half.len()));
}

#[test]
fn memory_is_accounted_for_and_given_back() {
    let mut s = Driven::new();
    for round in 0..3 {
        for i in 0..100 {
            s.at(
                round,
                store(Mode::Set, &format!("k{i}"), Some(10), &"v".repeat(i)),
            );
        }
    }
    assert_eq!(s.state.items(), 100);
    let exact: u64 = (0..100)
        .map(|i| partition::cost(format!("k{i}").len(), i))
        .sum();
    assert_eq!(s.state.bytes(), exact);
    s.entry(1_000, vec![]);
    assert_eq!((s.state.items(), s.state.bytes()), (0, 0));
}

fn a_key() -> impl Strategy<Value = Key> {
    (0..6u8).prop_map(|i| key(&format!("k{i}")))
}

fn a_life() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0..50u64).prop_map(Some)]
}

fn a_command() -> impl Strategy<Value = Command> {
    let mode = prop_oneof![
        Just(Mode::Set),
        Just(Mode::Add),
        Just(Mode::Replace),
        Just(Mode::Append),
        Just(Mode::Prepend),
        (0..40u64).prop_map(|index| Mode::Cas(index << 16)),
    ];
    let value = prop_oneof![Just("7"), Just("x"), Just("")];
    prop_oneof![
        6 => (mode, a_key(), a_life(), value).prop_map(|(mode, key, life, value)| Command::Store {
            mode, key, flags: 3, life, value: Bytes::from_static(value.as_bytes()),
        }),
        2 => (a_key(), prop_oneof![Just(0), Just(20u64)])
            .prop_map(|(key, guard)| Command::Delete { key, guard }),
        1 => (a_key(), a_life()).prop_map(|(key, life)| Command::Touch { key, life }),
        1 => (a_key(), a_life()).prop_map(|(key, life)| Command::GetAndTouch { key, life }),
        1 => (a_key(), 0..3u64, any::<bool>())
            .prop_map(|(key, delta, down)| Command::Arithmetic { key, delta, down }),
        1 => (0..2u64).prop_map(|n| Command::FlushAll { delay: n * 30 }),
        2 => (a_key(), 0..40u64, a_comparison())
            .prop_map(|(key, index, change)| Command::Compared { key, version: index << 16, change }),
    ]
}

fn a_comparison() -> impl Strategy<Value = Compared> {
    prop_oneof![
        prop_oneof![Just(0), Just(20u64)].prop_map(|guard| Compared::Delete { guard }),
        (0..3u64, any::<bool>()).prop_map(|(delta, down)| Compared::Arithmetic { delta, down }),
        Just(Compared::Append {
            value: Bytes::from_static(b"x")
        }),
        Just(Compared::Prepend {
            value: Bytes::from_static(b"7")
        }),
    ]
}

/// Entries with operations of a few agents, some of them repeated or given up.
fn a_log() -> impl Strategy<Value = Vec<Batch>> {
    let change = prop_oneof![
        1 => Just(Change::Register { nonce: 0 }),
        9 => (1..4u64, 0..12u64, 0..6u64, a_command()).prop_map(
            |(agent, sequence, lowest_open, command)| Change::Operation(Operation {
                agent: AgentId { number: agent << 16, nonce: 0 }, sequence, lowest_open, command,
            })
        ),
    ];
    let batch =
        (0..400u64, vec(change, 0..6)).prop_map(|(stamp, changes)| Batch { stamp, changes });
    vec(batch, 1..40).prop_map(|mut log| {
        for batch in log.iter_mut().take(3) {
            batch.changes.insert(0, Change::Register { nonce: 0 });
        }
        log
    })
}

fn contents(state: &State) -> Vec<String> {
    let mut records: Vec<_> = state
        .view()
        .into_records()
        .map(|r| format!("{r:?}"))
        .collect();
    records.sort();
    records
}

#[test]
fn a_get_that_touches_shows_the_same_when_it_is_retried_whatever_came_meanwhile() {
    let mut driven = Driven::new();
    driven.at(100, store(Mode::Set, "k", Some(5_000), "one"));
    let operation = driven.operation(Command::GetAndTouch {
        key: key("k"),
        life: Some(900),
    });
    let again = |driven: &mut Driven, stamp| {
        let change = Change::Operation(operation.clone());
        driven.entry(stamp, vec![change]).remove(0)
    };
    let first = again(&mut driven, 200);
    assert!(
        matches!(&first, Outcome::Hit(item) if item.value == "one" && item.expiry == 1_100),
        "{first:?}"
    );
    driven.at(400, store(Mode::Set, "k", Some(100), "two"));
    for stamp in [450, 2_000] {
        assert_eq!(again(&mut driven, stamp), first);
    }
}

#[test]
fn what_an_agent_has_open_fits_into_a_record_of_a_snapshot() {
    let mut driven = Driven::new();
    let value = "v".repeat(1_000_000);
    driven.at(100, store(Mode::Set, "k", None, &value));
    let touch = || Command::GetAndTouch {
        key: key("k"),
        life: None,
    };
    let hits = (0..100).filter(|_| matches!(driven.at(200, touch()), Outcome::Hit(_)));
    assert_eq!(hits.count(), 5, "4 MiB, and one value more");
    let refused = driven.at(300, touch());
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    // Restored, it refuses the same; and other operations go on.
    let mut restoring = Restoring::default();
    for record in driven.state.view().into_records() {
        let bytes = postcard::to_stdvec(&record).unwrap();
        assert!(bytes.len() < 6 << 20, "{} bytes", bytes.len());
        restoring.add(postcard::from_bytes(&bytes).unwrap());
    }
    driven.state = restoring.finish();
    assert_eq!(driven.at(400, touch()), refused);
    let stored = driven.at(500, store(Mode::Set, "l", None, "1"));
    assert_eq!(stored, Outcome::Stored);
    // What the agent has heard of holds nothing any more.
    let mut operation = driven.operation(touch());
    operation.lowest_open = operation.sequence;
    let heard = driven.entry(600, vec![Change::Operation(operation)]);
    assert!(matches!(heard[..], [Outcome::Hit(_)]));
}

proptest! {
    #[test]
    fn the_same_entries_give_the_same_state_and_replies_on_every_replica(log in a_log()) {
        let (mut a, mut b) = (State::default(), State::default());
        for (index, batch) in (1..).zip(&log) {
            prop_assert_eq!(a.apply(index, batch), b.apply(index, batch));
        }
        prop_assert_eq!(contents(&a), contents(&b));
    }

    #[test]
    fn a_snapshot_and_the_rest_of_the_log_is_the_whole_log(log in a_log(), cut in 0..40usize) {
        let cut = cut.min(log.len());
        let mut whole = State::default();
        let mut view = None;
        let mut replies = Vec::new();
        for (i, batch) in log.iter().enumerate() {
            if i == cut {
                view = Some(whole.view());
            }
            replies.push(whole.apply(i as u64 + 1, batch));
        }
        // Read only now: changes made since must not show in it.
        let view = view.unwrap_or_else(|| whole.view());
        let mut restoring = Restoring::default();
        for record in view.into_records() {
            let bytes = postcard::to_stdvec(&record).unwrap();
            restoring.add(postcard::from_bytes(&bytes).unwrap());
        }
        let mut restored = restoring.finish();
        for (i, batch) in log.iter().enumerate().skip(cut) {
            prop_assert_eq!(&restored.apply(i as u64 + 1, batch), &replies[i]);
        }
        prop_assert_eq!(contents(&restored), contents(&whole));
        prop_assert_eq!((restored.items(), restored.bytes()), (whole.items(), whole.bytes()));
        prop_assert_eq!(restored.has_due(500), whole.has_due(500));
    }

    #[test]
    fn however_often_operations_arrive_they_are_applied_once(
        commands in vec(a_command(), 1..20), repeats in vec(0..20usize, 0..20)
    ) {
        let run = |repeat: &[usize]| {
            let mut s = Driven::new();
            let operations: Vec<_> = commands.iter().map(|c| s.operation(c.clone())).collect();
            // The first time in order, with repetitions of earlier ones strewn in.
            for (i, operation) in operations.iter().enumerate() {
                let again = repeat.iter().filter(|r| **r <= i && **r < operations.len());
                let again = again.map(|r| Change::Operation(operations[*r].clone()));
                let mut changes = vec![Change::Operation(operation.clone())];
                changes.extend(again);
                // Indexes in step, so that versions are comparable.
                s.index = i as u64 + 10;
                s.entry(0, changes);
            }
            contents(&s.state)
        };
        prop_assert_eq!(run(&repeats), run(&[]));
    }
}
