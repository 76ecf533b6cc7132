//! Binding: from an address of the file to one listening socket for each worker.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tandem_model::Address;

use crate::privilege::{self, Right};

/// Connections the kernel holds until a worker takes them; the kernel itself caps it at `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// Rights of a socket for one user.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A bound place: one listening socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// Where; with the port the kernel chose, if that was left to it. `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// Listening, non-blocking sockets, at least one for each worker.
    pub sockets: Vec<OwnedFd>,
}

/// Why an address could not be bound, in one sentence with the remedy.
#[derive(Debug)]
pub struct BindError {
    address: String,
    cause: io::Error,
}

impl BindError {
    fn new(address: impl fmt::Display, cause: io::Error) -> Self {
        Self {
            address: address.to_string(),
            cause,
        }
    }

    /// What the kernel or the resolver said.
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, cause } = self;
        match cause.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is taken: another program listens there (\"ss -ltnp\" shows which); stop it or choose \
                 another port"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "{address} may not be bound by this user: ports below 1024 need root or the CAP_NET_BIND_SERVICE \
                 capability; start as root (and name a [cluster] user to become) or choose a port from 1024 on"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "{address} is not an address of this machine: \"ip address\" lists those it has; leave the host out \
                 (\":80\") to listen on all of them"
            ),
            _ => write!(f, "cannot listen on {address}: {cause}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Binds `address` for `workers` workers. A host name with several addresses is bound on each that this machine has; an
/// empty host on all addresses of the machine.
///
/// The first socket is bound without SO_REUSEPORT, so that a taken port is an error even when the other program is
/// Tandem too; only then is it shared among the workers.
///
/// # Errors
/// When the name is unknown or an address cannot be bound; nothing stays bound then.
pub fn bind(address: &Address, workers: usize) -> Result<Vec<Bound>, BindError> {
    bind_as(address, workers, false)
}

/// As [`bind`], where only this user and root are let in: a Unix socket has these rights from its first moment, whatever
/// the umask.
///
/// # Errors
/// As [`bind`].
pub fn bind_private(address: &Address, workers: usize) -> Result<Vec<Bound>, BindError> {
    let Address::Unix(path) = address else {
        return bind(address, workers);
    };
    let bound = unix(Path::new(path), workers, Some(PRIVATE));
    Ok(vec![bound.map_err(|e| BindError::new(address, e))?])
}

/// As [`bind`], beside a process that lets go of the address soon: a port may be shared with it.
///
/// # Errors
/// As [`bind`]; also when the other process does not share the port.
pub fn bind_beside(address: &Address, workers: usize) -> Result<Vec<Bound>, BindError> {
    bind_as(address, workers, true)
}

/// Takes a bound socket that was handed over; each worker holds a duplicate of it.
///
/// # Errors
/// When it is no socket that can listen.
pub fn adopt(socket: OwnedFd, workers: usize) -> io::Result<Bound> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let address = socket.local_addr()?.as_socket();
    let mut sockets = vec![OwnedFd::from(socket)];
    for _ in 1..workers.max(1) {
        sockets.push(sockets[0].try_clone()?);
    }
    Ok(Bound { address, sockets })
}

/// Takes over the sockets with which another process listened at one place. All of them stay: each has a queue of
/// connections of its own. Where there are fewer than workers, others join them.
///
/// # Errors
/// When there is none, or one is no socket that listens.
pub fn take_over(sockets: Vec<OwnedFd>, workers: usize) -> io::Result<Bound> {
    let mut sockets: Vec<Socket> = sockets.into_iter().map(Socket::from).collect();
    for socket in &sockets {
        socket.set_nonblocking(true)?;
        if !socket.is_listener()? {
            return Err(io::Error::other("it does not listen"));
        }
    }
    let first = sockets.first();
    let first = first.ok_or_else(|| io::Error::other("there is no socket"))?;
    let address = first.local_addr()?.as_socket();
    let known = sockets.len();
    for index in known..workers {
        let joined = match address {
            Some(at) => join(at),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        // A port that was bound by root is shared with nobody else: then two workers share a queue.
        let socket = joined.or_else(|_| sockets[index % known].try_clone())?;
        sockets.push(socket);
    }
    Ok(Bound {
        address,
        sockets: sockets.into_iter().map(OwnedFd::from).collect(),
    })
}

fn bind_as(address: &Address, workers: usize, beside: bool) -> Result<Vec<Bound>, BindError> {
    let (host, port) = match address {
        Address::Unix(path) => {
            let bound = unix(Path::new(path), workers, None);
            return Ok(vec![bound.map_err(|e| BindError::new(address, e))?]);
        }
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    if host.is_empty() {
        let all = match tcp(
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            workers,
            beside,
        ) {
            // A machine without IPv6.
            Err(e) if is_absent(&e) => tcp(
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                workers,
                beside,
            ),
            bound => bound,
        };
        return Ok(vec![all.map_err(|e| BindError::new(address, e))?]);
    }
    let mut found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|e| BindError::new(address, e))?
        .collect();
    found.sort_unstable();
    found.dedup();
    let (mut bound, mut absent) = (Vec::new(), None);
    for at in found {
        match tcp(at, workers, beside) {
            Ok(one) => bound.push(one),
            Err(e) if is_absent(&e) => absent = Some(e),
            Err(e) => return Err(BindError::new(address, e)),
        }
    }
    match absent {
        Some(e) if bound.is_empty() => Err(BindError::new(address, e)),
        _ => Ok(bound),
    }
}

/// The machine has no such address, or not the protocol.
fn is_absent(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::AddrNotAvailable
        || e.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

fn tcp(at: SocketAddr, workers: usize, beside: bool) -> io::Result<Bound> {
    let first = new_tcp(at)?;
    if beside {
        first.set_reuse_port(true)?;
    }
    privilege::with(Right::Bind, || first.bind(&at.into()))?;
    // Also with one worker: a process that follows this one may bind beside it.
    first.set_reuse_port(true)?;
    first.listen(BACKLOG)?;
    let address = first.local_addr()?.as_socket();
    let mut sockets = vec![OwnedFd::from(first)];
    for _ in 1..workers.max(1) {
        sockets.push(join(address.unwrap_or(at))?.into());
    }
    Ok(Bound { address, sockets })
}

/// Another socket at a port that is shared already.
fn join(at: SocketAddr) -> io::Result<Socket> {
    let socket = new_tcp(at)?;
    socket.set_reuse_port(true)?;
    privilege::with(Right::Bind, || socket.bind(&at.into()))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn new_tcp(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(at),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // Connections of the program's last life that are in TIME_WAIT do not keep the port from it.
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        // "All addresses" means IPv4 too, whatever the machine's default is.
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    Ok(socket)
}

/// One Unix socket shared by all workers: each holds a duplicate of it. Its rights are `mode`, or what the umask leaves.
fn unix(path: &Path, workers: usize, mode: Option<Mode>) -> io::Result<Bound> {
    let address = SockAddr::unix(path)?;
    let new = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
    let socket = new()?;
    if let Some(mode) = mode {
        // The file gets the rights that the socket has: there is no moment, and no other file, for which they are wrong.
        rustix::fs::fchmod(&socket, mode)?;
    }
    match socket.bind(&address) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_left_behind(path, &new()?) => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    let mut sockets = vec![OwnedFd::from(socket)];
    for _ in 1..workers.max(1) {
        sockets.push(sockets[0].try_clone()?);
    }
    Ok(Bound {
        address: None,
        sockets,
    })
}

/// Whether a socket file has no program behind it any more.
fn is_left_behind(path: &Path, probe: &Socket) -> bool {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = || {
        let address = SockAddr::unix(path);
        address
            .and_then(|address| probe.connect(&address))
            .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    };
    is_socket && refused()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_process_that_follows_binds_beside_the_one_that_goes() {
        for workers in [1, 2] {
            let first = bind(&local(0), workers).unwrap();
            let port = first[0].address.unwrap().port();
            let next = bind_beside(&local(port), workers).unwrap();
            drop(first);
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            drop(next);
        }
    }

    #[test]
    fn a_socket_that_was_handed_over_is_listened_on_by_every_worker() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let bound = adopt(socket.into(), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        TcpStream::connect(bound.address.unwrap()).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(adopt(file.into(), 1).is_err());
    }

    #[test]
    fn connections_in_a_queue_outlive_the_process_that_listened() {
        let first = bind(&local(0), 3).unwrap().remove(0);
        let at = first.address.unwrap();
        // A hundred connections are in all three queues, but for a probability of 2^-57.
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(at).unwrap()).collect();
        for workers in [1, 3, 5] {
            let passed = first
                .sockets
                .iter()
                .map(|socket| socket.try_clone().unwrap());
            let taken = take_over(passed.collect(), workers).unwrap();
            assert_eq!(taken.address, Some(at));
            assert_eq!(taken.sockets.len(), workers.max(3));
        }
        let taken = take_over(first.sockets, 1).unwrap();
        let accepted: usize = taken
            .sockets
            .iter()
            .map(|socket| std::iter::from_fn(|| rustix::net::accept(socket).ok()).count())
            .sum();
        assert_eq!(accepted, clients.len());
    }

    #[test]
    fn what_does_not_listen_is_not_taken_over() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(take_over(vec![socket.into()], 1).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(take_over(vec![file.into()], 1).is_err());
        assert!(take_over(Vec::new(), 1).is_err());
    }

    fn local(port: u16) -> Address {
        Address::tcp("127.0.0.1", port)
    }

    #[test]
    fn a_taken_port_is_an_error_even_when_the_other_one_is_tandem() {
        for workers in [1, 3] {
            let first = bind(&local(0), workers).unwrap();
            assert_eq!(first[0].sockets.len(), workers);
            let port = first[0].address.unwrap().port();
            for others in [1, 3] {
                let error = bind(&local(port), others).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
                let sentence = error.to_string();
                assert!(
                    sentence.contains("taken") && sentence.contains(&port.to_string()),
                    "{sentence}"
                );
            }
            drop(first);
            bind(&local(port), workers).unwrap();
        }
    }

    #[test]
    fn every_workers_socket_gets_connections() {
        let bound = bind(&local(0), 2).unwrap().remove(0);
        let address = bound.address.unwrap();
        let mut seen = [false; 2];
        // The kernel spreads by hash of the ports: a hundred connections miss one socket with probability 2^-99.
        for _ in 0..100 {
            let _client = TcpStream::connect(address).unwrap();
            for (socket, seen) in bound.sockets.iter().zip(&mut seen) {
                *seen |= rustix::net::accept(socket).is_ok();
            }
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn an_empty_host_is_every_address() {
        let bound = bind(&Address::tcp("", 0), 2).unwrap().remove(0);
        let port = bound.address.unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("127.0.0.2", port)).unwrap();
    }

    #[test]
    fn a_host_name_is_bound_on_the_addresses_this_machine_has() {
        let bound = bind(&Address::tcp("localhost", 0), 1).unwrap();
        assert!(bound.iter().any(|one| one.address.unwrap().is_ipv4()));
        let error = bind(&Address::tcp("no.such.name.invalid", 0), 1).unwrap_err();
        assert!(
            error.to_string().contains("no.such.name.invalid"),
            "{error}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_said_to_be_one() {
        let error = bind(&Address::tcp("192.0.2.1", 0), 1).unwrap_err();
        assert!(
            error.to_string().contains("not an address of this machine"),
            "{error}"
        );
    }

    #[test]
    fn a_private_socket_lets_nobody_else_in() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("tandem-private-{}", std::process::id()));
        let address = Address::Unix(path.to_str().unwrap().into());
        let first = bind_private(&address, 2).unwrap();
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        drop(first);
        let again = bind_private(&address, 1).unwrap();
        assert_eq!(
            mode(),
            0o600,
            "in the place of one that was left behind, too"
        );
        drop(again);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_unix_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let path = std::env::temp_dir().join(format!("tandem-listen-{}", std::process::id()));
        let address = Address::Unix(path.to_str().unwrap().into());
        let first = bind(&address, 2).unwrap();
        assert_eq!(
            bind(&address, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
        bind(&address, 1).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
