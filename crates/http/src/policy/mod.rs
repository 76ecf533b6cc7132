//! Route policies: what is done to requests on their way and to answers, whoever gives them.
//!
//! A policy is a [`Handler`](crate::Handler) around another. Those that decide whether a request may pass answer it themselves or ask
//! the handler within; those that change heads hand what is to be changed to the engine as [`Edits`], which holds for
//! every kind of answer: of sites, of servers, of our own, now or later. [`Governance`] gathers what the routes around
//! one action say and puts the policies around it:
//!
//! ```text
//! shape (heads, errors)  ->  bounded (bodies)  ->  at once  ->  rate  ->  auth  ->  authorize  ->  missing  ->  path  ->  what the route does
//! ```
//!
//! A route without policies is its bare handler: it costs nothing.

mod auth;
pub(crate) mod authorize;
mod basic;
mod bounded;
pub(crate) mod busy;
pub mod coding;
pub(crate) mod compress;
mod edits;
mod errors;
mod expression;
mod fields;
mod governance;
mod maintenance;
mod missing;
mod page;
mod password;
mod path;
pub(crate) mod rate;
mod redirect;
mod replace;
mod respond;
mod shape;
mod values;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use edits::strip;
pub use edits::{Edits, FieldEdits};
pub use errors::ErrorPages;
pub use expression::regex;
pub use governance::Governance;
pub use maintenance::{Maintenance, Works};
pub use redirect::Redirect;
pub use respond::{Close, Respond};

use crate::Step;
use crate::handler::Plan;

/// Changes the plan, whenever it comes.
pub(crate) fn map(step: Step, change: impl FnOnce(Plan) -> Plan + 'static) -> Step {
    match step {
        Step::Plan(plan) => Step::Plan(change(plan)),
        Step::Later(plan) => Step::Later(Box::pin(async move { change(plan.await) })),
    }
}
