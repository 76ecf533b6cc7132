//! `tandem doctor [cluster.toml]`: this machine as the file wants it, and from it the other nodes.
//!
//! 1. the file, and what it names on this machine;
//! 2. the machine: descriptors, ports, state directory and disk, certificates, names;
//! 3. the node that runs here, and the others: whether they answer, by which file and version, and what time they have.

mod certificates;
mod disk;
mod limits;
mod names;
mod others;
mod ports;

use std::io::ErrorKind;
use std::path::PathBuf;

use serde_json::Value;
use tandem_model::{Cluster, NodePlan};

use super::finding::Findings;
use crate::commands::{load, run};
use crate::exit::{Failure, Result};
use crate::node::OWN_SOCKET;
use crate::operator::Client;
use crate::service::settings::Given;

/// What is looked at.
struct Patient {
    cluster: Cluster,
    plan: NodePlan,
    /// What the file says, as checked; without secrets.
    text: String,
    /// What the node says that runs here, if one does.
    running: Option<Value>,
    /// This user may not ask whether one does.
    is_hidden: bool,
}

/// Looks at this machine and, from it, at the others.
pub fn look(file: Option<PathBuf>, node: Option<String>) -> Result<Findings> {
    let settings = Given::default().complete()?;
    let path = file.unwrap_or_else(|| settings.file.clone());
    if !path.exists() {
        return Err(Failure::usage(format!(
            "there is no {}; name the file: `tandem doctor cluster.toml`",
            path.display()
        )));
    }
    let mut loaded = load(&path, &|name| settings.variable(name))?;
    let text = loaded.shown();
    loaded.cluster.start_in(&loaded.base);
    let name = match node.or(settings.node) {
        Some(name) => name,
        None => run::this_machine(&loaded.cluster)?,
    };
    let cluster = loaded.cluster.clone();
    let plan = run::plan(loaded, &name)?;
    let running = running(&plan);
    let reached = own(&plan).reach();
    let is_hidden = reached.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    let patient = Patient {
        cluster,
        plan,
        text,
        running,
        is_hidden,
    };
    let mut findings = Findings::default();
    findings.about("file");
    let here = crate::process::check_here(&patient.cluster, Some(&name));
    if here.is_empty() {
        findings.good(format!(
            "{} is good, and what it names for node {name} is here.",
            path.display()
        ));
    }
    for what in here {
        findings.wrong(format!("For node {name}: {what}."));
    }
    findings.about("node");
    match &patient.running {
        Some(told) => findings.good(format!(
            "Node {name} runs here, version {}.",
            told["version"].as_str().unwrap_or("unknown")
        )),
        None if is_hidden => findings.note(format!(
            "Whether node {name} runs here cannot be seen: its socket {} may be opened by root and by the node's user only. \
             Run this as one of them (sudo).",
            patient.plan.state.join(OWN_SOCKET).display()
        )),
        None => findings.note(format!(
            "Node {name} does not run here (nothing answers at {}): `tandem start` starts it.",
            patient.plan.state.join(OWN_SOCKET).display()
        )),
    }
    for (about, look) in LOOKS {
        findings.about(about);
        look(&patient, &mut findings);
    }
    Ok(findings)
}

type Look = fn(&Patient, &mut Findings);

const LOOKS: &[(&str, Look)] = &[
    ("descriptors", limits::look),
    ("ports", ports::look),
    ("disk", disk::look),
    ("certificates", certificates::look),
    ("names", names::look),
    ("nodes", others::look),
];

/// A node's own socket.
fn own(plan: &NodePlan) -> Client {
    Client::at(&plan.state.join(OWN_SOCKET))
}

/// What the node says of itself that runs by this plan.
fn running(plan: &NodePlan) -> Option<Value> {
    let told = own(plan).get("/api/v1/node", &[]).ok()?.good().ok()?;
    (told["node"] == plan.node.as_str()).then_some(told)
}
