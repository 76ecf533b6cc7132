//! Policies around handlers, seen by clients and servers.

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use tandem_http::policy::{Edits, ErrorPages, Governance, Maintenance, Redirect, Respond, Works};
use tandem_http::{Handler, Plan, Reply};
use tandem_model::{
    Auth, Compress, Compression, Content, ErrorContent, ErrorPage, Errors, FieldChanges, Headers,
    PathChange, Policies, Rate, Replaced, Secret, Statuses, Substitution, Template, Users,
};
use tokio::io::AsyncWriteExt;

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: secret/1\r\nX-Debug-A: 1\r\nVary: A\r\n\r\nok";

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn set(fields: &[(&str, &str)]) -> FieldChanges {
    FieldChanges {
        set: fields
            .iter()
            .map(|(name, value)| ((*name).into(), template(value)))
            .collect(),
        ..FieldChanges::default()
    }
}

/// `handler` under these policies.
fn under(policies: &Policies, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
    let name = Arc::from("test");
    let governance = Governance::new(&name).and(policies).unwrap();
    governance.around(handler).unwrap()
}

/// A server that keeps what it was sent.
async fn listening() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = heard.clone();
    let server = origin(move |mut stream, _| {
        let keep = keep.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                keep.lock().unwrap().push(request);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (server, heard)
}

#[test]
fn a_field_that_is_set_does_not_come_behind_the_body_either() {
    run(async {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = heard.clone();
        let server = origin(move |mut stream, _| {
            let keep = keep.clone();
            async move {
                let head = read_head(&mut stream).await;
                read_until(&mut stream, "0\r\n").await;
                let behind = read_head(&mut stream).await;
                keep.lock().unwrap().push((head, behind));
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        })
        .await;
        let policies = Policies {
            headers: Headers {
                request: set(&[
                    ("X-Client", "{client-cert-cn}"),
                    ("X-Verify", "{client-cert}"),
                ]),
                ..Headers::default()
            },
            ..Policies::default()
        };
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(config(under(&policies, forward)));
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        let behind =
            "0\r\nX-Client: eve\r\nx_verify: SUCCESS\r\nDigest: x\r\nX-VERIFY: SUCCESS\r\n\r\n";
        // In one piece, and in two.
        let answer = rig.talk([head, behind].concat()).await;
        assert_eq!(status_of(&answer), 200);
        let mut client = rig.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(behind.as_bytes()).await.unwrap();
        assert_eq!(status_of(&read_to_end(&mut client).await), 200);
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 2);
        for (head, behind) in &*heard {
            assert!(head.contains("X-Verify: NONE\r\n"), "{head}");
            assert!(!head.contains("X-Client"), "{head}");
            assert_eq!(behind, "Digest: x\r\n\r\n");
        }
    });
}

fn headers() -> Headers {
    Headers {
        request: FieldChanges {
            remove: vec!["Cookie".into(), "X-Internal-*".into()],
            add: [("X-Via".into(), vec![template("one"), template("two")])].into(),
            ..set(&[
                ("Host", "inner.example"),
                ("X-User", "{header:x-token}"),
                ("X-Request-ID", "{request-id}"),
                ("X-Asked", "{method} {scheme}://{host}{uri} by {client}"),
            ])
        },
        response: FieldChanges {
            remove: vec!["server".into(), "X-Debug-*".into()],
            ..set(&[("X-Request-ID", "{request-id}"), ("Vary", "B")])
        },
        ..Headers::default()
    }
}

fn field<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split_once("\r\n\r\n").expect("a head").0;
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

#[test]
fn heads_are_changed_both_ways_and_stay_well_formed() {
    run(async {
        let (server, heard) = listening().await;
        let policies = Policies {
            headers: headers(),
            ..Policies::default()
        };
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(config(under(&policies, forward)));
        let answer = rig
            .talk(
                "POST /a?b=1 HTTP/1.1\r\nHost: Shop.example:81\r\nX_User: eve\r\nx-user: eve\r\nCookie: a=1\r\n\
                 X_Internal_Admin: 1\r\nContent-Length: 3\r\nConnection: close\r\nX-Via: zero\r\n\r\nabc",
            )
            .await;
        let sent = heard.lock().unwrap().remove(0);
        assert!(
            sent.starts_with("POST /a?b=1 HTTP/1.1\r\nHost: inner.example\r\n"),
            "{sent}"
        );
        assert!(sent.ends_with("\r\n\r\nabc"), "{sent}");
        assert_eq!(field(&sent, "host"), ["inner.example"]);
        assert_eq!(field(&sent, "content-length"), ["3"]);
        assert_eq!(field(&sent, "x-forwarded-host"), ["Shop.example:81"]);
        assert_eq!(field(&sent, "x-via"), ["zero", "one", "two"]);
        assert_eq!(
            field(&sent, "x-asked"),
            ["POST http://Shop.example/a?b=1 by 127.0.0.1"]
        );
        // No token: nobody can say who the user is, in whatever spelling.
        for name in ["x-user", "x_user", "cookie", "x_internal_admin"] {
            assert!(field(&sent, name).is_empty(), "{name}: {sent}");
        }
        assert_eq!(field(&answer, "vary"), ["B"]);
        assert_eq!(field(&answer, "content-length"), ["2"]);
        assert!(
            !answer.contains("secret") && !answer.contains("X-Debug"),
            "{answer}"
        );
        assert_eq!(field(&answer, "x-request-id"), field(&sent, "x-request-id"));
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    });
}

#[test]
fn answers_of_our_own_and_later_ones_are_changed_too() {
    struct Later;
    impl Handler for Later {
        fn step(&self, _: &tandem_http::Request<'_>, _: &tandem_http::Cx) -> tandem_http::Step {
            tandem_http::Step::Later(Box::pin(async {
                tokio::task::yield_now().await;
                Plan::Bytes(Reply::text(200, &Arc::from("later"), "later"))
            }))
        }
    }
    run(async {
        let policies = Policies {
            headers: headers(),
            ..Policies::default()
        };
        let text = Content::Text("gone".into());
        let fields = [
            ("Server".into(), template("x")),
            ("X-Uri".into(), template("{uri}")),
        ];
        let name = Arc::from("test");
        let gone = Respond::new(410, &text, &fields.into(), None, &name).unwrap();
        for (handler, status, body) in [
            (Arc::new(gone) as Arc<dyn Handler>, 410, "gone"),
            (Arc::new(Later), 200, "later"),
            (
                forward_to(vec![upstream(closed_port().await)], &Heard::default()),
                502,
                "reached\n",
            ),
        ] {
            let rig = Rig::new(config(under(&policies, handler)));
            let answer = rig
                .talk("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await;
            assert_eq!(status_of(&answer), status);
            assert_eq!(field(&answer, "vary"), ["B"]);
            assert!(field(&answer, "server").is_empty());
            assert_eq!(field(&answer, "x-request-id")[0].len(), 32);
            assert!(answer.ends_with(body), "{answer}");
        }
    });
}

#[test]
fn values_of_fields_are_replaced_on_both_ways_and_errors_are_left_out_of_success() {
    let rules = |name: &str, from: Replaced, to: &str| {
        let rules = vec![Substitution {
            from,
            to: template(to),
        }];
        FieldChanges {
            replace: [(name.into(), vec![rules])].into(),
            ..FieldChanges::default()
        }
    };
    run(async move {
        let (server, heard) = listening().await;
        let inner = Policies {
            headers: Headers {
                request: rules(
                    "X-Id",
                    Replaced::Regex("^user-([0-9]+)$".into()),
                    "{1}@{host}",
                ),
                response: rules("Server", Replaced::Prefix("secret".into()), "public"),
                success: set(&[("Cache-Control", "max-age=60")]),
                by_status: Vec::new(),
            },
            ..Policies::default()
        };
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let gone = handler(|_| Plan::Bytes(Reply::text(404, &Arc::from("www"), "nothing")));
        for (handler, status) in [(forward, 200), (gone, 404)] {
            let rig = Rig::new(config(under(&inner, handler)));
            let answer = rig
                .talk("GET /x HTTP/1.1\r\nHost: a\r\nx-id: user-17\r\nX-Id: other\r\nConnection: close\r\n\r\n")
                .await;
            assert_eq!(status_of(&answer), status);
            let (server, kept): (&[&str], &[&str]) = match status {
                200 => (&["public/1"], &["max-age=60"]),
                _ => (&[], &[]),
            };
            assert_eq!(field(&answer, "server"), server);
            assert_eq!(field(&answer, "cache-control"), kept);
        }
        let sent = heard.lock().unwrap().remove(0);
        assert_eq!(field(&sent, "x-id"), ["17@a", "other"]);
    });
}

#[test]
fn a_service_sees_the_changed_path_and_so_does_the_one_asked_in_its_place() {
    run(async {
        let (server, heard) = listening().await;
        let policies = Policies {
            path: Some(PathChange::Strip("/shop".into())),
            ..Policies::default()
        };
        let nothing = handler(|request| {
            assert_eq!(request.path(), b"/a b");
            assert_eq!(request.query(), b"c");
            Plan::Bytes(Reply::text(404, &Arc::from("www"), "nothing"))
        });
        let name = Arc::from("test");
        let mut governance = Governance::new(&name).and(&policies).unwrap();
        governance.missing = vec![forward_to(vec![upstream(server)], &Heard::default())];
        let rig = Rig::new(config(governance.around(nothing).unwrap()));
        let answer = rig
            .talk("GET /shop//x/../a%20b?c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 200);
        let sent = heard.lock().unwrap().remove(0);
        assert!(sent.starts_with("GET /a%20b?c HTTP/1.1\r\n"), "{sent}");
    });
}

#[test]
fn a_path_that_a_rewrite_leads_above_the_root_is_refused() {
    run(async {
        let policies = Policies {
            path: Some(PathChange::Rewrite(vec![Substitution {
                from: Replaced::Regex("^/(.)x".into()),
                to: template("/{1}."),
            }])),
            ..Policies::default()
        };
        let (server, _) = listening().await;
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(config(under(&policies, forward)));
        let answer = rig
            .talk("GET /.x/etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 400);
    });
}

#[test]
fn a_redirect_is_made_of_the_changed_path() {
    run(async {
        let policies = Policies {
            path: Some(PathChange::Rewrite(vec![Substitution {
                from: Replaced::Regex("^/item/(\\d+)$".into()),
                to: template("/show?id={1}"),
            }])),
            ..Policies::default()
        };
        let redirect = Redirect::new(&template("https://{host}{uri}"), 301, &Arc::from("test"));
        let rig = Rig::new(config(under(&policies, Arc::new(redirect))));
        let answer = rig
            .talk(
                "GET /item/7?x=%0d%0aSet-Cookie:a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            )
            .await;
        assert_eq!(
            field(&answer, "location"),
            ["https://a/show?id=7&x=%0d%0aSet-Cookie:a"]
        );
        assert!(field(&answer, "set-cookie").is_empty());
    });
}

/// A file that is gone when it is dropped.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn errors(&self, statuses: &str, upstream: bool) -> Errors {
        let file = self.0.clone();
        let statuses = Statuses::parse(statuses).unwrap();
        let content = ErrorContent::File(file);
        [(statuses, ErrorPage { content, upstream })].into()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn errors_of_our_own_have_their_pages_and_those_of_servers_where_it_is_said() {
    run(async {
        let (ours, theirs) = (
            Temporary::new("ours.html", "our page"),
            Temporary::new("theirs.html", "their page"),
        );
        let answer = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-Secret: 1\r\n\r\nbusy";
        let server = canned(answer).await;
        let forward = |to| forward_to(vec![upstream(to)], &Heard::default());
        let name = Arc::from("test");
        for (listener, route, handler, expected) in [
            // Nobody there: an error of our own.
            (
                ours.errors("5xx", false),
                None,
                forward(closed_port().await),
                "502 our page",
            ),
            (
                ours.errors("5xx", false),
                Some(theirs.errors("502", false)),
                forward(closed_port().await),
                "502 their page",
            ),
            // The server's own answer.
            (ours.errors("5xx", false), None, forward(server), "503 busy"),
            (
                ours.errors("5xx", false),
                Some(theirs.errors("503", true)),
                forward(server),
                "503 their page",
            ),
            (
                ours.errors("503", true),
                Some(theirs.errors("502", true)),
                forward(server),
                "503 our page",
            ),
            // An answer that the file gives itself is what it says.
            (
                ours.errors("4xx", false),
                None,
                Arc::new(Respond::denied(&name)),
                "403 our page",
            ),
            (
                ours.errors("4xx", true),
                None,
                Arc::new(
                    Respond::new(410, &Content::Text("gone".into()), &[].into(), None, &name)
                        .unwrap(),
                ),
                "410 gone",
            ),
        ] {
            let mut policies = Policies::default();
            policies.errors.extend(route.into_iter().flatten());
            let rig = Rig::new(tandem_http::ListenerConfig {
                errors: ErrorPages::read(&listener).unwrap(),
                ..config(under(&policies, handler))
            });
            for (method, body) in [("GET", &expected[4..]), ("HEAD", "")] {
                let answer = rig
                    .talk(format!(
                        "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                    ))
                    .await;
                assert_eq!(status_of(&answer).to_string(), expected[..3], "{answer}");
                assert_eq!(body_of(&answer), body, "{answer}");
                if expected.ends_with("page") {
                    let length = expected.len() - 4;
                    assert_eq!(field(&answer, "content-length"), [length.to_string()]);
                    assert_eq!(field(&answer, "content-type"), ["text/html; charset=utf-8"]);
                    assert!(field(&answer, "x-secret").is_empty(), "{answer}");
                }
            }
        }
    });
}

#[test]
fn what_is_no_request_gets_the_listeners_page_too() {
    run(async {
        let page = Temporary::new("bad.html", "a bad request");
        let rig = Rig::new(tandem_http::ListenerConfig {
            errors: ErrorPages::read(&page.errors("400", false)).unwrap(),
            ..config(handler(|_| unreachable!()))
        });
        let answer = rig.talk("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(
            (status_of(&answer), body_of(&answer)),
            (400, "a bad request")
        );
    });
}

#[test]
fn a_connection_is_used_again_after_a_replaced_answer() {
    run(async {
        let page = Temporary::new("again.html", "page");
        let server = origin(|mut stream, n| async move {
            while read_request(&mut stream).await.is_some() {
                let answer = format!("HTTP/1.1 500 X\r\nContent-Length: 1\r\nX-N: {n}\r\n\r\n{n}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                assert_eq!(n, 0, "one connection is enough");
            }
        })
        .await;
        let policies = Policies {
            errors: page.errors("5xx", true),
            ..Policies::default()
        };
        // Each request has its own tries.
        let heard = Heard::default();
        let rig = Rig::new(config(under(
            &policies,
            forward_to(vec![upstream(server)], &heard),
        )));
        for _ in 0..3 {
            let answer = rig
                .talk(
                    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
                )
                .await;
            assert_eq!((status_of(&answer), body_of(&answer)), (500, "page"));
        }
        assert!(heard.outcomes().iter().all(|outcome| outcome.status == 500));
    });
}

#[test]
fn works_show_their_page_to_all_but_a_few_and_are_switched_at_run_time() {
    run(async {
        let page = Temporary::new("works.html", "works");
        let said = |allow: &str| tandem_model::Maintenance {
            page: Some(page.0.clone()),
            allow: vec![allow.parse().unwrap()],
            active: false,
        };
        let works = Arc::new(Works::new(false));
        let name = Arc::from("test");
        let served = handler(|_| Plan::Bytes(Reply::text(200, &Arc::from("shop"), "served")));
        let around = |allow| {
            let around = Maintenance::new(&said(allow), works.clone(), &name, served.clone());
            Rig::new(config(Arc::new(around.unwrap())))
        };
        let (strangers, friends) = (around("10.0.0.0/8"), around("127.0.0.0/8"));
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let control: Arc<dyn tandem_telemetry::Control> = works.clone();
        assert_eq!(body_of(&strangers.talk(request).await), "served");
        control.maintenance().unwrap();
        let answer = strangers.talk(request).await;
        assert_eq!((status_of(&answer), body_of(&answer)), (503, "works"));
        assert_eq!(field(&answer, "retry-after"), ["60"]);
        assert_eq!(body_of(&friends.talk(request).await), "served");
        control.ready().unwrap();
        assert_eq!(body_of(&strangers.talk(request).await), "served");
    });
}

#[test]
fn an_error_of_a_node_itself_is_one_of_ours_and_its_applications_is_not() {
    run(async {
        let page = Temporary::new("node.html", "page");
        let application = canned("HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\ntheir").await;
        let nothing = handler(|_| Plan::Bytes(Reply::text(404, &Arc::from("www"), "small")));
        for (handler, expected) in [
            (nothing, "page"),
            (
                forward_to(vec![upstream(application)], &Heard::default()),
                "their",
            ),
        ] {
            let node = Rig::new(tandem_http::ListenerConfig {
                internal: true,
                rule: tandem_net::ClientRule {
                    nodes: [[127, 0, 0, 1].into()].into(),
                    ..tandem_net::ClientRule::default()
                },
                ..config(handler)
            });
            let mut to = upstream(node.address);
            to.node = true;
            let edge = Rig::new(tandem_http::ListenerConfig {
                errors: ErrorPages::read(&page.errors("404", false)).unwrap(),
                ..config(forward_to(vec![to], &Heard::default()))
            });
            let answer = edge
                .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await;
            assert!(
                answer.starts_with("HTTP/1.1 404 ") && !answer.contains("tandem-"),
                "{answer}"
            );
            assert!(body_of(&answer).starts_with(expected), "{answer}");
        }
    });
}

/// `alice:correct horse` and `bob:correct horse`.
const ALICE: &str = "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==\r\n";
const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";
const BOB: &str = "Authorization: Basic Ym9iOmNvcnJlY3QgaG9yc2U=\r\n";

fn staff() -> Auth {
    let hash = "$2b$04$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW";
    Auth::Basic(Users {
        realm: "The staff".into(),
        users: [("alice".into(), Secret::new(hash))].into(),
        file: None,
    })
}

fn get(fields: &str) -> String {
    format!("GET /shop/a HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n")
}

#[test]
fn a_password_lets_in_and_the_server_learns_who_it_is() {
    run(async {
        let (server, heard) = listening().await;
        let policies = Policies {
            auth: Some(staff()),
            path: Some(PathChange::Strip("/shop".into())),
            headers: Headers {
                request: set(&[("X-User", "{user}")]),
                response: set(&[("X-Everywhere", "1")]),
                ..Headers::default()
            },
            ..Policies::default()
        };
        let forward = forward_to(vec![upstream(server); 2], &Heard::default());
        let rig = Rig::new(config(under(&policies, forward)));
        for fields in [
            "",
            WRONG,
            BOB,
            "X-User: alice\r\n",
            &format!("{ALICE}{ALICE}"),
        ] {
            let answer = rig.talk(get(fields)).await;
            assert_eq!(status_of(&answer), 401, "{fields}");
            assert_eq!(
                field(&answer, "www-authenticate"),
                ["Basic realm=\"The staff\", charset=\"UTF-8\""]
            );
            assert_eq!(field(&answer, "x-everywhere"), ["1"]);
        }
        assert!(heard.lock().unwrap().is_empty());
        // First checked by another thread, then remembered.
        for _ in 0..2 {
            let answer = rig.talk(get(&format!("{ALICE}x-user: eve\r\n"))).await;
            assert_eq!(status_of(&answer), 200);
            let sent = heard.lock().unwrap().remove(0);
            assert!(sent.starts_with("GET /a HTTP/1.1\r\n"), "{sent}");
            assert_eq!(field(&sent, "x-user"), ["alice"]);
        }
        assert_eq!(status_of(&rig.talk(get(WRONG)).await), 401);
    });
}

#[test]
fn a_route_of_a_guarded_group_may_let_everyone_in() {
    run(async {
        let name = Arc::from("test");
        let group = Governance::new(&name)
            .and(&Policies {
                auth: Some(staff()),
                ..Policies::default()
            })
            .unwrap();
        let open = group
            .and(&Policies {
                auth: Some(Auth::Off),
                ..Policies::default()
            })
            .unwrap();
        let served = handler(|_| Plan::Bytes(Reply::text(200, &Arc::from("shop"), "served")));
        for (governance, status) in [(group, 401), (open, 200)] {
            let rig = Rig::new(config(governance.around(served.clone()).unwrap()));
            assert_eq!(status_of(&rig.talk(get("")).await), status);
        }
    });
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back_and_others_are_served() {
    run(async {
        let limit = |burst| Policies {
            rate: Some(Rate {
                burst,
                ..["1/h".parse().unwrap()][0]
            }),
            ..Policies::default()
        };
        let name = Arc::from("test");
        let served = handler(|_| Plan::Bytes(Reply::text(200, &Arc::from("shop"), "served")));
        // One limit for both routes of a group, and one more for one of them.
        let group = Governance::new(&name).and(&limit(3)).unwrap();
        let mut rigs = Vec::new();
        for governance in [group.clone(), group.and(&limit(1)).unwrap()] {
            let mut config = config(governance.around(served.clone()).unwrap());
            config.rule.trust = vec!["127.0.0.1/32".parse().unwrap()];
            rigs.push(Rig::new(config));
        }
        let from = |client: &str| get(&format!("X-Forwarded-For: {client}\r\n"));
        for (rig, client, status) in [
            (1, "192.0.2.1", 200),
            (1, "192.0.2.1", 429),
            (0, "192.0.2.1", 200),
            (0, "192.0.2.1", 429),
            (0, "192.0.2.2", 200),
            (0, "2001:db8::1", 200),
            (0, "2001:db8::2", 200),
            (0, "2001:db8::3", 200),
            (0, "2001:db8::4", 429),
        ] {
            let answer = rigs[rig].talk(from(client)).await;
            assert_eq!(status_of(&answer), status, "{rig} {client}");
            if status == 429 {
                let wait: u32 = field(&answer, "retry-after")[0].parse().unwrap();
                assert!((3_000..=3_600).contains(&wait), "{wait}");
            }
        }
    });
}

/// A proxy that compresses what `serve` answers.
async fn compressing(answer: Vec<u8>) -> Rig {
    let policies = Policies {
        compress: Some(Compress::On(Compression::default())),
        ..Policies::default()
    };
    let forward = forward_to(vec![upstream(canned(answer).await)], &Heard::default());
    Rig::new(config(under(&policies, forward)))
}

/// The head of an answer, and its body without chunks.
async fn whole(rig: &Rig, request: &str) -> (String, Vec<u8>) {
    use tokio::io::AsyncReadExt;
    let mut client = rig.connect().await;
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let mut body = answer.split_off(end);
    let head = String::from_utf8(answer).unwrap();
    if head.contains("chunked") {
        let decoded = tandem_http::chunked::Chunked::default()
            .decode(&mut body)
            .unwrap();
        assert_eq!(decoded.consumed, body.len());
        body.truncate(decoded.data);
    }
    (head, body)
}

fn unpacked(coding: &str, body: &[u8]) -> String {
    use std::io::Read;
    let mut out = String::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut out),
        _ => brotli::Decompressor::new(body, 4096).read_to_string(&mut out),
    }
    .unwrap();
    out
}

#[test]
fn text_of_servers_is_compressed_whatever_its_framing_and_read_as_it_was() {
    run(async {
        let lines: Vec<String> = (0..20_000)
            .map(|i| format!("line {i} of the text\n"))
            .collect();
        let text = lines.concat();
        let kind = "Content-Type: text/plain\r\nETag: \"x\"";
        for head in [
            format!(
                "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ),
            format!(
                "HTTP/1.1 200 OK\r\n{kind}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
                text.len()
            ),
        ] {
            let rig = compressing(head.into_bytes()).await;
            for coding in ["gzip", "br"] {
                let request = get(&format!("Accept-Encoding: {coding}\r\n"));
                let (head, body) = whole(&rig, &request).await;
                assert_eq!(field(&head, "content-encoding"), [coding], "{head}");
                assert_eq!(field(&head, "etag"), ["W/\"x\""]);
                assert_eq!(field(&head, "vary"), ["Accept-Encoding"]);
                assert!(field(&head, "content-length").is_empty(), "{head}");
                assert!(body.len() < text.len() / 4);
                assert_eq!(unpacked(coding, &body), text);
            }
            for request in [
                get(""),
                get("Accept-Encoding: br\r\n").replace("1.1", "1.0"),
            ] {
                let (head, body) = whole(&rig, &request).await;
                assert!(field(&head, "content-encoding").is_empty(), "{head}");
                assert_eq!(field(&head, "vary"), ["Accept-Encoding"]);
                assert_eq!(body, text.as_bytes());
            }
            let (head, body) =
                whole(&rig, &get("Accept-Encoding: br\r\n").replace("GET", "HEAD")).await;
            assert_eq!(field(&head, "content-encoding"), ["br"]);
            assert!(
                body.is_empty() && field(&head, "content-length").is_empty(),
                "{head}"
            );
        }
    });
}

#[test]
fn an_event_reaches_the_client_before_the_next_one_is_made() {
    run(async {
        use tokio::io::AsyncReadExt;
        let (told, next) = (Arc::new(tokio::sync::Notify::new()), "data: an event\n\n");
        let go_on = told.clone();
        let server = origin(move |mut stream, _| {
            let go_on = go_on.clone();
            async move {
                read_request(&mut stream).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                for _ in 0..3 {
                    stream.write_all(next.as_bytes()).await.unwrap();
                    go_on.notified().await;
                }
            }
        })
        .await;
        let policies = Policies {
            compress: Some(Compress::On(Compression::default())),
            ..Policies::default()
        };
        let forward = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(config(under(&policies, forward)));
        let mut client = rig.connect().await;
        client
            .write_all(get("Accept-Encoding: gzip\r\n").as_bytes())
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert_eq!(field(&head, "content-encoding"), ["gzip"]);
        let (mut raw, mut chunks) = (Vec::new(), tandem_http::chunked::Chunked::default());
        for seen in 1..=3 {
            let wanted = next.len() * seen;
            loop {
                let mut out = vec![0; wanted];
                let mut reader = flate2::read::GzDecoder::new(&raw[..]);
                if std::io::Read::read_exact(&mut reader, &mut out).is_ok() {
                    assert_eq!(out, next.repeat(seen).as_bytes());
                    break;
                }
                let mut piece = [0; 512];
                let n = client.read(&mut piece).await.unwrap();
                assert!(n > 0, "it ended");
                let decoded = chunks.decode(&mut piece[..n]).unwrap();
                raw.extend_from_slice(&piece[..decoded.data]);
            }
            told.notify_one();
        }
    });
}

/// What is asked for is at `first` or else at `then`.
fn or_else(first: Arc<dyn Handler>, then: Arc<dyn Handler>) -> Arc<dyn Handler> {
    let mut governance = Governance::new(&Arc::from("test"));
    governance.missing = vec![then];
    governance.around(first).unwrap()
}

#[test]
fn a_body_that_cannot_be_sent_again_is_never_sent_in_part_to_the_one_asked_in_its_place() {
    const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnothing";
    run(async {
        let forward = |to| forward_to(vec![upstream(to)], &Heard::default());
        let large = "x".repeat(200_000);
        let known = format!("Content-Length: {}\r\n\r\n{large}", large.len());
        let chunks = format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
            large.len()
        );
        let small = "Content-Length: 5\r\n\r\nhello".to_owned();
        let few = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned();
        for (body, answered) in [(&small, 200), (&few, 200), (&known, 404), (&chunks, 404)] {
            let (first, (then, heard)) = (canned(NOTHING).await, listening().await);
            let rig = Rig::new(config(or_else(forward(first), forward(then))));
            let answer = rig
                .talk(format!(
                    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}"
                ))
                .await;
            assert_eq!(status_of(&answer), answered, "{answer}");
            let heard = heard.lock().unwrap();
            let ends = ["\r\n\r\nhello", "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"];
            let is_whole = |request: &String| ends.iter().any(|end| request.ends_with(end));
            assert!(heard.iter().all(is_whole), "{heard:?}");
            assert_eq!(heard.len(), usize::from(answered == 200));
        }
    });
}

#[test]
fn what_the_first_would_have_done_to_its_answer_is_not_done_to_that_of_the_next() {
    run(async {
        let page = Temporary::new("next.html", "our page");
        let nothing = handler(|_| {
            let reply = Reply::text(404, &Arc::from("www"), "a page of its own");
            Edits::kept(Plan::Bytes(reply))
        });
        let server = closed_port().await;
        let next = forward_to(vec![upstream(server)], &Heard::default());
        let rig = Rig::new(tandem_http::ListenerConfig {
            errors: ErrorPages::read(&page.errors("5xx", false)).unwrap(),
            ..config(or_else(nothing, next))
        });
        let answer = rig
            .talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(status_of(&answer), 502);
        assert_eq!(body_of(&answer), "our page");
    });
}

#[test]
fn the_log_does_not_name_the_server_of_one_service_with_another() {
    const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnothing";
    run(async {
        let log = Temporary::new("server.log", "");
        let first = forward_to(vec![upstream(canned(NOTHING).await)], &Heard::default());
        let then = handler(|_| Plan::Bytes(Reply::text(200, &Arc::from("www"), "here")));
        let rig = Rig::new(tandem_http::ListenerConfig {
            log: Some(log.0.clone()),
            ..config(or_else(first, then))
        });
        rig.talk("GET / HTTP/1.0\r\n\r\n").await;
        rig.engine.drain(std::time::Duration::from_secs(10)).await;
        let line = std::fs::read_to_string(&log.0).unwrap();
        assert!(line.contains(" www/- 0 "), "{line}");
    });
}
