//! The API, version 1, without HTTP: a call in, an answer out.
//!
//! A call comes over HTTP ([`crate::AdminHandler`]) or from another node, over the cluster port. `ENDPOINTS` is the
//! table of everything that can be called; the reference page is made from it. Reading asks telemetry; changing goes
//! through the [`Control`](tandem_telemetry::Control)s that roles registered and the [`Operations`] of the node, and is
//! an audit event.

mod changes;
mod events;
mod everywhere;
mod reading;
mod reference;
mod sessions;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tandem_telemetry::Telemetry;

use crate::operations::Refusal;
use crate::{NodeInfo, Operations, Others};

pub use reference::reference;
pub use sessions::MOST_KEYS;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// It may change something: POST.
    pub changes: bool,
    /// The path, decoded: `/api/v1/nodes`.
    pub path: String,
    /// The parameters, decoded, in order.
    pub parameters: Vec<(String, String)>,
    /// Who asks, for the audit.
    pub by: String,
    /// It came by a socket that only the node's user and root can open. Not so when another node passed it on.
    #[serde(skip)]
    pub by_owner: bool,
}

impl Call {
    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is answered: a status code of HTTP, and JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    pub(crate) fn ok(body: impl Serialize) -> Self {
        match serde_json::to_value(body) {
            Ok(body) => Self { status: 200, body },
            Err(error) => Self::error(500, error.to_string()),
        }
    }

    /// `{"done": what}`
    pub(crate) fn done(what: impl Into<String>) -> Self {
        Self::ok(json!({ "done": what.into() }))
    }

    /// `{"error": why}`
    pub(crate) fn error(status: u16, why: impl Into<String>) -> Self {
        let body = json!({ "error": why.into() });
        Self { status, body }
    }

    /// 409, or 503 with `"again": true` when the same call is to be made once more.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::No(why) => Self::error(409, why),
            Refusal::Again(why) => {
                let mut answer = Self::error(503, why);
                answer.body["again"] = true.into();
                answer
            }
        }
    }

    /// Nothing was done since another process is taking the place of the one that was asked: the same call, made again,
    /// is for the one that serves.
    pub fn is_again(&self) -> bool {
        self.status == 503 && self.body["again"] == true
    }
}

/// An answer that is being found out. Whoever makes one bounds how long it takes.
pub type Pending = Pin<Box<dyn Future<Output = Answer>>>;

/// What an endpoint gives.
pub(crate) enum Outcome {
    Now(Answer),
    Later(Pending),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Now(answer)
    }
}

/// Something that can be called.
pub(crate) struct Endpoint {
    /// POST, not GET.
    pub changes: bool,
    /// Its path; a segment in braces takes any one.
    pub path: &'static str,
    /// Its parameters, as the reference shows them.
    pub parameters: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Does it, with what the braces took.
    pub run: fn(&Api, &Call, &[&str]) -> Outcome,
}

pub(crate) static ENDPOINTS: &[&[Endpoint]] = &[
    reading::ENDPOINTS,
    sessions::ENDPOINTS,
    events::ENDPOINTS,
    changes::ENDPOINTS,
];

/// The API of a node. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    info: NodeInfo,
    telemetry: Telemetry,
    operations: Arc<dyn Operations>,
    others: Arc<dyn Others>,
}

impl Api {
    /// The API of the node that `info` describes.
    pub fn new(
        info: NodeInfo,
        telemetry: Telemetry,
        operations: Arc<dyn Operations>,
        others: Arc<dyn Others>,
    ) -> Self {
        Self(Arc::new(Inner {
            info,
            telemetry,
            operations,
            others,
        }))
    }

    /// Answers a call; `None` when the answer takes a while.
    pub(crate) fn call(&self, call: &Call) -> Outcome {
        if let Some(refused) = self.refused(call) {
            return refused.into();
        }
        match call.parameter("nodes") {
            Some(nodes) => everywhere::call(self, call, nodes),
            None => self.here(call),
        }
    }

    /// Answers a call that another node passed on: for this node alone.
    pub async fn answer(&self, call: &Call) -> Answer {
        if let Some(refused) = self.refused(call) {
            return refused;
        }
        match self.here(call) {
            Outcome::Now(answer) => answer,
            Outcome::Later(pending) => pending.await,
        }
    }

    /// What is said to a change that another process is to be asked for: here it would be lost.
    fn refused(&self, call: &Call) -> Option<Answer> {
        // What is to be said to an upgrade is said by whoever carries it out.
        if !call.changes || call.path == changes::UPGRADE {
            return None;
        }
        let refusal = self.operations().takes_changes().err()?;
        Some(Answer::refused(refusal))
    }

    fn here(&self, call: &Call) -> Outcome {
        let mut known = false;
        for endpoint in ENDPOINTS.iter().copied().flatten() {
            let Some(taken) = matched(endpoint.path, &call.path) else {
                continue;
            };
            known = true;
            if endpoint.changes == call.changes {
                return (endpoint.run)(self, call, &taken);
            }
        }
        if known {
            return Answer::error(405, "GET reads, POST changes").into();
        }
        let why = format!("there is no {}; see docs/reference/admin-api.md", call.path);
        Answer::error(404, why).into()
    }

    /// What the node is.
    pub fn info(&self) -> &NodeInfo {
        &self.0.info
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    pub(crate) fn operations(&self) -> &dyn Operations {
        &*self.0.operations
    }

    pub(crate) fn others(&self) -> &dyn Others {
        &*self.0.others
    }

    /// Notes who changed what.
    pub(crate) fn audit(&self, call: &Call, what: &str) {
        let events = &self.0.telemetry.events;
        events.info("audit", format!("{what}, by {}", call.by));
    }
}

/// What the braces of a pattern take from a path, if it matches.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut taken = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(taken),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {
                taken.push(given);
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_take_one_segment() {
        let pattern = "/api/v1/servers/{service}/{server}";
        assert_eq!(
            matched(pattern, "/api/v1/servers/shop/app1"),
            Some(vec!["shop", "app1"])
        );
        assert_eq!(matched(pattern, "/api/v1/servers/shop"), None);
        assert_eq!(matched(pattern, "/api/v1/servers/shop/"), None);
        assert_eq!(matched("/api/v1/node", "/api/v1/node"), Some(vec![]));
    }
}
