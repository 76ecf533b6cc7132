//! Logouts hold and no attribute is lost, through two application servers and a session node that dies.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::node::Node;
use common::tower::{assert_sixteen_attributes, begin_slowly, record, set_sixteen_attributes};
use common::{Dir, PATIENCE, Running, pausing, peak};
use tandem_tower_sessions::TandemStore;
use tower_sessions::SessionStore;

const FILE: &str = r#"
[nodes]
edge   = "192.168.0.168"
app1   = "192.168.0.69"
app2   = "192.168.0.70"
cache1 = "192.168.0.71"
cache2 = "192.168.0.101"

[cluster]
key = "a rehearsal makes its own, so that this one protects nothing"

[listener.web]
on    = "edge"
bind  = ":18290"
route = [{ to = "shop" }]

[app.shop]
on    = ["app1", "app2"]
port  = 80
proxy = "127.0.0.1:8080"

[sessions]
on     = ["cache1", "cache2"]
memory = "64 MiB"
guard  = { keys = "memc.sess.*", for = "30s" }
"#;

struct Scene {
    cluster: Running,
    agents: [String; 2],
    _dir: Dir,
}

impl Scene {
    fn start() -> Self {
        let dir = Dir::new();
        let cluster = Running::start(&["rehearse", &dir.file("cluster.toml", FILE)]);
        cluster.wait_until_well();
        let network = cluster.network();
        let agents = [11, 12].map(|host| format!("127.84.{network}.{host}:11211"));
        Self {
            cluster,
            agents,
            _dir: dir,
        }
    }

    fn pid(&self, node: &str) -> u64 {
        let rows = self.cluster.rows();
        let row = rows.iter().find(|row| row["node"] == node);
        row.and_then(|row| row["pid"].as_u64())
            .expect("it has a process")
    }

    fn stores(&self) -> [Arc<TandemStore>; 2] {
        [0, 1].map(|i| Arc::new(TandemStore::new(self.agents[i].clone())))
    }

    /// `tandem node ...`, which must succeed.
    fn order(&self, words: &[&str]) {
        let done = self.cluster.node(words);
        assert!(done.status.success(), "{}", common::stderr(&done));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Every `kill`th logout has a session node die in it.
fn logouts(count: usize, kill: usize) {
    let (scene, runtime) = (Scene::start(), runtime());
    let [here, elsewhere] = scene.stores();
    let mut in_again = Vec::new();
    for i in 0..count {
        let killed = (i % kill == kill / 2).then_some(["cache1", "cache2", "edge"][i / kill % 3]);
        let mut session = record();
        // Slow requests have read the session; the user logs out elsewhere; one saves, one asks for a new id.
        let slow = runtime.block_on(begin_slowly(&here, &mut session, i));
        let cluster = &scene;
        std::thread::scope(|threads| {
            if let Some(node) = killed {
                threads.spawn(move || cluster.order(&["kill", node]));
            }
            let deleted = runtime.block_on(elsewhere.delete(&session.id));
            deleted.expect("the logout is answered");
        });
        runtime.block_on(async {
            slow.assert_too_late().await;
            for store in [&here, &elsewhere] {
                if store.load(&session.id).await.expect("readable").is_some() {
                    in_again.push(i);
                }
            }
        });
        if let Some(node) = killed {
            scene.order(&["start", node]);
            scene.cluster.wait_until_well();
        }
    }
    assert!(in_again.is_empty(), "logged in again: {in_again:?}");
    println!("{count} of {count} stayed logged out");
}

#[test]
fn a_logout_holds_against_a_slower_request_and_the_death_of_a_session_node() {
    logouts(30, 10);
}

fn ask(server: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(server).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("answered");
    answer
}

#[test]
fn a_plain_set_does_not_undo_a_guarded_logout() {
    let scene = Scene::start();
    let [here, elsewhere] = &scene.agents;
    for i in 0..100 {
        let set = format!("set memc.sess.{i} 0 300 3\r\nann\r\n");
        assert_eq!(ask(here, &set), "STORED\r\n");
        let delete = format!("delete memc.sess.{i}\r\n");
        assert_eq!(ask(elsewhere, &delete), "DELETED\r\n");
        assert_eq!(ask(here, &set), "NOT_STORED\r\n");
        assert_eq!(ask(here, &format!("get memc.sess.{i}\r\n")), "END\r\n");
    }
    // Keys that are not guarded are set anew, as in memcached.
    assert_eq!(ask(here, "set other 0 0 1\r\na\r\n"), "STORED\r\n");
    assert_eq!(ask(elsewhere, "delete other\r\n"), "DELETED\r\n");
    assert_eq!(ask(here, "set other 0 0 1\r\nb\r\n"), "STORED\r\n");
}

#[test]
fn clients_that_ask_for_much_and_do_not_read_take_a_bounded_part_of_their_node() {
    const CLIENTS: usize = 100;
    let scene = Scene::start();
    let agent = &scene.agents[0];
    let large = "v".repeat(1_000_000);
    for i in 0..8 {
        let set = format!("set large{i} 0 300 {}\r\n{large}\r\n", large.len());
        assert_eq!(ask(agent, &set), "STORED\r\n");
    }
    assert_eq!(ask(agent, "set small 0 300 1\r\ns\r\n"), "STORED\r\n");
    let pid = scene.pid("app1");
    let before = peak(pid);
    let keys: Vec<_> = (0..8).map(|i| format!("large{i}")).collect();
    let keys = keys.join(" ");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|i| {
            let mut client = TcpStream::connect(agent).expect("the agent listens");
            let word = ["get", "gat 300"][i % 2];
            write!(client, "{word} {keys}\r\n").expect("sent");
            client
        })
        .collect();
    // Others are served meanwhile, and when the clients that do not read have been given up.
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(4) {
        assert_eq!(ask(agent, "get small other\r\n"), "VALUE small 0 1\r\n");
    }
    let taken = peak(pid) - before;
    assert!(taken < 160, "{taken} MiB for {CLIENTS} clients");
    drop(clients);
}

#[test]
fn clients_that_begin_large_sets_and_pause_take_a_bounded_part_of_their_node_and_hold_up_nobody() {
    let scene = Scene::start();
    pausing::take_a_bounded_part_and_hold_up_nobody(&scene.agents[0], scene.pid("app1"));
}

#[test]
fn sixteen_parallel_requests_through_two_servers_each_keep_their_attribute() {
    let scene = Scene::start();
    let stores = scene.stores();
    runtime().block_on(async {
        for round in 0..20 {
            let mut session = record();
            stores[0].create(&mut session).await.expect("created");
            set_sixteen_attributes(&stores, session.id).await;
            assert_sixteen_attributes(&stores[1], session.id, round).await;
        }
    });
}

#[test]
fn an_agent_that_others_reach_is_an_event_of_the_start() {
    let table = |host: &str| {
        format!(
            "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{{ to = \"app\" }}]\n[app.app]\nproxy = \"127.0.0.1:9\"\n\
             [sessions]\nagent = \"{host}:{{b}}\"\n"
        )
    };
    let told = "everybody who reaches it reads and writes all sessions";
    assert!(Node::start(&table("0.0.0.0")).log().contains(told));
    assert!(!Node::start(&table("127.0.0.1")).log().contains(told));
}
