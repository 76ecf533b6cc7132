//! What the admin page is made of, and the log as it is told to be.

mod common;

use common::machine::Machine;
use common::node::Node;
use common::origin::{Origin, fine};
use common::{get, request, send, stderr, tandem, wait_until};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn the_page_has_each_listener_and_whether_it_shows_its_maintenance_page() {
    let node = Node::start(
        "[listener.web]\nbind = [\"127.0.0.1:{a}\", \"127.0.0.1:{b}\"]\nroute = { respond = 204 }\n\
         maintenance = { allow = \"192.0.2.0/24\" }\n",
    );
    let row = || node.admin("GET /api/v1/nodes").json()[0].clone();
    let well = row();
    let web = &well["status"]["listeners"][0];
    assert_eq!(
        (&web["name"], &web["maintenance"]),
        (&"web".into(), &false.into())
    );
    let [a, b] = node.ports;
    assert_eq!(
        web["bind"],
        serde_json::json!([format!("127.0.0.1:{a}"), format!("127.0.0.1:{b}")])
    );
    assert_eq!(well["state"], "up");

    assert_eq!(
        node.admin("POST /api/v1/listeners/web?maintenance=true")
            .status,
        200
    );
    assert_eq!(get(node.address(), "/").status, 503);
    let works = row();
    let web = &works["status"]["listeners"][0];
    assert_eq!(web["maintenance"], true);
    assert_eq!(web["allow"], serde_json::json!(["192.0.2.0/24"]));
    assert_eq!(works["state"], "partly");
    assert_eq!(works["reason"], "listener web: in maintenance");

    assert_eq!(
        node.admin("POST /api/v1/listeners/web?maintenance=false")
            .status,
        200
    );
    assert_eq!(get(node.address(), "/").status, 204);
    assert_eq!(row()["state"], "up");
}

#[test]
fn the_page_asks_for_the_token_and_sends_it_in_a_header_alone() {
    let node = Node::start("[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { respond = 204 }\n");
    let page = node.admin("GET /").text();
    assert!(page.contains("id=\"token\" type=\"password\""), "{page}");
    assert!(page.contains("{ headers: { Authorization: `Bearer ${token}` } }"));
    // Whatever is fetched is fetched by `ask`, which knows no other way, and nothing is put into an address.
    assert_eq!(page.matches("fetch(").count(), 1);
    assert!(!page.contains("location") && !page.contains("cookie ="));
}

#[test]
fn the_logs_level_is_changed_while_a_node_runs_whatever_its_lines_are() {
    for format in ["json", "text"] {
        let gone = Origin::http("a", fine);
        let node = Node::start(&format!(
            "log-format = \"{format}\"\n[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = {{ to = \"shop\" }}\n\
             [backend.shop]\ncheck = false\nservers = {{ address = \"{}\", name = \"a\" }}\n",
            gone.address
        ));
        gone.close();
        let level = |level: &str| {
            let call = format!("POST /api/v1/node/log-level?level={level}");
            assert_eq!(node.admin(&call).status, 200);
        };
        let order = |state: &str| {
            let call = format!("POST /api/v1/servers/shop/a?state={state}");
            assert_eq!(node.admin(&call).status, 200);
        };
        level("debug");
        assert_eq!(get(node.address(), "/lost").status, 502);
        wait_until("each failed try is told of", || {
            let log = node.log();
            let line = log.lines().find(|line| line.contains("a try failed"));
            line.is_some_and(|line| line.contains("/lost") && line.contains("shop/a"))
        });
        level("error");
        order("drain");
        level("info");
        order("ready");
        wait_until("it says more again", || {
            node.log().contains("takes requests again")
        });
        assert!(!node.log().contains("draining by order"), "{}", node.log());
        let kept = node.admin("GET /api/v1/events?subject=shop/a").text();
        assert!(
            kept.contains("draining by order"),
            "what happened is known: {kept}"
        );
        if format == "json" {
            for line in node.log().lines() {
                let event: Value = serde_json::from_str(line).expect("a JSON object");
                assert!(
                    event["at"].is_string() && event["severity"].is_string(),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn commands_end_with_a_reason_when_the_node_hangs() {
    let node = Node::start("[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { respond = 204 }\n");
    let socket = node.dir.path().join("state/local/admin.sock");
    let socket = format!("unix:{}", socket.display());
    send(node.id(), Signal::STOP);
    let asked = [&["server", "list"][..], &["log-level", "debug"]].map(|words| {
        let (words, socket) = (words.to_vec(), socket.clone());
        std::thread::spawn(move || {
            tandem()
                .args(words)
                .args(["--admin", &socket])
                .output()
                .expect("the binary runs")
        })
    });
    for asked in asked {
        let done = asked.join().expect("no panic");
        assert_eq!(done.status.code(), Some(1));
        let why = stderr(&done);
        assert!(
            why.contains("it hangs, is stopped, or has no descriptors left"),
            "{why}"
        );
    }
    send(node.id(), Signal::CONT);
}

#[test]
fn idle_clients_of_the_agent_leave_descriptors_for_everybody_else() {
    let tables = "[sessions]\nagents = [\"local\"]\nagent = \"127.0.0.1:{b}\"\n[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { respond = 204 }\n";
    let around = |_: &common::Dir, command: Vec<String>| {
        let limited = ["sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"].map(String::from);
        limited.into_iter().chain(command).collect()
    };
    let node = Node::start_around(tables, |_| {}, around);
    // More than there are descriptors; those that are one too many are closed, or wait.
    let clients: Vec<_> = (0..400)
        .filter_map(|_| std::net::TcpStream::connect(node.second()).ok())
        .collect();
    assert!(clients.len() > 75, "{} {}", clients.len(), node.log());
    let page = node.admin("GET /api/v1/node");
    assert_eq!(page.status, 200);
    assert_eq!(get(node.address(), "/").status, 204);
}

#[test]
fn the_pages_are_served_at_every_address_to_those_who_have_the_token() {
    let machine = Machine::new();
    let port = common::ports::free().port();
    let text = std::fs::read_to_string(machine.at("etc/cluster.toml")).expect("its file");
    let text = text.replacen("admin = false", &format!("admin = \":{port}\""), 1);
    machine.dir.file("etc/cluster.toml", &text);
    let (code, said) = machine.verb(&["start"]);
    assert!(code == 6 && said.contains("need a token"), "{said}");
    let token = format!("admin = \":{port}\"\nadmin-token = \"of-this-test\"");
    let text = text.replacen(&format!("admin = \":{port}\""), &token, 1);
    machine.dir.file("etc/cluster.toml", &text);
    let (code, said) = machine.verb(&["start"]);
    assert_eq!(code, 0, "{said}");
    for host in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let at = (host, port).into();
        assert_eq!(get(at, "/metrics").status, 401);
        let token = "Authorization: Bearer of-this-test\r\n";
        let page = request(at, "GET", "/metrics", token, b"").expect("an answer");
        assert_eq!(page.status, 200);
    }
}

#[test]
fn what_came_from_the_environment_is_shown_to_nobody() {
    let tables = "[listener.web]\nbind = \"127.0.0.1:{a}\"\n\
                  route = { respond = { status = 200, headers = { X-Token = \"${SHOP_TOKEN}\" } } }\n";
    let node = Node::start_around(
        tables,
        |_| {},
        |_, command| {
            let around = ["env", "SHOP_TOKEN=s3cret-token"].map(String::from);
            around.into_iter().chain(command).collect()
        },
    );
    let page = get(node.address(), "/");
    assert_eq!(page.field("x-token"), Some("s3cret-token"));
    for path in ["/api/v1/config", "/api/v1/config/diff", "/api/v1/node"] {
        let said = node.admin(&format!("GET {path}")).text();
        assert!(!said.contains("s3cret-token"), "{path}: {said}");
    }
    let text = node.admin("GET /api/v1/config").json()["text"].clone();
    let text = text.as_str().expect("a text");
    assert!(text.contains("\"${SHOP_TOKEN}\""), "{text}");
    assert_eq!(node.admin("GET /api/v1/config/diff").json()["same"], true);
}
