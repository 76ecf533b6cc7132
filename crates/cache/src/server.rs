//! A memcached server over a [`Cache`]: sockets, worker threads, a graceful stop.
//!
//! One thread accepts and deals connections to the workers in turn, as memcached does: clients of a cache keep a
//! few connections for long, and kernels that choose by hash (`SO_REUSEPORT`) would put them unevenly.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};
use tandem_memcache::auth::{Method, Users};
use tandem_memcache::listen::{accept, finish, serve_local};
use tandem_memcache::{
    Admitted, Classes, Protocols, Room, ServerContext, ServerOptions, ServerStats, shown,
};
use tandem_telemetry::Events;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, watch};
use tokio::task::{spawn_local, yield_now};
use tokio::time::interval;

use crate::cache::{Cache, CacheOptions};
use crate::clock::Clock;
use crate::keyspace::CacheKeyspace;

/// How often memory of items that are over is freed though nobody calls.
const SWEEP: Duration = Duration::from_secs(1);
/// Bytes of large requests that are read and not complete, of all workers together...
const INCOMING: usize = 32 << 20;
/// ...or so many of the largest items, if these are more: else one of them would hold up all others.
const LARGEST: usize = 2;
/// Bytes of values of more than 64 KiB that the clients of one worker have not taken yet, or so many of the largest: those
/// who read never wait for those who do not.
const ROOM: usize = 32 << 20;

/// What `tandem memcached` is told on its command line.
#[derive(Clone)]
pub struct Options {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Worker threads.
    pub threads: usize,
    /// The store.
    pub cache: CacheOptions,
    /// Connections at most, over all addresses.
    pub max_connections: usize,
    /// Connections without a request are closed after this; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// Connections that the kernel holds before they are accepted.
    pub backlog: i32,
    /// What `version` answers.
    pub version: String,
    /// Where trouble is told.
    pub events: Option<Events>,
    /// A Unix socket to listen on.
    pub unix: Option<UnixSocket>,
    /// Which protocols are spoken.
    pub protocols: Protocols,
    /// Who may speak, if not everybody.
    pub users: Option<(Method, Arc<Users>)>,
    /// `flush_all` is obeyed.
    pub flush: bool,
    /// Items may be listed.
    pub dump: bool,
    /// `watch` is obeyed.
    pub watch: bool,
    /// Classes of sizes in statistics.
    pub classes: Classes,
    /// Count operations by the part of the key before this byte from the start on.
    pub prefixes: Option<u8>,
    /// Lines of `stats settings` that only the one who started the server knows.
    pub settings: Vec<(String, String)>,
    /// What the command `shutdown` does, if it is obeyed: `true` is gracefully.
    pub shutdown: Option<Arc<dyn Fn(bool) + Send + Sync>>,
}

/// A socket in the file system. A dead one in its place is removed, and it itself when the server ends.
#[derive(Clone, Debug)]
pub struct UnixSocket {
    /// Where.
    pub path: PathBuf,
    /// Who may use it: permission bits.
    pub mode: u32,
}

impl Options {
    /// memcached's defaults: 64 MB, 4 threads, 1,024 connections; no address.
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            listen: Vec::new(),
            threads: 4,
            cache: CacheOptions::default(),
            max_connections: 1024,
            idle_timeout: None,
            backlog: 1024,
            version: version.into(),
            events: None,
            unix: None,
            protocols: Protocols::Auto,
            users: None,
            flush: true,
            dump: true,
            watch: true,
            classes: Classes::default(),
            prefixes: None,
            settings: Vec::new(),
            shutdown: None,
        }
    }
}

/// An address that could not be listened on.
#[derive(Debug)]
pub struct BindError {
    /// Which.
    pub address: String,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A server whose addresses are bound and which does not run yet: the time to drop privileges or daemonise.
pub struct Server {
    options: Options,
    listeners: Vec<std::net::TcpListener>,
    unix: Option<std::os::unix::net::UnixListener>,
}

impl Server {
    /// Binds all addresses, or none.
    pub fn bind(options: Options) -> Result<Self, BindError> {
        let listeners = options
            .listen
            .iter()
            .map(|&address| {
                let address_of = |error| BindError {
                    address: address.to_string(),
                    error,
                };
                bind(address, options.backlog).map_err(address_of)
            })
            .collect::<Result<_, _>>()?;
        let unix = options.unix.as_ref().map(|socket| {
            bind_unix(socket).map_err(|error| BindError {
                address: socket.path.display().to_string(),
                error,
            })
        });
        Ok(Self {
            listeners,
            unix: unix.transpose()?,
            options,
        })
    }

    /// Where it listens, with the ports that were chosen.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect()
    }

    /// Runs until `shutdown` becomes true or its sender is gone; the calling thread accepts, the workers are
    /// threads of their own. Returns when connections have ended or had 5 s to. Errors are those of starting.
    pub fn run(self, shutdown: watch::Receiver<bool>) -> io::Result<()> {
        let Self {
            options,
            listeners,
            unix,
        } = self;
        let threads = options.threads.max(1);
        let mut stats = ServerStats::new(threads, options.max_connections, unix_now())
            .with_classes(options.classes.clone())
            .with_settings(settings(&options));
        if let Some(delimiter) = options.prefixes {
            stats = stats.with_prefixes(delimiter);
        }
        let mut names: Vec<String> = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok().map(shown))
            .collect();
        names.extend(
            options
                .unix
                .iter()
                .map(|unix| format!("unix:{}", unix.path.display())),
        );
        stats.listens_on(names);
        let stats = Arc::new(stats);
        let (classes, watch) = (options.classes.clone(), stats.watch().clone());
        let cache = Cache::watched(options.cache, classes, watch);
        let keyspace = CacheKeyspace::new(Arc::new(cache), Clock::monotonic());

        let server = server_options(&options);
        let mut queues = Vec::with_capacity(threads);
        let mut workers = Vec::with_capacity(threads);
        for index in 0..threads {
            // Not bounded by itself, but by the maximum of connections.
            let (queue, connections) = mpsc::unbounded_channel();
            let context = ContextParts {
                options: server.clone(),
                stats: stats.clone(),
                index,
            };
            workers.push(start_worker(context, keyspace.clone(), connections)?);
            queues.push(queue);
        }

        let runtime = LocalRuntime::new()?;
        let accepted = runtime.block_on(async {
            spawn_local(sweep(keyspace));
            let dealer = Rc::new(Dealer {
                queues,
                turn: Cell::new(0),
            });
            let mut accepting = Vec::new();
            for listener in listeners {
                let listener = TcpListener::from_std(listener)?;
                let dealer = dealer.clone();
                let (stats, events, shutdown) =
                    (stats.clone(), options.events.clone(), shutdown.clone());
                accepting.push(spawn_local(async move {
                    let each = |stream: TcpStream, admitted| {
                        dealer.deal(stream.into_std().map(Client::Tcp), admitted);
                    };
                    accept(&listener, &stats, events.as_ref(), shutdown, each).await;
                }));
            }
            if let Some(listener) = unix {
                let listener = UnixListener::from_std(listener)?;
                let dealer = dealer.clone();
                let (stats, events, shutdown) =
                    (stats.clone(), options.events.clone(), shutdown.clone());
                accepting.push(spawn_local(async move {
                    let each = |stream: UnixStream, admitted| {
                        dealer.deal(stream.into_std().map(Client::Unix), admitted);
                    };
                    accept(&listener, &stats, events.as_ref(), shutdown, each).await;
                }));
            }
            for task in accepting {
                let _ = task.await;
            }
            io::Result::Ok(())
        });
        // With it go the queues, and a worker without its queue finishes.
        drop(runtime);
        for worker in workers {
            let _ = worker.join();
        }
        if let Some(socket) = &options.unix {
            // Somebody may have removed it before: it is gone either way.
            let _ = std::fs::remove_file(&socket.path);
        }
        accepted
    }
}

/// Gives connections to the workers in turn.
struct Dealer {
    queues: Vec<mpsc::UnboundedSender<Connection>>,
    turn: Cell<usize>,
}

type Connection = (Client, Admitted);

/// On its way from the thread that accepted it to its worker's.
enum Client {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Dealer {
    fn deal(&self, client: io::Result<Client>, admitted: Admitted) {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.queues.len());
        if let Ok(client) = client {
            // A worker's queue closes only when the worker ended by a panic of the runtime itself.
            let _ = self.queues[turn].send((client, admitted));
        }
    }
}

/// What a worker makes its [`ServerContext`] of, in its own thread.
struct ContextParts {
    options: ServerOptions,
    stats: Arc<ServerStats>,
    index: usize,
}

/// Starts a worker and waits until it can serve.
fn start_worker(
    context: ContextParts,
    keyspace: CacheKeyspace,
    mut connections: mpsc::UnboundedReceiver<Connection>,
) -> io::Result<thread::JoinHandle<()>> {
    let (started, starting) = std::sync::mpsc::channel();
    let name = format!("worker {}", context.index);
    let worker = thread::Builder::new().name(name).spawn(move || {
        let runtime = match LocalRuntime::new() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok(()));
        runtime.block_on(async {
            let ContextParts {
                options,
                stats,
                index,
            } = context;
            let cx = Rc::new(ServerContext::new(options, stats, index));
            let keyspace = Rc::new(keyspace);
            while let Some((client, admitted)) = connections.recv().await {
                match client {
                    Client::Tcp(stream) => {
                        if let Ok(stream) = TcpStream::from_std(stream) {
                            serve_local(stream, admitted, &keyspace, &cx);
                        }
                    }
                    Client::Unix(stream) => {
                        if let Ok(stream) = UnixStream::from_std(stream) {
                            serve_local(stream, admitted, &keyspace, &cx);
                        }
                    }
                }
            }
            finish(&cx).await;
        });
    })?;
    match starting.recv() {
        Ok(Ok(())) => Ok(worker),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("a worker thread ended while it started")),
    }
}

/// Frees what is over though nobody calls, until the runtime ends.
async fn sweep(keyspace: CacheKeyspace) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        while keyspace.cache.sweep(keyspace.clock.now()) {
            yield_now().await;
        }
    }
}

fn server_options(options: &Options) -> ServerOptions {
    let mut server = ServerOptions::new(options.version.clone(), unix_now);
    // No value is larger than the item it is in; the cache itself looks at the item.
    server.max_value = options.cache.max_item;
    let incoming = INCOMING.max(options.cache.max_item.saturating_mul(LARGEST));
    server.incoming = Some(Arc::new(Room::new(incoming)));
    let room = ROOM.max(options.cache.max_item.saturating_mul(LARGEST));
    server.room = Some(room);
    server.idle_timeout = options.idle_timeout;
    server.events.clone_from(&options.events);
    server.protocols = options.protocols;
    server.users.clone_from(&options.users);
    server.flush = options.flush;
    server.dump = options.dump;
    server.watch = options.watch;
    server.shutdown.clone_from(&options.shutdown);
    server
}

/// The lines of `stats settings` that are known from the start on.
fn settings(options: &Options) -> Vec<(String, String)> {
    let line = |name: &str, value: String| (name.to_owned(), value);
    let mut lines = options.settings.clone();
    if let Some(address) = options.listen.first() {
        lines.push(line("tcpport", address.port().to_string()));
        if !address.ip().is_unspecified() {
            lines.push(line("inter", address.ip().to_string()));
        }
    }
    if let Some(socket) = &options.unix {
        lines.push(line("domain_socket", socket.path.display().to_string()));
        lines.push(line("umask", format!("{:o}", socket.mode)));
    }
    lines.push(line("tcp_backlog", options.backlog.to_string()));
    lines
}

/// Binds without `SO_REUSEPORT`: a port that is taken is an error, whoever took it.
fn bind(address: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and :: can be listened on side by side.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it. A client whose machine died is noticed in the end.
    socket.set_keepalive(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Binds in the file system. A socket that nobody listens on is in the way and is removed; one that is served, and any
/// other file, is an error.
fn bind_unix(socket: &UnixSocket) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let path = &socket.path;
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(socket.mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The wall clock in seconds.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
