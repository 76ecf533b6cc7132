//! Paths with parameters (RFC 3986 section 3.3), of which there are two readings: to routes `/admin;x/users` is what it looks
//! like, to Tomcat, Jetty and Spring it is `/admin/users`. Who is kept out of one must not get in by the other.

use tandem_http::{Request, path};

use super::term::Subject;
use super::{Router, Rule};

/// Whom a rule keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    Nobody,
    /// Those who do not know a password, or may not pass by what another request is answered.
    Strangers,
    All,
}

/// Whether the path that a client asked for has parameters.
pub(super) fn has_some(request: &Request<'_>) -> bool {
    // A server's word is taken as it is, and the file's.
    request.came.is_none_or(|came| came.by_client)
        && memchr::memchr(b';', request.target()).is_some()
}

impl Router {
    /// The rule for a request whose path has parameters, of which `found` is the first that matches: the one for the path
    /// without them, where that keeps more people out. A rule that says itself what is behind a `;` is meant as it is written.
    pub(super) fn guarded<'a>(
        &'a self,
        request: &Request<'_>,
        found: Option<(u32, &'a Rule)>,
    ) -> Option<(u32, &'a Rule)> {
        let knows = |(_, rule): (u32, &Rule)| rule.guard == Guard::All || rule.knows_parameters;
        if found.is_some_and(knows) {
            return found;
        }
        let bare = without(request.encoded_path());
        let Ok(bare) = path::normal(&bare) else {
            return found;
        };
        let other = self.first(&Subject::at(request, &bare));
        other
            .filter(|(_, rule)| rule.guard != Guard::Nobody)
            .or(found)
    }
}

/// A path as it came without the parameters of its segments.
fn without(path: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(path.len());
    for segment in path.split_inclusive(|&b| b == b'/') {
        let end = memchr::memchr(b';', segment).unwrap_or(segment.len());
        bare.extend_from_slice(&segment[..end]);
        if end < segment.len() && segment.ends_with(b"/") {
            bare.push(b'/');
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tandem_model::{
        Action, Auth, Authorization, Authorize, Conditions, Policies, Route, Secret, Users,
    };

    use super::super::tests::{ask, path, route, router, to};
    use super::*;
    use crate::testing::{cx, with_request};
    use tandem_http::{Handler, Plan, Step};

    #[test]
    fn parameters_are_cut_off_each_segment() {
        for (whole, bare) in [
            ("/", "/"),
            ("/a;x/b", "/a/b"),
            ("/a;x=1;y=%2F/b;z", "/a/b"),
            ("/;x/a", "//a"),
            ("/a/;x", "/a/"),
        ] {
            let found = without(whole.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), bare, "{whole}");
        }
    }

    fn get(router: &Router, path: &str) -> String {
        ask(router, &format!("GET {path}"), &[])
    }

    #[test]
    fn parameters_pass_by_no_rule_that_denies() {
        let deny = |when| route(when, Action::Deny);
        let rules = router(vec![
            deny(path(&["/admin/*", "/secret", "*.bak"])),
            to(Conditions::default(), "a"),
        ]);
        for denied in [
            "/admin/users",
            "/admin;x/users",
            "/admin;/users?a=b",
            "/;x/admin/;y/users",
            "/%61dmin;a%2Fb/users",
            "/secret;jsessionid=1",
            "/a.bak;v=1.txt",
        ] {
            assert!(get(&rules, denied).ends_with("403"), "{denied}");
        }
        for open in [
            "/shop;jsessionid=1",
            "/x;a=1/y",
            "/secrets;x",
            "/a?q=;/admin/",
        ] {
            assert_eq!(get(&rules, open), "a 200", "{open}");
        }
        // Whatever the shape of the rules.
        let not = Conditions {
            not: Some(Box::new(path(&["/admin/*"]))),
            ..Conditions::default()
        };
        let rules = router(vec![to(not, "a"), deny(Conditions::default())]);
        assert!(get(&rules, "/admin;x/users").ends_with("403"));
        assert_eq!(get(&rules, "/shop;x/users"), "a 200");
    }

    #[test]
    fn parameters_pass_by_no_password() {
        let auth = Auth::Basic(Users {
            realm: "staff".into(),
            users: BTreeMap::from([(
                "alice".into(),
                Secret::new("$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0"),
            )]),
            file: None,
        });
        let policies = Policies {
            auth: Some(auth),
            ..Policies::default()
        };
        let group = Route {
            policies,
            ..route(
                path(&["/admin/*"]),
                Action::Routes(vec![to(Conditions::default(), "b")]),
            )
        };
        let rules = router(vec![group, to(Conditions::default(), "a")]);
        assert!(get(&rules, "/admin/users").contains("401"));
        assert!(get(&rules, "/admin;x/users").contains("401"));
        assert_eq!(get(&rules, "/shop;x"), "a 200");
    }

    #[test]
    fn parameters_pass_by_nobody_who_decides() {
        let policies = Policies {
            authorize: Some(Authorize::By(Authorization {
                path: "/verify".into(),
                timeout: Authorization::TIMEOUT,
            })),
            ..Policies::default()
        };
        let asked = Route {
            policies,
            ..to(path(&["/admin/*"]), "b")
        };
        let rules = router(vec![asked, to(Conditions::default(), "a")]);
        for path in ["/admin/users", "/admin;x/users"] {
            let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let step = with_request(&text, |request| rules.step(request, &cx()));
            assert!(matches!(step, Step::Plan(Plan::Authorize(_))), "{path}");
        }
    }

    #[test]
    fn parameters_that_an_error_takes_from_the_client_pass_by_no_rule_either() {
        let rules = router(vec![
            route(path(&["/app/admin/*"]), Action::Deny),
            to(Conditions::default(), "a"),
        ]);
        for (by_client, found) in [(true, 0), (false, 1)] {
            let text = "GET /app/admin;x/users HTTP/1.1\r\nHost: a\r\n\r\n";
            let number = with_request(text, |request| {
                let came = Some(tandem_http::request::Came {
                    by_client,
                    ..request.as_it_came()
                });
                let request = Request { came, ..*request };
                rules.find(&request).map(|(number, _)| number)
            });
            assert_eq!(number, Some(found), "{by_client}");
        }
    }

    #[test]
    fn a_route_that_says_what_is_behind_a_semicolon_is_taken_as_it_is_written() {
        let rules = router(vec![
            to(path(&["/item;*"]), "a"),
            route(Conditions::default(), Action::Deny),
        ]);
        assert_eq!(get(&rules, "/item;color=red"), "a 200");
        assert!(get(&rules, "/item").ends_with("403"));
    }
}
