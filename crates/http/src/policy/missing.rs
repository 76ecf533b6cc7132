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
            return map(step, |first| {
                if is_nothing(&first) {
                    Plan::Ask(then)
                } else {
                    first
                }
            });
        }
        map(step, |first| Plan::OrElse {
            first: Box::new(first),
            then,
        })
    }
}

/// Whether it is known already that there is nothing.
fn is_nothing(plan: &Plan) -> bool {
    match plan {
        Plan::Bytes(reply) => reply.status == 404,
        Plan::Edited { plan, .. } | Plan::Unlogged(plan) => is_nothing(plan),
        _ => false,
    }
}
