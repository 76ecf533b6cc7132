//! A cluster whose file changes while its nodes run, as an operator sees it.

mod common;

use common::loopback::Loopback;

const KEY: &str = "0123456789abcdef0123";
/// A file describes something.
const LISTENER: &str =
    "[listener.web]\non = \"a\"\nbind = \"127.0.0.1:0\"\nroute = { respond = 204 }\n";

/// Whether the node answers when another passes a call on to it, or what is said instead.
fn answers(cluster: &Loopback, through: &str, node: &str) -> Result<(), String> {
    let all = cluster.get(through, "node?nodes=all");
    match &all[node] {
        told if told["status"] == 200 && told["body"]["node"] == node => Ok(()),
        told => Err(told.to_string()),
    }
}

#[test]
fn calls_to_all_nodes_follow_a_file_that_moves_adds_and_removes_nodes() {
    let cluster = Loopback::new();
    cluster.write(KEY, &[("a", 1), ("b", 2)], LISTENER);
    let _a = cluster.start("a");
    let b = cluster.start("b");
    assert_eq!(answers(&cluster, "a", "b"), Ok(()));

    // It moves to another machine, and a third one comes.
    drop(b);
    cluster.write(KEY, &[("a", 1), ("b", 3), ("c", 4)], LISTENER);
    let _moved = cluster.start("b");
    let _c = cluster.start("c");
    assert!(answers(&cluster, "a", "b").is_err());
    let (code, said) = cluster.reload("a");
    assert_eq!(code, 0, "{said}");
    assert_eq!(answers(&cluster, "a", "b"), Ok(()));
    assert_eq!(answers(&cluster, "a", "c"), Ok(()));

    cluster.write(KEY, &[("a", 1), ("c", 4)], LISTENER);
    let (code, said) = cluster.reload("a");
    assert_eq!(code, 0, "{said}");
    let all = cluster.get("a", "node?nodes=all");
    let names: Vec<&String> = all.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["a", "c"]);
}
