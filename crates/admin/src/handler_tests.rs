//! The pages as a client sees them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tandem_http::Head;
use tandem_telemetry::event::Log;
use tandem_telemetry::{Control, ControlError, Telemetry};

use super::*;
use crate::operations::{Alone, Fixed};
use crate::{NodeInfo, Row};

#[derive(Default)]
struct Server {
    drained: AtomicUsize,
}

impl Control for Server {
    fn drain(&self) -> Result<(), ControlError> {
        self.drained.fetch_add(1, Relaxed);
        Ok(())
    }
    fn ready(&self) -> Result<(), ControlError> {
        Ok(())
    }
    fn weight(&self, _: u16) -> Result<(), ControlError> {
        Ok(())
    }
    fn kill(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }
}

fn admin(access: Access) -> (AdminHandler, Telemetry) {
    admin_of(access, Arc::default())
}

fn admin_of(access: Access, server: Arc<Server>) -> (AdminHandler, Telemetry) {
    let telemetry = Telemetry::new("edge", 1, Log::Silent);
    telemetry.registry.control("shop/app1", server);
    let info = NodeInfo {
        cluster: "six".into(),
        node: "edge".into(),
        address: "127.0.0.1".into(),
        roles: vec!["listener web".into()],
        version: "0",
        started: Instant::now(),
    };
    let api = Api::new(info, telemetry.clone(), Arc::new(Fixed), Arc::new(Alone));
    (AdminHandler::node(api, access), telemetry)
}

fn request<'a>(head: &'a Head, bytes: &'a [u8]) -> Request<'a> {
    Request {
        head,
        bytes,
        client: [127, 0, 0, 1].into(),
        peer: ([127, 0, 0, 1], 1).into(),
        from_node: false,
        trusted: false,
        secure: false,
        port: 80,
        came: None,
        certificate: None,
    }
}

fn ask(admin: &AdminHandler, line: &str, fields: &str) -> Reply {
    let bytes = format!("{line} HTTP/1.1\r\n{fields}\r\n");
    let mut head = Head::default();
    assert_eq!(head.parse(bytes.as_bytes()), Ok(true));
    let cx = Cx::new(0, tandem_http::Moment::now());
    let Step::Plan(Plan::Unlogged(plan)) = admin.step(&request(&head, bytes.as_bytes()), &cx)
    else {
        panic!("a plan at once")
    };
    let Plan::Bytes(reply) = *plan else {
        panic!("bytes")
    };
    reply
}

const HERE: &str = "Host: 127.0.0.1:8404\r\n";

#[test]
fn a_node_answers_for_itself() {
    let (admin, _) = admin(Access::Local);
    let reply = ask(&admin, "GET /api/v1/nodes", HERE);
    let rows: Vec<Row> = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((rows.len(), rows[0].node.as_str()), (1, "edge"));
    assert_eq!(rows[0].pid, Some(std::process::id()));
}

#[test]
fn metrics_are_in_the_exposition_format() {
    let (admin, _) = admin(Access::Local);
    let reply = ask(&admin, "GET /metrics", HERE);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    for line in text.lines() {
        let good = line.starts_with("# ")
            || line
                .rsplit_once(' ')
                .is_some_and(|(_, n)| n.parse::<f64>().is_ok());
        assert!(good, "{line}");
    }
    assert!(text.contains("\ntandem_requests_total 0\n"));
}

#[test]
fn a_change_is_carried_out_and_noted() {
    let (admin, telemetry) = admin(Access::Local);
    let change = "POST /api/v1/servers/shop/app1?state=drain&weight=3";
    let reply = ask(&admin, change, HERE);
    assert_eq!(reply.status, 200, "{reply:?}");
    let event = &telemetry.events.last(1)[0];
    assert_eq!(event.subject, "audit");
    assert_eq!(
        event.what,
        "server shop/app1: state drain, weight 3, by 127.0.0.1"
    );
    for (call, status) in [
        ("GET /api/v1/servers/shop/app1", 405),
        ("PUT /api/v1/servers/shop/app1", 405),
        ("POST /api/v1/servers/shop/app2?state=drain", 404),
        ("POST /api/v1/servers/shop/app1?state=dance", 400),
        ("POST /api/v1/servers/shop/app1?weight=257", 400),
        ("POST /api/v1/servers/shop/app1", 400),
        ("POST /api/v1/servers/shop/app1?kill=true", 409),
        ("POST /api/v1/node/log-level?level=loud", 400),
        ("GET /nothing", 404),
    ] {
        assert_eq!(ask(&admin, call, HERE).status, status, "{call}");
    }
    assert_eq!(telemetry.events.last_number(), 1, "refusals change nothing");
}

#[test]
fn a_call_that_is_wrong_in_part_changes_nothing_and_one_that_fails_in_part_is_noted() {
    let server = Arc::<Server>::default();
    let (admin, telemetry) = admin_of(Access::Local, server.clone());
    for wrong in ["weight=257", "state=dance", "speed=9"] {
        let call = format!("POST /api/v1/servers/shop/app1?state=drain&{wrong}");
        assert_eq!(ask(&admin, &call, HERE).status, 400, "{call}");
        assert_eq!(server.drained.load(Relaxed), 0, "{call}");
    }
    assert_eq!(telemetry.events.last_number(), 0);
    let call = "POST /api/v1/servers/shop/app1?state=drain&kill=true";
    let reply = ask(&admin, call, HERE);
    let said = String::from_utf8(reply.body.to_vec()).unwrap();
    assert_eq!(reply.status, 409);
    assert!(
        said.contains("kill: this cannot be done to it; done: state drain"),
        "{said}"
    );
    let events = telemetry.events.last(2);
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].what,
        "server shop/app1: state drain, by 127.0.0.1"
    );
}

#[test]
fn a_node_that_is_named_twice_is_asked_once() {
    let server = Arc::<Server>::default();
    let (admin, telemetry) = admin_of(Access::Local, server.clone());
    let line = "POST /api/v1/servers/shop/app1?state=drain&nodes=edge,edge,%20edge";
    let bytes = format!("{line} HTTP/1.1\r\n{HERE}\r\n");
    let mut head = Head::default();
    assert_eq!(head.parse(bytes.as_bytes()), Ok(true));
    let cx = Cx::new(0, tandem_http::Moment::now());
    let Step::Later(answer) = admin.step(&request(&head, bytes.as_bytes()), &cx) else {
        panic!("several nodes take a while")
    };
    futures_util::FutureExt::now_or_never(answer).expect("the only one is here");
    assert_eq!(server.drained.load(Relaxed), 1);
    assert_eq!(telemetry.events.last_number(), 1);
}

#[test]
fn events_are_told_from_where_the_caller_left_off() {
    let (admin, telemetry) = admin(Access::Local);
    telemetry.events.info("a", "one");
    telemetry.events.warning("b", "two");
    let told = |query: &str| {
        let reply = ask(&admin, &format!("GET /api/v1/events{query}"), HERE);
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["last"], 2);
        body["events"].as_array().unwrap().len()
    };
    assert_eq!(told(""), 2);
    assert_eq!(told("?after=1"), 1);
    assert_eq!(told("?level=warning"), 1);
    assert_eq!(told("?subject=a"), 1);
    assert_eq!(told("?after=2"), 0);
}

#[test]
fn another_sites_page_reaches_nothing() {
    let (admin, _) = admin(Access::Local);
    let change = "POST /api/v1/servers/shop/app1?state=drain";
    let status = |line: &str, fields: &str| ask(&admin, line, fields).status;
    assert_eq!(status("GET /api/v1/node", "Host: evil.example\r\n"), 403);
    let cross = format!("{HERE}Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(status(change, &cross), 403);
    let origin = format!("{HERE}Origin: http://evil.example\r\n");
    assert_eq!(status(change, &origin), 403);
    let own = format!("{HERE}Origin: http://127.0.0.1:8404\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(status(change, &own), 200);
    assert_eq!(status("GET /api/v1/node", "Host: localhost:8404\r\n"), 200);
    assert_eq!(status("GET /api/v1/node", "Host: [::1]:8404\r\n"), 200);
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let (admin, _) = admin(Access::Token("secret".into()));
    let status = |line: &str, fields: &str| ask(&admin, line, fields).status;
    let host = "Host: edge.example\r\n";
    for path in ["/api/v1/node", "/metrics", "/api/v1/events"] {
        let line = format!("GET {path}");
        assert_eq!(status(&line, host), 401);
        let with = |token: &str| format!("{host}Authorization: Bearer {token}\r\n");
        assert_eq!(status(&line, &with("secre")), 401);
        assert_eq!(status(&line, &with("Secret")), 401);
        assert_eq!(status(&line, &with("secret")), 200);
    }
    assert_eq!(status("GET /", host), 200, "the empty page asks for it");
}
