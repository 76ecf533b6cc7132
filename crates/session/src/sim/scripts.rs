//! Scenarios of one promise each, which chance would show too seldom or not at all.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use tandem_history::{Call, Outcome};
use tandem_net::cluster::Answer;

use super::cluster::{Cluster, NODES};
use super::load::{Client, History, Troubles};
use super::network::{self, Weather};
use super::profile::{Mix, Profile};
use super::runtime::sleep;
use super::scenario::{Story, run_script};
use super::world::{self, Random};
use crate::node::Retention;
use crate::peers::GROUP;
use crate::state::{AgentId, Command, Key, Mode, Operation};
use crate::types::encode;
use crate::wire::{FromAgent, Request};

pub(super) const MS: Duration = Duration::from_millis(1);
/// Where the agent is.
pub(super) const HOST: usize = NODES + 1;
/// Where another is.
const ELSEWHERE: usize = NODES + 2;

/// Starts the three nodes and waits until they are a cluster.
pub(super) async fn formed(cluster: &Cluster) {
    for node in cluster.file() {
        cluster.start(node);
    }
    let whole = cluster.becomes_whole(20).await;
    assert!(whole, "{}", cluster.describe());
}

/// Plays a script under so many seeds: every promise is kept.
pub(super) fn holds<F: Future<Output = Story> + 'static>(
    seeds: u64,
    script: impl Fn(Cluster) -> F,
) {
    for seed in 0..seeds {
        let profile = Profile::of(0, &mut Random::new(seed));
        let report = run_script(seed, profile, &script);
        assert!(report.holds(), "{report}");
    }
}

/// Has a client ask something on the agent's host, and waits for what it is told.
pub(super) async fn ask(
    client: Client,
    key: &str,
    call: Call,
) -> (Client, Result<Outcome, String>) {
    ask_at(HOST, client, key, call).await
}

/// The same on another host.
async fn ask_at(
    host: usize,
    mut client: Client,
    key: &str,
    call: Call,
) -> (Client, Result<Outcome, String>) {
    let answer = Rc::new(RefCell::new(None));
    let (slot, key) = (answer.clone(), key.into());
    world::spawn_on(host, async move {
        let told = client.call(&key, call).await;
        *slot.borrow_mut() = Some((client, told));
    });
    loop {
        if let Some(done) = answer.take() {
            return done;
        }
        sleep(MS).await;
    }
}

pub(super) fn set(value: &str) -> Call {
    Call::Set {
        value: value.as_bytes().into(),
        life: None,
    }
}

/// Two of three lose their state: what is left is on one.
async fn two_lose_their_state(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    for i in 0..20 {
        let (back, told) = ask(client, &format!("key{i}"), set(&format!("value{i}"))).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Stored));
    }
    // Whoever is left has everything: a voter that lagged behind could not say what was acknowledged.
    let left = cluster.leader().expect("it leads");
    for node in (1..=3).filter(|node| *node != left) {
        cluster.crash(node);
        cluster.wipe(node);
        cluster.start(node);
    }
    // The one that is left may still hold a lease, and answer by it.
    sleep(1_000 * MS).await;
    let (mut client, told) = ask(client, "key0", Call::Get).await;
    let why = told.expect_err("without a majority nothing is answered");
    assert!(why.contains("cannot be read now"), "{why}");
    assert!(!cluster.becomes_whole(20).await, "nobody decided yet");

    cluster.crash(left);
    std::fs::write(cluster.home(left).join(crate::home::ORDER), "").unwrap();
    cluster.start(left);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    for i in 0..20 {
        let (back, told) = ask(client, &format!("key{i}"), Call::Get).await;
        client = back;
        let value = format!("value{i}").into_bytes();
        assert_eq!(told, Ok(Outcome::Hit(value.into(), None)));
    }
    // It was carried out once: the next start is an ordinary one.
    let leads = cluster.leader().expect("one leads");
    cluster.crash(leads);
    cluster.start(leads);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let (_, told) = ask(client, "key0", set("new")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    (history, Vec::new(), Vec::new())
}

#[test]
fn two_voters_that_lost_their_state_refuse_until_an_operator_decides_and_then_nothing_is_lost() {
    holds(5, two_lose_their_state);
}

/// All session nodes of the file are others from now on, and these are started before the old ones hear of it.
async fn all_exchanged_at_once(cluster: Cluster) -> Story {
    let history = History::default();
    cluster.write_file(vec![1, 2]);
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    for i in 0..20 {
        let (back, told) = ask(client, &format!("key{i}"), set("x")).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Stored));
    }
    cluster.write_file(vec![3, 4]);
    cluster.start(3);
    cluster.start(4);
    sleep(3_000 * MS).await;
    assert!(
        matches!(cluster.leader(), Some(1 | 2)),
        "{}",
        cluster.describe()
    );
    cluster.set_file(vec![3, 4]);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    for i in 0..20 {
        let (back, told) = ask(client, &format!("key{i}"), Call::Get).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Hit(b"x"[..].into(), None)));
    }
    (history, Vec::new(), Vec::new())
}

#[test]
fn new_session_nodes_form_no_cluster_beside_the_old_ones_that_have_not_heard_of_it() {
    holds(10, all_exchanged_at_once);
}

/// The file names others, which do not run for long; meanwhile a voter of those that do dies.
async fn others_that_are_not_there(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    cluster.set_file(vec![4]);
    let dies = 1 + world::below(3) as usize;
    for i in 0..40 {
        if i == 20 {
            cluster.crash(dies);
        }
        let (back, told) = ask(client, &format!("key{i}"), set("x")).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Stored), "{}", cluster.describe());
        sleep(200 * MS).await;
    }
    cluster.start(dies);
    cluster.start(4);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    for i in 0..40 {
        let (back, told) = ask(client, &format!("key{i}"), Call::Get).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Hit(b"x"[..].into(), None)));
    }
    (history, Vec::new(), Vec::new())
}

#[test]
fn agents_go_on_with_those_that_the_file_named_before_while_those_that_it_names_are_not_there() {
    holds(10, others_that_are_not_there);
}

/// Where the leader is, packets that are full get lost, and others do not.
async fn narrow_way_to_the_leader(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    let narrow = cluster.leader().expect("it leads");
    network::narrow(narrow);
    let large = "x".repeat(4_000);
    let begun = world::now();
    for i in 0..50 {
        let (back, told) = ask(client, &format!("key{i}"), set(&large)).await;
        client = back;
        if begun + 5_000_000_000 < world::now() {
            assert_eq!(told, Ok(Outcome::Stored), "{}", cluster.describe());
        }
        sleep(200 * MS).await;
    }
    assert_ne!(cluster.leader(), Some(narrow), "{}", cluster.describe());
    network::heal();
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_leader_that_full_packets_do_not_reach_leads_no_longer() {
    holds(10, narrow_way_to_the_leader);
}

/// The file exchanges a voter while another one has lost its state, and who comes in its place is not there yet.
async fn exchanged_beside_a_lost_one(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    let leads = cluster.leader().expect("it leads");
    let others: Vec<_> = (1..=3).filter(|node| *node != leads).collect();
    let (lost, goes) = match world::below(3) {
        0 => (others[0], others[1]),
        1 => (others[1], others[0]),
        // The leader itself is to go.
        _ => (others[0], leads),
    };
    cluster.crash(lost);
    cluster.wipe(lost);
    let file = cluster.file();
    let file = file
        .into_iter()
        .map(|node| if node == goes { NODES } else { node });
    cluster.set_file(file.collect());
    for second in 0..4 {
        sleep(1_000 * MS).await;
        let (back, told) = ask(client, &format!("key{second}"), set("value")).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Stored), "{}", cluster.describe());
    }
    cluster.start(NODES);
    sleep(3_000 * MS).await;
    cluster.start(lost);
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    cluster.stop(goes);
    for second in 0..4 {
        let (back, told) = ask(client, &format!("key{second}"), Call::Get).await;
        client = back;
        let value = b"value".as_slice().into();
        assert_eq!(told, Ok(Outcome::Hit(value, None)));
    }
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_voter_that_is_exchanged_beside_one_that_lost_its_state_stays_until_the_other_votes() {
    holds(10, exchanged_beside_a_lost_one);
}

/// The file exchanges the leader while one client writes and another, on another host, reads what is written.
async fn leader_let_go(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let over = Rc::new(Cell::new(0));
    let leads = cluster.leader().expect("it leads");
    for (number, host) in [(1, HOST), (2, ELSEWHERE)] {
        let agent = cluster.start_agent(host);
        let mut client = Client::new(number, agent.keyspace(), history.clone());
        let over = over.clone();
        world::spawn_on(host, async move {
            for i in 0..600 {
                let call = if host == HOST {
                    set(&format!("value{i}"))
                } else {
                    Call::Get
                };
                // What has no answer is looked at with all the others.
                let _ = client.call(&"key".into(), call).await;
                sleep(world::below(8) as u32 * MS).await;
            }
            over.set(over.get() + 1);
        });
    }
    let file = cluster.file();
    let file = file
        .into_iter()
        .map(|node| if node == leads { NODES } else { node });
    cluster.set_file(file.collect());
    cluster.start(NODES);
    while over.get() < 2 {
        sleep(MS).await;
    }
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    assert_ne!(cluster.leader(), Some(leads));
    cluster.stop(leads);
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_leader_that_the_file_lets_go_of_answers_nobody_with_what_was_before() {
    holds(20, leader_let_go);
}

/// A large write arrives at the leader twice, and its majority is not reached; another's agent leaves at once.
async fn counted_while_under_way(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (mut client, told) = ask(client, "key", set("value")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let leads = cluster.leader().expect("it leads");
    let others = (1..=3).filter(|node| *node != leads);
    for other in others {
        network::cut(other, leads);
    }
    network::set_weather(Weather {
        twice: 1_000,
        ..Weather::FAIR
    });
    let core = cluster.core(leads).expect("it runs");
    let pending = || core.clients.pending.bytes();
    let large = "v".repeat(100_000);
    let (asked, call) = (Rc::new(RefCell::new(None)), set(&large));
    let slot = asked.clone();
    world::spawn_on(HOST, async move {
        *slot.borrow_mut() = Some(client.call(&"large".into(), call).await);
    });
    let mut most = 0;
    for _ in 0..100 {
        sleep(MS).await;
        most = most.max(pending());
    }
    let once = crate::state::cost("large".len(), large.len());
    assert_eq!(most, once, "it counts once");
    let operation = Operation {
        agent: AgentId {
            number: 1,
            nonce: 2,
        },
        sequence: 3,
        lowest_open: 3,
        command: Command::Store {
            mode: Mode::Set,
            key: Key::try_from(&b"other"[..]).unwrap(),
            flags: 0,
            life: None,
            value: large.into_bytes().into(),
        },
    };
    let request = encode(&FromAgent {
        group: GROUP,
        forward: false,
        request: Request::Operate(vec![operation]),
    });
    let clients = core.clients.clone();
    world::spawn_on(leads, async move {
        if let Answer::Later(answer) = clients.answer(&request.unwrap()) {
            assert!(Box::pin(answer).now_or_never().is_none());
        }
    });
    sleep(MS).await;
    assert!(pending() > once, "the other counts");
    network::set_weather(Weather::FAIR);
    network::heal();
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    while asked.borrow().is_none() {
        sleep(MS).await;
    }
    sleep(6_000 * MS).await;
    assert_eq!(pending(), 0, "nothing is under way any more");
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_large_write_counts_once_while_it_is_under_way_and_not_at_all_when_it_is_over() {
    holds(10, counted_while_under_way);
}

/// A large write is applied and its answer lost; when it is asked for again, somebody has deleted it and memory is full.
async fn full_when_asked_again(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let (here, elsewhere) = (cluster.start_agent(HOST), cluster.start_agent(ELSEWHERE));
    let hasty = Client::new(1, here.keyspace(), history.clone());
    let other = Client::new(2, elsewhere.keyspace(), history.clone());
    let large = "v".repeat(100_000);
    // Now it has its identity.
    let (mut hasty, _) = ask(hasty, "first", set("value")).await;
    let (mut other, _) = ask_at(ELSEWHERE, other, "first", set("value")).await;
    // Room for one more.
    let most = cluster.profile().memory / crate::state::cost(8, large.len()) - 1;
    for i in 0..most {
        let (back, told) = ask_at(ELSEWHERE, other, &format!("filled{i:02}"), set(&large)).await;
        other = back;
        assert_eq!(told, Ok(Outcome::Stored));
    }
    for voter in 1..=3 {
        network::cut(voter, HOST);
    }
    let told = Rc::new(RefCell::new(None));
    let (slot, call) = (told.clone(), set(&large));
    world::spawn_on(HOST, async move {
        *slot.borrow_mut() = Some(hasty.call(&"doubtful".into(), call).await);
    });
    for tries in 0.. {
        assert!(tries < 100, "it does not arrive");
        let (back, found) = ask_at(ELSEWHERE, other, "doubtful", Call::Get).await;
        other = back;
        if found != Ok(Outcome::Miss) {
            break;
        }
    }
    let (other, deleted) = ask_at(ELSEWHERE, other, "doubtful", Call::Delete).await;
    assert_eq!(deleted, Ok(Outcome::Deleted));
    let (other, stored) = ask_at(ELSEWHERE, other, "takesall", set(&large)).await;
    assert_eq!(stored, Ok(Outcome::Stored));
    let (_, full) = ask_at(ELSEWHERE, other, "one-more", set(&large)).await;
    assert!(full.is_err_and(|why| why.starts_with("out of memory")));
    network::heal();
    while told.borrow().is_none() {
        sleep(MS).await;
    }
    let told = told.take().unwrap().expect_err("there is no memory");
    assert!(told.starts_with("outcome unknown ("), "{told}");
    (history, Vec::new(), Vec::new())
}

#[test]
fn what_was_stored_is_not_told_as_refused_when_it_is_asked_for_again() {
    for seed in 0..5 {
        let profile = Profile {
            memory: 1 << 20,
            ..Profile::of(0, &mut Random::new(seed))
        };
        let report = run_script(seed, profile, full_when_asked_again);
        assert!(report.holds(), "{report}");
    }
}

/// The file exchanges all but one at once, and the machine of that one is started anew: whoever reads the new file first
/// finds only blank nodes in it.
async fn all_but_one_exchanged(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (client, told) = ask(client, "key", set("value")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let leads = cluster.leader().expect("it leads");
    let stays = leads % 3 + 1;
    sleep(500 * MS).await;
    cluster.crash(stays);
    cluster.reboot(stays);
    // It is seen that it is down: two that vote can spare none.
    sleep(1_500 * MS).await;
    cluster.set_file(vec![NODES, stays]);
    cluster.start(NODES);
    cluster.start(stays);
    // By then everybody has read the file.
    for _ in 0..1_000 {
        sleep(MS).await;
        let first = cluster.core(NODES).is_some_and(|core| {
            let metrics = core.view().metrics();
            let log_id = metrics.membership_config.log_id().as_ref();
            log_id.is_some_and(|log_id| log_id.index() == 0)
                && metrics
                    .membership_config
                    .membership()
                    .voter_ids()
                    .any(|id| id == core.view().id())
        });
        assert!(!first, "a cluster beside the other: {}", cluster.describe());
    }
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    (1..=3)
        .filter(|node| *node != stays)
        .for_each(|node| cluster.crash(node));
    let (client, told) = ask(client, "key", Call::Get).await;
    let value = b"value".as_slice().into();
    assert_eq!(told, Ok(Outcome::Hit(value, None)));
    let (_, told) = ask(client, "after", set("value")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    (history, Vec::new(), Vec::new())
}

#[test]
fn blank_nodes_form_no_cluster_beside_one_that_a_rebooted_node_of_theirs_was_part_of() {
    holds(10, all_but_one_exchanged);
}

/// The leader's machine sleeps; the others go on, and an agent asks it just before it wakes up.
async fn leader_asleep(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let (here, elsewhere) = (cluster.start_agent(HOST), cluster.start_agent(ELSEWHERE));
    let reader = Client::new(1, here.keyspace(), history.clone());
    let writer = Client::new(2, elsewhere.keyspace(), history.clone());
    let (writer, told) = ask_at(ELSEWHERE, writer, "key", set("before")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let (reader, _) = ask(reader, "key", Call::Get).await;
    let leads = cluster.leader().expect("it leads");
    world::suspend(leads, true);
    sleep(1_000 * MS).await;
    let (_, told) = ask_at(ELSEWHERE, writer, "key", set("after")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let wakes = world::below(300_000_000);
    world::later(wakes, move || world::suspend(leads, false));
    let (_, told) = ask(reader, "key", Call::Get).await;
    assert!(told.is_ok(), "{told:?}");
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_leader_whose_machine_was_asleep_answers_nobody_with_what_was_before() {
    holds(30, leader_asleep);
}

/// Memory is full, and values grow by what is put behind and before them.
async fn grown_when_full(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    let (large, limit) = ("v".repeat(100_000), cluster.profile().memory);
    let most = limit / crate::state::cost(8, large.len());
    for i in 0..most {
        let (back, told) = ask(client, &format!("filled{i:02}"), set(&large)).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Stored));
    }
    for i in 0..most {
        let more = large.as_bytes().into();
        let call = match i % 2 {
            0 => Call::Append { tail: more },
            _ => Call::Prepend { head: more },
        };
        let (back, told) = ask(client, &format!("filled{i:02}"), call).await;
        client = back;
        assert!(
            told.as_ref()
                .is_err_and(|why| why.starts_with("out of memory")),
            "{told:?}"
        );
    }
    let leads = cluster.leader().expect("it leads");
    let core = cluster.core(leads).expect("it runs");
    assert!(core.clients.replica.lock().state.bytes() <= limit);
    // As large as it was it may be stored again, and what is small still fits.
    let (client, told) = ask(client, "filled00", set(&large)).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let tail = b"more".as_slice().into();
    let (_, told) = ask(client, "filled00", Call::Append { tail }).await;
    assert_eq!(told, Ok(Outcome::Stored));
    (history, Vec::new(), Vec::new())
}

#[test]
fn what_is_put_behind_a_value_counts_as_what_is_stored_anew_does() {
    let profile = Profile {
        memory: 1 << 20,
        ..Profile::of(0, &mut Random::new(1))
    };
    let report = run_script(1, profile, grown_when_full);
    assert!(report.holds(), "{report}");
}

/// What steady writes leave on the disks and in memory: the most that was seen anywhere.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    disk: u64,
    log: u64,
    cached: usize,
    state: u64,
}

async fn steady_writes(cluster: Cluster, most: Rc<Cell<Most>>) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let stop = Rc::new(Cell::new(false));
    for number in 0..8 {
        let client = Client::new(number, agent.keyspace(), history.clone());
        let profile = cluster.profile().clone();
        world::spawn_on(
            HOST,
            client.work(profile, stop.clone(), Troubles::default()),
        );
    }
    let away = cluster.leader().expect("one leads") % 3 + 1;
    for tenth in 0..200 {
        sleep(100 * MS).await;
        // A replica that is away must not hold the others' logs.
        let others = (1..=3).filter(|node| *node != away);
        match tenth {
            50 => others.for_each(|other| {
                network::cut(away, other);
                network::cut(other, away);
            }),
            150 => network::heal(),
            _ => {}
        }
        for node in 1..=3 {
            let mut seen = most.get();
            seen.disk = seen.disk.max(cluster.disk(node));
            if let Some(core) = cluster.core(node) {
                seen.log = seen.log.max(core.log().size());
                seen.cached = seen.cached.max(core.log().cached());
                let state = core.clients.replica.lock().state.bytes();
                seen.state = seen.state.max(state);
            }
            most.set(seen);
        }
    }
    stop.set(true);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    // What had to be kept for a while goes when it may.
    sleep(5_000 * MS).await;
    let retention = cluster.profile().retention;
    let rest = retention.kept + retention.log.max(most.get().state) + 2 * cluster.profile().segment;
    let sizes = (1..=3).filter_map(|node| Some(cluster.core(node)?.log().size()));
    let problems = sizes.filter(|size| *size > rest);
    let problems = problems.map(|size| format!("the log keeps {size} bytes, {rest} are allowed"));
    (history, Vec::new(), problems.collect())
}

#[test]
fn disk_and_memory_stay_bounded_under_steady_writes_also_while_a_replica_is_away() {
    let most = Rc::new(Cell::new(Most::default()));
    let retention = Retention {
        log: 64 << 10,
        kept: 32 << 10,
        snapshot_every: 200 * MS,
    };
    let profile = Profile {
        mix: Mix {
            large: 1,
            ..Mix::default()
        },
        think: 8,
        retention,
        segment: 8 << 10,
        ..Profile::of(6, &mut Random::new(1))
    };
    let seen = most.clone();
    let report = run_script(1, profile, |cluster| steady_writes(cluster, seen));
    assert!(report.holds(), "{report}");
    let most = most.get();
    let written = report.verdict.operations as u64 * 700;
    println!("about {written} bytes written; most seen: {most:?}");
    // What is kept, what may gather before a snapshot, and what is written while one is taken and while entries are on
    // their way to a replica that does not answer: seconds, however long it is away.
    let log = retention.kept + retention.log.max(most.state) + written / 20 * 4;
    assert!(most.log <= log, "{most:?}, {log} allowed");
    assert!(most.cached as u64 <= log, "{most:?}, {log} allowed");
    // The snapshot that counts, one that is being taken, and one on its way here.
    let disk = log + 3 * (most.state + (64 << 10));
    assert!(most.disk <= disk, "{most:?}, {disk} allowed");
    assert!(
        written / 2 > disk,
        "while the replica was away too little was written to show it: {written}"
    );
}
