use std::collections::BTreeMap;

use tandem_model::{
    Address, Balance, Check, Member, Mode, Pattern, Place, PoolPlan, Spread, Timeouts,
};
use tandem_telemetry::{Telemetry, event::Log};

use super::*;
use crate::pool::{Instances, Pool};

fn pool(name: &str, balance: Balance) -> Arc<Pool> {
    let member = |i: u16| Member {
        name: format!("{name}{i}"),
        place: Place::Server(Address::tcp("127.0.0.1", i)),
        weight: 1,
        backup: false,
        max_connections: None,
        stick_id: None,
        from: None,
    };
    let plan = PoolPlan {
        service: name.into(),
        kind: "backend",
        gateway: false,
        members: vec![member(1), member(2)],
        spread: Spread {
            balance,
            ..Spread::default()
        },
        check: Check::Off,
        tls: None,
        send_proxy: None,
        fastcgi: None,
        resolve: tandem_model::RESOLVE,
        timeouts: Timeouts::default(),
        secret: None,
    };
    let telemetry = Telemetry::new("edge", 1, Log::Silent);
    Pool::new(&plan, &Instances::new(), &telemetry)
}

fn route(when: Conditions, action: Action) -> Route {
    Route {
        name: None,
        when,
        action,
        missing: Vec::new(),
        log: true,
        policies: tandem_model::Policies::default(),
        over: Overrides::default(),
        line: 3,
    }
}

fn named(patterns: &[&str]) -> Conditions {
    let parse = |text: &&str| Pattern::parse(text).expect("a pattern");
    Conditions {
        sni: patterns.iter().map(parse).collect(),
        ..Conditions::default()
    }
}

fn router(routes: Vec<Route>, balance: &Balance) -> Result<TcpRouter, RouterError> {
    let plan = ListenerPlan {
        mode: Mode::Tcp,
        routes,
        targets: BTreeMap::from([("a".into(), 0), ("b".into(), 1)]),
        ..crate::testing::listener()
    };
    let pools = ["a", "b"].map(|name| pool(name, balance.clone()));
    TcpRouter::new(&plan, &|id, over| {
        let pool = pools[id].clone();
        Some(Arc::new(PoolHandler::over(pool, over.clone())))
    })
}

/// The service that a connection goes to; `None` when it is turned away.
fn goes(router: &TcpRouter, client: [u8; 4], name: Option<&str>) -> Option<String> {
    let connection = Connection {
        client: client.into(),
        name,
    };
    let attempts = router.connect(&connection, &crate::testing::cx())?;
    Some(attempts.service().to_string())
}

#[test]
fn the_first_route_that_matches_decides() {
    let inside = Conditions {
        source: vec!["10.0.0.0/8".parse().expect("a network")],
        ..Conditions::default()
    };
    let not = Conditions {
        not: Some(Box::new(named(&["*.example"]))),
        ..Conditions::default()
    };
    let router = router(
        vec![
            route(named(&["a.example", "*.a.example"]), Action::To("a".into())),
            route(
                inside,
                Action::Routes(vec![
                    route(named(&["b.example"]), Action::Deny),
                    route(Conditions::default(), Action::To("b".into())),
                ]),
            ),
            route(not, Action::Deny),
            route(Conditions::default(), Action::To("a".into())),
        ],
        &Balance::RoundRobin,
    );
    let router = router.expect("the routes compile");
    assert!(router.wants_name());
    let (inside, outside) = ([10, 1, 1, 1], [192, 0, 2, 1]);
    for (client, name, expected) in [
        (outside, Some("a.example"), Some("a")),
        (outside, Some("x.a.example"), Some("a")),
        (inside, Some("b.example"), None),
        (inside, None, Some("b")),
        (outside, None, None),
        (outside, Some("a.org"), None),
        (outside, Some("b.example"), Some("a")),
    ] {
        let found = goes(&router, client, name);
        assert_eq!(found.as_deref(), expected, "{client:?} {name:?}");
    }
}

#[test]
fn nobody_waits_for_a_name_that_no_route_asks_for() {
    let routes = vec![route(Conditions::default(), Action::To("a".into()))];
    let router = router(routes, &Balance::RoundRobin).expect("the routes compile");
    assert!(!router.wants_name());
}

#[test]
fn what_only_requests_can_have_is_an_error() {
    let routes = vec![route(
        Conditions::default(),
        Action::Redirect {
            to: tandem_model::Template::parse("/x").expect("a template"),
            status: 302,
        },
    )];
    let error = router(routes, &Balance::RoundRobin)
        .err()
        .expect("an error");
    assert_eq!(error.line, 3);
}

#[test]
fn connections_are_balanced_like_requests() {
    let to = |balance: &Balance| {
        let routes = vec![route(Conditions::default(), Action::To("a".into()))];
        router(routes, balance).expect("the routes compile")
    };
    let server = |router: &TcpRouter, client: [u8; 4]| {
        let connection = Connection {
            client: client.into(),
            name: None,
        };
        let mut attempts = router
            .connect(&connection, &crate::testing::cx())
            .expect("a pool");
        let upstream = attempts.next(None).expect("a server");
        upstream.name.to_string()
    };
    let router = to(&Balance::RoundRobin);
    let turns: Vec<_> = (0..4).map(|_| server(&router, [10, 0, 0, 1])).collect();
    assert_eq!(turns, ["a1", "a2", "a1", "a2"]);
    let router = to(&Balance::Source);
    let first = server(&router, [10, 0, 0, 1]);
    for _ in 0..3 {
        assert_eq!(server(&router, [10, 0, 0, 1]), first);
    }
}

#[test]
fn of_what_is_under_not_none_may_hold() {
    let not = Conditions {
        not: Some(Box::new(Conditions {
            source: vec!["10.0.0.0/8".parse().expect("a network")],
            ..named(&["a.example"])
        })),
        ..Conditions::default()
    };
    let router = router(
        vec![route(not, Action::To("a".into()))],
        &Balance::RoundRobin,
    );
    let router = router.expect("the routes compile");
    let (inside, outside) = ([10, 1, 1, 1], [192, 0, 2, 1]);
    for (client, name, expected) in [
        (outside, Some("b.example"), Some("a")),
        (outside, None, Some("a")),
        (inside, Some("a.example"), None),
        (inside, Some("b.example"), None),
        (outside, Some("a.example"), None),
    ] {
        let to = goes(&router, client, name);
        assert_eq!(to.as_deref(), expected, "{client:?} {name:?}");
    }
}
