//! Free ports for programs.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tries to find a port that no other instance of this node has.
const TRIES: usize = 64;

/// The ports given to the instances of a node, so that no two of them get the same one before they listen. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Ports(Arc<Mutex<BTreeSet<SocketAddr>>>);

/// A port that was given away, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) address: SocketAddr,
    ports: Ports,
}

impl Ports {
    /// A port of `host` on which a program can listen now: `preferred` if it is free, else any.
    pub(crate) fn take(&self, host: IpAddr, preferred: Option<u16>) -> io::Result<Taken> {
        for port in preferred.into_iter().chain([0; TRIES]) {
            // As a server would bind it: connections of an earlier one that linger do not count.
            let address = match TcpListener::bind((host, port)) {
                Ok(listener) => listener.local_addr()?,
                Err(_) if port != 0 => continue,
                Err(error) => return Err(error),
            };
            if self.lock().insert(address) {
                let ports = self.clone();
                return Ok(Taken { address, ports });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The port on which a program that runs listens.
    pub(crate) fn hold(&self, address: SocketAddr) -> Taken {
        self.lock().insert(address);
        let ports = self.clone();
        Taken { address, ports }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.ports.lock().remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_given_once_and_the_preferred_one_if_it_is_free() {
        let host = IpAddr::from([127, 0, 0, 1]);
        let ports = Ports::default();
        let first = ports.take(host, None).unwrap();
        let port = first.address.port();
        assert_ne!(ports.take(host, Some(port)).unwrap().address.port(), port);
        drop(first);
        let again = ports.take(host, Some(port)).unwrap();
        assert_eq!(again.address.port(), port);
        drop(again);
        let _other = TcpListener::bind((host, port)).unwrap();
        assert_ne!(ports.take(host, Some(port)).unwrap().address.port(), port);
    }

    #[test]
    fn an_address_of_another_machine_is_an_error() {
        assert!(Ports::default().take([192, 0, 2, 1].into(), None).is_err());
    }
}
