//! What the admin page is made of.

mod common;

use common::get;
use common::node::Node;

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
