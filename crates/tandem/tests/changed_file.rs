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

#[test]
fn another_key_is_said_to_wait_for_a_start_and_is_never_shown() {
    const NEXT: &str = "another-key-of-a-cluster";
    let cluster = Loopback::new();
    let nodes = [("a", 1), ("b", 2)];
    cluster.write(KEY, &nodes, LISTENER);
    let a = cluster.start("a");
    let _b = cluster.start("b");
    let waits = "[cluster] key was changed: it takes effect at the next start\n";
    assert_eq!(cluster.asked("a", &["config", "diff"]).0, 0);

    cluster.write(NEXT, &nodes, LISTENER);
    let (code, before) = cluster.asked("a", &["config", "diff"]);
    assert_eq!(
        (code, &*before),
        (1, &*format!("a:\n  {waits}b:\n  {waits}"))
    );
    let (code, taken) = cluster.reload("a");
    assert_eq!(code, 0, "{taken}");
    assert!(
        taken.ends_with(&format!(" has taken its file\n{waits}")),
        "{taken}"
    );
    let (code, after) = cluster.asked("a", &["config", "diff"]);
    assert_eq!((code, after), (1, before));
    let (_, doctor) = cluster.doctor("a");
    assert!(
        doctor.contains("note   The node here runs since before [cluster] key was changed"),
        "{doctor}"
    );

    // It is what it was: nothing waits any more.
    cluster.write(KEY, &nodes, LISTENER);
    let (_, said) = cluster.reload("a");
    assert!(said.ends_with(" has taken its file\n"), "{said}");
    let (code, said) = cluster.asked("a", &["config", "diff"]);
    assert_eq!(
        (code, &*said),
        (0, "a: as the file says\nb: as the file says\n")
    );

    cluster.write(NEXT, &nodes, LISTENER);
    drop(a);
    let _a = cluster.start("a");
    let (_, said) = cluster.asked("a", &["config", "diff"]);
    assert!(said.starts_with("a: as the file says\nb: "), "{said}");
    for said in [taken, doctor, said, cluster.log("a"), cluster.log("b")] {
        assert!(!said.contains(KEY) && !said.contains(NEXT), "{said}");
    }
}

#[test]
fn another_cluster_port_is_refused_and_the_nodes_go_on_meeting_at_the_old_one() {
    let cluster = Loopback::new();
    let nodes = [("a", 1), ("b", 2)];
    cluster.write(KEY, &nodes, LISTENER);
    let _a = cluster.start("a");
    let _b = cluster.start("b");
    let text = std::fs::read_to_string(cluster.file()).expect("the file");
    let moved = text.replacen("[cluster]\n", "[cluster]\nport = 7412\n", 1);
    cluster.dir.file("cluster.toml", &moved);
    let (code, said) = cluster.reload("a");
    assert_ne!(code, 0, "{said}");
    assert!(
        said.contains("[cluster] port is 7412 in the file and 7411 where the nodes run"),
        "{said}"
    );
    assert_eq!(answers(&cluster, "a", "b"), Ok(()));
}

#[test]
fn what_of_the_sessions_waits_for_a_start_is_named_on_the_nodes_that_it_concerns() {
    let cluster = Loopback::new();
    let write = |memory: u32, guard: &str| {
        let tables = format!(
            "[sessions]\non = \"a\"\nagents = \"b\"\nagent = \"{}:{}\"\nmemory = \"{memory} MiB\"\n{guard}",
            cluster.host(2),
            cluster.port
        );
        cluster.write(KEY, &[("a", 1), ("b", 2)], &tables);
    };
    write(16, "");
    let _a = cluster.start("a");
    let _b = cluster.start("b");
    write(32, "guard = { keys = \"s:*\", for = \"30s\" }\n");
    let (code, said) = cluster.reload("a");
    assert_eq!(code, 0, "{said}");
    let waits = ["memory", "guard"]
        .map(|key| format!("[sessions] {key} was changed: it takes effect at the next start\n"));
    assert!(said.ends_with(&waits.concat()), "{said}");
    let (code, said) = cluster.reload("b");
    assert!(
        code == 0 && said.ends_with(" has taken its file\n"),
        "{said}"
    );
}
