use std::collections::BTreeMap;
use std::net::IpAddr;

use tandem_http::{ClientCertificate, Plan, Reply};
use tandem_model::{
    Conditions, Content, Field, FieldChanges, Headers, PathChange, Pattern, Policies, Presence,
    Template,
};

use super::*;
use crate::testing::{cx, with_request, with_request_from};

/// Answers with the name of its service.
struct Named(Arc<str>);

impl Handler for Named {
    fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
        Step::Plan(Plan::Bytes(Reply::text(200, &self.0, "")))
    }
}

pub(super) const SERVICES: [&str; 4] = ["a", "b", "c", "d"];

fn listener(routes: Vec<Route>) -> ListenerPlan {
    let targets = SERVICES.iter().map(|name| (*name).to_owned()).zip(0..);
    ListenerPlan {
        routes,
        targets: targets.collect(),
        ..crate::testing::listener()
    }
}

pub(super) fn router(routes: Vec<Route>) -> Router {
    Router::new(&listener(routes), &|id, _| {
        Arc::new(Named(SERVICES[id].into()))
    })
    .expect("the routes compile")
}

pub(super) fn route(when: Conditions, action: Action) -> Route {
    Route {
        name: None,
        when,
        action,
        missing: Vec::new(),
        policies: Policies::default(),
        log: true,
        over: tandem_model::Overrides::default(),
        line: 7,
    }
}

pub(super) fn to(when: Conditions, service: &str) -> Route {
    route(when, Action::To(service.into()))
}

pub(super) fn patterns(texts: &[&str]) -> Vec<Pattern> {
    let parse = |text: &&str| Pattern::parse(text).expect("a pattern");
    texts.iter().map(parse).collect()
}

pub(super) fn path(texts: &[&str]) -> Conditions {
    Conditions {
        path: patterns(texts),
        ..Conditions::default()
    }
}

fn template(text: &str) -> Template {
    Template::parse(text).expect("a template")
}

pub(super) fn field(name: &str, texts: &[&str]) -> Field {
    let presence = match texts {
        ["*"] => Presence::Present,
        texts => Presence::OneOf(patterns(texts)),
    };
    BTreeMap::from([(name.into(), presence)])
}

/// What a plan comes to: who answers with which status, and what is around it.
fn show(plan: &Plan) -> String {
    match plan {
        Plan::Bytes(reply) => {
            let fields = std::str::from_utf8(&reply.fields).expect("fields are ASCII");
            let location = fields.strip_prefix("Location: ").unwrap_or_default();
            format!("{} {} {location}", reply.service, reply.status)
                .trim()
                .to_owned()
        }
        Plan::OrElse { first, then } => {
            let then = with_request("GET / HTTP/1.1\r\nHost: x\r\n\r\n", |request| {
                answer(&**then, request)
            });
            format!("{} or else {then}", show(first))
        }
        Plan::Edited { plan, edits } if edits.keeps_page => show(plan),
        Plan::Unlogged(plan) => format!("unlogged {}", show(plan)),
        Plan::Edited { plan, edits } => {
            let mut out = Vec::new();
            edits.response.apply(&mut out, 0);
            let target = edits.target.as_deref().unwrap_or_default();
            format!(
                "{} {}{}",
                show(plan),
                String::from_utf8_lossy(target),
                String::from_utf8_lossy(&out).trim()
            )
        }
        _ => panic!("no handler here forwards or sends files"),
    }
}

pub(super) fn answer(handler: &dyn Handler, request: &Request<'_>) -> String {
    match handler.step(request, &cx()) {
        Step::Plan(plan) => show(&plan),
        Step::Later(_) => panic!("nothing here is later"),
    }
}

/// A head from a request line and more fields.
fn head(line: &str, fields: &[&str]) -> String {
    let mut head = format!("{line} HTTP/1.1\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        head += "Host: example.com\r\n";
    }
    for field in fields {
        head += field;
        head += "\r\n";
    }
    head + "\r\n"
}

pub(super) fn ask(router: &Router, line: &str, fields: &[&str]) -> String {
    with_request(&head(line, fields), |request| answer(router, request))
}

/// Whether a route with these conditions is taken.
fn taken(when: &Conditions, line: &str, fields: &[&str]) -> bool {
    ask(&router(vec![to(when.clone(), "a")]), line, fields) == "a 200"
}

#[test]
fn every_condition_is_compared_by_its_rule() {
    let none = Conditions::default;
    let cases: &[(Conditions, &[&str], &[&str])] = &[
        (
            path(&["/static*", "*.jpg", "/x/*.zip", "/just", "~^/v\\d+$"]),
            &[
                "GET /static/a",
                "GET /A.jpg",
                "GET /x/y.zip?z",
                "GET /a/../just",
                "GET /v12",
            ],
            &[
                "GET /STATIC/a",
                "GET /a.jpg/",
                "GET /x/y",
                "GET /just/",
                "GET /?/just",
                "GET /v",
            ],
        ),
        (
            Conditions {
                ignore_case: true,
                ..path(&["/Static*", "*.JPG"])
            },
            &["GET /STATIC/", "GET /static", "GET /a.jpg", "GET /a.JpG"],
            &["GET /stati"],
        ),
        (
            Conditions {
                host: patterns(&["Shop.example", "*.shop.example"]),
                ..none()
            },
            &[
                "GET / Host: shop.example",
                "GET / Host: SHOP.example:8080",
                "GET / Host: shop.example.",
                "GET / Host: a.b.shop.example",
            ],
            &[
                "GET / Host: myshop.example",
                "GET / Host: shop.example.org",
                "GET / Host: ",
            ],
        ),
        (
            Conditions {
                method: vec!["GET".into(), "HEAD".into()],
                ..none()
            },
            &["GET /", "HEAD /"],
            &["POST /", "get /"],
        ),
        (
            Conditions {
                header: field("x-canary", &["1", "yes*"]),
                ..none()
            },
            &[
                "GET / X-Canary: 1",
                "GET / x-canary: yes, please",
                "GET / X-Canary: 0\r\nX-Canary: 1",
            ],
            &[
                "GET /",
                "GET / X-Canary: 10",
                "GET / X-Canary2: 1",
                "GET / X-Canary: Yes",
            ],
        ),
        (
            Conditions {
                header: field("X-Any", &["*"]),
                ..none()
            },
            &["GET / x-any:", "GET / X-Any: 1"],
            &["GET /"],
        ),
        (
            Conditions {
                query: field("v", &["2", "a b"]),
                ..none()
            },
            &[
                "GET /?v=2",
                "GET /?w=1&v=2",
                "GET /?v=1&v=2",
                "GET /?%76=a+b",
                "GET /?v=a%20b",
            ],
            &["GET /", "GET /?v=20", "GET /?v", "GET /v=2", "GET /?V=2"],
        ),
        (
            Conditions {
                query: field("debug", &["*"]),
                ..none()
            },
            &["GET /?debug", "GET /?debug=0"],
            &["GET /?debugger"],
        ),
        (
            Conditions {
                cookie: field("beta", &["on"]),
                ..none()
            },
            &["GET / Cookie: beta=on", "GET / Cookie: a=b; beta=on"],
            &["GET /", "GET / Cookie: beta=off", "GET / Cookie: xbeta=on"],
        ),
        (
            Conditions {
                source: vec!["192.0.2.0/24".parse().expect("a network")],
                ..none()
            },
            &["GET /"],
            &[],
        ),
        (
            Conditions {
                source: vec!["198.51.100.0/24".parse().expect("a network")],
                ..none()
            },
            &[],
            &["GET /"],
        ),
        (
            Conditions {
                method: vec!["POST".into()],
                host: patterns(&["example.com"]),
                ..path(&["/api*"])
            },
            &["POST /api/x"],
            &["GET /api/x", "POST /ap", "POST /api Host: example.org"],
        ),
    ];
    for (when, yes, no) in cases {
        for (request, expected) in yes
            .iter()
            .map(|r| (r, true))
            .chain(no.iter().map(|r| (r, false)))
        {
            let mut words = request.splitn(3, ' ');
            let line = format!(
                "{} {}",
                words.next().unwrap_or(""),
                words.next().unwrap_or("")
            );
            let fields: Vec<_> = words.next().into_iter().collect();
            assert_eq!(taken(when, &line, &fields), expected, "{request} {when:?}");
        }
    }
}

#[test]
fn a_client_of_the_other_family_is_known_by_its_own_address() {
    let when = Conditions {
        source: vec!["192.0.2.0/24".parse().expect("a network")],
        ..Conditions::default()
    };
    let router = router(vec![to(when, "a")]);
    let client: IpAddr = "::ffff:192.0.2.9".parse().expect("an address");
    let taken = with_request_from(&head("GET /", &[]), client, false, |r| answer(&router, r));
    assert_eq!(taken, "a 200");
}

#[test]
fn nothing_under_not_may_hold() {
    let not = Conditions {
        method: vec!["POST".into()],
        header: field("X-A", &["*"]),
        ..path(&["/private*"])
    };
    let when = Conditions {
        not: Some(Box::new(not)),
        ..Conditions::default()
    };
    assert!(taken(&when, "GET /public", &[]));
    assert!(!taken(&when, "POST /public", &[]));
    assert!(!taken(&when, "GET /private/x", &[]));
    assert!(!taken(&when, "GET /public", &["X-A: 1"]));
    assert!(taken(&when, "GET /PRIVATE/x", &[]));
    let folded = Conditions {
        ignore_case: true,
        ..when
    };
    assert!(!taken(&folded, "GET /PRIVATE/x", &[]));
    let nothing = Conditions {
        not: Some(Box::default()),
        ..Conditions::default()
    };
    assert!(taken(&nothing, "GET /", &[]));
}

#[test]
fn a_not_within_not_is_a_condition_like_the_others() {
    let admin = Conditions {
        not: Some(Box::new(path(&["/admin*"]))),
        ..Conditions::default()
    };
    let when = Conditions {
        not: Some(Box::new(admin)),
        ..Conditions::default()
    };
    assert!(taken(&when, "GET /admin/x", &[]));
    assert!(!taken(&when, "GET /other", &[]));
}

#[test]
fn the_first_match_wins() {
    let router = router(vec![
        to(path(&["/static*", "/images*"]), "a"),
        to(path(&["*.jpg", "*.js"]), "b"),
        to(path(&["/test*", "*.jsp"]), "c"),
        to(Conditions::default(), "d"),
        to(path(&["/never"]), "a"),
    ]);
    for (target, expected) in [
        ("/static/x.jpg", "a"),
        ("/test/x.jpg", "b"),
        ("/test/x.jsp", "c"),
        ("/x.jsp", "c"),
        ("/", "d"),
        ("/never", "d"),
        ("/%73tatic/x", "a"),
        ("/test/../static/", "a"),
    ] {
        assert_eq!(
            ask(&router, &format!("GET {target}"), &[]),
            format!("{expected} 200"),
            "{target}"
        );
    }
}

#[test]
fn nested_routes_add_up_and_fall_through() {
    let host = Conditions {
        host: patterns(&["shop.example"]),
        ..Conditions::default()
    };
    let mut nested = route(
        host,
        Action::Routes(vec![
            to(path(&["/a*"]), "a"),
            route(
                path(&["/b*"]),
                Action::Routes(vec![to(
                    Conditions {
                        method: vec!["POST".into()],
                        ..Conditions::default()
                    },
                    "b",
                )]),
            ),
        ]),
    );
    nested.missing = vec!["d".into()];
    nested.log = false;
    let router = router(vec![nested, to(path(&["/*"]), "c")]);
    let host = &["Host: shop.example"][..];
    assert_eq!(ask(&router, "GET /a", host), "unlogged a 200 or else d 200");
    assert_eq!(ask(&router, "POST /b", host), "unlogged b 200");
    assert_eq!(ask(&router, "GET /b", host), "c 200");
    assert_eq!(ask(&router, "GET /a", &[]), "c 200");
}

#[test]
fn policies_of_a_group_hold_for_its_routes_and_a_routes_own_come_last() {
    let set = |name: &str, value: &str| FieldChanges {
        set: BTreeMap::from([(name.into(), template(value))]),
        ..FieldChanges::default()
    };
    let policies = |path: &str, response| Policies {
        path: Some(PathChange::Strip(path.into())),
        headers: Headers {
            response,
            ..Headers::default()
        },
        ..Policies::default()
    };
    let mut inner = to(path(&["/a/b/*"]), "a");
    inner.policies = policies("/a/b", set("x-one", "inner {uri}"));
    let plain = to(path(&["/a/*"]), "b");
    let mut group = route(Conditions::default(), Action::Routes(vec![inner, plain]));
    group.policies = policies("/a", set("X-One", "outer"));
    let router = router(vec![group]);
    assert_eq!(
        ask(&router, "GET /a/b/c?d", &[]),
        "a 200 /c?d x-one: inner /a/b/c?d"
    );
    assert_eq!(ask(&router, "GET /a/c", &[]), "b 200 /c X-One: outer");
    assert_eq!(ask(&router, "GET /c", &[]), "web 404");
}

#[test]
fn missing_is_asked_for_reads_only() {
    let mut files = to(path(&["/static*"]), "a");
    files.missing = vec!["b".into()];
    let router = router(vec![files]);
    assert_eq!(ask(&router, "GET /static/x", &[]), "a 200 or else b 200");
    assert_eq!(ask(&router, "HEAD /static/x", &[]), "a 200 or else b 200");
    assert_eq!(ask(&router, "POST /static/x", &[]), "a 200");
}

#[test]
fn of_several_each_is_asked_when_the_one_before_it_has_nothing() {
    let mut files = to(path(&["/static*"]), "a");
    files.missing = vec!["b".into(), "c".into()];
    let router = router(vec![files]);
    assert_eq!(
        ask(&router, "GET /static/x", &[]),
        "a 200 or else b 200 or else c 200"
    );
}

#[test]
fn a_split_route_hands_requests_to_its_services_by_their_shares() {
    let split = Action::Split {
        to: vec![("a".into(), 2), ("b".into(), 1)],
        by: None,
    };
    let mut split = route(Conditions::default(), split);
    split.missing = vec!["c".into()];
    let router = router(vec![split]);
    let mut answers: Vec<_> = (0..3).map(|_| ask(&router, "GET /", &[])).collect();
    answers.sort();
    assert_eq!(
        answers,
        [
            "a 200 or else c 200",
            "a 200 or else c 200",
            "b 200 or else c 200"
        ]
    );
}

#[test]
fn answers_of_the_router_itself() {
    let router = router(vec![
        route(
            path(&["/old*"]),
            Action::Redirect {
                to: template("https://{host}/new?{query}"),
                status: 308,
            },
        ),
        route(path(&["/no"]), Action::Deny),
        route(
            path(&["/tea"]),
            Action::Respond {
                status: 418,
                body: Content::Text("short and stout".into()),
                headers: BTreeMap::new(),
            },
        ),
    ]);
    assert_eq!(
        ask(&router, "GET /old?x=1", &[]),
        "web 308 https://example.com/new?x=1"
    );
    assert_eq!(ask(&router, "GET /no", &[]), "web 403");
    assert_eq!(ask(&router, "GET /tea", &[]), "web 418");
    assert_eq!(ask(&router, "GET /else", &[]), "web 404");
}

#[test]
fn what_cannot_be_compiled_names_its_line() {
    let error = |route| {
        let plan = listener(vec![route]);
        let router = Router::new(&plan, &|_, _| Arc::new(Named("x".into())));
        router
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let unknown = error(to(Conditions::default(), "nobody"));
    assert_eq!(
        unknown,
        "listener web, the route in line 7: there is no service nobody"
    );
    let regex = Conditions {
        path: vec![Pattern::Regex("(".into())],
        ..Conditions::default()
    };
    assert!(error(to(regex, "a")).contains("line 7: ~( is no regular expression"));
    let respond = Action::Respond {
        status: 200,
        body: Content::File("/no/such/page.html".into()),
        headers: BTreeMap::new(),
    };
    let error = error(route(Conditions::default(), respond));
    assert!(
        error.contains("line 7: cannot read /no/such/page.html"),
        "{error}"
    );
}

#[test]
fn ten_thousand_routes_are_not_asked_one_by_one() {
    let by_path = (0..10_000).map(|i| to(path(&[&format!("/p{i}/*")]), "a"));
    let by_host = (0..10_000).map(|i| {
        let host = Conditions {
            host: patterns(&[&format!("h{i}.example")]),
            ..path(&["/*"])
        };
        to(host, "b")
    });
    let router = router(
        by_path
            .chain(by_host)
            .chain([to(Conditions::default(), "c")])
            .collect(),
    );
    let asked = |line: &str, fields: &[&str]| {
        with_request(&head(line, fields), |request| {
            let subject = Subject::new(request);
            let asked = std::cell::Cell::new(0);
            let first = router.index.first(&subject, |number| {
                asked.set(asked.get() + 1);
                router.rules[number as usize]
                    .levels
                    .iter()
                    .all(|level| level.holds(&subject))
            });
            (first, asked.get())
        })
    };
    for (line, host, rule) in [
        ("GET /p7777/x", "Host: x", 7777),
        ("GET /x", "Host: h8888.example", 18_888),
        ("GET /", "Host: x", 20_000),
    ] {
        let (first, asked) = asked(line, &[host]);
        assert_eq!(first, Some(rule), "{line} {host}");
        assert!(asked <= 3, "{asked} rules were asked for {line} {host}");
    }
}

#[test]
fn an_internal_route_is_for_what_a_server_has_handed_over() {
    let internal = |when: Conditions| Conditions {
        internal: true,
        ..when
    };
    let router = router(vec![
        route(
            internal(Conditions::default()),
            Action::Routes(vec![to(path(&["/vault/*"]), "a")]),
        ),
        to(internal(path(&["/x"])), "b"),
        to(
            Conditions {
                not: Some(Box::new(internal(Conditions::default()))),
                ..path(&["/y"])
            },
            "c",
        ),
        to(Conditions::default(), "d"),
    ]);
    for (path, handed, service) in [
        ("/vault/f", true, "a"),
        ("/vault/f", false, "d"),
        ("/x", true, "b"),
        ("/x", false, "d"),
        ("/y", true, "d"),
        ("/y", false, "c"),
    ] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let found = with_request(&text, |request| {
            let came = handed.then(|| request.as_it_came());
            let request = Request { came, ..*request };
            router.find(&request).map(|(number, _)| number)
        });
        let expected = SERVICES.iter().position(|name| *name == service);
        assert_eq!(found.map(|n| n as usize), expected, "{path}, {handed}");
    }
}

#[test]
fn a_request_that_only_asks_is_kept_out_by_nothing_that_is_for_clients() {
    let router = router(vec![
        route(
            Conditions {
                path: patterns(&["/verify"]),
                ..Conditions::default()
            },
            Action::Deny,
        ),
        route(
            Conditions {
                path: patterns(&["/verify"]),
                ..Conditions::default()
            },
            Action::Close,
        ),
        to(
            Conditions {
                path: patterns(&["/verify"]),
                ..Conditions::default()
            },
            "a",
        ),
        to(Conditions::default(), "b"),
    ]);
    for (asks, found) in [(true, 2), (false, 0)] {
        let text = "GET /verify HTTP/1.1\r\nHost: a\r\n\r\n";
        let number = with_request(text, |request| {
            let came = Some(tandem_http::request::Came {
                asks,
                ..request.as_it_came()
            });
            let request = Request { came, ..*request };
            router.find(&request).map(|(number, _)| number)
        });
        assert_eq!(number, Some(found), "{asks}");
    }
}

#[test]
fn a_route_asks_for_a_certificate_or_for_whose_it_is() {
    let of = |names: &[&str], when: Conditions| Conditions {
        client_cert: Some(match names {
            ["*"] => Presence::Present,
            names => Presence::OneOf(patterns(names)),
        }),
        ..when
    };
    let router = router(vec![
        to(of(&["ann", "*.ops"], path(&["/ops"])), "a"),
        route(
            of(&["*"], Conditions::default()),
            Action::Routes(vec![to(path(&["/admin*"]), "b")]),
        ),
        to(
            Conditions {
                not: Some(Box::new(of(&["~.*"], Conditions::default()))),
                ..path(&["/x"])
            },
            "c",
        ),
        to(Conditions::default(), "d"),
    ]);
    let named = |name: &str| ClientCertificate {
        common_name: Some(name.into()),
        ..ClientCertificate::default()
    };
    let (ann, eve, ops) = (named("ann"), named("Ann"), named("7.ops"));
    let nameless = ClientCertificate::default();
    for (path, certificate, service) in [
        ("/ops", Some(&ann), "a"),
        ("/ops", Some(&ops), "a"),
        ("/ops", Some(&eve), "d"),
        ("/ops", Some(&nameless), "d"),
        ("/ops", None, "d"),
        ("/admin/x", Some(&nameless), "b"),
        ("/admin/x", None, "d"),
        // A pattern that everything fits asks for a name all the same.
        ("/x", Some(&ann), "d"),
        ("/x", Some(&nameless), "c"),
        ("/x", None, "c"),
    ] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let found = with_request(&text, |request| {
            let request = Request {
                certificate,
                ..*request
            };
            router.find(&request).map(|(number, _)| number)
        });
        let expected = SERVICES.iter().position(|name| *name == service);
        assert_eq!(
            found.map(|n| n as usize),
            expected,
            "{path}, {certificate:?}"
        );
    }
}
