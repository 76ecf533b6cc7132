//! The compiled router against a matcher that asks each route in turn, and against arbitrary requests.

use std::net::IpAddr;

use proptest::prelude::*;
use tandem_http::Request;
use tandem_model::{Action, Conditions, Field, Pattern, Presence, Route, Template};

use super::tests::{SERVICES, answer, ask, field, path, patterns, route, router, to};

/// The meaning of a pattern, without an index.
fn matches(pattern: &Pattern, text: &str, fold: bool) -> bool {
    let case = |text: &str| {
        if fold {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let text = case(text);
    match pattern {
        Pattern::Exact(whole) => case(whole) == text,
        Pattern::Star(prefix, suffix) => {
            text.len() >= prefix.len() + suffix.len()
                && text.starts_with(&case(prefix))
                && text.ends_with(&case(suffix))
        }
        Pattern::Regex(regex) => regex::RegexBuilder::new(regex)
            .case_insensitive(fold)
            .build()
            .is_ok_and(|regex| regex.is_match(&text)),
    }
}

/// A request in parts, as the naive matcher sees it.
#[derive(Clone, Debug)]
struct Parts {
    method: &'static str,
    path: String,
    query: Option<String>,
    host: String,
    header: Option<String>,
    cookie: Option<String>,
}

/// Each condition that is asked and whether it holds.
fn conditions(when: &Conditions, parts: &Parts, fold: bool) -> Vec<bool> {
    let fold = fold || when.ignore_case;
    let list = |patterns: &[Pattern], text: &str, fold: bool| {
        (!patterns.is_empty()).then(|| patterns.iter().any(|p| matches(p, text, fold)))
    };
    let value = |field: &Field, value: &Option<String>| {
        field
            .values()
            .map(|presence| match (presence, value) {
                (_, None) => false,
                (Presence::Present, Some(_)) => true,
                (Presence::OneOf(patterns), Some(text)) => {
                    patterns.iter().any(|p| matches(p, text, false))
                }
            })
            .collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    all.extend(list(&when.host, &parts.host, true));
    all.extend(list(&when.path, &parts.path, fold));
    all.extend((!when.method.is_empty()).then(|| when.method.iter().any(|m| m == parts.method)));
    all.extend(value(&when.header, &parts.header));
    all.extend(value(&when.query, &parts.query));
    all.extend(value(&when.cookie, &parts.cookie));
    all.extend(
        when.not
            .as_ref()
            .map(|not| !conditions(not, parts, fold).contains(&true)),
    );
    all
}

/// The first matching service, asked one by one.
fn naive(routes: &[Route], parts: &Parts) -> Option<String> {
    routes.iter().find_map(|route| {
        if conditions(&route.when, parts, false).contains(&false) {
            return None;
        }
        match &route.action {
            Action::To(service) => Some(service.clone()),
            Action::Routes(nested) => naive(nested, parts),
            _ => None,
        }
    })
}

fn some_patterns(text: &'static str) -> impl Strategy<Value = Vec<Pattern>> {
    let pattern = prop_oneof![
        4 => (text, "[ab]{0,2}").prop_map(|(a, b)| Pattern::Star(a, b)),
        4 => text.prop_map(Pattern::Exact),
        1 => "[ab]{0,2}".prop_map(|b| Pattern::Star(String::new(), b)),
        1 => "\\^?/?[abA]{1,2}\\$?".prop_map(Pattern::Regex),
    ];
    prop_oneof![2 => Just(Vec::new()), 3 => proptest::collection::vec(pattern, 1..4)]
}

fn some_field() -> impl Strategy<Value = Field> {
    let presence = prop_oneof![
        Just(Presence::Present),
        some_patterns("[ab]{1,2}").prop_map(Presence::OneOf),
    ];
    prop_oneof![
        4 => Just(Field::new()),
        1 => presence.prop_map(|presence| Field::from([("x".into(), presence)])),
    ]
}

fn some_conditions() -> impl Strategy<Value = Conditions> {
    let flat = (
        some_patterns("[ab]{1,2}"),
        some_patterns("/[aAb/]{0,3}"),
        any::<bool>(),
        prop_oneof![3 => Just(vec![]), 1 => Just(vec!["GET".to_owned()])],
        (some_field(), some_field(), some_field()),
    )
        .prop_map(
            |(host, path, ignore_case, method, (header, query, cookie))| Conditions {
                host,
                path,
                ignore_case,
                method,
                header,
                query,
                cookie,
                source: Vec::new(),
                sni: Vec::new(),
                internal: false,
                client_cert: None,
                not: None,
            },
        )
        .boxed();
    (flat.clone(), proptest::option::weighted(0.3, flat)).prop_map(|(when, not)| Conditions {
        not: not.map(Box::new),
        ..when
    })
}

fn some_routes() -> impl Strategy<Value = Vec<Route>> {
    let leaf = (some_conditions(), 0..4usize)
        .prop_map(|(when, service)| to(when, SERVICES[service]))
        .boxed();
    let nested = (
        some_conditions(),
        proptest::collection::vec(leaf.clone(), 0..4),
    )
        .prop_map(|(when, routes)| route(when, Action::Routes(routes)));
    proptest::collection::vec(prop_oneof![3 => leaf, 1 => nested], 0..12)
}

fn some_parts() -> impl Strategy<Value = Parts> {
    let value = || proptest::option::of("[ab]{0,2}");
    (
        prop_oneof![Just("GET"), Just("POST")],
        "(/[aAb]{1,2}){0,2}/?",
        value(),
        "[abA]{1,3}",
        value(),
        value(),
    )
        .prop_map(|(method, path, query, host, header, cookie)| Parts {
            method,
            path: if path.is_empty() { "/".into() } else { path },
            query,
            host,
            header,
            cookie,
        })
}

proptest! {
    #[test]
    fn the_compiled_router_decides_like_asking_each_route_in_turn(routes in some_routes(), parts in some_parts()) {
        let query = parts.query.as_ref().map_or(String::new(), |v| format!("?x={v}"));
        let mut fields = vec![format!("Host: {}", parts.host)];
        fields.extend(parts.header.as_ref().map(|v| format!("X: {v}")));
        fields.extend(parts.cookie.as_ref().map(|v| format!("Cookie: x={v}")));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let got = ask(&router(routes.clone()), &format!("{} {}{query}", parts.method, parts.path), &fields);
        let expected = naive(&routes, &parts).map_or("web 404".into(), |service| format!("{service} 200"));
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_request_makes_the_router_panic(
        target in "/[!-~]{0,20}",
        host in "[ -~]{0,10}",
        value in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut rules: Vec<Route> = ["{uri}", "https://{host}{path}?{query}"]
            .map(|to| Action::Redirect { to: Template::parse(to).expect("a template"), status: 302 })
            .map(|action| route(path(&["*a*"].map(|_| "*a")), action))
            .into();
        let all = Conditions {
            host: patterns(&["*.x", "y*"]),
            ignore_case: true,
            query: field("q", &["1"]),
            cookie: field("c", &["~^.$"]),
            header: field("X", &["a*b"]),
            ..path(&["*a", "~[ab]+$"])
        };
        rules.insert(0, to(Conditions { not: Some(Box::new(all.clone())), ..all }, "a"));
        rules.push(route(Conditions::default(), Action::Redirect { to: Template::parse("{path}{host}").expect("a template"), status: 301 }));
        let router = router(rules);
        let mut bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nX: ").into_bytes();
        bytes.extend(&value);
        bytes.extend(b"\r\nCookie: ");
        bytes.extend(&value);
        bytes.extend(b"\r\n\r\n");
        let mut head = tandem_http::Head::default();
        // What the codec refuses never reaches a router.
        if head.parse(&bytes) == Ok(true) {
            let request = Request {
                head: &head,
                bytes: &bytes,
                client: IpAddr::from([192, 0, 2, 7]),
                peer: ([127, 0, 0, 1], 1).into(),
                from_node: false,
                trusted: false,
                secure: true,
                port: 80,
                came: None,
                certificate: None,
            };
            let _ = answer(&router, &request);
        }
    }
}
