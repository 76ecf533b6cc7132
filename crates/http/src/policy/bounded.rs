//! `limits.body` of a route: how large the bodies of its requests may be.

use std::sync::Arc;

use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};
use crate::head::BodyLength;

/// Tells the engine how large the body may be, and asks `inner` unless it is known to be larger.
pub(super) struct Bounded {
    /// Bytes.
    pub most: u64,
    pub inner: Arc<dyn Handler>,
    /// Who refuses, for the log.
    pub name: Arc<str>,
}

impl Handler for Bounded {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let is_larger = matches!(request.body(), BodyLength::Known(n) if n > self.most);
        cx.limit_body(self.most, is_larger);
        if is_larger {
            // What is said is the engine's.
            return Step::Plan(Plan::Bytes(Reply::text(413, &self.name, "")));
        }
        self.inner.step(request, cx)
    }
}
