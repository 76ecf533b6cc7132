//! Logouts hold and no attribute is lost while session nodes are cut off: nodes in network namespaces, two application
//! servers with an agent each.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use common::tower::{assert_sixteen_attributes, begin_slowly, record, set_sixteen_attributes};
use common::{Dir, PATIENCE};
use tandem_history::torture::Nodes;
use tandem_tower_sessions::TandemStore;
use tower_sessions::SessionStore;

const NAMES: [&str; 5] = ["cache1", "cache2", "edge", "app1", "app2"];
const VOTERS: [&str; 3] = ["cache1", "cache2", "edge"];
const SESSIONS: &str = r#"
on     = ["cache1", "cache2"]
third  = "edge"
agents = ["app1", "app2"]
memory = "64 MiB"
guard  = { keys = "memc.sess.*", for = "30s" }
"#;

/// Between two cuts.
const CALM: usize = 25;

struct Scene {
    nodes: Nodes,
    runtime: tokio::runtime::Runtime,
    _dir: Dir,
}

impl Scene {
    fn start() -> Option<Self> {
        let (nodes, dir) = common::namespaces::nodes(&NAMES, SESSIONS)?;
        nodes.start_all().unwrap_or_else(|why| panic!("{why}"));
        nodes.enter().unwrap_or_else(|why| panic!("{why}"));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        Some(Self {
            nodes,
            runtime,
            _dir: dir,
        })
    }

    fn stores(&self) -> [Arc<TandemStore>; 2] {
        ["app1", "app2"].map(|app| Arc::new(TandemStore::new(self.nodes.agent(app).to_string())))
    }

    /// Every so many rounds a voter is cut off while `work` is done: before it begins, or meanwhile.
    fn round<T>(&self, number: usize, work: impl FnOnce() -> T) -> T {
        let cut = number / CALM;
        let node = VOTERS[cut % VOTERS.len()];
        if number % CALM != CALM / 2 {
            return work();
        }
        let done = if cut.is_multiple_of(2) {
            let links = self.nodes.cut_off(node);
            let links = links.unwrap_or_else(|why| panic!("{why}"));
            let done = work();
            drop(links);
            done
        } else {
            std::thread::scope(|threads| {
                let cutting = threads.spawn(|| self.nodes.cut_off(node));
                let done = work();
                let links = cutting.join().expect("no panic");
                drop(links.unwrap_or_else(|why| panic!("{why}")));
                done
            })
        };
        self.nodes
            .until_whole()
            .unwrap_or_else(|why| panic!("{why}"));
        done
    }
}

#[test]
fn a_thousand_of_a_thousand_logouts_hold_while_nodes_are_cut_off_in_them() {
    let Some(scene) = Scene::start() else { return };
    let [here, elsewhere] = scene.stores();
    let mut in_again = Vec::new();
    for i in 0..1000 {
        let mut session = record();
        // Slow requests have read the session; the user logs out elsewhere; one saves, one asks for a new id.
        let slow = begin_slowly(&here, &mut session, i);
        let slow = scene.runtime.block_on(slow);
        scene.round(i, || {
            scene.runtime.block_on(async {
                let deleted = elsewhere.delete(&session.id).await;
                deleted.expect("the logout is answered");
                slow.assert_too_late().await;
            });
        });
        for store in [&here, &elsewhere] {
            let found = scene.runtime.block_on(store.load(&session.id));
            if found.expect("readable").is_some() {
                in_again.push(i);
            }
        }
    }
    assert!(in_again.is_empty(), "logged in again: {in_again:?}");
    println!("1000 of 1000 stayed logged out");
}

/// A connection to an agent.
struct Agent(BufReader<TcpStream>);

impl Agent {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the agent listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, request: &str) -> String {
        let sent = self.0.get_mut().write_all(request.as_bytes());
        sent.expect("sent");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("answered");
        answer
    }
}

#[test]
fn a_thousand_of_a_thousand_guarded_logouts_hold_against_plain_sets_while_nodes_are_cut_off() {
    let Some(scene) = Scene::start() else { return };
    let [mut here, mut elsewhere] = ["app1", "app2"].map(|app| Agent::new(scene.nodes.agent(app)));
    for i in 0..1000 {
        let set = format!("set memc.sess.{i} 0 300 3\r\nann\r\n");
        assert_eq!(here.ask(&set), "STORED\r\n");
        scene.round(i, || {
            let delete = format!("delete memc.sess.{i}\r\n");
            assert_eq!(elsewhere.ask(&delete), "DELETED\r\n", "logout {i}");
            assert_eq!(here.ask(&set), "NOT_STORED\r\n", "logout {i}");
        });
        for agent in [&mut here, &mut elsewhere] {
            assert_eq!(agent.ask(&format!("get memc.sess.{i}\r\n")), "END\r\n");
        }
    }
    println!("1000 of 1000 stayed logged out");
}

#[test]
fn sixteen_parallel_requests_keep_their_attributes_in_a_hundred_rounds_with_cuts() {
    let Some(scene) = Scene::start() else { return };
    let stores = scene.stores();
    for round in 0..100 {
        let mut session = record();
        let created = scene.runtime.block_on(stores[0].create(&mut session));
        created.expect("created");
        let all = set_sixteen_attributes(&stores, session.id);
        scene.round(round, || scene.runtime.block_on(all));
        let all = assert_sixteen_attributes(&stores[1], session.id, round);
        scene.runtime.block_on(all);
    }
    println!("100 rounds of 16 requests: 1600 of 1600 attributes are there");
}
