//! How the requests for a service are spread over its servers.

use std::time::Duration;

/// What an application and a backend say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Which server is next.
    pub balance: Balance,
    /// A server that has just come up gets its full share after so long; zero is at once.
    pub slow_start: Duration,
    /// Tries after the first for one request.
    pub retry: u32,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            slow_start: Duration::ZERO,
            retry: 3,
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
