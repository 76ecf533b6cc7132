//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tandem_http::{Cx, Head, Request};
use tandem_model::{ListenerPlan, Mode, Timeouts};

/// Calls `test` with the request of a head. The client is 192.0.2.7 and no node.
pub(crate) fn with_request<T>(head: &str, test: impl FnOnce(&Request<'_>) -> T) -> T {
    with_request_from(head, IpAddr::from([192, 0, 2, 7]), false, test)
}

/// Calls `test` with the request of a head.
pub(crate) fn with_request_from<T>(
    head: &str,
    client: IpAddr,
    from_node: bool,
    test: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let mut parsed = Head::default();
    assert_eq!(parsed.parse(head.as_bytes()), Ok(true), "{head}");
    test(&Request {
        head: &parsed,
        bytes: head.as_bytes(),
        client,
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        from_node,
        trusted: from_node,
        secure: false,
        port: 80,
        came: None,
        certificate: None,
    })
}

/// A listener without routes.
pub(crate) fn listener() -> ListenerPlan {
    ListenerPlan {
        name: "web".into(),
        internal: false,
        bind: Vec::new(),
        mode: Mode::Http,
        tls: None,
        http2: false,
        limits: tandem_model::Limits::default(),
        proxy_protocol: false,
        trust: Vec::new(),
        routes: Vec::new(),
        targets: BTreeMap::new(),
        errors: tandem_model::Errors::new(),
        maintenance: None,
        timeouts: Timeouts::default(),
        log: None,
        log_format: tandem_model::AccessFormat::Combined,
        request_id: true,
    }
}

/// Where handlers are called in tests.
pub(crate) fn cx() -> Cx {
    Cx::new(0, tandem_http::Moment::now())
}

/// Waits until `condition` holds. The deadline is a failure, never a way to pass.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let deadline = Duration::from_secs(20);
    assert!(
        tokio::time::timeout(deadline, poll).await.is_ok(),
        "not within {deadline:?}: {what}"
    );
}
