//! One node after another: `tandem upgrade`.
//!
//! The node that runs starts the new binary with a socket as its standard input, and they talk over that, in parcels of
//! words and descriptors ([`tandem_net::parcel`]):
//!
//! ```text
//! running -> new    Estate    who it is; the sockets it listens at, the locks of its pid files
//! new -> running    Ready     the file is read, all is built, servers are checked      or Failed: nothing has happened
//! running -> new    Begin     the keepers of applications; nobody watches them, and its session replica has stopped
//! new -> running    Serves    the replica runs, the doors are open                     or Failed: all is taken back
//! running -> new    Lead      the service manager knows the new process
//! running -> new    Clients   connections of the agent, as they fall idle
//! new -> running    Stops     the node stops: what is in flight has so long
//! ```
//!
//! Nothing that is listened at is closed at any moment: both have each socket, and each socket's queue. The content of
//! a session node goes by way of its state directory: a process that follows another on the same machine finds there
//! all that was acknowledged, as after a restart ([`tandem_session`]).
//!
//! The line stays open. A node that stops tells the old process over it, which drains, and waits for its end, so that
//! stopping a node stops all of it; an end without a word tells it that its successor was killed. A process that is
//! succeeded itself hands the lines of those before it on.

mod line;
mod predecessor;
mod successor;
mod words;

pub use line::Line;
pub use predecessor::{Legacy, Predecessor};
pub use successor::{Successor, Way, pack};
pub use words::{App, CONVERSATION, Estate, Orders, Role, Sockets};
