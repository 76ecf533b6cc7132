//! Where a node listens: bound anew, beside another process, or taken from one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::Path;

use tandem_model::{Address, NodePlan};
use tandem_net::listen::{self, Bound};
use tandem_telemetry::Telemetry;

use crate::exit::{Failure, Result};
use crate::node::succession::{Legacy, Role};
use crate::process;

/// Bound sockets by their address as written.
pub struct Sockets {
    pub(super) listeners: BTreeMap<Address, Vec<Bound>>,
    pub(super) admin: Option<(Address, Vec<Bound>)>,
    pub(super) own: Option<(Address, Vec<Bound>)>,
}

/// The socket in the state directory by which the command line speaks to the node.
pub const OWN_SOCKET: &str = "admin.sock";

/// Where sockets come from at the start.
#[derive(Default)]
pub struct Origin {
    /// Another process that has the addresses lets go of them soon.
    pub beside: bool,
    /// Ports at which this process listens, at addresses that it lets go of soon: at another address of such a port it
    /// can listen beside itself.
    pub leaving: BTreeSet<u16>,
    /// Bound sockets that were handed over, by what they are bound to.
    pub handed: BTreeMap<Address, OwnedFd>,
    /// The sockets of the process whose place is taken.
    pub legacy: Legacy,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whom the umask lets.
    Usual,
    /// The node's user, and root.
    Private,
}

impl Origin {
    fn bind(
        &mut self,
        role: Role,
        access: Access,
        address: &Address,
        workers: usize,
    ) -> std::result::Result<Vec<Bound>, String> {
        let left = self.legacy.take(role, address);
        if !left.is_empty() {
            let taken = left.into_iter().map(|at| listen::take_over(at, workers));
            return taken.collect::<std::io::Result<_>>().map_err(|error| {
                format!("cannot listen on the sockets of the running node for {address}: {error}")
            });
        }
        if let Some(socket) = self.handed.remove(address) {
            let adopted = listen::adopt(socket, workers);
            return adopted.map(|bound| vec![bound]).map_err(|error| {
                format!("cannot listen on the socket that was handed over for {address}: {error}")
            });
        }
        // The admin pages let in whoever reaches them by a socket.
        if access == Access::Private && matches!(address, Address::Unix(_)) {
            let bound = listen::bind_private(address, workers);
            return bound.map_err(|error| error.to_string());
        }
        let is_left = |port| self.leaving.contains(&port);
        let bound = if self.beside || address.port().is_some_and(is_left) {
            listen::bind_beside(address, workers)
        } else {
            listen::bind(address, workers)
        };
        bound.map_err(|error| error.to_string())
    }
}

/// Binds every listener and the admin pages, for so many workers.
pub fn bind(
    plan: &NodePlan,
    workers: usize,
    origin: &mut Origin,
    telemetry: &Telemetry,
) -> Result<Sockets> {
    let mut wrong = Vec::new();
    let listeners = bind_all(plan, workers, |_| true, origin, &mut wrong);
    let own = bind_own(plan, origin, telemetry);
    let mut admin = None;
    if let Some(address) = &plan.admin {
        match bind_private(Role::Door, address, workers, plan, origin) {
            Ok(bound) => admin = Some((address.clone(), bound)),
            Err(error) => wrong.push(format!("admin pages: {error}")),
        }
    }
    all_or_none(
        Sockets {
            listeners,
            admin,
            own,
        },
        &wrong,
    )
}

/// Binds the socket of the node's user. Where it cannot be, only the command line is the poorer.
fn bind_own(
    plan: &NodePlan,
    origin: &mut Origin,
    telemetry: &Telemetry,
) -> Option<(Address, Vec<Bound>)> {
    let path = plan.state.join(OWN_SOCKET);
    let address = Address::Unix(path.to_string_lossy().into_owned());
    let bound = bind_private(Role::Own, &address, 1, plan, origin);
    let bound = bound.map(|bound| Some((address, bound)));
    bound.unwrap_or_else(|why| {
        let what = format!(
            "commands cannot reach this node by {}: {why}",
            path.display()
        );
        telemetry.events.warning("node", what);
        None
    })
}

/// Binds an address of the admin pages: a Unix socket is of the node's user.
fn bind_private(
    role: Role,
    address: &Address,
    workers: usize,
    plan: &NodePlan,
    origin: &mut Origin,
) -> std::result::Result<Vec<Bound>, String> {
    let bound = origin.bind(role, Access::Private, address, workers)?;
    if let Address::Unix(path) = address {
        let (user, group) = (plan.user.as_deref(), plan.group.as_deref());
        process::give(Path::new(path), user, group).map_err(|error| error.to_string())?;
    }
    Ok(bound)
}

/// Binds the addresses of listeners that are `wanted`.
pub(super) fn bind_all(
    plan: &NodePlan,
    workers: usize,
    wanted: impl Fn(&Address) -> bool,
    origin: &mut Origin,
    wrong: &mut Vec<String>,
) -> BTreeMap<Address, Vec<Bound>> {
    let mut listeners = BTreeMap::new();
    for listener in &plan.listeners {
        for address in listener.bind.iter().filter(|address| wanted(address)) {
            match origin.bind(Role::Door, Access::Usual, address, workers) {
                Ok(bound) => {
                    listeners.insert(address.clone(), bound);
                }
                Err(error) => wrong.push(format!("listener {}: {error}", listener.name)),
            }
        }
    }
    listeners
}

pub(super) fn all_or_none(sockets: Sockets, wrong: &[String]) -> Result<Sockets> {
    if wrong.is_empty() {
        Ok(sockets)
    } else {
        Err(Failure::usage(wrong.join("\ntandem: ")))
    }
}
