//! What of an instance goes to the process that takes Tandem's place, so that its program need not notice.
//!
//! A keeper holds no state that is not in its pipes: who holds the other ends of them watches the program. Words and
//! pipes travel apart, the words as data of any format, the pipes as descriptors.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// An instance that nobody watches now. Dropped, its program is killed.
#[derive(Debug)]
pub struct Handed {
    /// What is known of it.
    pub words: Words,
    /// The pipes of its keeper, if it has one.
    pub pipes: Option<Pipes>,
}

/// What is known of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// Counted from 0.
    pub index: u16,
    /// The port of its last run.
    pub port: Option<u16>,
    /// How often it was started again.
    pub restarts: u64,
    /// Its run, if its keeper lives.
    pub run: Option<RunWords>,
}

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWords {
    /// Where the program is to listen.
    pub address: SocketAddr,
    /// Its process, once it runs.
    pub pid: Option<u32>,
    /// Whether it accepts connections.
    pub accepts: bool,
    /// The beginning of a report that was read.
    pub report: Vec<u8>,
    /// The beginning of a line that was printed.
    pub printed: Vec<u8>,
}

/// The other ends of a keeper's pipes (see [`keeper`](crate::keeper)).
#[derive(Debug)]
pub struct Pipes {
    /// Orders to it. While one is held, the program lives.
    pub orders: OwnedFd,
    /// Its reports.
    pub reports: OwnedFd,
    /// What the program prints.
    pub prints: OwnedFd,
}

impl Pipes {
    /// How many descriptors the pipes of an instance are.
    pub const COUNT: usize = 3;

    /// In the order in which [`from`](Self::from) takes them.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; Self::COUNT] {
        [&self.orders, &self.reports, &self.prints].map(AsFd::as_fd)
    }
}

impl From<[OwnedFd; Pipes::COUNT]> for Pipes {
    fn from([orders, reports, prints]: [OwnedFd; Self::COUNT]) -> Self {
        Self {
            orders,
            reports,
            prints,
        }
    }
}
