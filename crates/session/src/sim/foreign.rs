//! Scenarios with replicas of another cluster: they hold what ours never had, and must neither vote in it nor be written over.

use super::cluster::{Cluster, name};
use super::load::{Client, History};
use super::runtime::sleep;
use super::scenario::Story;
use super::scripts::{HOST, MS, ask, formed, holds, set};
use super::world;
use crate::node::Core;
use crate::types::LogId;
use tandem_history::{Call, Outcome};

/// Whether the leader has taken a replica of this node in.
fn is_taken_in(cluster: &Cluster, node: usize) -> bool {
    let core = cluster.leader().and_then(|leads| cluster.core(leads));
    core.is_some_and(|core| {
        let metrics = core.view().metrics();
        let membership = metrics.membership_config.membership();
        membership
            .nodes()
            .any(|(_, member)| member.name == name(node))
    })
}

fn last(core: &Core) -> Option<LogId> {
    core.view().metrics().last_applied
}

/// Waits until all have something, and know of which cluster it is.
async fn all_know(cluster: &Cluster) {
    let known = |node| {
        let core = cluster.core(node)?;
        core.cluster().get().filter(|_| last(&core).is_some())
    };
    for tries in 0.. {
        let [one, two, three] = [1, 2, 3].map(known);
        if one.is_some() && one == two && two == three {
            return;
        }
        assert!(
            tries < 30_000,
            "{one:?} {two:?} {three:?} {}",
            cluster.describe()
        );
        sleep(MS).await;
    }
}

/// For some seconds the node, which holds what is another cluster's, is not taken in and gets nothing.
async fn stays_outside(cluster: &Cluster, node: usize) {
    let core = loop {
        sleep(MS).await;
        if let Some(core) = cluster.core(node) {
            break core;
        }
    };
    let before = last(&core);
    for _ in 0..5_000 {
        sleep(MS).await;
        assert!(!is_taken_in(cluster, node), "{}", cluster.describe());
        assert_eq!(last(&core), before, "{}", cluster.describe());
    }
}

/// Two of three lose their state while the third is away, and the file names only them: they form a cluster anew.
async fn formed_anew(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (client, told) = ask(client, "key", set("old")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    all_know(&cluster).await;
    for node in 1..=3 {
        cluster.crash(node);
    }
    cluster.wipe(1);
    cluster.wipe(2);
    cluster.set_file(vec![1, 2]);
    cluster.start(1);
    cluster.start(2);
    // The agent knows of the third.
    assert!(!cluster.becomes_whole(5).await, "beside what is stored");
    std::fs::write(cluster.home(1).join(crate::home::anew::ORDER), "").unwrap();
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    let (client, told) = ask(client, "key", set("new")).await;
    assert_eq!(told, Ok(Outcome::Stored));

    cluster.set_file(vec![1, 2, 3]);
    cluster.start(3);
    stays_outside(&cluster, 3).await;
    let (client, told) = ask(client, "key", Call::Get).await;
    let new = b"new".as_slice().into();
    assert_eq!(told, Ok(Outcome::Hit(new, None)));
    cluster.crash(3);
    cluster.wipe(3);
    cluster.start(3);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let (_, told) = ask(client, "key", set("newer")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_replica_of_a_cluster_that_was_there_before_is_no_voter_of_the_one_formed_anew() {
    holds(5, formed_anew);
}

/// One goes on alone, as ordered, and another comes back with what it had.
async fn back_beside_one_alone(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (client, told) = ask(client, "key", set("old")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    all_know(&cluster).await;
    let left = cluster.leader().expect("it leads");
    let back = left % 3 + 1;
    for node in 1..=3 {
        cluster.crash(node);
    }
    std::fs::write(cluster.home(left).join(crate::home::ORDER), "").unwrap();
    cluster.start(left);
    let (client, told) = ask(client, "key", set("new")).await;
    assert_eq!(told, Ok(Outcome::Stored), "{}", cluster.describe());

    cluster.start(back);
    stays_outside(&cluster, back).await;
    cluster.crash(back);
    for node in (1..=3).filter(|node| *node != left) {
        cluster.wipe(node);
        cluster.start(node);
    }
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let (_, told) = ask(client, "key", Call::Get).await;
    let new = b"new".as_slice().into();
    assert_eq!(told, Ok(Outcome::Hit(new, None)));
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_voter_that_comes_back_to_one_that_went_on_without_it_is_not_mixed_with_it() {
    holds(5, back_beside_one_alone);
}

/// States that say of no cluster, as an earlier version wrote them, under nodes that are restarted while they get one.
async fn without_a_cluster(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (client, told) = ask(client, "key", set("value")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    all_know(&cluster).await;
    for node in 1..=3 {
        cluster.crash(node);
        std::fs::remove_file(cluster.home(node).join("cluster")).unwrap();
    }
    for node in 1..=3 {
        cluster.start(node);
    }
    for _ in 0..world::below(4) {
        sleep(world::below(1_500) as u32 * MS).await;
        let leads = cluster.leader().unwrap_or(1);
        cluster.crash(leads);
        sleep(world::below(1_500) as u32 * MS).await;
        cluster.start(leads);
    }
    all_know(&cluster).await;
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    // It is on record: one that is started again says it at once.
    let known = |node| cluster.core(node).and_then(|core| core.cluster().get());
    let was = known(1);
    cluster.crash(1);
    cluster.start(1);
    while cluster.core(1).is_none() {
        sleep(MS).await;
    }
    assert_eq!(known(1), was);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let (_, told) = ask(client, "key", Call::Get).await;
    let value = b"value".as_slice().into();
    assert_eq!(told, Ok(Outcome::Hit(value, None)));
    (history, Vec::new(), Vec::new())
}

#[test]
fn states_without_a_cluster_get_one_and_the_same_whatever_happens_meanwhile() {
    holds(30, without_a_cluster);
}

/// The first node loses its state just when it has formed the cluster, and nobody else has any of it.
async fn lost_while_it_was_formed(cluster: Cluster) -> Story {
    for node in 1..=3 {
        cluster.start(node);
    }
    // Another has heard of it, for a vote at first.
    let has_heard = |node| {
        cluster
            .core(node)
            .is_some_and(|core| core.view().borrow().current_term > 0)
    };
    while ![2, 3].into_iter().any(has_heard) {
        sleep(MS).await;
    }
    cluster.crash(1);
    cluster.wipe(1);
    // So are the others, at times.
    for node in 2..=3 {
        if world::below(2) == 0 {
            cluster.crash(node);
            cluster.start(node);
        }
    }
    cluster.start(1);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    (History::default(), Vec::new(), Vec::new())
}

#[test]
fn a_cluster_whose_first_node_lost_its_state_before_anybody_else_had_any_is_formed_anew() {
    holds(100, lost_while_it_was_formed);
}

/// A node that was let go of runs on, and those that went on without it begin with nothing.
async fn let_go_and_running(cluster: Cluster) -> Story {
    formed(&cluster).await;
    all_know(&cluster).await;
    let goes = 3;
    cluster.set_file(vec![1, 2, 4]);
    cluster.start(4);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    // It has found out.
    let part = || {
        cluster
            .core(goes)
            .is_some_and(|core| core.view().takes_part())
    };
    for tries in 0.. {
        if !part() {
            break;
        }
        assert!(tries < 30_000, "{}", cluster.describe());
        sleep(MS).await;
    }
    for node in [1, 2, 4] {
        cluster.crash(node);
        cluster.wipe(node);
    }
    sleep(5_000 * MS).await;
    for node in [1, 2, 4] {
        cluster.start(node);
    }
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    (History::default(), Vec::new(), Vec::new())
}

#[test]
fn a_node_that_was_let_go_of_keeps_nobody_from_beginning_anew() {
    holds(5, let_go_and_running);
}
