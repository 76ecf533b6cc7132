//! What the connections of one worker share.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tandem_telemetry::Events;
use tokio::sync::mpsc::UnboundedSender;

use crate::MAX_VALUE;
use crate::auth::{Method, Users};
use crate::drain::Drain;
use crate::request::Limits;
use crate::room::Room;
use crate::stats::ServerStats;

/// Which protocols a server speaks. Which one a connection is in, its first byte says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// Text and binary.
    #[default]
    Auto,
    /// Text only; the first byte of binary requests is just a strange word.
    Ascii,
    /// Binary only; others are hung up on.
    Binary,
}

/// How a server treats its connections.
#[derive(Clone)]
pub struct ServerOptions {
    /// What `version` answers.
    pub version: String,
    /// What the server is called where nobody branches on it: the line `server` of `stats`. One word: clients read no more.
    pub server: String,
    /// The largest value in bytes that a client may send. It is also what a connection may hold of input.
    pub max_value: usize,
    /// How long a connection may be without a request; `None` is for ever, as in memcached.
    pub idle_timeout: Option<Duration>,
    /// How long a begun request may stand still before the connection is closed.
    pub stall_timeout: Duration,
    /// How long a client may take no byte of an answer before the connection is closed.
    pub write_timeout: Duration,
    /// The wall clock in seconds, for an `exptime` that is a Unix time and for `stats`.
    pub unix_clock: fn() -> u64,
    /// Where trouble with accepting connections is told.
    pub events: Option<Events>,
    /// Which protocols are spoken.
    pub protocols: Protocols,
    /// How many bytes of large values the connections of a worker may have under way together: what is found, from before it
    /// is asked for until it is written, and what is stored, until it is. `None` where a connection's own bound is enough.
    /// Who finds no room waits, and a client that does not read what takes it up is hung up on.
    pub room: Option<usize>,
    /// The same for large requests that are not complete, of all servers that share it: so many bytes they may hold
    /// together, but one of any size is read. Small ones need none: up to 68 KiB a connection may hold besides. Who finds no
    /// room is not read any further, and a client that sends nothing of what it has room for is refused.
    pub incoming: Option<Arc<Room>>,
    /// Who may speak, if not everybody.
    pub users: Option<(Method, Arc<Users>)>,
    /// `flush_all` is obeyed (not with memcached's `-F`).
    pub flush: bool,
    /// `lru_crawler metadump` is obeyed (not with memcached's `-X`).
    pub dump: bool,
    /// `watch` is obeyed (not with memcached's `-W`).
    pub watch: bool,
    /// The command `shutdown` does this (memcached's `-A`): `true` is gracefully. Without it the command is refused.
    pub shutdown: Option<Arc<dyn Fn(bool) + Send + Sync>>,
}

impl ServerOptions {
    /// The usual options.
    pub fn new(version: impl Into<String>, unix_clock: fn() -> u64) -> Self {
        Self {
            version: version.into(),
            server: concat!("tandem/", env!("CARGO_PKG_VERSION")).into(),
            max_value: MAX_VALUE,
            idle_timeout: None,
            stall_timeout: Duration::from_mins(2),
            write_timeout: Duration::from_secs(30),
            unix_clock,
            events: None,
            protocols: Protocols::Auto,
            room: None,
            incoming: None,
            users: None,
            flush: true,
            dump: true,
            watch: true,
            shutdown: None,
        }
    }
}

/// Bytes of a pooled buffer: a recv of pipelined commands, and most values in one piece.
pub(crate) const BUFFER: usize = 32 * 1024;
/// Buffers a worker keeps for the next burst.
const POOLED: usize = 64;

/// What the connections of one worker share. One per worker thread: it is not for sharing between threads.
pub struct ServerContext {
    pub(crate) options: ServerOptions,
    pub(crate) stats: Arc<ServerStats>,
    pub(crate) worker: usize,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    pub(crate) room: Option<Room>,
    /// Where connections go that are given away.
    heir: RefCell<Option<UnboundedSender<OwnedFd>>>,
    inputs: RefCell<Vec<Vec<u8>>>,
    outputs: RefCell<Vec<Vec<u8>>>,
}

impl ServerContext {
    /// The context of worker number `worker`, whose traffic is counted in `stats`.
    pub fn new(options: ServerOptions, stats: Arc<ServerStats>, worker: usize) -> Self {
        let limits = Limits {
            max_value: options.max_value,
        };
        Self {
            room: options.room.map(Room::new),
            options,
            stats,
            worker,
            limits,
            drain: Drain::default(),
            heir: RefCell::default(),
            inputs: RefCell::default(),
            outputs: RefCell::default(),
        }
    }

    /// The counters shared by all workers of the server.
    pub fn stats(&self) -> &Arc<ServerStats> {
        &self.stats
    }

    pub(crate) fn heir(&self) -> Option<UnboundedSender<OwnedFd>> {
        self.heir.borrow().clone()
    }

    pub(crate) fn set_heir(&self, heir: Option<UnboundedSender<OwnedFd>>) {
        self.heir.replace(heir);
    }

    /// Buffers of this worker that wait for use.
    pub(crate) fn buffers(&self) -> usize {
        self.inputs.borrow().len() + self.outputs.borrow().len()
    }

    /// A buffer of [`BUFFER`] bytes, all of them initialised.
    pub(crate) fn take_input(&self) -> Vec<u8> {
        let pooled = self.inputs.borrow_mut().pop();
        pooled.unwrap_or_else(|| vec![0; BUFFER])
    }

    /// Back from a connection that waits. Buffers that had to grow are not kept.
    pub(crate) fn give_input(&self, buffer: Vec<u8>) {
        give(&self.inputs, buffer, |buffer| buffer.len() == BUFFER);
    }

    /// An empty buffer to gather answers in.
    pub(crate) fn take_output(&self) -> Vec<u8> {
        self.outputs.borrow_mut().pop().unwrap_or_default()
    }

    /// Back from a connection that has written all.
    pub(crate) fn give_output(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        give(&self.outputs, buffer, |buffer| {
            (1..=4 * BUFFER).contains(&buffer.capacity())
        });
    }
}

fn give(pool: &RefCell<Vec<Vec<u8>>>, buffer: Vec<u8>, wanted: impl Fn(&Vec<u8>) -> bool) {
    let mut pool = pool.borrow_mut();
    if wanted(&buffer) && pool.len() < POOLED {
        pool.push(buffer);
    }
}
