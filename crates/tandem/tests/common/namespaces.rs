//! Nodes in network namespaces, for tests that cut links.

use std::path::Path;

use tandem_history::torture::{Failure, Nodes};

use super::Dir;

/// Nodes that have not been started, and the directory they live in. Without the right to make namespaces there are
/// none: the test is skipped with a message.
pub fn nodes(names: &[&str], sessions: &str) -> Option<(Nodes, Dir)> {
    let dir = Dir::new();
    let tandem = Path::new(env!("CARGO_BIN_EXE_tandem"));
    match Nodes::make(tandem, dir.path(), names, sessions) {
        Ok(nodes) => Some((nodes, dir)),
        Err(why) => {
            skip(&why);
            None
        }
    }
}

/// Says why a test is skipped. Namespaces that cannot be made for another reason than a missing right are a failure.
pub fn skip(why: &Failure) {
    assert!(why.is_missing_right(), "{why}");
    println!("skipped: {why}");
}
