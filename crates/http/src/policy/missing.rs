//! `missing`: another service is asked when the answer to a GET or HEAD is 404.

use std::sync::Arc;

use super::map;
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Step};

/// Asks `then` where `first` has nothing.
pub(super) struct OrElse {
    pub first: Arc<dyn Handler>,
    pub then: Arc<dyn Handler>,
}

impl Handler for OrElse {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let step = self.first.step(request, cx);
        if !request.is_read() {
            return step;
        }
        let then = self.then.clone();
        map(step, |first| Plan::OrElse {
            first: Box::new(first),
            then,
        })
    }
}
