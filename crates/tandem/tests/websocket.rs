//! WebSockets by a library that others use, from a client through the front door and a gateway to an application.

mod common;

use std::process::Command;

use common::{Dir, Running, get, has, stderr, wait_until};

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn a_websocket_goes_through_the_front_door_and_the_gateway() {
    if !has(PYTHON, &["-c", "import websockets"]) {
        return;
    }
    let dir = Dir::new();
    let script = |name: &str| format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "[nodes]\nedge = \"192.0.2.1\"\napp1 = \"192.0.2.2\"\n\
         [cluster]\nkey = \"0123456789abcdef\"\n\
         [listener.web]\non = \"edge\"\nbind = \":80\"\nroute = {{ to = \"chat\" }}\n\
         [app.chat]\non = \"app1\"\nport = 80\n\
         run = [\"{PYTHON}\", \"{}\", \"{{host}}\", \"{{port}}\"]\n",
        script("websocket_server.py")
    );
    let cluster = Running::start(&["rehearse", &dir.file("cluster.toml", &text)]);
    let front = cluster.address();
    wait_until("the application serves", || get(front, "/").status == 200);
    let talked = Command::new(PYTHON)
        .args([script("websocket_client.py"), format!("ws://{front}/chat")])
        .output()
        .expect("the client starts");
    assert!(talked.status.success(), "{}", stderr(&talked));
    assert_eq!(talked.stdout, b"ok\n");
    // The front door goes on with plain requests.
    assert_eq!(get(front, "/").text(), "plain\n");
}
