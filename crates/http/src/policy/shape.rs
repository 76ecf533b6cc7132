//! Heads of requests and answers: what `headers` says; pages of errors; and what is logged.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::compress::{Compress, Rules};
use super::edits::Edits;
use super::errors::ErrorPages;
use super::fields::Changes;
use super::map;
use super::values::Values;
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Step};

/// Changes the heads of what `inner` does, and the pages of its errors. Variables are those of the request as it came.
pub(super) struct Shaped {
    pub request: Changes,
    pub response: Changes,
    pub success: Changes,
    pub by_status: Vec<(Arc<[RangeInclusive<u16>]>, Changes)>,
    pub errors: Option<Arc<ErrorPages>>,
    pub compress: Option<Arc<Rules>>,
    /// The route asks for a password.
    pub authenticated: bool,
    pub inner: Arc<dyn Handler>,
}

impl Handler for Shaped {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let mut values = Values::new(request, cx);
        values.authenticated = self.authenticated;
        let mut edits = Edits {
            host: self.request.host(&values),
            request: self.request.edits(&values),
            response: self.response.edits(&values),
            success: self.success.edits(&values),
            by_status: (self.by_status.iter())
                .map(|(statuses, changes)| (statuses.clone(), changes.edits(&values)))
                .collect(),
            errors: self.errors.clone(),
            compress: (self.compress.as_ref()).map(|rules| Compress::new(rules, request)),
            ..Edits::default()
        };
        edits.id = values.into_id();
        map(self.inner.step(request, cx), |plan| Plan::Edited {
            plan: Box::new(plan),
            edits: Box::new(edits),
        })
    }
}

/// Leaves what `inner` does out of the access log.
pub(super) struct Unlogged(pub Arc<dyn Handler>);

impl Handler for Unlogged {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        map(self.0.step(request, cx), |plan| {
            Plan::Unlogged(Box::new(plan))
        })
    }
}
