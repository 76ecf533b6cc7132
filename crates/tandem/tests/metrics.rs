//! What Prometheus gets of a node.

mod common;

use common::node::Node;
use common::origin::{Origin, fine};
use common::{get, raw, wait_until};

/// Two routes to a backend of two servers, one to files, one that is named.
fn tables(a: &Origin, b: &Origin, more: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [{more}\n  {{ path = \"/api/*\", to = \"shop\" }},\n  \
         {{ path = \"/go\", redirect = \"/\", name = \"go\" }},\n  {{ path = \"/files/*\", to = \"www\" }},\n]\n\
         [site.www]\nroot = \"www\"\n[backend.shop]\ncheck = false\nretry = 0\nqueue = {{ max = 1 }}\nservers = [{{ address = \
         \"{}\", name = \"a\", max-connections = 1 }}, {{ address = \"{}\", name = \"b\", backup = true }}]\n",
        a.address, b.address
    )
}

#[test]
fn requests_are_counted_and_timed_by_route_service_and_server() {
    fn answer(head: &str) -> &'static str {
        if head.starts_with("GET /api/bad") {
            "500 Oh"
        } else {
            "200 OK"
        }
    }
    let (a, b) = (Origin::http("a", answer), Origin::http("b", fine));
    let node = Node::start(&tables(&a, &b, ""));
    for path in [
        "/api/1", "/api/2", "/api/bad", "/go", "/files/x", "/nothing",
    ] {
        get(node.address(), path);
    }
    let _ = raw(node.address(), b"NONSENSE\r\n\r\n");
    let is = |series: &str, value: f64| {
        // A worker counts a request after the client has its last byte.
        wait_until(series, || node.metric(series) == Some(value));
    };
    let api = "listener=\"web\",route=\"/api/*\"";
    is(
        &format!("tandem_route_requests_total{{{api},code=\"2xx\"}}"),
        2.0,
    );
    is(
        &format!("tandem_route_requests_total{{{api},code=\"5xx\"}}"),
        1.0,
    );
    is(
        &format!("tandem_route_duration_seconds_count{{{api}}}"),
        3.0,
    );
    is(
        &format!("tandem_route_duration_seconds_bucket{{{api},le=\"+Inf\"}}"),
        3.0,
    );
    let code = |route: &str, code: &str| {
        format!("tandem_route_requests_total{{listener=\"web\",route=\"{route}\",code=\"{code}\"}}")
    };
    is(&code("go", "3xx"), 1.0);
    is(&code("/files/*", "4xx"), 1.0);
    is(&code("none", "4xx"), 2.0);
    is(
        "tandem_service_requests_total{service=\"shop\",code=\"2xx\"}",
        2.0,
    );
    is(
        "tandem_service_requests_total{service=\"www\",code=\"4xx\"}",
        1.0,
    );
    is(
        "tandem_service_duration_seconds_count{service=\"shop\"}",
        3.0,
    );
    let server = "service=\"shop\",server=\"a\"";
    is(
        &format!("tandem_server_responses_total{{{server},code=\"5xx\"}}"),
        1.0,
    );
    is(
        &format!("tandem_server_first_byte_seconds_count{{{server}}}"),
        3.0,
    );
    is(
        &format!("tandem_server_duration_seconds_count{{{server}}}"),
        3.0,
    );
    is(
        &format!("tandem_server_health{{{server},health=\"up\"}}"),
        1.0,
    );
    is(
        &format!("tandem_server_health{{{server},health=\"down\"}}"),
        0.0,
    );
    is("tandem_service_servers{service=\"shop\"}", 2.0);
    is(
        "tandem_listener_connections_accepted_total{listener=\"web\"}",
        7.0,
    );
    is("tandem_listener_connections_open{listener=\"web\"}", 0.0);
    let busy = |worker| format!("tandem_worker_busy_seconds_total{{worker=\"{worker}\"}}");
    assert!(node.metric(&busy(0)).is_some_and(|seconds| seconds > 0.0));
    assert!(node.metric(&busy(1)).is_some() && node.metric(&busy(2)).is_none());
    let (open, most) = ("process_open_fds", "process_max_fds");
    assert!(node.metric(open) < node.metric(most));
}

#[test]
fn those_who_wait_for_a_server_are_seen_while_they_do_and_counted_when_they_cannot() {
    let (a, b) = (Origin::http("a", fine), Origin::http("b", fine));
    b.close();
    let node = Node::start(&tables(&a, &b, "{ path = \"/hold\", to = \"shop\" },"));
    let address = node.address();
    let first = std::thread::spawn(move || get(address, "/hold").status);
    let queue = "tandem_service_queue_length{service=\"shop\"}";
    wait_until("the first has the place", || {
        node.metric("tandem_server_in_flight{service=\"shop\",server=\"a\"}") == Some(1.0)
    });
    assert_eq!(node.metric(queue), Some(0.0));
    let second = std::thread::spawn(move || get(address, "/api/x").status);
    wait_until("the second waits", || node.metric(queue) == Some(1.0));
    assert_eq!(get(address, "/api/y").status, 503, "no room to wait");
    assert_eq!(
        node.metric("tandem_service_queue_full_total{service=\"shop\"}"),
        Some(1.0)
    );
    a.release();
    assert_eq!(first.join().expect("an answer"), 200);
    assert_eq!(second.join().expect("an answer"), 200);
    assert_eq!(
        node.metric("tandem_service_queue_seconds_count{service=\"shop\"}"),
        Some(1.0)
    );
    assert_eq!(node.metric(queue), Some(0.0));
}

#[test]
fn there_are_as_many_series_as_the_file_has_routes_whatever_clients_ask_for() {
    let (a, b) = (Origin::http("a", fine), Origin::http("b", fine));
    let more = "\n  { path = \"/old/*\", to = \"www\" },";
    let node = Node::start(&tables(&a, &b, more));
    let names = || {
        let text = node.admin("GET /metrics").text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let name = |line: &str| line.rsplit_once(' ').map(|(name, _)| name.to_owned());
        lines.filter_map(name).collect::<Vec<_>>()
    };
    get(node.address(), "/api/first");
    let before = names();
    for i in 0..40 {
        get(node.address(), &format!("/api/{i}"));
        get(node.address(), &format!("/{i}"));
    }
    assert_eq!(names(), before);

    let old = "tandem_route_requests_total{listener=\"web\",route=\"/old/*\",code=\"2xx\"}";
    let api = "tandem_route_requests_total{listener=\"web\",route=\"/api/*\",code=\"2xx\"}";
    wait_until("all are counted", || node.metric(api) == Some(41.0));
    assert_eq!(node.metric(old), Some(0.0));
    let news = node.reload(&tables(&a, &b, ""));
    assert!(news.contains("in effect"), "{news}");
    wait_until("the route is gone", || {
        // Each worker takes the new file with its next request.
        get(node.address(), "/");
        node.metric(old).is_none()
    });
    assert_eq!(node.metric(api), Some(41.0), "it went on");
}
