//! Routes: which request goes where. The first route that matches decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::{Pattern, Policies, Retry, Stick, Template};

/// One route of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What metrics and logs call it; without one it is called by its conditions.
    pub name: Option<String>,
    /// When it applies.
    pub when: Conditions,
    /// What it does.
    pub action: Action,
    /// A service that is asked when the answer to a GET or HEAD is 404.
    pub missing: Vec<String>,
    /// What is done to requests on the way, and to their answers.
    pub policies: Policies,
    /// Whether requests are written to the access log.
    pub log: bool,
    /// What it says differently of the service it leads to; holds for nested routes that say nothing else.
    pub over: Overrides,
    /// The line of the file it stands on, for messages.
    pub line: u32,
}

impl Route {
    /// Whether it, or a route within it, is for requests that a server hands over.
    pub fn hands_over(&self) -> bool {
        let mut nested = match &self.action {
            Action::Routes(nested) => nested.iter(),
            _ => [].iter(),
        };
        self.when.internal || nested.any(Self::hands_over)
    }
}

/// What a route says differently of the service it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// What keeps a client with its server.
    pub stick: Option<Stick>,
    /// What happens to a request that failed.
    pub retry: Option<Retry>,
    /// Time limits.
    pub timeouts: RouteTimeouts,
}

/// The time limits of a service that a route may say differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// To open a connection to a server, in all.
    pub connect: Option<Duration>,
    /// From a request's end to the first byte of its answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of a body, either way.
    pub body: Option<Duration>,
    /// In the queue, in all.
    pub queue: Option<Duration>,
    /// Without a byte either way, after an upgrade and in TCP mode.
    pub idle: Option<Duration>,
}

impl Overrides {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What holds for a route that says this within a group that says `outer`.
    #[must_use]
    pub fn within(&self, outer: &Self) -> Self {
        let (mine, theirs) = (&self.timeouts, &outer.timeouts);
        Self {
            stick: self.stick.clone().or_else(|| outer.stick.clone()),
            retry: self.retry.clone().or_else(|| outer.retry.clone()),
            timeouts: RouteTimeouts {
                connect: mine.connect.or(theirs.connect),
                first_byte: mine.first_byte.or(theirs.first_byte),
                body: mine.body.or(theirs.body),
                queue: mine.queue.or(theirs.queue),
                idle: mine.idle.or(theirs.idle),
            },
        }
    }
}

/// All given conditions must hold; of a list, one. No condition always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The Host field without its port, compared without case.
    pub host: Vec<Pattern>,
    /// The normal form of the path.
    pub path: Vec<Pattern>,
    /// Compare paths without case.
    pub ignore_case: bool,
    /// The method, exactly.
    pub method: Vec<String>,
    /// Fields of the head.
    pub header: Field,
    /// Parameters of the query.
    pub query: Field,
    /// Cookies.
    pub cookie: Field,
    /// The client's address.
    pub source: Vec<IpNet>,
    /// The name that a TLS client asks for, of a listener that passes TLS on.
    pub sni: Vec<Pattern>,
    /// A server has handed the request over, so that the path is one that the server named.
    pub internal: bool,
    /// The client has proved who it is by a certificate: any, or one whose common name matches.
    pub client_cert: Option<Presence>,
    /// None of these may hold.
    pub not: Option<Box<Conditions>>,
}

/// Names and what their values must be.
pub type Field = BTreeMap<String, Presence>;

/// What is asked of a named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// `"*"`: it is there, whatever it says.
    Present,
    /// One of these matches.
    OneOf(Vec<Pattern>),
}

impl Conditions {
    /// Whether every request meets them.
    pub fn is_empty(&self) -> bool {
        *self
            == Self {
                ignore_case: self.ignore_case,
                ..Self::default()
            }
    }
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the request to this service.
    To(String),
    /// Hand each request to one of these services, by their shares.
    Split {
        /// The services and their weights.
        to: Vec<(String, u16)>,
        /// What decides, so that a client keeps its service; `None` is in turn.
        by: Option<SplitBy>,
    },
    /// Answer with this.
    Respond {
        /// The status code.
        status: u16,
        /// What is sent with it.
        body: Content,
        /// More fields of the head; its own `Content-Type` in place of the content's.
        headers: BTreeMap<String, Template>,
    },
    /// Answer with a Location.
    Redirect {
        /// The address.
        to: Template,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// Answer 403.
    Deny,
    /// Close the connection without an answer.
    Close,
    /// Ask these in turn; their conditions are added to this route's.
    Routes(Vec<Route>),
}

/// What is sent with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This text.
    Text(String),
    /// What is in this file.
    File(PathBuf),
    /// This text, with variables that each request fills in; a `{1}` is what the expression in `path` has found, of the route or
    /// of the nearest group around it that has a path.
    Template(Template),
}

/// What decides on a client's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// The value of this cookie; of clients without it, their address.
    Cookie(String),
    /// The client's address.
    Source,
}
