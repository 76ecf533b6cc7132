//! The examples run as they are.

mod common;

use common::{Running, get, has};

#[test]
fn one_machine_runs_two_instances_in_turn_with_sessions() {
    if !has(
        "php",
        &["-r", "exit(extension_loaded('memcached') ? 0 : 1);"],
    ) {
        return;
    }
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/one-machine.toml"
    );
    let machine = Running::start(&["rehearse", file]);
    assert_eq!(get(machine.address(), "/").status, 200);
    let mut visitor = common::Visitor::new(machine.address());
    let mut pages = Vec::new();
    for _ in 0..4 {
        let page = visitor.get("/app/").unwrap();
        assert_eq!(page.status, 200, "{page:?}");
        pages.push(page.text());
    }
    assert!(visitor.cookie.is_some(), "no session cookie: {pages:?}");
    assert_ne!(pages[0], pages[2], "the page counts its visits");
}

#[test]
fn a_file_whose_sites_are_on_other_machines_can_be_rehearsed() {
    let dir = common::Dir::new();
    let file = dir.file(
        "cluster.toml",
        "[nodes]\nedge = \"192.0.2.1\"\nfiles = \"192.0.2.2\"\n[cluster]\nkey = \"0123456789abcdef0123\"\n\
         [listener.web]\non = \"edge\"\nbind = \":18096\"\nroute = { to = \"www\" }\n\
         [site.www]\non = \"files\"\nport = 80\nroot = \"/srv/not/here\"\n",
    );
    let rehearsal = Running::start(&["rehearse", &file]);
    rehearsal.wait_until_well();
    let page = get(rehearsal.address(), "/");
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("stands in for site www"),
        "{}",
        page.text()
    );
}
