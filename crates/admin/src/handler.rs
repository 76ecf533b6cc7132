//! The pages' handler.
//!
//! 1. whoever may not ask is refused;
//! 2. `/`, `/metrics` and the API are told apart by the path;
//! 3. the answer is made from what is known now, or later when a node has to do something first.

use std::sync::Arc;

use bytes::Bytes;
use tandem_http::{Cx, Handler, Plan, Reply, Request, Step};

use crate::access::Access;
use crate::api::{Answer, Api, Call, Outcome};
use crate::{NodeView, Rows, metrics};

/// Serves the admin pages of one node, or of a supervisor.
pub struct AdminHandler {
    source: Source,
    access: Access,
    service: Arc<str>,
}

enum Source {
    /// A node: all of the API.
    Node(Api),
    /// Whoever gathers the rows of several nodes: only they.
    Gathered(Arc<dyn Rows>),
}

impl AdminHandler {
    /// The pages of a node.
    pub fn node(api: Api, access: Access) -> Self {
        Self::new(Source::Node(api), access)
    }

    /// Pages over gathered rows, for callers on this machine.
    pub fn gathered(rows: Arc<dyn Rows>) -> Self {
        Self::new(Source::Gathered(rows), Access::Local)
    }

    fn new(source: Source, access: Access) -> Self {
        Self {
            source,
            access,
            service: "admin".into(),
        }
    }

    fn answer(&self, request: &Request<'_>) -> Step {
        let path = request.path();
        // The page holds nothing; what it then asks for needs what everyone needs.
        if path == b"/" && request.is_read() {
            return now(reply(&self.service, 200, "text/html; charset=utf-8", PAGE));
        }
        if let Err(refused) = self.access.check(request) {
            let mut told = json(&self.service, &Answer::error(refused.status, refused.why));
            if refused.status == 401 {
                let mut fields = told.fields.to_vec();
                fields.extend_from_slice(b"WWW-Authenticate: Bearer realm=\"tandem\"\r\n");
                told.fields = fields.into();
            }
            return now(told);
        }
        match &self.source {
            Source::Gathered(rows) => now(self.gathered_page(rows.as_ref(), request)),
            Source::Node(api) if path == b"/metrics" && request.is_read() => {
                let text = metrics::exposition(
                    NodeView::now(api.info(), api.telemetry()),
                    api.telemetry(),
                );
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                now(reply(&self.service, 200, kind, text))
            }
            Source::Node(api) => self.call(api, request),
        }
    }

    fn gathered_page(&self, rows: &dyn Rows, request: &Request<'_>) -> Reply {
        match request.path() {
            b"/api/v1/nodes" if request.is_read() => json(&self.service, &Answer::ok(rows.rows())),
            b"/api/v1/nodes" => json(&self.service, &Answer::error(405, "this page is read only")),
            _ => {
                let why = "only / and /api/v1/nodes are here; each node has the rest";
                json(&self.service, &Answer::error(404, why))
            }
        }
    }

    fn call(&self, api: &Api, request: &Request<'_>) -> Step {
        let changes = match request.method() {
            b"GET" | b"HEAD" => false,
            b"POST" => true,
            _ => {
                let why = "GET reads, POST changes";
                return now(json(&self.service, &Answer::error(405, why)));
            }
        };
        let by = match request.field("x-tandem-user") {
            Some(user) => format!("{} ({})", request.client, String::from_utf8_lossy(user)),
            None => request.client.to_string(),
        };
        let call = Call {
            changes,
            path: String::from_utf8_lossy(request.path()).into_owned(),
            parameters: parameters(request.query()),
            by,
            by_owner: matches!(self.access, Access::Owner),
        };
        match api.call(&call) {
            Outcome::Now(answer) => now(json(&self.service, &answer)),
            Outcome::Later(pending) => {
                let service = self.service.clone();
                Step::Later(Box::pin(
                    async move { unlogged(json(&service, &pending.await)) },
                ))
            }
        }
    }
}

const PAGE: &str = include_str!("page.html");

impl Handler for AdminHandler {
    fn step(&self, request: &Request<'_>, _: &Cx) -> Step {
        self.answer(request)
    }
}

fn now(reply: Reply) -> Step {
    Step::Plan(unlogged(reply))
}

fn unlogged(reply: Reply) -> Plan {
    Plan::Unlogged(Box::new(Plan::Bytes(reply)))
}

fn json(service: &Arc<str>, answer: &Answer) -> Reply {
    let mut body = serde_json::to_vec(&answer.body).unwrap_or_default();
    body.push(b'\n');
    reply(service, answer.status, "application/json", body)
}

fn reply(service: &Arc<str>, status: u16, kind: &str, body: impl Into<Bytes>) -> Reply {
    let fields = format!(
        "Content-Type: {kind}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'self' 'unsafe-inline'; frame-ancestors 'none'\r\n"
    );
    Reply {
        status,
        fields: fields.into(),
        body: body.into(),
        service: service.clone(),
        close: false,
    }
}

/// The parameters of a query, decoded (`application/x-www-form-urlencoded`).
fn parameters(query: &[u8]) -> Vec<(String, String)> {
    let decode = |bytes: &[u8]| {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, after) {
                (b'+', _) => out.push(b' '),
                (b'%', [high, low, after @ ..]) if hex(*high).zip(hex(*low)).is_some() => {
                    let (high, low) = (hex(*high).unwrap_or(0), hex(*low).unwrap_or(0));
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(*first),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = query
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut sides = pair.splitn(2, |&byte| byte == b'=');
            let mut next = || decode(sides.next().unwrap_or_default());
            (next(), next())
        })
        .collect()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
