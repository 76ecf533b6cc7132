//! The routes of a listener: the first that matches a request decides.
//!
//! Nested routes are unfolded into one list of rules, each with the conditions of all levels. An [`Index`] over the
//! hosts and paths that rules name gives the few rules that can match a request; those are then asked in full.

mod index;
mod lookup;
mod pattern;
mod query;
mod redirect;
mod term;

use std::fmt;
use std::sync::Arc;

use tandem_http::{Cx, Handler, Plan, Reply, Request, Step};
use tandem_model::{Action, ListenerPlan, Route, TargetId};

use index::Index;
use redirect::Redirect;
use term::{Level, Subject};

/// The compiled routes of one listener.
pub struct Router {
    rules: Vec<Rule>,
    index: Index,
    not_found: Reply,
}

/// One way through the routes to something that is done.
struct Rule {
    /// The conditions of each level, outermost first. Levels are shared by the rules below them.
    levels: Vec<Arc<Level>>,
    deed: Deed,
    missing: Option<Arc<dyn Handler>>,
    log: bool,
}

/// What a rule does.
enum Deed {
    To(Arc<dyn Handler>),
    Reply(Reply),
    Redirect(Redirect),
}

/// Why routes could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterError {
    /// The listener.
    pub listener: String,
    /// The line of the route in the file.
    pub line: u32,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listener,
            line,
            what,
        } = self;
        write!(f, "listener {listener}, the route in line {line}: {what}")
    }
}

impl std::error::Error for RouterError {}

impl Router {
    /// Compiles the routes of a listener. `handler` gives the handler of each target of the plan.
    pub fn new(
        plan: &ListenerPlan,
        handler: &dyn Fn(TargetId) -> Arc<dyn Handler>,
    ) -> Result<Self, RouterError> {
        let name: Arc<str> = plan.name.as_str().into();
        let mut compiler = Compiler {
            plan,
            handler,
            name: name.clone(),
            rules: Vec::new(),
        };
        compiler.routes(&plan.routes, &Above::default())?;
        let rules = compiler.rules;
        Ok(Self {
            index: Index::new(rules.iter().map(|rule| &rule.levels[..])),
            rules,
            not_found: Reply::text(404, &name, "Not found\n"),
        })
    }

    /// The first rule that matches.
    fn find(&self, request: &Request<'_>) -> Option<&Rule> {
        let subject = Subject::new(request);
        let number = self.index.first(&subject, |number| {
            let levels = &self.rules[number as usize].levels;
            levels.iter().all(|level| level.holds(&subject))
        });
        number.map(|number| &self.rules[number as usize])
    }
}

impl Handler for Router {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let Some(rule) = self.find(request) else {
            return Step::Plan(Plan::Bytes(self.not_found.clone()));
        };
        let mut step = match &rule.deed {
            Deed::To(handler) => handler.step(request, cx),
            Deed::Reply(reply) => Step::Plan(Plan::Bytes(reply.clone())),
            Deed::Redirect(redirect) => Step::Plan(Plan::Bytes(redirect.reply(request))),
        };
        if let Some(missing) = rule.missing.as_ref().filter(|_| request.is_read()) {
            let then = missing.clone();
            step = map(step, |first| Plan::OrElse {
                first: Box::new(first),
                then,
            });
        }
        if rule.log {
            step
        } else {
            map(step, |plan| Plan::Unlogged(Box::new(plan)))
        }
    }
}

/// Changes the plan, whenever it comes.
fn map(step: Step, change: impl FnOnce(Plan) -> Plan + 'static) -> Step {
    match step {
        Step::Plan(plan) => Step::Plan(change(plan)),
        Step::Later(plan) => Step::Later(Box::pin(async move { change(plan.await) })),
    }
}

struct Compiler<'a> {
    plan: &'a ListenerPlan,
    handler: &'a dyn Fn(TargetId) -> Arc<dyn Handler>,
    name: Arc<str>,
    rules: Vec<Rule>,
}

/// What a nested route has from those around it.
#[derive(Clone)]
struct Above {
    levels: Vec<Arc<Level>>,
    missing: Option<Arc<dyn Handler>>,
    log: bool,
}

impl Default for Above {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            missing: None,
            log: true,
        }
    }
}

impl Compiler<'_> {
    fn routes(&mut self, routes: &[Route], above: &Above) -> Result<(), RouterError> {
        for route in routes {
            let error = |what| RouterError {
                listener: self.plan.name.clone(),
                line: route.line,
                what,
            };
            let mut here = above.clone();
            here.log &= route.log;
            if !route.when.is_empty() {
                let level = Level::new(&route.when).map_err(error)?;
                here.levels.push(Arc::new(level));
            }
            if let Some(service) = &route.missing {
                here.missing = Some(self.service(service).map_err(error)?);
            }
            let deed = match &route.action {
                Action::Routes(nested) => {
                    self.routes(nested, &here)?;
                    continue;
                }
                Action::To(service) => Deed::To(self.service(service).map_err(error)?),
                Action::Respond { status, body } => {
                    Deed::Reply(Reply::text(*status, &self.name, body.as_str()))
                }
                Action::Redirect { to, status } => {
                    Deed::Redirect(Redirect::new(to, *status, &self.name).map_err(error)?)
                }
                Action::Deny => Deed::Reply(Reply::text(403, &self.name, "Forbidden\n")),
            };
            self.rules.push(Rule {
                levels: here.levels,
                deed,
                missing: here.missing,
                log: here.log,
            });
        }
        Ok(())
    }

    fn service(&self, name: &str) -> Result<Arc<dyn Handler>, String> {
        match self.plan.targets.get(name) {
            Some(&id) => Ok((self.handler)(id)),
            None => Err(format!("there is no service {name}")),
        }
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
