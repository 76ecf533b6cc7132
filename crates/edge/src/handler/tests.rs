use std::net::IpAddr;

use tandem_model::{Address, Check, Member, Place, PoolPlan, Spread, Timeouts};
use tandem_telemetry::{Telemetry, event::Log};

use super::*;
use crate::pool::Instances;
use crate::testing::{cx, with_request_from};

const PROBE: &str = "OPTIONS / HTTP/1.1\r\nHost: a\r\nTandem-Probe: 1\r\n\r\n";

fn pool(gateway: bool) -> Arc<Pool> {
    let plan = PoolPlan {
        service: "shop".into(),
        kind: "app",
        gateway,
        members: vec![Member {
            name: "app1".into(),
            place: Place::Server(Address::tcp("127.0.0.1", 1)),
            weight: 1,
            backup: false,
            max_connections: None,
            stick_id: None,
            from: None,
        }],
        spread: Spread::default(),
        check: Check::default(),
        resolve: tandem_model::RESOLVE,
        tls: None,
        send_proxy: None,
        fastcgi: None,
        timeouts: Timeouts::default(),
        secret: None,
    };
    let telemetry = Telemetry::new("app1", 1, Log::Silent);
    Pool::new(&plan, &Instances::new(), &telemetry)
}

/// The status a handler answers with itself; `None` when it forwards.
fn answer(handler: &dyn Handler, head: &str, from_node: bool) -> Option<u16> {
    let client = IpAddr::from([192, 0, 2, 7]);
    with_request_from(head, client, from_node, |request| {
        match handler.step(request, &cx()) {
            Step::Plan(Plan::Unlogged(plan)) => match *plan {
                Plan::Bytes(reply) => Some(reply.status),
                _ => panic!("a node is answered at once"),
            },
            Step::Plan(Plan::Forward(_)) => None,
            _ => panic!("a pool answers probes or forwards"),
        }
    })
}

#[test]
fn a_gateway_says_whether_its_program_can_be_reached() {
    let pool = pool(true);
    let handler = PoolHandler::new(pool.clone());
    assert_eq!(answer(&handler, PROBE, true), Some(204), "not checked yet");
    pool.checked(&pool.servers()[0], 0, Err("connection refused".into()));
    assert_eq!(answer(&handler, PROBE, true), Some(503));
    let other = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(answer(&handler, other, true), None);
}

#[test]
fn nobody_but_a_node_can_probe_and_nothing_but_a_gateway_answers() {
    assert_eq!(answer(&PoolHandler::new(pool(true)), PROBE, false), None);
    assert_eq!(answer(&PoolHandler::new(pool(false)), PROBE, true), None);
}

#[test]
fn the_door_of_any_handler_can_answer_probes() {
    let door = ProbeHandler::new("www", Arc::new(PoolHandler::new(pool(false))));
    assert_eq!(answer(&door, PROBE, true), Some(204));
    assert_eq!(answer(&door, PROBE, false), None);
}

#[test]
fn a_gateway_that_is_cut_off_declines_what_another_node_can_serve_and_nothing_else() {
    let pool = pool(true);
    let handler = PoolHandler::new(pool.clone());
    let anyones = "POST / HTTP/1.1\r\nHost: a\r\nTandem-Elsewhere: 1\r\n\r\n";
    let only_ours = "POST / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(answer(&handler, anyones, true), None);
    pool.set_cut_off(true);
    assert_eq!(answer(&handler, anyones, true), Some(503));
    assert_eq!(answer(&handler, only_ours, true), None);
    assert_eq!(answer(&handler, anyones, false), None, "a client's word");
    assert_eq!(answer(&handler, PROBE, true), Some(CUT_OFF));
    pool.set_cut_off(false);
    assert_eq!(answer(&handler, PROBE, true), Some(204));
    assert_eq!(answer(&handler, anyones, true), None);
}
