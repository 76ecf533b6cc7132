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
