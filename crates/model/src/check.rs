//! Health checks.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How the servers of a service are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not at all: a server is up until requests to it fail.
    Off,
    /// A connection can be opened. Towards a gateway of an application the gateway is asked, so that it is down when
    /// its application is.
    Tcp(Timing),
    /// A TLS handshake succeeds.
    Tls(Timing),
    /// A request is answered as expected.
    Http(HttpCheck, Timing),
}

/// When to check, and how many answers change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two checks of a server whose state is settled.
    pub every: Duration,
    /// Between two checks while the state is changing.
    pub fast: Duration,
    /// Good answers in a row until a server is up.
    pub rise: u32,
    /// Bad answers in a row until it is down.
    pub fall: u32,
    /// How long one check may take.
    pub timeout: Duration,
    /// Requests in a row that fail, or are answered 500, 502, 503 or 504, until a server is down; 0 does not count them.
    pub errors: u32,
}

impl Default for Timing {
    fn default() -> Self {
        let every = Duration::from_secs(2);
        Self {
            every,
            fast: Duration::from_millis(200),
            rise: 2,
            fall: 3,
            timeout: every,
            errors: 0,
        }
    }
}

/// The request of an HTTP check, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Its target.
    pub path: String,
    /// Its Host field; `None` is the server's address.
    pub host: Option<String>,
    /// `GET` unless said otherwise.
    pub method: String,
    /// The expected statuses; none given is any of 200 to 399.
    pub status: Vec<RangeInclusive<u16>>,
}

impl Default for Check {
    fn default() -> Self {
        Self::Tcp(Timing::default())
    }
}

impl Check {
    /// Its timing; `None` when nothing is checked.
    pub fn timing(&self) -> Option<Timing> {
        match self {
            Self::Off => None,
            Self::Tcp(timing) | Self::Tls(timing) | Self::Http(_, timing) => Some(*timing),
        }
    }
}
