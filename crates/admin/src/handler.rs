//! The pages' handler.
//!
//! 1. only GET and HEAD;
//! 2. the path names a page;
//! 3. the page is made from what is known now.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tandem_http::{Cx, Handler, Plan, Reply, Request, Step};
use tandem_telemetry::Telemetry;

use crate::{NodeInfo, NodeView, Rows, metrics};

/// Serves the admin pages of one node, or of a supervisor.
pub struct AdminHandler {
    rows: Arc<dyn Rows>,
    own: Option<(NodeInfo, Telemetry)>,
    service: Arc<str>,
}

impl AdminHandler {
    /// Pages over `rows`; with `own`, also the node's own view and metrics.
    pub fn new(rows: Arc<dyn Rows>, own: Option<(NodeInfo, Telemetry)>) -> Self {
        Self {
            rows,
            own,
            service: "admin".into(),
        }
    }

    fn reply(&self, status: u16, kind: &str, body: impl Into<Bytes>) -> Reply {
        let fields = format!(
            "Content-Type: {kind}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'self' 'unsafe-inline'; frame-ancestors 'none'\r\n"
        );
        Reply {
            status,
            fields: fields.into(),
            body: body.into(),
            service: self.service.clone(),
            close: false,
        }
    }

    fn json(&self, value: &impl Serialize) -> Reply {
        match serde_json::to_vec(value) {
            Ok(body) => self.reply(200, "application/json", body),
            Err(error) => self.reply(500, "text/plain; charset=utf-8", error.to_string()),
        }
    }

    fn page(&self, path: &[u8]) -> Reply {
        match (path, &self.own) {
            (b"/", _) => self.reply(
                200,
                "text/html; charset=utf-8",
                Bytes::from_static(PAGE.as_bytes()),
            ),
            (b"/api/v1/nodes", _) => self.json(&self.rows.rows()),
            (b"/api/v1/node", Some((info, telemetry))) => {
                self.json(&NodeView::now(info, telemetry))
            }
            (b"/metrics", Some((info, telemetry))) => {
                let text = metrics::exposition(&NodeView::now(info, telemetry));
                self.reply(200, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            _ => self.reply(
                404,
                "text/plain; charset=utf-8",
                "no such page; see /, /api/v1/nodes and /metrics\n",
            ),
        }
    }
}

const PAGE: &str = include_str!("page.html");

impl Handler for AdminHandler {
    fn step(&self, request: &Request<'_>, _: &Cx) -> Step {
        let reply = if request.is_read() {
            self.page(request.path())
        } else {
            self.reply(
                405,
                "text/plain; charset=utf-8",
                "these pages are read only\n",
            )
        };
        Step::Plan(Plan::Unlogged(Box::new(Plan::Bytes(reply))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tandem_http::Head;
    use tandem_telemetry::event::Log;

    use super::*;
    use crate::{Row, SelfRow};

    fn admin() -> AdminHandler {
        let telemetry = Telemetry::new("edge", 1, Log::Silent);
        let info = NodeInfo {
            cluster: "six".into(),
            node: "edge".into(),
            address: "127.0.0.1".into(),
            roles: vec!["listener web".into()],
            version: "0",
            started: Instant::now(),
        };
        let rows = Arc::new(SelfRow {
            info: info.clone(),
            telemetry: telemetry.clone(),
        });
        AdminHandler::new(rows, Some((info, telemetry)))
    }

    fn ask(admin: &AdminHandler, line: &str) -> Reply {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = Head::default();
        assert_eq!(head.parse(bytes.as_bytes()), Ok(true));
        let peer = ([127, 0, 0, 1], 1).into();
        let request = Request {
            head: &head,
            bytes: bytes.as_bytes(),
            client: [127, 0, 0, 1].into(),
            peer,
            from_node: false,
            trusted: false,
            secure: false,
        };
        let cx = Cx {
            worker: 0,
            now: Instant::now(),
        };
        let Step::Plan(Plan::Unlogged(plan)) = admin.step(&request, &cx) else {
            panic!("a plan at once")
        };
        let Plan::Bytes(reply) = *plan else {
            panic!("bytes")
        };
        reply
    }

    #[test]
    fn a_node_answers_for_itself() {
        let reply = ask(&admin(), "GET /api/v1/nodes");
        let rows: Vec<Row> = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((rows.len(), rows[0].node.as_str()), (1, "edge"));
        assert_eq!(rows[0].pid, Some(std::process::id()));
    }

    #[test]
    fn metrics_are_in_the_exposition_format() {
        let reply = ask(&admin(), "GET /metrics");
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        for line in text.lines() {
            let good = line.starts_with("# ")
                || line
                    .rsplit_once(' ')
                    .is_some_and(|(_, n)| n.parse::<u64>().is_ok());
            assert!(good, "{line}");
        }
        assert!(text.contains("\ntandem_requests_total 0\n"));
    }

    #[test]
    fn pages_cannot_be_written_to() {
        assert_eq!(ask(&admin(), "POST /api/v1/nodes").status, 405);
        assert_eq!(ask(&admin(), "GET /nothing").status, 404);
        assert_eq!(ask(&admin(), "GET /").status, 200);
    }
}
