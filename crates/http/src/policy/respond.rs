//! `respond` and `deny`: answers that the file gives itself, or that nobody gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use regex::bytes::Regex;
use tandem_model::{Content, Side, Template, policy::untouchable};

use super::edits::{Edits, FieldEdits};
use super::page::{PLAIN, Page};
use super::values::{Ready, Values};
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};

/// The largest content that is filled in, in bytes: a head of the largest kind a few times over.
const LARGEST: usize = 256 * 1024;

/// Answers every request alike, but for what it fills in.
pub struct Respond {
    reply: Reply,
    fields: Vec<(Box<str>, Ready)>,
    /// What takes the place of the reply's content.
    filled: Option<Box<Filled>>,
    /// It is an error with a content of its own.
    own: bool,
}

/// A content that each request fills in.
struct Filled {
    content: Ready,
    /// Whose finds are filled in.
    expression: Option<Arc<Regex>>,
    most: usize,
}

impl Respond {
    /// Reads the content. `found` is the expression in `path` whose finds may be filled in; `service` is who answers, for the
    /// log.
    ///
    /// # Errors
    /// In words: a file that cannot be read, a field that cannot be set.
    pub fn new(
        status: u16,
        body: &Content,
        headers: &BTreeMap<String, Template>,
        found: Option<&Arc<Regex>>,
        service: &Arc<str>,
    ) -> Result<Self, String> {
        let mut filled = None;
        let page = match body {
            Content::Text(text) => Page {
                content: Bytes::from(text.clone()),
                kind: PLAIN,
            },
            Content::File(path) => Page::read(path)?,
            Content::Template(template) => {
                filled = Some(Box::new(Filled::new(template, found)?));
                Page {
                    content: Bytes::new(),
                    kind: PLAIN,
                }
            }
        };
        let mut fields = Vec::new();
        for (name, value) in headers {
            if let Some(why) = untouchable(name, Side::Response) {
                return Err(format!("{name}: {why}"));
            }
            fields.push((name.as_str().into(), Ready::new(value)));
        }
        let has_type = headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("content-type"));
        let has_content = filled.is_some() || !page.content.is_empty();
        let kind = if has_type || !has_content {
            Bytes::new()
        } else {
            page.field()
        };
        Ok(Self {
            reply: Reply {
                status,
                fields: kind,
                body: page.content,
                service: service.clone(),
                close: false,
            },
            fields,
            filled,
            own: status >= 400 && has_content,
        })
    }

    /// 403.
    pub fn denied(service: &Arc<str>) -> Self {
        Self::plainly(Reply::text(403, service, "Forbidden\n"))
    }

    /// 404, where no route matches.
    pub fn not_found(service: &Arc<str>) -> Self {
        Self::plainly(Reply::text(404, service, "Not found\n"))
    }

    fn plainly(reply: Reply) -> Self {
        Self {
            reply,
            fields: Vec::new(),
            filled: None,
            own: false,
        }
    }
}

impl Filled {
    fn new(template: &Template, found: Option<&Arc<Regex>>) -> Result<Self, String> {
        let captures = usize::from(template.captures());
        let groups = found.map_or(0, |found| found.captures_len() - 1);
        if captures > groups {
            return Err(format!(
                "{{{captures}}}: the expression in `path` has {groups} parentheses"
            ));
        }
        let text = template.to_string().len();
        Ok(Self {
            content: Ready::new(template),
            expression: found.filter(|_| captures > 0).cloned(),
            most: text.saturating_add(LARGEST),
        })
    }

    /// The content for a request; `None` where it would be too large.
    fn fill(&self, values: &Values<'_>) -> Option<Bytes> {
        let path = values.request.path();
        let found = self.expression.as_deref().and_then(|e| e.captures(path));
        let mut content = Vec::new();
        let (found, most) = (found.as_ref(), self.most);
        (self.content)
            .content(values, found, most, &mut content)
            .then(|| content.into())
    }
}

/// Closes the connection without an answer.
pub struct Close {
    service: Arc<str>,
}

impl Close {
    /// `service` is who does, for the log.
    pub fn new(service: &Arc<str>) -> Self {
        let service = service.clone();
        Self { service }
    }
}

impl Handler for Close {
    fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
        Step::Plan(Plan::Close(self.service.clone()))
    }
}

impl Handler for Respond {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let mut reply = self.reply.clone();
        if !self.fields.is_empty() || self.filled.is_some() {
            let values = Values::new(request, cx);
            if let Some(filled) = &self.filled {
                match filled.fill(&values) {
                    Some(content) => reply.body = content,
                    None => {
                        let words = "The head is too large to answer with it\n";
                        return Step::Plan(Plan::Bytes(Reply::text(431, &reply.service, words)));
                    }
                }
            }
            let (mut edits, mut text) = (FieldEdits::default(), Vec::new());
            for (name, value) in &self.fields {
                text.clear();
                value.plain(&values, &mut text);
                edits.add(name, &text);
            }
            let mut fields = reply.fields.to_vec();
            edits.apply(&mut fields, 0);
            reply.fields = fields.into();
        }
        let plan = Plan::Bytes(reply);
        Step::Plan(if self.own { Edits::kept(plan) } else { plan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::expression::regex;
    use crate::policy::testing::{cx, with_request};

    fn answered(respond: &Respond, head: &str) -> Reply {
        with_request(head, |request| match respond.step(request, &cx()) {
            Step::Plan(Plan::Bytes(reply)) => reply,
            _ => panic!("it answers"),
        })
    }

    fn filled(template: &str, path: Option<&str>) -> Result<Respond, String> {
        let body = Content::Template(Template::parse_lines(template).unwrap());
        let found = path.map(|path| Arc::new(regex(path, false).unwrap()));
        let headers = [("X-A".to_owned(), Template::parse("{header:x-a}").unwrap())];
        Respond::new(200, &body, &headers.into(), found.as_ref(), &"web".into())
    }

    #[test]
    fn a_content_is_filled_in_and_no_field_is_forged() {
        let respond = filled("{client} {1}\n{header:x-a}|", Some(r"^/u/(\w+)")).unwrap();
        let head = "GET /u/%61b/x HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n";
        let reply = answered(&respond, head);
        assert_eq!(reply.body, "192.0.2.7 ab\n1|");
        let fields = "Content-Type: text/plain; charset=utf-8\r\nX-A: 1\r\n";
        assert_eq!(reply.fields, fields);
        let line = filled("{normal-path}", None).unwrap();
        let head = "GET /a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: h\r\n\r\n";
        let reply = answered(&line, head);
        assert_eq!(reply.body, "/a\r\nSet-Cookie:x");
        assert_eq!(reply.fields, &fields[..fields.len() - 8]);
    }

    #[test]
    fn what_no_expression_finds_cannot_be_filled_in() {
        let why = filled("{2}", Some("^/(a)")).err().unwrap();
        assert!(why.contains("has 1 parentheses"), "{why}");
        assert!(filled("{1}", None).is_err());
    }

    #[test]
    fn a_content_has_a_bound() {
        let respond = filled(&"{uri}".repeat(100), None).unwrap();
        let head = |length| {
            let path = "x".repeat(length);
            format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n")
        };
        assert_eq!(answered(&respond, &head(2_000)).status, 200);
        assert_eq!(answered(&respond, &head(8_000)).status, 431);
    }
}
