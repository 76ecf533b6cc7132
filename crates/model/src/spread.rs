//! How the requests for a service are spread over its servers.

use std::time::Duration;

use crate::Stick;

/// What an application and a backend say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Which server is next.
    pub balance: Balance,
    /// A server that has just come up gets its full share after so long; zero is at once.
    pub slow_start: Duration,
    /// Which backup servers are used when no other is up.
    pub backups: Backups,
    /// Which connections are cut off when a server goes down or comes up.
    pub cut: Cut,
    /// What happens to a request that failed.
    pub retry: Retry,
    /// What keeps a client with its server.
    pub stick: Option<Stick>,
    /// Where requests wait while all servers have as many as they take.
    pub queue: Queue,
}

/// Which backup servers are used when no other is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backups {
    /// The first of the file that is up.
    #[default]
    First,
    /// All that are up, by the algorithm.
    All,
}

/// Connections of TCP mode, and tunnels of HTTP, that are cut off. Otherwise they stay until one of the two sides ends them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Those to a server that goes down, or into maintenance.
    pub down: bool,
    /// Those to backups when a server that is none comes up.
    pub backups: bool,
}

/// More tries for a request that failed, where the one rule allows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first for one request.
    pub tries: u32,
    /// How long one try may take to connect, and then to the first byte of an answer; `None` leaves it to the timeouts.
    pub timeout: Option<Duration>,
    /// Retries in percent of the requests of the last seconds, at most; `None` is no limit.
    pub budget: Option<u32>,
    /// Answers with these statuses count as failures, for methods that may be repeated.
    pub on: Vec<u16>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 3,
            timeout: None,
            budget: None,
            on: Vec::new(),
        }
    }
}

/// Requests that wait for a server, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many at most; 0 is none: they are answered 503 at once.
    pub max: u32,
    /// How long one waits at most; then it is answered 503.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max: 1_000,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Which server is next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Exactly in turn, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight; of several, in turn.
    LeastConnections,
    /// The first of the file that has room.
    First,
    /// The less busy one of two drawn by lot.
    Random,
    /// The same for all requests of a client's address.
    Source,
    /// The same for all requests of a path.
    Uri,
    /// The same for all requests with the same value of this field, unless it is much busier than the others.
    Header(String),
    /// The same for all requests with the same value of this cookie, unless it is much busier than the others.
    Cookie(String),
}
