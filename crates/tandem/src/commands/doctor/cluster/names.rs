//! Whether the names of the file have addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tandem_model::{Address, Place, Target};

use super::Patient;
use crate::commands::doctor::finding::Findings;

/// For all of them: as long as a node waits for one.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn look(patient: &Patient, findings: &mut Findings) {
    let names = names(patient);
    let (told, hear) = mpsc::channel();
    for name in &names {
        let (name, told) = (name.clone(), told.clone());
        // A resolver that does not answer is not waited for.
        std::thread::spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            let found = found.map(|all| all.map(|at| at.ip()).collect::<BTreeSet<IpAddr>>());
            let _ = told.send((name, found));
        });
    }
    drop(told);
    let until = Instant::now() + PATIENCE;
    let mut silent = names;
    while let Ok((name, found)) = hear.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        silent.remove(&name);
        match found {
            Ok(found) if !found.is_empty() => {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                findings.good(format!("{name} is {}.", found.join(", ")));
            }
            Ok(_) => findings.wrong(format!(
                "{name} has no address: correct the name in the file, or in the DNS."
            )),
            Err(error) => findings.wrong(format!(
                "{name} cannot be looked up ({error}): correct the name in the file, or ask whoever runs the DNS."
            )),
        }
    }
    for name in silent {
        findings.wrong(format!(
            "{name} was not found within {PATIENCE:?}: the resolvers in /etc/resolv.conf do not answer."
        ));
    }
}

/// Names of nodes, and of servers that this node leads to.
fn names(patient: &Patient) -> BTreeSet<String> {
    let nodes = patient.cluster.nodes.iter();
    let mut names: BTreeSet<String> = nodes.map(|node| node.address.clone()).collect();
    for target in &patient.plan.targets {
        let Target::Pool(pool) = target else { continue };
        for member in &pool.members {
            if let Place::Node(Address::Tcp { host, .. })
            | Place::Server(Address::Tcp { host, .. }) = &member.place
            {
                names.insert(host.clone());
            }
        }
    }
    names.retain(|name| !name.is_empty() && name.parse::<IpAddr>().is_err());
    names
}
