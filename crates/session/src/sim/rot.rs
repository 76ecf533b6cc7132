//! Disks that give back something else than was written to them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use tandem_history::{Call, Outcome};

use super::cluster::Cluster;
use super::load::{Client, History};
use super::profile::Profile;
use super::runtime::sleep;
use super::scenario::{Story, run_script};
use super::scripts::{HOST, MS, ask, formed, set};
use super::world::{self, Random};
use crate::node::Retention;

/// A replica is away until its leader has only a snapshot for it, a byte of which has changed on the leader's disk.
async fn rotten_snapshot(cluster: Cluster) -> Story {
    let history = History::default();
    formed(&cluster).await;
    let agent = cluster.start_agent(HOST);
    let mut client = Client::new(1, agent.keyspace(), history.clone());
    let leads = cluster.leader().expect("it leads");
    let away = leads % 3 + 1;
    cluster.crash(away);
    let value = "v".repeat(2_000);
    let core = cluster.core(leads).expect("it runs");
    for i in 0.. {
        assert!(i < 1_000, "{}", cluster.describe());
        let (back, told) = ask(client, &format!("key{}", i % 10), set(&value)).await;
        client = back;
        assert_eq!(told, Ok(Outcome::Stored));
        let purged = core.view().metrics().purged;
        if purged.is_some_and(|last| last.index() > 20) {
            break;
        }
    }
    // The one that counts by then may still be replaced: no more is written, and none is begun.
    sleep(1_000 * MS).await;
    let path = cluster.home(leads).join("snapshot");
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.unwrap();
    let at = world::below(file.metadata().unwrap().len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();

    cluster.start(away);
    assert!(cluster.becomes_whole(30).await, "{}", cluster.describe());
    assert_eq!(cluster.leader(), Some(leads), "it need not give up");
    cluster.crash(leads);
    let (_, told) = ask(client, "key0", Call::Get).await;
    let expected = Ok(Outcome::Hit(value.into_bytes().into(), None));
    assert!(told == expected, "{:?}", told.err());
    (history, Vec::new(), Vec::new())
}

#[test]
fn a_snapshot_that_changed_on_the_leader_s_disk_is_made_anew_and_the_follower_catches_up() {
    for seed in 0..20 {
        let profile = Profile {
            retention: Retention {
                log: 64 << 10,
                kept: 32 << 10,
                snapshot_every: 200 * MS,
            },
            segment: 8 << 10,
            ..Profile::of(0, &mut Random::new(seed))
        };
        let report = run_script(seed, profile, rotten_snapshot);
        assert!(report.holds(), "{report}");
    }
}
