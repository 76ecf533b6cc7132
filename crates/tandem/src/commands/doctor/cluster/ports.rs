//! Whether the addresses of the file are free, or the node's own.

use std::io::ErrorKind;

use tandem_model::Address;
use tandem_net::listen;

use super::Patient;
use crate::commands::doctor::finding::Findings;

pub fn look(patient: &Patient, findings: &mut Findings) {
    let plan = &patient.plan;
    let listeners = plan.listeners.iter().flat_map(|listener| {
        let what = format!("listener {}", listener.name);
        listener
            .bind
            .iter()
            .map(move |at| (what.clone(), at.clone()))
    });
    let mut wanted: Vec<(String, Address)> = listeners.collect();
    wanted.extend(plan.admin.clone().map(|at| ("admin".into(), at)));
    if !plan.peers.is_empty() {
        let at = Address::tcp(&*plan.address, plan.cluster_port);
        wanted.push(("the other nodes".into(), at));
    }
    let agent = plan.sessions.as_ref().and_then(|part| part.agent.clone());
    wanted.extend(agent.map(|at| ("the sessions' agent".into(), at)));
    let (mut good, mut taken) = (Vec::new(), Vec::new());
    for (what, at) in wanted {
        // Binding one would take its name away from whoever has it.
        if matches!(at, Address::Unix(_)) {
            continue;
        }
        let runs = patient.running.is_some();
        match listen::bind(&at, 1) {
            Ok(_) if runs => findings.note(format!(
                "Nobody listens on {at} ({what}), though the node runs: `tandem config diff` says whether it has this \
                 file, `tandem reload` gives it to it."
            )),
            Ok(_) => good.push(at.to_string()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && runs => {
                good.push(at.to_string());
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && patient.is_hidden => {
                taken.push(at.to_string());
            }
            Err(error) => findings.wrong(format!("For {what}: {error}.")),
        }
    }
    if !taken.is_empty() {
        findings.note(format!(
            "Addresses that are taken, by the node or by another program, which this user cannot see: {}.",
            taken.join(", ")
        ));
    }
    if !good.is_empty() {
        let state = match patient.running {
            Some(_) => "held by the node",
            None => "free",
        };
        findings.good(format!("Addresses that are {state}: {}.", good.join(", ")));
    }
}
