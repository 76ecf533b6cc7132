//! What applications print comes to the node's log as lines that are what they look like, and not without bound.

mod common;

use common::node::Node;
use common::wait_until;

/// A node whose application is a shell script.
fn printing(script: &str) -> Node {
    Node::start_with(
        "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = [{ to = \"app\" }]\n[app.app]\nrun = [\"sh\", \"{dir}/print.sh\"]\n",
        |dir| {
            dir.file("print.sh", script);
        },
    )
}

#[test]
fn a_line_that_is_cut_says_so_and_control_characters_are_written_out() {
    let node = printing(
        "head -c 100000 /dev/zero | tr '\\0' x; echo\n\
         printf 'one\\033[2J\\000two\\rthree\\ttabs\\n'\n\
         exec sleep 4711\n",
    );
    let line = |end: &str| {
        let log = node.log();
        let line = log.lines().find(|line| line.ends_with(end));
        line.map(str::to_owned)
    };
    let expected = " local app app/0: one\\x1B[2J\\x00two\\x0Dthree\ttabs";
    wait_until("its second line", || line(expected).is_some());
    let cut = line("x [cut]").expect("the first line, and that it was cut");
    assert_eq!(cut.matches('x').count(), 8 * 1024);
    assert!(!node.log().contains(['\u{1b}', '\0', '\r']));
}

#[test]
fn a_flood_is_left_out_of_the_log_and_counted() {
    let node = printing("seq 1 50000\nexit 3\n");
    wait_until("what was left out is counted", || {
        node.log()
            .contains("(40000 lines that it printed were left out)")
    });
    let log = node.log();
    assert!(
        log.contains(
            "it prints more than 10000 lines or 4 MiB in 10 s: the rest of them is left out"
        ),
        "{log}"
    );
    assert!(log.contains("app app/0: 10000\n"));
    assert!(!log.contains("app app/0: 10001\n"));
}
