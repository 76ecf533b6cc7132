//! Host names of the file and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tandem_model::{Address, NodePlan};
use tandem_net::ClientRule;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::exit::{Failure, Result};

/// How long a running node waits for the resolver. Its own limits are 5 s for each of its servers, twice.
const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses of a host, each with port 0.
type Found = std::result::Result<Vec<SocketAddr>, Arc<io::Error>>;

/// Looks names up.
pub enum Names {
    /// When they are asked for, which holds up whoever asks.
    Now,
    /// They have been.
    Known(BTreeMap<String, Found>),
}

impl Names {
    /// Those of the nodes of a plan, looked up at the same time, while the thread does what else it has to do: the resolver
    /// may take as long as it likes.
    pub async fn of(plan: &NodePlan) -> Self {
        let peers = plan.peers.iter().map(|(_, host)| host);
        let voters = plan.voters.iter().filter_map(|voter| match &voter.address {
            Address::Tcp { host, .. } => Some(host),
            Address::Unix(_) => None,
        });
        let hosts: BTreeSet<String> = peers.chain(voters).cloned().collect();
        let found = hosts.into_iter().map(async |host| {
            let found = look_up_apart(&host).await;
            (host, found)
        });
        Self::Known(join_all(found).await.into_iter().collect())
    }

    fn addresses(&self, host: &str) -> Found {
        match self {
            Self::Known(known) if known.contains_key(host) => known[host].clone(),
            _ => look_up(host),
        }
    }

    /// Who is a node: the addresses of the others.
    pub fn client_rule(&self, plan: &NodePlan) -> Result<ClientRule> {
        let mut rule = ClientRule::default();
        for (name, host) in &plan.peers {
            let found = self.addresses(host).map_err(|error| {
                Failure::usage(format!(
                    "the address of node {name}, `{host}`, cannot be looked up: {error}"
                ))
            })?;
            let addresses = found.into_iter().map(|at| at.ip().to_canonical());
            rule.nodes.extend(addresses);
        }
        Ok(rule)
    }

    /// The address of a node's port.
    pub fn one_address(&self, host: &str, port: u16) -> Result<SocketAddr> {
        one(host, port, self.addresses(host))
    }
}

/// The address of a node's port, looked up while the thread does something else.
pub async fn one_address_apart(host: &str, port: u16) -> Result<SocketAddr> {
    one(host, port, look_up_apart(host).await)
}

fn one(host: &str, port: u16, found: Found) -> Result<SocketAddr> {
    let mut found = found
        .map_err(|error| Failure::usage(format!("`{host}` cannot be looked up: {error}")))?
        .into_iter();
    let mut address = found
        .next()
        .ok_or_else(|| Failure::usage(format!("`{host}` has no address")))?;
    address.set_port(port);
    Ok(address)
}

fn look_up(host: &str) -> Found {
    let found = (host, 0).to_socket_addrs().map_err(Arc::new)?;
    Ok(found.collect())
}

async fn look_up_apart(host: &str) -> Found {
    // One that is an address is not waited for.
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, 0)]);
    }
    let host = host.to_owned();
    match timeout(PATIENCE, spawn_blocking(move || look_up(&host))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(Arc::new(io::Error::other(error))),
        Err(_) => Err(Arc::new(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", PATIENCE.as_secs()),
        ))),
    }
}
