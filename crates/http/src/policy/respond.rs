//! `respond` and `deny`: answers that the file gives itself, or that nobody gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tandem_model::{Content, Side, Template, policy::untouchable};

use super::edits::{Edits, FieldEdits};
use super::page::{PLAIN, Page};
use super::values::{Ready, Values};
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};

/// Answers every request alike.
pub struct Respond {
    reply: Reply,
    fields: Vec<(Box<str>, Ready)>,
    /// It is an error with a content of its own.
    own: bool,
}

impl Respond {
    /// Reads the content. `service` is who answers, for the log.
    ///
    /// # Errors
    /// In words: a file that cannot be read, a field that cannot be set.
    pub fn new(
        status: u16,
        body: &Content,
        headers: &BTreeMap<String, Template>,
        service: &Arc<str>,
    ) -> Result<Self, String> {
        let page = match body {
            Content::Text(text) => Page {
                content: Bytes::from(text.clone()),
                kind: PLAIN,
            },
            Content::File(path) => Page::read(path)?,
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
        let kind = if has_type || page.content.is_empty() {
            Bytes::new()
        } else {
            page.field()
        };
        let own = status >= 400 && !page.content.is_empty();
        Ok(Self {
            reply: Reply {
                status,
                fields: kind,
                body: page.content,
                service: service.clone(),
                close: false,
            },
            fields,
            own,
        })
    }

    /// 403.
    pub fn denied(service: &Arc<str>) -> Self {
        Self {
            reply: Reply::text(403, service, "Forbidden\n"),
            fields: Vec::new(),
            own: false,
        }
    }

    /// 404, where no route matches.
    pub fn not_found(service: &Arc<str>) -> Self {
        Self {
            reply: Reply::text(404, service, "Not found\n"),
            fields: Vec::new(),
            own: false,
        }
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
        if !self.fields.is_empty() {
            let values = Values::new(request, cx);
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
