//! Heads of requests and answers: what `headers` says; pages of errors; and what is logged.

use std::ops::RangeInclusive;
use std::sync::Arc;

use tandem_model::{FieldChanges, Headers, Side};

use super::compress::{Compress, Rules};
use super::edits::Edits;
use super::errors::ErrorPages;
use super::fields::Changes;
use super::map;
use super::values::Values;
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Step};

/// What is changed of heads.
pub(super) struct Heads {
    request: Changes,
    response: Changes,
    success: Changes,
    by_status: Vec<(Arc<[RangeInclusive<u16>]>, Changes)>,
}

impl Heads {
    /// Compiles what a route says, or a part of it.
    pub fn new(
        headers: &Headers,
        compile: impl Fn(&FieldChanges, Side) -> Result<Changes, String>,
    ) -> Result<Self, String> {
        let mut by_status = Vec::new();
        for one in &headers.by_status {
            let changes = compile(&one.changes, Side::Response)?;
            if !changes.is_empty() {
                by_status.push((one.statuses.as_slice().into(), changes));
            }
        }
        Ok(Self {
            request: compile(&headers.request, Side::Request)?,
            response: compile(&headers.response, Side::Response)?,
            success: compile(&headers.success, Side::Response)?,
            by_status,
        })
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        let all = [&self.request, &self.response, &self.success];
        all.iter().all(|changes| changes.is_empty()) && self.by_status.is_empty()
    }

    /// The changes for one request.
    pub fn edits(&self, values: &Values<'_>) -> Edits {
        Edits {
            host: self.request.host(values),
            request: self.request.edits(values),
            response: self.response.edits(values),
            success: self.success.edits(values),
            by_status: (self.by_status.iter())
                .map(|(statuses, changes)| (statuses.clone(), changes.edits(values)))
                .collect(),
            ..Edits::default()
        }
    }
}

/// Changes the heads of what `inner` does, and the pages of its errors. Variables are those of the request as it came.
pub(super) struct Shaped {
    pub heads: Heads,
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
            errors: self.errors.clone(),
            compress: (self.compress.as_ref()).map(|rules| Compress::new(rules, request)),
            ..self.heads.edits(&values)
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
