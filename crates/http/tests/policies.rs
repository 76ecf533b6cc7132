//! Policies around handlers, seen by clients and servers.

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use tandem_http::policy::{Governance, Redirect, Respond};
use tandem_http::{Handler, Plan, Reply};
use tandem_model::{
    Content, FieldChanges, Headers, PathChange, Policies, Replaced, Substitution, Template,
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
        let gone = Respond::new(410, &text, &fields.into(), &name).unwrap();
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
        governance.missing = Some(forward_to(vec![upstream(server)], &Heard::default()));
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
