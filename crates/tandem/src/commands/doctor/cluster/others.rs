//! The other nodes: whether they answer, by which file and version, and what time they have.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tandem_admin::{Answer, Call, Others};
use tandem_model::NodePlan;
use tandem_net::cluster::{ClusterKey, Incarnation};
use tandem_session::node::FAR;
use tokio::runtime::LocalRuntime;

use super::{Patient, own};
use crate::commands::doctor::finding::Findings;
use crate::node::{Peers, hash};
use crate::operator::next_start;

/// For an answer of a node that lives.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks may be apart by so much, in milliseconds, before logs of two nodes are hard to read together.
const APART: i64 = 2_000;

/// What a node said, and when it was asked, in milliseconds since 1970.
struct Told {
    node: Answer,
    config: Answer,
    at: i64,
    /// To say so, without opening the connection, where that matters: both hold sessions.
    took: Option<Duration>,
}

pub fn look(patient: &Patient, findings: &mut Findings) {
    let here = hash(&patient.text);
    if patient.running.is_some() {
        let config = own(&patient.plan).get("/api/v1/config/diff", &[]);
        let config = config.map_or(Value::Null, |reply| reply.body);
        for waits in next_start(&config).lines() {
            findings.note(format!("The node here runs since before {waits}."));
        }
        if config["hash"] == here.as_str() {
            findings.good("The node here runs by this file.");
        } else {
            findings.note(
                "The node here runs by another state of the file: `tandem config diff` shows what is different, `tandem \
                 reload` has it take this one.",
            );
        }
    }
    let Some(key) = &patient.plan.key else { return };
    if patient.plan.peers.is_empty() {
        return;
    }
    let key = ClusterKey::new(key.reveal().as_bytes());
    let told = match ask(patient, &key) {
        Ok(told) => told,
        Err(error) => {
            findings.wrong(format!("The other nodes cannot be asked: {error}."));
            return;
        }
    };
    for (name, told) in told {
        match &told.node {
            Answer { status: 200, body } => one(&name, body, &told, &here, findings),
            Answer { body, .. } => {
                let host = patient.plan.peers.iter().find(|(peer, _)| *peer == name);
                let host = host.map_or("", |(_, host)| host);
                let why = body["error"].as_str().unwrap_or("no answer");
                findings.wrong(format!(
                    "Node {name} does not answer at {host}, port {}: {why}. Is it started, and do firewalls let the port \
                     through?",
                    patient.plan.cluster_port
                ));
            }
        }
    }
}

/// Whether this node and that one both hold the sessions.
fn hold_sessions(plan: &NodePlan, name: &str) -> bool {
    let does = |node: &str| plan.voters.iter().any(|voter| voter.name == node);
    does(name) && does(&plan.node)
}

/// Says what is different about a node that answers.
fn one(name: &str, body: &Value, told: &Told, here: &str, findings: &mut Findings) {
    let mut well = true;
    let version = body["version"].as_str().unwrap_or("unknown");
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        well = false;
        findings.note(format!(
            "Node {name} has version {version}, this program is {own}: bring them to the same version."
        ));
    }
    match told.config.body["hash"].as_str() {
        Some(theirs) if theirs == here => {}
        Some(_) => {
            well = false;
            findings.wrong(format!(
                "Node {name} runs by another file: copy this one there, then `tandem reload` there."
            ));
        }
        None => {
            well = false;
            findings.note(format!("Node {name} does not say by which file it runs."));
        }
    }
    if let Some(theirs) = body["now"].as_i64() {
        let apart = theirs - told.at;
        if apart.abs() > APART {
            well = false;
            findings.wrong(format!(
                "The clock of node {name} is {}.{} s {} this one's: run an NTP client (chrony) on both, or logs and \
                 certificates mean different things on them. Sessions do not depend on it.",
                apart.abs() / 1_000,
                apart.abs() % 1_000 / 100,
                if apart > 0 { "ahead of" } else { "behind" }
            ));
        }
    }
    if let Some(took) = told.took.filter(|took| *took > FAR) {
        well = false;
        findings.note(format!(
            "Node {name} takes {} ms to answer: session nodes that are so far from one another lose their leader again and \
             again. Keep them in one place.",
            took.as_millis()
        ));
    }
    if well {
        findings.good(format!(
            "Node {name} answers: the same file, version and time."
        ));
    }
}

fn ask(patient: &Patient, key: &ClusterKey) -> std::io::Result<Vec<(String, Told)>> {
    let runtime = LocalRuntime::new()?;
    let told = runtime.block_on(async {
        let peers = Peers::start(&patient.plan, key, Incarnation::NONE);
        let all = peers.names().into_iter().map(|name| {
            let peers = &peers;
            async move {
                let ask = async || {
                    let (before, begun) = (now(), Instant::now());
                    let node = call(peers, &name, "/api/v1/node").await;
                    (node, i64::midpoint(before, now()), begun.elapsed())
                };
                let mut told = ask().await;
                // The first time opens the connection.
                if told.0.status == 200 {
                    told = ask().await;
                }
                let (node, at, took) = told;
                let config = call(peers, &name, "/api/v1/config").await;
                let took = hold_sessions(&patient.plan, &name).then_some(took);
                (
                    name,
                    Told {
                        node,
                        config,
                        at,
                        took,
                    },
                )
            }
        });
        futures_util::future::join_all(all).await
    });
    // Whoever does not answer is not waited for.
    runtime.shutdown_background();
    Ok(told)
}

async fn call(peers: &Peers, node: &str, path: &str) -> Answer {
    let call = Call {
        changes: false,
        path: path.into(),
        parameters: Vec::new(),
        by: "tandem doctor".into(),
        by_owner: false,
    };
    let answer = tokio::time::timeout(PATIENCE, peers.ask(node, &call)).await;
    answer.unwrap_or_else(|_| Answer {
        status: 504,
        body: serde_json::json!({ "error": format!("no answer within {PATIENCE:?}") }),
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is said of a node of this version, with a file of this hash, and a clock that is so many milliseconds ahead.
    fn said(version: &str, hash: &str, ahead: i64) -> String {
        said_after(None, version, hash, ahead)
    }

    fn said_after(took: Option<Duration>, version: &str, hash: &str, ahead: i64) -> String {
        let at = 1_795_737_600_000;
        let answer = |body| Answer { status: 200, body };
        let told = Told {
            node: answer(json!({ "version": version, "now": at + ahead })),
            config: answer(json!({ "hash": hash })),
            at,
            took,
        };
        let mut findings = Findings::default();
        one("b", &told.node.body, &told, "abc", &mut findings);
        findings.to_string()
    }

    #[test]
    fn what_is_different_about_a_node_is_named() {
        let version = env!("CARGO_PKG_VERSION");
        assert!(said(version, "abc", -300).starts_with("good   Node b answers"));
        let ahead = said(version, "abc", 5_400);
        assert!(
            ahead.starts_with("WRONG  The clock of node b is 5.4 s ahead of this one's"),
            "{ahead}"
        );
        let behind = said(version, "abc", -90_000);
        assert!(behind.contains("is 90.0 s behind this one's"), "{behind}");
        assert!(said("0.0.1", "abc", 0).starts_with("note   Node b has version 0.0.1"));
        assert!(said(version, "abd", 0).starts_with("WRONG  Node b runs by another file"));
        let far = said_after(Some(Duration::from_millis(150)), version, "abc", 0);
        assert!(
            far.starts_with("note   Node b takes 150 ms to answer"),
            "{far}"
        );
    }

    #[test]
    fn only_nodes_that_hold_sessions_must_be_near_one_another() {
        let text = "[cluster]\nkey = \"0123456789abcdef0123\"\n\
                    [nodes]\na = \"10.0.0.1\"\nb = \"10.0.0.2\"\nc = \"10.0.0.3\"\nfar = \"10.9.0.1\"\n\
                    [sessions]\non = [\"a\", \"b\", \"c\"]\n";
        let loaded = tandem_config::parse(text, "test", std::path::Path::new("/"), &|_| None);
        let cluster = loaded.unwrap_or_else(|why| panic!("{why}")).cluster;
        let plan = |node: &str| cluster.for_node(node).expect("it is of the file");
        assert!(hold_sessions(&plan("a"), "b"));
        assert!(!hold_sessions(&plan("a"), "far") && !hold_sessions(&plan("far"), "a"));
    }
}
