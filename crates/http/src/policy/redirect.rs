//! `redirect`: an answer with a Location.

use std::sync::Arc;

use bytes::Bytes;
use tandem_model::Template;

use super::values::{Ready, Values};
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};

/// Answers every request with an address.
pub struct Redirect {
    to: Ready,
    status: u16,
    service: Arc<str>,
}

impl Redirect {
    /// `service` is who answers, for the log.
    pub fn new(to: &Template, status: u16, service: &Arc<str>) -> Self {
        Self {
            to: Ready::new(to),
            status,
            service: service.clone(),
        }
    }

    /// 400 when the request names no usable host and the address needs one.
    fn reply(&self, request: &Request<'_>, cx: &Cx) -> Reply {
        let mut fields = b"Location: ".to_vec();
        let mut location = Vec::with_capacity(128);
        if !self.to.location(&Values::new(request, cx), &mut location) {
            return Reply::text(400, &self.service, "The request names no usable host\n");
        }
        fields.extend_from_slice(&location);
        fields.extend_from_slice(b"\r\n");
        Reply {
            status: self.status,
            fields: fields.into(),
            body: Bytes::new(),
            service: self.service.clone(),
            close: false,
        }
    }
}

impl Handler for Redirect {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        Step::Plan(Plan::Bytes(self.reply(request, cx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{cx, with_request};

    fn location(to: &str, head: &str) -> Option<String> {
        let redirect = Redirect::new(&Template::parse(to).unwrap(), 301, &"web".into());
        with_request(head, |request| {
            let reply = redirect.reply(request, &cx());
            let fields = String::from_utf8(reply.fields.to_vec()).expect("it is ASCII");
            let location = fields.strip_prefix("Location: ")?.strip_suffix("\r\n")?;
            assert_eq!(reply.status, 301);
            Some(location.to_owned())
        })
    }

    #[test]
    fn variables_are_filled_in() {
        let head =
            "GET /a%0d%0a/b?x=1 HTTP/1.1\r\nHost: Example.com:8080\r\nCookie: l=a\\b\r\n\r\n";
        for (to, expected) in [
            ("https://{host}{uri}", "https://Example.com/a%0d%0a/b?x=1"),
            ("/new{path}", "/new/a%0d%0a/b"),
            ("/search?{query}&y", "/search?x=1&y"),
            ("/plain ü", "/plain%20%C3%BC"),
            ("{scheme}://x/{cookie:l}", "http://x/a%5Cb"),
        ] {
            assert_eq!(location(to, head).as_deref(), Some(expected), "{to}");
        }
        let head = "GET http://example.com HTTP/1.1\r\nHost: a\r\n\r\n";
        let expected = "https://example.com/";
        assert_eq!(
            location("https://{host}{uri}", head).as_deref(),
            Some(expected)
        );
    }

    #[test]
    fn a_path_cannot_lead_to_another_host() {
        let head = "GET //evil.example/x HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(
            location("{path}/", head).as_deref(),
            Some("/evil.example/x/")
        );
        let head = "GET /\\evil.example HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(location("{uri}", head).as_deref(), Some("/%5Cevil.example"));
        let head = "GET /x?to=//evil.example/y HTTP/1.1\r\nHost: a\r\n\r\n";
        for (to, expected) in [
            ("/{arg:to}", "/evil.example/y"),
            ("/{header:none}{arg:to}", "/evil.example/y"),
            ("/a/{arg:to}", "/a///evil.example/y"),
            ("http://b{arg:to}", "http://b//evil.example/y"),
        ] {
            assert_eq!(location(to, head).as_deref(), Some(expected), "{to}");
        }
    }

    #[test]
    fn without_a_usable_host_there_is_no_address() {
        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a'b\r\n\r\n",
        ] {
            assert_eq!(location("https://{host}/", head), None, "{head}");
            assert_eq!(location("http://{header:Host}/a", head), None, "{head}");
        }
    }
}
