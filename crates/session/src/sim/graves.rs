//! What deletes under guard leave.

use tandem_history::{Call, Outcome};

use super::cluster::{Cluster, GUARDED};
use super::load::{Client, History};
use super::profile::Profile;
use super::scenario::{Story, run_script};
use super::scripts::{HOST, ask, formed, set};
use super::world::Random;

/// A client deletes keys that there are not, one after the other.
async fn deletes_of_nothing(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let client = Client::new(1, agent.keyspace(), history.clone());
    let session = format!("{GUARDED}-session");
    let (mut client, told) = ask(client, &session, set("value")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let limit = cluster.profile().memory;
    let mut refused = 0;
    for i in 0..600 {
        let key = format!("{GUARDED}-nothing{i}");
        let (back, told) = ask(client, &key, Call::Delete).await;
        client = back;
        match told {
            Ok(outcome) => assert_eq!(outcome, Outcome::NotFound),
            Err(why) => {
                assert!(why.contains("that there were not are guarded"), "{why}");
                refused += 1;
            }
        }
        for node in 1..=3 {
            let core = cluster.core(node).expect("it runs");
            let bytes = core.clients.replica.lock().state.bytes();
            assert!(bytes <= limit / 2, "{bytes} of {limit}");
        }
    }
    assert!(refused > 0, "there was no end to it");
    // Who has a session stores and deletes as before, and a delete holds.
    let (client, told) = ask(client, "another", set("value")).await;
    assert_eq!(told, Ok(Outcome::Stored));
    let (client, told) = ask(client, &session, Call::Delete).await;
    assert_eq!(told, Ok(Outcome::Deleted));
    let (client, told) = ask(client, &session, set("value")).await;
    assert_eq!(told, Ok(Outcome::NotStored));
    // Once more: its key is under guard already.
    let (_, told) = ask(client, &session, Call::Delete).await;
    assert_eq!(told, Ok(Outcome::NotFound));
    (history, Vec::new(), Vec::new())
}

#[test]
fn deletes_of_keys_that_there_are_not_take_a_part_of_the_memory_and_no_more() {
    for seed in 0..5 {
        let profile = Profile {
            memory: 32 << 10,
            ..Profile::of(0, &mut Random::new(seed))
        };
        let report = run_script(seed, profile, deletes_of_nothing);
        assert!(report.holds(), "{report}");
    }
}
