//! The promises of the session tier, seen from outside: three nodes on real sockets, agents beside them.

mod common;

use std::time::{Duration, Instant};

use common::{Hits, SOON, Tier, call, compare, get, set, set_eventually, store, until, value};
use tandem_memcache::{Action, Answer, Keyspace, Lifetime, Mode, Op, Reply};
use tandem_net::cluster::ClusterKey;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_blank_nodes_form_a_cluster_and_what_one_agent_writes_another_reads() {
    let tier = Tier::started(3).await;
    let (one, other) = (tier.agent(), tier.agent());
    assert_eq!(set(&one, "k", "v").await, Reply::Stored);
    let (read, version) = get(&other, "k").await.unwrap().unwrap();
    assert_eq!(read, "v");
    assert_eq!(
        store(&other, Mode::Cas(version), "k", "w").await,
        Reply::Stored
    );
    assert_eq!(
        store(&one, Mode::Cas(version), "k", "x").await,
        Reply::Exists
    );
    assert_eq!(value(&one, "k").await.as_deref(), Some("w"));
    assert_eq!(call(&one, Op::Delete { key: b"k" }).await, Reply::Deleted);
    assert_eq!(value(&other, "k").await, None);
    assert!(
        matches!(call(&one, Op::Stats { argument: b"" }).await, Reply::Stats(lines) if lines.len() > 5)
    );
    tier.full().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_alone_is_enough_when_the_file_names_one() {
    let mut tier = Tier::started(1).await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    tier.crash(0).await;
    tier.start(0).await;
    assert_eq!(value(&agent, "k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifetimes_numbers_and_many_keys_work_as_in_memcached() {
    let tier = Tier::started(3).await;
    let agent = tier.agent();
    for i in 0..20 {
        assert_eq!(
            set(&agent, &format!("k{i}"), &format!("{i}")).await,
            Reply::Stored
        );
    }
    let names: Vec<_> = (0..25).map(|i| format!("k{i}")).collect();
    let keys: Vec<_> = names.iter().map(String::as_bytes).collect();
    let mut hits = Hits::default();
    let Answer::Later(reply) = agent.call(Op::Get { keys: &keys }, &mut hits) else {
        panic!("not later");
    };
    assert_eq!(reply.await, Reply::End);
    assert_eq!(hits.0.len(), 20);
    let up = Op::Arithmetic {
        key: b"k7",
        delta: 5,
        down: false,
    };
    assert_eq!(call(&agent, up).await, Reply::Number(12));
    let short = Op::Store {
        mode: Mode::Set,
        key: b"short",
        flags: 0,
        life: Lifetime::Millis(400),
        value: b"v",
    };
    let stored = Instant::now();
    assert_eq!(call(&agent, short).await, Reply::Stored);
    let touch = Op::Touch {
        key: b"k1",
        life: Lifetime::Millis(60_000),
    };
    assert_eq!(call(&agent, touch.clone()).await, Reply::Touched);
    assert_eq!(call(&agent, touch).await, Reply::Touched);
    let mut hits = Hits::default();
    let keys = [&b"k1"[..], b"none"];
    let gat = Op::GetAndTouch {
        keys: &keys,
        life: Lifetime::Millis(90_000),
    };
    let Answer::Later(reply) = agent.call(gat, &mut hits) else {
        panic!("not later");
    };
    assert_eq!(reply.await, Reply::End);
    assert!(hits.0[0].remaining.is_some_and(|left| left > 80_000));
    let deadline = Instant::now() + SOON;
    while value(&agent, "short").await.is_some() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        stored.elapsed() >= Duration::from_millis(395),
        "it ended too early"
    );
    let invalid = call(&agent, Op::Delete { key: b"a b" }).await;
    assert!(matches!(invalid, Reply::ClientError(_)), "{invalid:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_dies_nothing_acknowledged_is_lost_and_requests_wait_instead_of_failing() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    for i in 0..50 {
        assert_eq!(set(&agent, &format!("k{i}"), "before").await, Reply::Stored);
    }
    let leader = tier.led().await;
    let writer = tokio::task::LocalSet::new();
    let acknowledged = writer
        .run_until(async {
            let writing = tokio::task::spawn_local({
                let agent = agent.clone();
                async move {
                    let mut last = 0;
                    for n in 1..=400u32 {
                        // Each number follows the last acknowledged one: a lost or repeated one would show.
                        let up = Op::Arithmetic {
                            key: b"count",
                            delta: 1,
                            down: false,
                        };
                        if n == 1 {
                            assert_eq!(set(&agent, "count", "0").await, Reply::Stored);
                        }
                        match call(&agent, up).await {
                            Reply::Number(number) => {
                                assert_eq!(number, last + 1, "an increment was lost or done twice");
                                last = number;
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    last
                }
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            tier.crash(leader).await;
            writing.await.unwrap()
        })
        .await;
    assert_eq!(acknowledged, 400);
    let other = tier.agent();
    assert_eq!(value(&other, "count").await.as_deref(), Some("400"));
    for i in 0..50 {
        assert_eq!(
            value(&other, &format!("k{i}")).await.as_deref(),
            Some("before")
        );
    }
    tier.start(leader).await;
    tier.full().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_hands_leadership_over() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    tier.full().await;
    for _ in 0..3 {
        let leader = tier.led().await;
        tier.stop(leader).await;
        assert_eq!(set(&agent, "k", "w").await, Reply::Stored);
        tier.start(leader).await;
        tier.full().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_stop_together_do_not_wait_for_one_another() {
    // All three; and the two that are left of three.
    for gone in [None, Some(())] {
        let mut tier = Tier::started(3).await;
        assert_eq!(set(&tier.agent(), "k", "v").await, Reply::Stored);
        tier.full().await;
        if gone.is_some() {
            let leader = tier.led().await;
            tier.crash((leader + 1) % 3).await;
        }
        let nodes = tier.nodes.iter_mut().filter_map(Option::take);
        let stops = nodes.map(|node| node.session.stop());
        let began = std::time::Instant::now();
        futures_util::future::join_all(stops).await;
        // A hand-over that nobody answers is waited for twice as long.
        assert!(began.elapsed() < std::time::Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_at_once_loses_nothing() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    for i in 0..100 {
        assert_eq!(
            set(&agent, &format!("k{i}"), &format!("v{i}")).await,
            Reply::Stored
        );
    }
    for i in 0..3 {
        tier.crash(i).await;
    }
    for i in 0..3 {
        tier.start(i).await;
    }
    let agent = tier.agent();
    for i in 0..100 {
        assert_eq!(value(&agent, &format!("k{i}")).await, Some(format!("v{i}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_state_joins_as_a_new_one_and_becomes_full() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    for i in 0..100 {
        assert_eq!(set(&agent, &format!("k{i}"), "v").await, Reply::Stored);
    }
    // The first of the file too: it must not form another cluster.
    for lost in [0, 1, 2] {
        tier.full().await;
        tier.crash(lost).await;
        tier.wipe(lost);
        tier.start(lost).await;
        set_eventually(&agent, "after", &lost.to_string()).await;
        tier.full().await;
    }
    // Each has it all now: any one may go.
    for gone in 0..3 {
        tier.crash(gone).await;
        for i in 0..100 {
            assert_eq!(
                value(&agent, &format!("k{i}")).await.as_deref(),
                Some("v"),
                "without {gone}"
            );
        }
        tier.start(gone).await;
        tier.full().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_state_of_another_cluster_is_refused_in_words_on_both_sides() {
    let mut tier = Tier::new(3);
    let (two, third) = (tier.voters[..2].to_vec(), tier.voters[2].clone());
    // The third has been a cluster by itself.
    tier.start_with(2, vec![third]).await;
    tier.led().await;
    tier.crash(2).await;
    for i in [0, 1] {
        tier.start_with(i, two.clone()).await;
    }
    let agent = Tier::agent_of(two, common::key());
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    for i in [0, 1] {
        let node = tier.nodes[i].as_ref().unwrap();
        node.session.set_voters(tier.voters.clone());
    }
    tier.start(2).await;
    let refused = |what: &String| what.contains("holds the state of cluster");
    until("both sides say so", || {
        let leader = tier.events(tier.leader().filter(|i| *i != 2).unwrap_or(0));
        let waits = |what: &String| what.contains("waits for cache3") && refused(what);
        let said = leader.iter().any(waits) && tier.events(2).iter().any(refused);
        said.then_some(())
    })
    .await;
    let votes = |i| tier.status(i).map(|status| status.voters.len());
    assert_eq!([votes(0), votes(1)], [Some(2), Some(2)]);
    tier.crash(2).await;
    tier.wipe(2);
    tier.start(2).await;
    tier.full().await;
    assert_eq!(value(&agent, "k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_one_of_whose_tasks_panicked_is_started_again_as_who_it_was_and_nothing_is_lost()
{
    let tier = Tier::started(3).await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    tier.full().await;
    let leads = tier.led().await;
    let node = tier.nodes[leads].as_ref().unwrap();
    node.session.panic_on_purpose();
    until("it is started again", || {
        let events = tier.events(leads);
        let says = |what: &str| events.iter().any(|event| event.contains(what));
        let both = says("has panicked: on purpose; the others go on") && says("is started again");
        both.then_some(())
    })
    .await;
    tier.full().await;
    let joined = |i| {
        let events = tier.events(i);
        events
            .iter()
            .any(|event| event.contains("as a new replica"))
    };
    assert!(!(0..3).any(joined), "it kept its state");
    assert_eq!(value(&agent, "k").await.as_deref(), Some("v"));
    assert_eq!(set(&agent, "k", "w").await, Reply::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_panics_at_every_start_waits_longer_each_time_and_says_how_often() {
    let tier = Tier::started(1).await;
    let node = tier.nodes[0].as_ref().unwrap();
    let told = |what: &'static str| {
        let tier = &tier;
        until(what, move || {
            let mut events = tier.events(0).into_iter();
            events.find(|event| event.contains(what)).map(drop)
        })
    };
    node.session.panic_on_purpose();
    told("has panicked: on purpose; the others go on, and it is started again in 2 s").await;
    // At its next start.
    node.session.panic_on_purpose();
    told("has panicked, 2 times in a row now: on purpose; the others go on, and it is started again in 4 s").await;
}

/// Copies a directory without what it has within.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_went_back_to_what_it_was_is_told_so_and_joins_as_a_new_one() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "before", "v").await, Reply::Stored);
    tier.full().await;
    let leader = tier.led().await;
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let state = tier.options(other).state;
    let old = state.with_extension("old");
    tier.crash(other).await;
    copy(&state, &old);
    tier.start(other).await;
    for i in 0..100 {
        assert_eq!(set(&agent, &format!("k{i}"), "v").await, Reply::Stored);
    }
    tier.full().await;
    // It has acknowledged them all, and its disk forgets them: a repair after an error, an old copy that is put back.
    tier.crash(other).await;
    tier.wipe(other);
    copy(&old, &state);
    tier.start(other).await;
    // Also where nothing is written, and before anybody says that all is well.
    let told = |tier: &Tier, words: &str| {
        tier.events(other)
            .iter()
            .any(|e| e.contains(words))
            .then_some(())
    };
    until("it is told", || told(&tier, "what was here is lost")).await;
    until("it joins", || told(&tier, "joins as a new replica")).await;
    tier.full().await;
    for gone in [third, leader] {
        tier.crash(gone).await;
        for i in 0..100 {
            let key = format!("k{i}");
            assert_eq!(value(&agent, &key).await.as_deref(), Some("v"), "{key}");
        }
        assert_eq!(set(&agent, "after", "v").await, Reply::Stored);
        tier.start(gone).await;
        tier.full().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_three_gone_the_tier_refuses_and_comes_back() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    tier.crash(0).await;
    tier.crash(1).await;
    let refused = set(&agent, "k", "w").await;
    assert!(matches!(refused, Reply::ServerError(_)), "{refused:?}");
    let unread = get(&agent, "k").await;
    assert!(matches!(unread, Err(Reply::ServerError(_))), "{unread:?}");
    // A blank first node must not take the place of the two.
    tier.wipe(0);
    tier.start(0).await;
    let unread = get(&agent, "k").await;
    assert!(matches!(unread, Err(Reply::ServerError(_))), "{unread:?}");
    tier.start(1).await;
    let deadline = Instant::now() + SOON;
    loop {
        match get(&agent, "k").await {
            Ok(found) => {
                let (read, _) = found.expect("what was acknowledged is there");
                assert!(read == "v" || read == "w", "{read}");
                break;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    }
    tier.full().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_far_behind_gets_a_snapshot_while_writes_go_on() {
    let mut tier = Tier::started(3).await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    tier.full().await;
    let leader = tier.led().await;
    let behind = (leader + 1) % 3;
    tier.crash(behind).await;
    tier.wipe(behind);
    // More log than is kept: a snapshot takes its place.
    let large = "x".repeat(900_000);
    let mut round = 0;
    until_snapshot(&tier, leader, async || {
        round += 1;
        assert_eq!(
            set(&agent, &format!("large{}", round % 8), &large).await,
            Reply::Stored
        );
    })
    .await;
    tier.start(behind).await;
    set_eventually(&agent, "after", "w").await;
    tier.full().await;
    tier.crash(leader).await;
    assert_eq!(value(&agent, "k").await.as_deref(), Some("v"));
    assert_eq!(value(&agent, "after").await.as_deref(), Some("w"));
    assert_eq!(
        value(&agent, "large1").await.map(|v| v.len()),
        Some(900_000)
    );
}

async fn until_snapshot(tier: &Tier, node: usize, mut write: impl AsyncFnMut()) {
    let snapshot = tier.options(node).state.join("snapshot");
    let deadline = Instant::now() + 2 * SOON;
    while !snapshot.exists() {
        assert!(Instant::now() < deadline, "no snapshot was taken");
        write().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_stopped_does_not_go_on_with_a_snapshot_in_a_directory_that_is_another_s_by_then()
 {
    let mut tier = Tier::new(1);
    tier.memory = 256 << 20;
    tier.start(0).await;
    let agent = tier.agent();
    let large = "x".repeat(1_000_000);
    // More log than a snapshot of this is worth.
    for i in 0..280 {
        let key = format!("k{}", i % 200);
        assert_eq!(set(&agent, &key, &large).await, Reply::Stored);
    }
    let directory = tier.options(0).state;
    let building = directory.join("snapshot.building");
    until("a snapshot is being taken", || {
        building.metadata().ok().filter(|file| file.len() > 0)
    })
    .await;
    tier.crash(0).await;
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let open: Vec<_> = open.filter(|file| file.starts_with(&directory)).collect();
    assert!(open.is_empty(), "{open:?}");
    tier.start(0).await;
    assert!(!building.exists(), "what was begun is taken away");
    assert_eq!(value(&agent, "k119").await, Some(large));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tier_refuses_writes_before_they_are_proposed_and_evicts_nothing() {
    let mut tier = Tier::new(3);
    tier.memory = 100_000;
    for i in 0..3 {
        tier.start(i).await;
    }
    let agent = tier.agent();
    let large = "x".repeat(10_000);
    let mut stored = 0;
    let refused = loop {
        match set(&agent, &format!("k{stored}"), &large).await {
            Reply::Stored => stored += 1,
            other => break other,
        }
    };
    assert_eq!(
        refused,
        Reply::ServerError("out of memory storing object".into())
    );
    assert_eq!(stored, 9);
    for i in 0..stored {
        assert!(value(&agent, &format!("k{i}")).await.is_some());
    }
    // What is there can be changed and deleted.
    assert_eq!(set(&agent, "k0", &large).await, Reply::Stored);
    assert_eq!(
        call(&agent, Op::Delete { key: b"k0" }).await,
        Reply::Deleted
    );
    assert_eq!(set(&agent, "new", &large).await, Reply::Stored);
    let leader = tier.led().await;
    until("an alarm", || {
        tier.events(leader)
            .iter()
            .any(|e| e.contains("memory is"))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_the_wrong_key_is_told_so_and_gets_nothing() {
    let tier = Tier::started(3).await;
    let good = tier.agent();
    assert_eq!(set(&good, "k", "v").await, Reply::Stored);
    let bad = tier.agent_with(ClusterKey::new(b"a guess"));
    let error = get(&bad, "k").await.unwrap_err();
    let Reply::ServerError(text) = &error else {
        panic!("{error:?}");
    };
    assert!(text.contains("another cluster key"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_is_an_event() {
    let mut tier = Tier::started(3).await;
    tier.full().await;
    let agent = tier.agent();
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    let leader = tier.led().await;
    let other = (leader + 1) % 3;
    // A leader says who is down only after it has led for a moment.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    tier.crash(other).await;
    // Told by whoever leads then, which on a machine that has no time may be another one.
    async fn told(tier: &Tier, words: &'static str) {
        let has = |node: &usize| tier.events(*node).iter().any(|e| e.contains(words));
        until(words, move || (0..3).find(has)).await;
    }
    told(&tier, "degraded: changes are on 2 of 3").await;
    tier.start(other).await;
    told(&tier, "full redundancy again").await;
    told(&tier, "leads (term").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_link_to_the_leader_is_cut_reaches_it_through_another_node() {
    let tier = Tier::started(3).await;
    assert_eq!(set(&tier.agent(), "k", "v").await, Reply::Stored);
    let leader = tier.led().await;
    // Nothing listens there, for this agent alone.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut voters = tier.voters.clone();
    voters[leader].address = closed.local_addr().unwrap();
    drop(closed);
    let agent = Tier::agent_of(voters, common::key());
    for i in 0..20 {
        assert_eq!(set(&agent, "k", &i.to_string()).await, Reply::Stored);
        assert_eq!(value(&agent, "k").await, Some(i.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_costs_a_bounded_time() {
    let tier = Tier::started(3).await;
    let leader = tier.led().await;
    // It accepts and never answers: the hello waits in the kernel's queue.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut voters = tier.voters.clone();
    voters[leader].address = silent.local_addr().unwrap();
    let agent = Tier::agent_of(voters, common::key());
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_tier_keeps_what_it_acknowledged_and_its_identities() {
    let mut tier = Tier::new(3);
    tier.durable = true;
    for i in 0..3 {
        tier.start(i).await;
    }
    let agent = tier.agent();
    for i in 0..30 {
        // A disk that others write to may keep a flush waiting for longer than an operation may take.
        let stored = async { while set(&agent, &format!("k{i}"), "v").await != Reply::Stored {} };
        let stored = tokio::time::timeout(Duration::from_mins(1), stored).await;
        stored.expect("it is stored");
    }
    for i in 0..3 {
        tier.crash(i).await;
    }
    for i in 0..3 {
        tier.start(i).await;
        assert!(!tier.events(i).iter().any(|e| e.contains("lost")));
    }
    let agent = tier.agent();
    for i in 0..30 {
        assert_eq!(value(&agent, &format!("k{i}")).await.as_deref(), Some("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_key_that_was_deleted_is_not_set_again_at_once() {
    let mut tier = Tier::new(3);
    let pattern = tandem_model::Pattern::parse("sess.*").unwrap();
    tier.guard = Some((vec![pattern], Duration::from_mins(1)));
    for i in 0..3 {
        tier.start(i).await;
    }
    let (login, slow) = (tier.agent(), tier.agent());
    assert_eq!(set(&login, "sess.1", "v").await, Reply::Stored);
    assert_eq!(
        call(&login, Op::Delete { key: b"sess.1" }).await,
        Reply::Deleted
    );
    assert_eq!(set(&slow, "sess.1", "zombie").await, Reply::NotStored);
    let leader = tier.led().await;
    tier.crash(leader).await;
    assert_eq!(set(&slow, "sess.1", "zombie").await, Reply::NotStored);
    assert_eq!(value(&login, "sess.1").await, None);
    assert_eq!(set(&slow, "other", "v").await, Reply::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_compares_takes_what_was_read_and_holds_against_a_plain_set() {
    let mut tier = Tier::new(1);
    let pattern = tandem_model::Pattern::parse("sess.*").unwrap();
    tier.guard = Some((vec![pattern], Duration::from_mins(1)));
    tier.start(0).await;
    let (login, slow) = (tier.agent(), tier.agent());
    let delete = Action::Delete {
        invalidate: false,
        clear: false,
        life: None,
    };
    let count = |create| Action::Arithmetic {
        delta: 3,
        down: false,
        life: None,
        create,
    };
    assert_eq!(set(&login, "sess.1", "v").await, Reply::Stored);
    let (_, read) = get(&login, "sess.1").await.unwrap().unwrap();
    assert_eq!(set(&slow, "sess.1", "newer").await, Reply::Stored);
    assert_eq!(compare(&login, "sess.1", read, delete).await, Reply::Exists);
    let (_, read) = get(&login, "sess.1").await.unwrap().unwrap();
    assert_eq!(
        compare(&login, "sess.1", read, delete).await,
        Reply::Deleted
    );
    assert_eq!(set(&slow, "sess.1", "zombie").await, Reply::NotStored);
    assert_eq!(
        compare(&login, "sess.1", read, delete).await,
        Reply::NotFound
    );

    let begins = Some((Lifetime::Forever, 5));
    assert_eq!(compare(&login, "n", 7, count(None)).await, Reply::NotFound);
    assert_eq!(
        compare(&login, "n", 7, count(begins)).await,
        Reply::Number(5)
    );
    assert_eq!(compare(&login, "n", 7, count(begins)).await, Reply::Exists);
    let (_, read) = get(&login, "n").await.unwrap().unwrap();
    assert_eq!(
        compare(&login, "n", read, count(None)).await,
        Reply::Number(8)
    );
    let append = |value| Action::Store {
        mode: Mode::Append,
        flags: 0,
        life: Lifetime::Forever,
        value,
        invalidate: false,
        vivify: None,
    };
    assert_eq!(
        compare(&login, "n", read, append(b"0")).await,
        Reply::Exists
    );
    let (_, read) = get(&login, "n").await.unwrap().unwrap();
    assert_eq!(
        compare(&login, "n", read, append(b"0")).await,
        Reply::Stored
    );
    assert_eq!(value(&login, "n").await.as_deref(), Some("80"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_items_are_shown_and_touched_however_many_are_asked_for_at_once() {
    let tier = Tier::started(1).await;
    let agent = tier.agent();
    let large = "x".repeat(tandem_memcache::MAX_VALUE);
    assert_eq!(set(&agent, "large", &large).await, Reply::Stored);
    let keys = [&b"large"[..]; 70];
    let life = Lifetime::Millis(90_000);
    for touches in [false, true] {
        let (mut left, mut shown) = (&keys[..], 0);
        while !left.is_empty() {
            let op = if touches {
                Op::GetAndTouch { keys: left, life }
            } else {
                Op::Get { keys: left }
            };
            let most = agent.takes(&op);
            let mut hits = Hits::default();
            let Answer::Later(reply) = agent.call(op, &mut hits) else {
                panic!("not later");
            };
            match reply.await {
                Reply::Partly(answered) => left = &left[answered..],
                reply => {
                    assert_eq!(reply, Reply::End);
                    left = &[];
                }
            }
            assert!(hits.0.iter().all(|hit| hit.value.len() == large.len()));
            // Nobody holds more of a retrieval than room was kept for.
            assert!(hits.0.len() * large.len() <= most);
            shown += hits.0.len();
        }
        assert_eq!(shown, keys.len());
    }
    // And however many ask: a life that is another each time is a change.
    let askers = (0..20).map(|asker| {
        let agent = agent.clone();
        async move {
            for round in 1..=5 {
                let life = Lifetime::Millis(90_000 + 30_000 * ((asker + round) % 7));
                let mut hits = Hits::default();
                let keys = [&b"large"[..]];
                let Answer::Later(reply) =
                    agent.call(Op::GetAndTouch { keys: &keys, life }, &mut hits)
                else {
                    panic!("not later");
                };
                assert_eq!(reply.await, Reply::End);
                assert_eq!(hits.0.len(), 1);
            }
        }
    });
    futures_util::future::join_all(askers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_file_no_longer_names_is_let_go_and_a_new_one_taken_in() {
    let mut tier = Tier::new(4);
    let named = |tier: &Tier, which: [usize; 3]| which.map(|i| tier.voters[i].clone()).to_vec();
    let before = named(&tier, [0, 1, 2]);
    let after = named(&tier, [0, 1, 3]);
    for i in 0..3 {
        tier.start_with(i, before.clone()).await;
    }
    let agent = Tier::agent_of(tier.voters.clone(), common::key());
    assert_eq!(set(&agent, "k", "v").await, Reply::Stored);
    tier.start_with(3, after.clone()).await;
    for i in 0..4 {
        if let Some(node) = &tier.nodes[i] {
            node.session.set_voters(after.clone());
        }
    }
    let wanted = ["cache1", "cache2", "cache4"];
    until("the voters are those of the file", || {
        let members = [0, 1, 3].map(|i| {
            tier.status(i).map(|s| {
                let mut names: Vec<_> = s.voters.into_iter().map(|v| v.node).collect();
                names.sort();
                names
            })
        });
        members
            .iter()
            .all(|m| m.as_ref().is_some_and(|m| m == &wanted))
            .then_some(())
    })
    .await;
    tier.crash(2).await;
    assert_eq!(set(&agent, "k", "w").await, Reply::Stored);
    tier.crash(0).await;
    assert_eq!(value(&agent, "k").await.as_deref(), Some("w"));
}
