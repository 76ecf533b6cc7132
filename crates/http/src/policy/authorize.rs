//! `authorize`: whether a request may pass depends on the answer to another one, a GET with its fields that the routes of
//! the listener are asked for. The engine asks; what comes of the answer is said here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tandem_model::{Authorization, FieldChanges, Headers, Substitution, Template, Variable};

use super::fields::Changes;
use super::map;
use super::shape::Heads;
use super::values::Values;
use crate::Request;
use crate::handler::{Cx, Handler, PLAIN_FIELD, Plan, Reply, Step};

/// The answer by which was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its status.
    pub status: u16,
    /// Its fields, each a line with its end.
    lines: Vec<u8>,
}

impl Heard {
    /// An answer with these fields.
    pub(crate) fn new(status: u16, lines: Vec<u8>) -> Self {
        Self { status, lines }
    }

    /// An answer with this head, as it came.
    pub(crate) fn of_head(status: u16, head: &[u8]) -> Self {
        let begin = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        // The empty line is no field.
        let end = head.len().saturating_sub(2).max(begin);
        Self::new(status, head[begin..end].to_vec())
    }

    /// The values of the field of this name, in order.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines.split(|&b| b == b'\n');
        lines.filter_map(move |line| {
            let (known, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            let is_it = known.eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| value.trim_ascii())
        })
    }

    /// Appends the value of a field. Several are one with commas between (RFC 9110 section 5.3), but for cookies, which
    /// have commas of their own.
    pub(super) fn append(&self, name: &str, out: &mut Vec<u8>) {
        let most = if is_cookie(name) { 1 } else { usize::MAX };
        for (at, value) in self.values(name).take(most).enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(value);
        }
    }
}

/// Whether it is the field that sets a cookie.
pub(super) fn is_cookie(name: &str) -> bool {
    name.eq_ignore_ascii_case("set-cookie")
}

/// What a route does with requests once they may pass, and what it answers to those that may not.
pub struct Authorized {
    /// What is asked.
    pub(crate) by: Arc<Authorization>,
    inner: Arc<dyn Handler>,
    /// The changes of heads that have something of the answer: known when it is there.
    heads: Heads,
    /// Who refuses, for the log.
    name: Arc<str>,
    /// The route asks for a password before.
    authenticated: bool,
}

/// Has the engine ask before `inner` is.
pub(super) struct Authorizing(pub Arc<Authorized>);

impl Handler for Authorizing {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        if request.only_asks() {
            return self.0.inner.step(request, cx);
        }
        Step::Plan(Plan::Authorize(self.0.clone()))
    }
}

impl Authorized {
    /// Compiles what a route says.
    pub(super) fn new(
        by: &Arc<Authorization>,
        headers: &Headers,
        inner: Arc<dyn Handler>,
        name: &Arc<str>,
        authenticated: bool,
    ) -> Result<Self, String> {
        Ok(Self {
            by: by.clone(),
            heads: Heads::new(headers, |changes, side| Changes::new(&late(changes), side))?,
            inner,
            name: name.clone(),
            authenticated,
        })
    }

    /// What is done by the answer, which `cx` has: a status of 2xx lets the request pass.
    pub(crate) fn decided(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let heard = cx.authorized().unwrap_or_default();
        let step = match heard.status {
            200..300 => self.inner.step(request, cx),
            _ => Step::Plan(Plan::Bytes(self.refusal(&heard))),
        };
        if self.heads.is_empty() {
            return step;
        }
        let mut values = Values::new(request, cx);
        values.authenticated = self.authenticated;
        let mut edits = self.heads.edits(&values);
        edits.id = values.into_id();
        map(step, |plan| Plan::Edited {
            plan: Box::new(plan),
            edits: Box::new(edits),
        })
    }

    /// What a client is told that may not pass. Only a refusal is its own doing.
    fn refusal(&self, heard: &Heard) -> Reply {
        let reply = |status, words: &'static str| Reply {
            status,
            fields: Bytes::from_static(PLAIN_FIELD),
            body: Bytes::from_static(words.as_bytes()),
            service: self.name.clone(),
            close: false,
        };
        match heard.status {
            401 => {
                let mut refusal = reply(401, "Authorization is needed\n");
                let mut fields = refusal.fields.to_vec();
                for how in heard.values("WWW-Authenticate") {
                    for part in [&b"WWW-Authenticate: "[..], how, b"\r\n"] {
                        fields.extend_from_slice(part);
                    }
                }
                refusal.fields = fields.into();
                refusal
            }
            403 => reply(403, "Access to this is denied\n"),
            _ => reply(500, "It could not be found out whether this is allowed\n"),
        }
    }
}

/// Whether it has something of the answer.
fn is_late(template: &Template) -> bool {
    let mut variables = template.variables();
    variables.any(|one| matches!(one, Variable::Authorized | Variable::AuthorizedField(_)))
}

/// Whether one of these has: the steps of a field go together.
fn is_late_in(steps: &[Vec<Substitution>]) -> bool {
    steps.iter().flatten().any(|one| is_late(&one.to))
}

/// Of changes, those that are made whatever the answer is. A field that it will set goes: no client says it.
pub(super) fn early(changes: &FieldChanges) -> FieldChanges {
    let mut early = changes.clone();
    let names = changes.set.iter().filter(|(_, value)| is_late(value));
    early.remove.extend(names.map(|(name, _)| name.clone()));
    early.set.retain(|_, value| !is_late(value));
    early.default.retain(|_, value| !is_late(value));
    early.replace.retain(|_, steps| !is_late_in(steps));
    for values in early.add.values_mut() {
        values.retain(|value| !is_late(value));
    }
    early
}

/// Those that have something of the answer.
fn late(changes: &FieldChanges) -> FieldChanges {
    let one_each = |fields: &BTreeMap<String, Template>| {
        let late = fields.iter().filter(|(_, value)| is_late(value));
        late.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let add = changes.add.iter().filter_map(|(name, values)| {
        let late = values.iter().filter(|value| is_late(value)).cloned();
        let late: Vec<Template> = late.collect();
        (!late.is_empty()).then(|| (name.clone(), late))
    });
    let replace = changes
        .replace
        .iter()
        .filter(|(_, steps)| is_late_in(steps));
    FieldChanges {
        replace: replace
            .map(|(name, steps)| (name.clone(), steps.clone()))
            .collect(),
        set: one_each(&changes.set),
        default: one_each(&changes.default),
        add: add.collect(),
        ..FieldChanges::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{cx, with_request};

    /// Answers nothing that anybody should get to see.
    struct Within;

    impl Handler for Within {
        fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
            Step::Plan(Plan::Bytes(Reply::text(200, &"within".into(), "within")))
        }
    }

    fn field(name: &str, value: &str) -> (String, Template) {
        (name.into(), Template::parse(value).unwrap())
    }

    fn changes() -> FieldChanges {
        let (name, cookie) = field("Set-Cookie", "{authorized:set-cookie}");
        FieldChanges {
            set: [field("X-User", "{authorized:X-User}"), field("X-A", "1")].into(),
            add: [(name, vec![cookie, Template::text("own=1")])].into(),
            ..FieldChanges::default()
        }
    }

    #[test]
    fn what_has_something_of_the_answer_waits_for_it_and_no_client_says_it() {
        let early = early(&changes());
        assert_eq!(early.remove, ["X-User"]);
        assert_eq!(early.set.keys().collect::<Vec<_>>(), ["X-A"]);
        assert_eq!(early.add["Set-Cookie"], [Template::text("own=1")]);
        let late = late(&changes());
        assert_eq!(late.set.keys().collect::<Vec<_>>(), ["X-User"]);
        assert_eq!(late.add["Set-Cookie"].len(), 1);
    }

    #[test]
    fn only_2xx_lets_a_request_pass_and_only_a_refusal_is_told_as_one() {
        let by = Arc::new(Authorization {
            path: "/verify".into(),
            timeout: Authorization::TIMEOUT,
        });
        let headers = Headers {
            response: changes(),
            ..Headers::default()
        };
        let name = "web".into();
        let policy = Authorized::new(&by, &headers, Arc::new(Within), &name, false).unwrap();
        let lines = "x-user: ann\r\nX-USER: b\r\nSet-Cookie: a=1, 2\r\nset-cookie: b\r\nWWW-Authenticate: A\r\n";
        for (status, answered) in [
            (200, 200),
            (204, 200),
            (299, 200),
            (401, 401),
            (403, 403),
            (302, 500),
            (404, 500),
            (503, 500),
            (0, 500),
        ] {
            let cx = cx();
            cx.decide(Heard::new(status, lines.as_bytes().to_vec()));
            let step = with_request(
                "GET /x HTTP/1.1\r\nHost: a\r\nX-User: eve\r\n\r\n",
                |request| policy.decided(request, &cx),
            );
            let Step::Plan(Plan::Edited { plan, edits }) = step else {
                panic!("{status}: nothing is changed");
            };
            let Plan::Bytes(reply) = *plan else {
                panic!("{status}: no answer");
            };
            assert_eq!(reply.status, answered, "{status}");
            let says_how = reply.fields.ends_with(b"WWW-Authenticate: A\r\n");
            assert_eq!(says_how, status == 401, "{status}");
            let mut out = b"X-User: eve\r\n".to_vec();
            edits.answer(answered, &mut out, 0);
            let wanted = "Set-Cookie: a=1, 2\r\nSet-Cookie: b\r\nX-User: ann, b\r\n";
            let mut made: Vec<&str> = std::str::from_utf8(&out)
                .unwrap()
                .split_inclusive('\n')
                .collect();
            made.sort_unstable();
            assert_eq!(made.concat(), wanted, "{status}");
        }
    }

    #[test]
    fn what_waits_for_the_answer_has_all_that_requests_fill_in() {
        let by = Arc::new(Authorization {
            path: "/verify".into(),
            timeout: Authorization::TIMEOUT,
        });
        let substitution = Substitution {
            from: tandem_model::Replaced::Regex("^.*$".into()),
            to: Template::parse("{authorized:X-User}").unwrap(),
        };
        let changes = FieldChanges {
            set: [field("X-Both", "{user} {authorized:X-User} {request-id}")].into(),
            replace: [("Owner".into(), vec![vec![substitution]])].into(),
            ..FieldChanges::default()
        };
        assert!(early(&changes).replace.is_empty());
        let headers = Headers {
            response: changes,
            ..Headers::default()
        };
        let name = "web".into();
        let policy = Authorized::new(&by, &headers, Arc::new(Within), &name, true).unwrap();
        let cx = cx();
        cx.decide(Heard::new(200, b"X-User: ann\r\n".to_vec()));
        let step = with_request(
            "GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
            |request| policy.decided(request, &cx),
        );
        let Step::Plan(Plan::Edited { edits, .. }) = step else {
            panic!("nothing is changed");
        };
        assert!(!edits.id.is_empty(), "the log has it");
        let mut out = b"Owner: nobody\r\n".to_vec();
        edits.answer(200, &mut out, 0);
        let out = String::from_utf8(out).unwrap();
        let made = format!("Owner: ann\r\nX-Both: Aladdin ann {}\r\n", edits.id);
        assert_eq!(out, made);
    }
}
