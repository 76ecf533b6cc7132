//! A node of an application that does not reach the session nodes, while listeners reach it: users go to other nodes.

mod common;

use std::net::SocketAddr;
use std::time::Instant;

use common::origin::{Origin, fine};
use common::{Dir, PATIENCE, get, request, wait_until};
use tandem_history::torture::Nodes;

const NAMES: [&str; 6] = ["cache1", "cache2", "cache3", "edge", "app1", "app2"];
const VOTERS: [&str; 3] = ["cache1", "cache2", "cache3"];
const TABLES: &str = r#"
on     = ["cache1", "cache2", "cache3"]
agents = ["app1", "app2"]
memory = "64 MiB"

[listener.web]
on    = "edge"
bind  = "0.0.0.0:80"
route = { to = "shop" }

[app.shop]
on    = ["app1", "app2"]
port  = 8000
proxy = "127.0.0.1:8080"
"#;
/// Requests that show who is asked in turn.
const ENOUGH: usize = 12;

struct Scene {
    nodes: Nodes,
    front: SocketAddr,
    _dir: Dir,
}

impl Scene {
    fn start() -> Option<Self> {
        let (nodes, dir) = common::namespaces::nodes(&NAMES, TABLES)?;
        let program = |node: &'static str| {
            nodes.enter_node(node).unwrap_or_else(|why| panic!("{why}"));
            Origin::http_at(([127, 0, 0, 1], 8080).into(), node, fine);
        };
        // Where a program listens is said by the thread that starts it.
        std::thread::scope(|threads| {
            for node in ["app1", "app2"] {
                threads.spawn(move || program(node));
            }
        });
        nodes.start_all().unwrap_or_else(|why| panic!("{why}"));
        nodes.enter().unwrap_or_else(|why| panic!("{why}"));
        let mut front = nodes.agent("edge");
        front.set_port(80);
        Some(Self {
            nodes,
            front,
            _dir: dir,
        })
    }

    /// Who answers some requests in a row, all of which go well.
    fn served(&self) -> Vec<String> {
        let ask = |number: usize| {
            let page = if number.is_multiple_of(2) {
                get(self.front, "/")
            } else {
                request(self.front, "POST", "/", "", b"a body").expect("an answer")
            };
            assert_eq!(page.status, 200, "{}", page.text());
            page.text()
        };
        (0..ENOUGH).map(ask).collect()
    }

    fn are_served_by(&self, nodes: &[&str]) -> bool {
        let served = self.served();
        let is_one = |name: &String| nodes.contains(&name.as_str());
        served.iter().all(is_one) && nodes.iter().all(|n| served.iter().any(|name| name == n))
    }
}

#[test]
fn users_go_where_the_sessions_are_reached_and_no_request_fails() {
    let Some(scene) = Scene::start() else { return };
    wait_until("both serve", || scene.are_served_by(&["app1", "app2"]));

    let away = scene.nodes.cut_off_from("app1", &VOTERS);
    let away = away.unwrap_or_else(|why| panic!("{why}"));
    wait_until("the other one serves", || scene.are_served_by(&["app2"]));
    let told = "shop/app1: its node does not reach the sessions";
    assert!(scene.nodes.log("edge").contains(told), "it is an event");

    // With none left that reaches them all are as good as before.
    let too = scene.nodes.cut_off_from("app2", &VOTERS);
    let too = too.unwrap_or_else(|why| panic!("{why}"));
    wait_until("both serve", || scene.are_served_by(&["app1", "app2"]));

    away.mend().unwrap_or_else(|why| panic!("{why}"));
    wait_until("the first one serves", || scene.are_served_by(&["app1"]));
    too.mend().unwrap_or_else(|why| panic!("{why}"));
    wait_until("both serve", || scene.are_served_by(&["app1", "app2"]));
    let told = "shop/app2: its node reaches the sessions again";
    assert!(scene.nodes.log("edge").contains(told), "so is its end");
}

#[test]
fn whoever_asks_again_and_again_does_not_wait_each_time_when_nobody_leads() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let Some(scene) = Scene::start() else { return };
    let away = scene.nodes.cut_off_from("app1", &VOTERS);
    let _away = away.unwrap_or_else(|why| panic!("{why}"));
    let agent = std::net::TcpStream::connect(scene.nodes.agent("app1")).expect("it listens");
    let mut answers = BufReader::new(&agent);
    let begun = Instant::now();
    let mut asked = 0;
    // A program that takes a lock asks for it a hundred times: five seconds each would be minutes.
    while asked < 30 {
        (&agent).write_all(b"get k\r\n").expect("it is there");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("an answer");
        assert!(answer.starts_with("SERVER_ERROR"), "no miss: {answer}");
        asked += 1;
    }
    assert!(begun.elapsed() < PATIENCE);
}
