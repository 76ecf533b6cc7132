//! Scenarios of nodes that hold nothing: when they form a cluster, and beside what they do not.

use std::time::Duration;

use super::cluster::Cluster;
use super::load::{Client, History};
use super::runtime::sleep;
use super::scenario::Story;
use super::scripts::{HOST, MS, ask, formed, holds, set};
use super::world;
use crate::agent::Agent;
use crate::home::anew;
use tandem_history::{Call, Outcome};

/// One that voted and got nothing after that is the first of the file when the cluster is to be formed.
async fn voted_and_is_first(cluster: Cluster) -> Story {
    for node in 1..=3 {
        cluster.start(node);
    }
    let has_voted = |node: &usize| {
        let core = cluster.core(*node)?;
        let metrics = core.view().metrics();
        (metrics.current_term > 0).then_some(())
    };
    let first = loop {
        if let Some(node) = [2, 3].into_iter().find(|node| has_voted(node).is_some()) {
            break node;
        }
        sleep(MS / 10).await;
    };
    let was = cluster.core(1).and_then(|core| core.cluster().get());
    for node in 1..=3 {
        cluster.crash(node);
    }
    let is_lost = world::below(2) == 0;
    if is_lost {
        cluster.wipe(1);
    }
    cluster.write_file(vec![first, 1, 5 - first]);
    for node in [first, 1, 5 - first] {
        sleep(world::below(300) as u32 * MS).await;
        cluster.start(node);
    }
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let now = cluster.core(first).and_then(|core| core.cluster().get());
    assert!(is_lost || now == was, "another one beside that of node 1");
    (History::default(), Vec::new(), Vec::new())
}

#[test]
fn a_voter_that_has_a_vote_and_no_log_forms_the_cluster_when_it_is_the_first_and_none_beside_another()
 {
    holds(200, voted_and_is_first);
}

/// A cluster of two, with something stored, whose agent has put it on record and is started anew.
async fn on_record(cluster: &Cluster, history: &History) {
    cluster.write_file(vec![1, 2]);
    formed(cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (_, told) = ask(client, "key", set("old")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    // Before it was acknowledged.
    assert!(cluster.home(HOST).with_extension("tier").exists());
    drop(agent);
    cluster.crash_agent(HOST);
    cluster.crash(1);
    cluster.crash(2);
}

/// What was stored in it is there.
async fn is_old(agent: &Agent, history: &History) {
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (_, told) = ask(client, "key", Call::Get).await;
    let old = b"old".as_slice().into();
    assert_eq!(told, Ok(Outcome::Hit(old, None)));
}

/// Another value is taken.
async fn takes_new(agent: &Agent, history: &History) {
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (_, told) = ask(client, "key", set("new")).await;
    assert_eq!(told, Ok(Outcome::Stored));
}

/// All session nodes are others while none of the old ones runs, and an agent remembers those.
async fn all_others(cluster: Cluster) -> Story {
    let history = History::default();
    on_record(&cluster, &history).await;
    cluster.write_file(vec![3, 4]);
    let agent = cluster.start_agent(HOST);
    cluster.start(3);
    cluster.start(4);
    assert!(!cluster.becomes_whole(20).await, "beside what is stored");
    if world::below(2) == 0 {
        // They come back.
        cluster.start(1);
        cluster.start(2);
        assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
        is_old(&agent, &history).await;
        return (history, Vec::new(), Vec::new());
    }
    // They are given up.
    let order = cluster.home(3).join(anew::ORDER);
    std::fs::write(&order, "").unwrap();
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    while order.exists() {
        sleep(MS).await;
    }
    let history = History::default();
    takes_new(&agent, &history).await;
    (history, Vec::new(), Vec::new())
}

#[test]
fn blank_nodes_form_no_cluster_beside_one_that_an_agent_remembers_until_that_is_given_up() {
    holds(20, all_others);
}

/// A tier was given up, and the file names its nodes again with what they held.
async fn given_up(cluster: Cluster) -> Story {
    on_record(&cluster, &History::default()).await;
    cluster.write_file(vec![3, 4]);
    let agent = cluster.start_agent(HOST);
    for node in [3, 4] {
        cluster.start(node);
    }
    assert!(!cluster.becomes_whole(20).await, "beside what is stored");
    std::fs::write(cluster.home(3).join(anew::ORDER), "").unwrap();
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let history = History::default();
    takes_new(&agent, &history).await;
    for node in [3, 4] {
        cluster.crash(node);
    }
    let read_by_all = Duration::from_secs(1);
    cluster.set_file(vec![1, 2]);
    sleep(read_by_all).await;
    let agent = if world::below(2) == 0 {
        agent
    } else {
        cluster.crash_agent(HOST);
        cluster.start_agent(HOST)
    };
    cluster.start(1);
    cluster.start(2);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    let client = Client::new(1, agent.keyspace(), history.clone());
    let (_, told) = ask(client, "key", Call::Get).await;
    let why = told.unwrap_err();
    assert!(format!("{why:?}").contains("given up here"), "{why:?}");
    if world::below(2) == 0 {
        // Those that serve are back.
        cluster.crash(1);
        cluster.crash(2);
        cluster.set_file(vec![3, 4]);
        sleep(read_by_all).await;
        cluster.start(3);
        cluster.start(4);
        takes_new(&agent, &history).await;
        return (history, Vec::new(), Vec::new());
    }
    // They are gone back to, by an operator's word.
    drop(agent);
    cluster.crash_agent(HOST);
    std::fs::remove_file(cluster.home(HOST).with_extension("tier")).unwrap();
    let agent = cluster.start_agent(HOST);
    is_old(&agent, &History::default()).await;
    (History::default(), Vec::new(), Vec::new())
}

#[test]
fn a_tier_that_was_given_up_does_not_serve_again_until_an_operator_goes_back_to_it() {
    holds(20, given_up);
}

/// All session nodes lost their state, by order, and the agents' nodes did not.
async fn begins_with_nothing(cluster: Cluster) -> Story {
    on_record(&cluster, &History::default()).await;
    for node in [1, 2] {
        cluster.wipe(node);
        cluster.start(node);
    }
    cluster.start_agent(HOST);
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    (History::default(), Vec::new(), Vec::new())
}

#[test]
fn nodes_whose_states_were_all_removed_form_a_cluster_whatever_agents_remember() {
    holds(10, begins_with_nothing);
}

/// The order lies at a node that holds what is stored.
async fn ordered_in_vain(cluster: Cluster) -> Story {
    let history = History::default();
    on_record(&cluster, &history).await;
    let order = cluster.home(1).join(anew::ORDER);
    std::fs::write(&order, "").unwrap();
    cluster.start(1);
    cluster.start(2);
    let agent = cluster.start_agent(HOST);
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    assert!(!order.exists());
    is_old(&agent, &history).await;
    (history, Vec::new(), Vec::new())
}

#[test]
fn an_order_to_begin_anew_at_a_node_that_holds_what_is_stored_takes_nothing_away() {
    holds(5, ordered_in_vain);
}

/// What an agent remembers is damaged, or something else in its place, and the session nodes are others.
async fn forgot(cluster: Cluster) -> Story {
    let history = History::default();
    on_record(&cluster, &history).await;
    let record = cluster.home(HOST).with_extension("tier");
    let is_directory = world::below(2) == 0;
    if is_directory {
        std::fs::remove_file(&record).unwrap();
        std::fs::create_dir(&record).unwrap();
    } else {
        std::fs::write(&record, "no tier").unwrap();
    }
    cluster.write_file(vec![3, 4]);
    let agent = cluster.start_agent(HOST);
    cluster.start(3);
    cluster.start(4);
    assert!(!cluster.becomes_whole(20).await, "beside what is stored");
    std::fs::write(cluster.home(3).join(anew::ORDER), "").unwrap();
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    // It serves, whether it can be put on record or not.
    takes_new(&agent, &History::default()).await;
    assert_eq!(record.is_dir(), is_directory);
    if is_directory {
        std::fs::remove_dir(&record).unwrap();
        while !record.exists() {
            sleep(MS).await;
        }
    }
    drop(agent);
    cluster.crash_agent(HOST);
    // It is remembered again who serves: those are blank now, and may begin with nothing.
    for node in [3, 4] {
        cluster.crash(node);
        cluster.wipe(node);
        cluster.start(node);
    }
    cluster.start_agent(HOST);
    assert!(cluster.becomes_whole(20).await, "{}", cluster.describe());
    (History::default(), Vec::new(), Vec::new())
}

#[test]
fn an_agent_whose_record_is_damaged_knows_that_a_tier_served_it_and_blank_nodes_form_none_beside_it()
 {
    holds(10, forgot);
}
