//! `errors`: pages in place of the small ones that Tandem makes, and of what servers answer where the file says so.

use std::sync::Arc;

use bytes::Bytes;
use tandem_model::{ErrorContent, Errors, Statuses};

use super::edits::FieldEdits;
use super::page::Page;
use super::values::{Ready, Values};
use crate::Request;
use crate::handler::{Cx, Reply};

/// Pages by status. What is asked for first comes first.
#[derive(Clone, Debug, Default)]
pub struct ErrorPages(Vec<One>);

#[derive(Clone, Debug)]
struct One {
    statuses: Statuses,
    content: Content,
    upstream: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Page(Page),
    Redirect { to: Ready, status: u16 },
    Path { to: Ready, status: Option<u16> },
}

impl Content {
    fn read(content: &ErrorContent) -> Result<Self, String> {
        Ok(match content {
            ErrorContent::File(path) => Self::Page(Page::read(path)?),
            ErrorContent::Redirect { to, status } => Self::Redirect {
                to: Ready::new(to),
                status: *status,
            },
            ErrorContent::Path { to, status } => Self::Path {
                to: Ready::new(to),
                status: *status,
            },
        })
    }
}

impl ErrorPages {
    /// Reads the pages.
    ///
    /// # Errors
    /// In words: a file that cannot be read.
    pub fn read(errors: &Errors) -> Result<Option<Arc<Self>>, String> {
        let none = Self::default();
        Ok(none.and(errors)?.map(Arc::new))
    }

    /// These pages, with `inner` before them; `None` when there is none.
    pub(super) fn and(&self, inner: &Errors) -> Result<Option<Self>, String> {
        let mut pages = Vec::new();
        // Single statuses come first in their order, so each before its class.
        for (&statuses, page) in inner {
            pages.push(One {
                statuses,
                content: Content::read(&page.content)?,
                upstream: page.upstream,
            });
        }
        pages.extend(self.0.iter().cloned());
        Ok((!pages.is_empty()).then_some(Self(pages)))
    }

    fn of(&self, status: u16) -> Option<&One> {
        self.0.iter().find(|one| one.statuses.has(status))
    }

    /// Whether a server's answer with this status is replaced.
    pub(crate) fn replaces(&self, status: u16) -> bool {
        self.of(status).is_some_and(|one| one.upstream)
    }

    /// Whether there is a page for this status.
    pub(crate) fn has(&self, status: u16) -> bool {
        self.of(status).is_some()
    }

    /// Whether there is something at a path for this status.
    pub(crate) fn leads(&self, status: u16) -> bool {
        let content = self.of(status).map(|one| &one.content);
        matches!(content, Some(Content::Path { .. }))
    }

    /// The path at which there is what answers this error, and the status that its answer gets, where that is another one.
    pub(crate) fn path(
        &self,
        status: u16,
        request: &Request<'_>,
        cx: &Cx,
    ) -> Option<(Vec<u8>, Option<u16>)> {
        let Content::Path { to, status } = &self.of(status)?.content else {
            return None;
        };
        let mut path = Vec::new();
        to.plain(&Values::new(request, cx), &mut path);
        Some((path, *status))
    }

    /// Puts the page of its status in place of the content of `reply`, if there is one, or the way to somewhere else. What
    /// could not be read is no `request`, and is not sent to where only one could say.
    pub(crate) fn dress(&self, reply: &mut Reply, request: Option<(&Request<'_>, &Cx)>) {
        let Some(One { content, .. }) = self.of(reply.status) else {
            return;
        };
        let mut edits = FieldEdits::default();
        edits.remove("Content-Type");
        edits.remove("Content-Encoding");
        match content {
            Content::Page(page) => {
                edits.add("Content-Type", page.kind.as_bytes());
                reply.body = page.content.clone();
            }
            Content::Path { .. } => return,
            Content::Redirect { to, status } => {
                let mut location = Vec::new();
                let is_known = match request {
                    Some((request, cx)) => to.location(&Values::new(request, cx), &mut location),
                    None => to.fixed(&mut location),
                };
                if !is_known || location.is_empty() {
                    return;
                }
                edits.remove("Location");
                edits.add("Location", &location);
                reply.status = *status;
                reply.body = Bytes::new();
            }
        }
        let mut fields = reply.fields.to_vec();
        edits.apply(&mut fields, 0);
        reply.fields = fields.into();
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::ErrorPage;

    use super::*;

    fn errors(list: &[(&str, &str, bool)]) -> Errors {
        let list = list.iter().map(|(statuses, file, upstream)| {
            let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
            let page = ErrorPage {
                content: ErrorContent::File(file.into()),
                upstream: *upstream,
            };
            (Statuses::parse(statuses).unwrap(), page)
        });
        list.collect()
    }

    #[test]
    fn a_status_comes_before_its_class_and_a_route_before_its_group() {
        let outer = ErrorPages::default()
            .and(&errors(&[
                ("503", "src/lib.rs", true),
                ("404", "Cargo.toml", false),
            ]))
            .unwrap()
            .unwrap();
        let both = outer
            .and(&errors(&[("5xx", "Cargo.toml", false)]))
            .unwrap()
            .unwrap();
        assert!(outer.replaces(503) && !outer.replaces(404) && !outer.has(500));
        assert!(!both.replaces(503), "the route's own class comes first");
        assert!(both.has(500) && both.has(404) && !both.has(403));
        let mut reply = Reply::text(404, &"x".into(), "small");
        reply.fields = bytes::Bytes::from_static(b"content-type: a/b\r\nAllow: GET\r\n");
        both.dress(&mut reply, None);
        assert_eq!(
            reply.fields,
            "Allow: GET\r\nContent-Type: application/octet-stream\r\n"
        );
        assert!(reply.body.starts_with(b"[package]"));
        let mut untouched = Reply::text(403, &"x".into(), "small");
        both.dress(&mut untouched, None);
        assert_eq!(untouched.body, "small");
    }

    #[test]
    fn a_page_that_cannot_be_read_is_named() {
        let error = ErrorPages::read(&errors(&[("404", "no-such-page", false)])).unwrap_err();
        assert!(error.contains("no-such-page"), "{error}");
        assert!(ErrorPages::read(&Errors::new()).unwrap().is_none());
    }
}
