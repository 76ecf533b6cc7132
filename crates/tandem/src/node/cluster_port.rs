//! The cluster port of a node: where the other nodes of the file reach it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tandem_model::NodePlan;
use tandem_net::cluster::{ClusterKey, ClusterServer, Incarnation, Purposes};
use tandem_telemetry::Telemetry;
use tokio::sync::oneshot;

use super::names::Names;
use crate::exit::{Failure, Result};

/// The port, bound, and the key. Nothing is accepted before [`serve`](Self::serve).
pub struct ClusterPort {
    server: Option<Rc<ClusterServer>>,
    /// What nodes prove to one another.
    pub key: ClusterKey,
    /// Which start of the node this is.
    pub incarnation: Incarnation,
}

/// Serves until it is dropped. Connections that were handed over live on.
pub struct Serving {
    _stop: Option<oneshot::Sender<()>>,
}

impl ClusterPort {
    /// Binds it, where it is needed: where there are other nodes, or a replica. What the process had whose place is
    /// taken goes on; it may be of a version that was no incarnation. To be called within a local runtime.
    pub async fn bind(
        plan: &NodePlan,
        left: Option<(SocketAddr, OwnedFd)>,
        left_key: Option<&[u8]>,
        left_incarnation: Option<Incarnation>,
        telemetry: &Telemetry,
    ) -> Result<Self> {
        let key = match (&plan.key, left_key) {
            (Some(key), _) => ClusterKey::new(key.reveal().as_bytes()),
            (None, Some(key)) => ClusterKey::new(key),
            (None, None) => ClusterKey::random()
                .map_err(|error| Failure::failed(format!("no random bytes: {error}")))?,
        };
        let incarnation = match left_incarnation.filter(|left| *left != Incarnation::NONE) {
            Some(left) => left,
            None => Incarnation::draw()
                .map_err(|error| Failure::failed(format!("no random bytes: {error}")))?,
        };
        let replica = plan
            .sessions
            .as_ref()
            .is_some_and(|sessions| sessions.voter);
        if plan.peers.is_empty() && !replica {
            return Ok(Self {
                server: None,
                key,
                incarnation,
            });
        }
        let alone = plan.peers.is_empty();
        let address = if alone {
            // Nobody else needs to find it.
            SocketAddr::from(([127, 0, 0, 1], 0))
        } else {
            Names::Now.one_address(&plan.address, plan.cluster_port)?
        };
        let left = left.filter(|(at, _)| alone || *at == address);
        let events = telemetry.events.clone();
        let server = match left {
            Some((_, socket)) => {
                ClusterServer::take_over(socket.into(), &plan.node, key.clone(), events)
            }
            None => ClusterServer::bind(address, &plan.node, key.clone(), events).await,
        };
        let server = server.map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::AddrNotAvailable => {
                    "this machine does not have that address: correct it in [nodes], or say which node this is"
                }
                _ => "[cluster] port chooses another one, on all nodes",
            };
            Failure::usage(format!(
                "the cluster port cannot listen on {address}: {error}; {remedy}"
            ))
        })?;
        Ok(Self {
            server: Some(Rc::new(server)),
            key,
            incarnation,
        })
    }

    /// Its listening socket and where it is, for a process that takes this one's place.
    pub fn share(&self) -> std::io::Result<Option<(SocketAddr, OwnedFd)>> {
        let Some(server) = &self.server else {
            return Ok(None);
        };
        Ok(Some((server.local_addr()?, server.share()?)))
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref()?.local_addr().ok()
    }

    /// Where purposes are registered.
    pub fn purposes(&self) -> Option<Purposes> {
        self.server.as_ref().map(|server| server.purposes())
    }

    /// Accepts connections from now on: when there is someone to answer. What comes otherwise waits. To be called within
    /// a local runtime.
    pub fn serve(&self) -> Serving {
        let stop = self.server.clone().map(|server| {
            let (stop, stopped) = oneshot::channel::<()>();
            tokio::task::spawn_local(async move {
                server
                    .serve_until(async {
                        let _ = stopped.await;
                    })
                    .await;
            });
            stop
        });
        Serving { _stop: stop }
    }
}
