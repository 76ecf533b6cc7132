//! `missing`: another service is asked when the answer to a GET or HEAD is 404; whatever the method, when that is known
//! before anything was sent: a script that is not there.

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
        let then = self.then.clone();
        if !request.is_read() {
            return map(step, |first| match first {
                Plan::Bytes(reply) if reply.status == 404 => Plan::Ask(then),
                first => first,
            });
        }
        map(step, |first| Plan::OrElse {
            first: Box::new(first),
            then,
        })
    }
}
