//! The command line's side of the admin API: it finds a node of this machine and asks it.

mod client;
pub mod find;

pub use client::Client;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::exit::{Failure, Result};

/// What several nodes answered: a node's name, the status code, the body.
pub fn each(body: &Value) -> Vec<(String, u16, Value)> {
    let nodes = body.as_object().into_iter().flatten();
    nodes
        .map(|(node, told)| {
            let status = told["status"].as_u64().unwrap_or(0) as u16;
            (node.clone(), status, told["body"].clone())
        })
        .collect()
}

/// Why something was refused, in the node's words.
pub fn refusal(body: &Value) -> String {
    let why = body["error"].as_str();
    why.map_or_else(|| body.to_string(), ToOwned::to_owned)
}

/// A line about nodes that run by different files, the most first; nothing when all run by the same one. A node comes with
/// the hash of what it runs by.
pub fn different_files<'a>(nodes: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, hash) in nodes {
        files.entry(hash).or_default().push(node);
    }
    let mut files: Vec<Vec<&str>> = files.into_values().collect();
    if files.len() < 2 {
        return String::new();
    }
    files.sort_by_key(|nodes| std::cmp::Reverse(nodes.len()));
    let by: Vec<String> = files.iter().map(|nodes| nodes.join(", ")).collect();
    let by = by.join(" by one, ");
    format!(
        "the nodes run by different files: {by} by another (`tandem config diff`, `tandem doctor`)\n"
    )
}

/// What of a node's file waits for its next start, a line each.
pub fn next_start(body: &Value) -> String {
    let waits = body["next_start"].as_array().into_iter().flatten();
    let waits = waits.filter_map(Value::as_str);
    waits.fold(String::new(), |out, what| {
        out + what + " was changed: it takes effect at the next start\n"
    })
}

/// A change on every node that knows its object: done where it is, and an error when it is nowhere or was refused.
pub fn change_everywhere(
    client: &Client,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<String> {
    let mut all = parameters.to_vec();
    all.push(("nodes", "all"));
    let reply = client.post(path, &all)?;
    outcome(&each(&reply.body), &reply.body)
}

/// What came of it: where it was done, and where it was not for another reason than that the object is not there.
fn outcome(answers: &[(String, u16, Value)], whole: &Value) -> Result<String> {
    let (mut done, mut failed) = (String::new(), Vec::new());
    for (node, status, body) in answers {
        match status {
            200 => {
                let what = body["done"].as_str().unwrap_or("done");
                let _ = writeln!(done, "{node}: {what}");
            }
            404 => {}
            _ => failed.push((*status, format!("not at {node}: {}", refusal(body)))),
        }
    }
    if !done.is_empty() && failed.is_empty() {
        return Ok(done);
    }
    // Who has the object and refuses says what is wrong with the order; who does not answer says nothing of it.
    failed.sort_by_key(|(status, _)| *status >= 500);
    let is_known = !done.is_empty() || failed.iter().any(|(status, _)| *status < 500);
    let is_wrong = done.is_empty() && failed.first().is_some_and(|(status, _)| *status == 400);
    let failed: Vec<String> = failed.into_iter().map(|(_, why)| why).collect();
    let failed = failed.join("\n");
    if is_known {
        let said = done + &failed;
        return Err(if is_wrong {
            Failure::usage(said)
        } else {
            Failure::failed(said)
        });
    }
    let Some((_, _, unknown)) = answers.iter().find(|(_, status, _)| *status == 404) else {
        return Err(Failure::failed(match answers {
            [] => refusal(whole),
            _ => failed,
        }));
    };
    // Those who know nothing of it say what there is.
    let mut said = refusal(unknown);
    let mut known: Vec<&str> = answers
        .iter()
        .filter_map(|(_, _, body)| body["servers"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    known.sort_unstable();
    known.dedup();
    if !known.is_empty() {
        let _ = write!(said, "; there are {}", known.join(", "));
    }
    if !failed.is_empty() {
        let _ = write!(said, "\n{failed}");
    }
    Err(Failure::failed(said))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(answers: &[(&str, u16, Value)]) -> (bool, String) {
        let own =
            |(node, status, body): &(&str, u16, Value)| ((*node).to_owned(), *status, body.clone());
        let answers: Vec<_> = answers.iter().map(own).collect();
        match outcome(&answers, &Value::Null) {
            Ok(said) => (true, said),
            Err(failure) => (false, failure.to_string()),
        }
    }

    #[test]
    fn an_order_says_of_every_node_what_became_of_it_also_when_one_is_down() {
        let down = ("cache3", 502, json!({ "error": "connection refused" }));
        let done = |node| (node, 200, json!({ "done": "state drain" }));
        let absent = |node| (node, 404, json!({ "error": "there is no server x" }));
        assert_eq!(
            said(&[done("app1"), absent("app2"), done("edge")]),
            (true, "app1: state drain\nedge: state drain\n".into())
        );
        assert_eq!(
            said(&[done("app1"), down.clone(), done("edge")]),
            (
                false,
                "app1: state drain\nedge: state drain\nnot at cache3: connection refused".into()
            )
        );
        assert_eq!(
            said(&[down.clone(), absent("edge")]),
            (
                false,
                "there is no server x\nnot at cache3: connection refused".into()
            )
        );
        assert_eq!(
            said(std::slice::from_ref(&down)),
            (false, "not at cache3: connection refused".into())
        );
        // What is wrong with the order comes first, and that it was not found elsewhere does not matter.
        let wrong = ("edge", 400, json!({ "error": "`300` is no weight" }));
        let (_, told) = said(&[absent("app1"), down, wrong.clone()]);
        assert_eq!(
            told,
            "not at edge: `300` is no weight\nnot at cache3: connection refused"
        );
        let (node, status, body) = wrong;
        let failure = outcome(&[(node.into(), status, body)], &Value::Null).unwrap_err();
        assert_eq!(failure.code, crate::exit::USAGE);
    }

    #[test]
    fn nodes_that_run_by_different_files_are_told_apart() {
        let same = [("a", "1"), ("b", "1")];
        assert_eq!(different_files(same), "");
        assert!(
            different_files([("a", "2"), ("b", "1"), ("c", "1")])
                .starts_with("the nodes run by different files: b, c by one, a by another (")
        );
    }
}
