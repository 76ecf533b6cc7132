//! The routes of a listener: the first that matches a request decides.
//!
//! Nested routes are unfolded into one list of rules, each with the conditions of all levels. An [`Index`] over the
//! hosts and paths that rules name gives the few rules that can match a request; those are then asked in full. What a
//! rule does, with the policies around it, is a handler that http makes ([`Governance`]).

mod index;
mod label;
mod lookup;
mod parameters;
mod pattern;
mod query;
mod split;
mod term;

use std::fmt;
use std::sync::Arc;

use regex::bytes::Regex;
use tandem_http::policy::{Close, Governance, Redirect, Respond, regex};
use tandem_http::{Cx, Handler, Request, Step};
use tandem_model::{
    Action, Auth, Authorize, Conditions, ListenerPlan, Overrides, Pattern, Route, TargetId,
};

use index::Index;
pub(crate) use label::Label;
use parameters::Guard;
pub(crate) use pattern::PatternSet;
use split::Split;
use term::{Level, Subject};

/// The compiled routes of one listener.
pub struct Router {
    rules: Vec<Rule>,
    index: Index,
    /// Some rule keeps requests out.
    guards: bool,
    not_found: Arc<dyn Handler>,
}

/// One way through the routes to something that is done.
struct Rule {
    /// The conditions of each level, outermost first. Levels are shared by the rules below them.
    levels: Vec<Arc<Level>>,
    /// What is done, with the policies around it.
    handler: Arc<dyn Handler>,
    /// Whom it keeps out.
    guard: Guard,
    /// Its paths say something of parameters themselves.
    knows_parameters: bool,
    label: String,
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
    /// Compiles the routes of a listener. `handler` gives the handler of a target of the plan, for a
    /// route that says some things of it differently.
    pub fn new(
        plan: &ListenerPlan,
        handler: &dyn Fn(TargetId, &Overrides) -> Arc<dyn Handler>,
    ) -> Result<Self, RouterError> {
        let name: Arc<str> = plan.name.as_str().into();
        let mut compiler = Compiler {
            plan,
            handler,
            name: name.clone(),
            rules: Vec::new(),
        };
        let top = Above {
            levels: Vec::new(),
            password: false,
            authorize: false,
            governance: Governance::new(&name),
            over: Overrides::default(),
            label: Label::default(),
            found: None,
        };
        compiler.routes(&plan.routes, &top)?;
        let rules = compiler.rules;
        Ok(Self {
            index: Index::new(rules.iter().map(|rule| &rule.levels[..])),
            guards: rules.iter().any(|rule| rule.guard != Guard::Nobody),
            rules,
            not_found: Arc::new(Respond::not_found(&name)),
        })
    }

    /// What its routes are called, in the order of their numbers ([`Cx::take_route`]).
    pub fn labels(&self) -> Vec<String> {
        self.rules.iter().map(|rule| rule.label.clone()).collect()
    }

    /// The rule for a request, and its number: the first that matches.
    fn find(&self, request: &Request<'_>) -> Option<(u32, &Rule)> {
        if request.only_asks() {
            return self.asked(request);
        }
        let found = self.first(&Subject::new(request));
        if self.guards && parameters::has_some(request) {
            return self.guarded(request, found);
        }
        found
    }

    /// The rule for a request that only asks whether another one may pass: none that keeps clients out, as it is no client's.
    #[cold]
    fn asked(&self, request: &Request<'_>) -> Option<(u32, &Rule)> {
        let subject = Subject::new(request);
        let (first, rule) = self.first(&subject)?;
        if rule.guard != Guard::All {
            return Some((first, rule));
        }
        // What is behind one that takes all is in no index.
        let mut behind = (first..).zip(&self.rules[first as usize..]);
        behind.find(|(_, rule)| {
            let holds = |level: &Arc<Level>| level.holds(&subject);
            rule.guard != Guard::All && rule.levels.iter().all(holds)
        })
    }

    fn first(&self, subject: &Subject<'_>) -> Option<(u32, &Rule)> {
        let number = self.index.first(subject, |number| {
            let levels = &self.rules[number as usize].levels;
            levels.iter().all(|level| level.holds(subject))
        });
        number.map(|number| (number, &self.rules[number as usize]))
    }
}

impl Handler for Router {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        match self.find(request) {
            Some((number, rule)) => {
                cx.take_route(number);
                rule.handler.step(request, cx)
            }
            None => self.not_found.step(request, cx),
        }
    }
}

struct Compiler<'a> {
    plan: &'a ListenerPlan,
    handler: &'a dyn Fn(TargetId, &Overrides) -> Arc<dyn Handler>,
    name: Arc<str>,
    rules: Vec<Rule>,
}

/// What a nested route has from those around it.
#[derive(Clone)]
struct Above {
    levels: Vec<Arc<Level>>,
    /// A password is asked for.
    password: bool,
    /// Whether a request may pass is asked for.
    authorize: bool,
    governance: Governance,
    over: Overrides,
    label: Label,
    /// The expression of the nearest `path`, when that is one.
    found: Option<Arc<Regex>>,
}

impl Compiler<'_> {
    fn routes(&mut self, routes: &[Route], above: &Above) -> Result<(), RouterError> {
        for route in routes {
            let error = |what| RouterError {
                listener: self.plan.name.clone(),
                line: route.line,
                what,
            };
            let mut here = Above {
                levels: above.levels.clone(),
                password: match &route.policies.auth {
                    None => above.password,
                    Some(auth) => *auth != Auth::Off,
                },
                authorize: match &route.policies.authorize {
                    None => above.authorize,
                    Some(authorize) => *authorize != Authorize::Off,
                },
                governance: above.governance.and(&route.policies).map_err(error)?,
                over: route.over.within(&above.over),
                label: above.label.and(route),
                found: above.found.clone(),
            };
            if !route.when.path.is_empty() {
                here.found = found(&route.when).map_err(error)?;
            }
            here.governance.log &= route.log;
            if !route.when.is_empty() {
                let level = Level::new(&route.when).map_err(error)?;
                here.levels.push(Arc::new(level));
            }
            if !route.missing.is_empty() {
                let plain = Overrides::default();
                let others = route.missing.iter();
                let others = others.map(|service| self.service(service, &plain).map_err(error));
                here.governance.missing = others.collect::<Result<_, _>>()?;
            }
            let deed: Arc<dyn Handler> = match &route.action {
                Action::Routes(nested) => {
                    self.routes(nested, &here)?;
                    continue;
                }
                Action::To(service) => self.service(service, &here.over).map_err(error)?,
                Action::Split { to, by } => {
                    let handlers = to.iter().map(|(service, weight)| {
                        let handler = self.service(service, &here.over).map_err(error)?;
                        Ok((handler, *weight))
                    });
                    let handlers = handlers.collect::<Result<_, _>>()?;
                    Arc::new(Split::new(handlers, by.clone()))
                }
                Action::Respond {
                    status,
                    body,
                    headers,
                } => {
                    let found = here.found.as_ref();
                    let respond = Respond::new(*status, body, headers, found, &self.name);
                    Arc::new(respond.map_err(error)?)
                }
                Action::Redirect { to, status } => Arc::new(Redirect::new(to, *status, &self.name)),
                Action::Deny => Arc::new(Respond::denied(&self.name)),
                Action::Close => Arc::new(Close::new(&self.name)),
            };
            self.rules.push(Rule {
                guard: match &route.action {
                    Action::Deny | Action::Close => Guard::All,
                    _ if here.password || here.authorize => Guard::Strangers,
                    _ => Guard::Nobody,
                },
                knows_parameters: here.levels.iter().any(|level| level.names(';')),
                levels: here.levels,
                handler: here.governance.around(deed).map_err(error)?,
                label: here.label.to_string(),
            });
        }
        Ok(())
    }

    fn service(&self, name: &str, over: &Overrides) -> Result<Arc<dyn Handler>, String> {
        match self.plan.targets.get(name) {
            Some(&id) => Ok((self.handler)(id, over)),
            None => Err(format!("there is no service {name}")),
        }
    }
}

/// The expression whose finds a content may have: one that is the only path of a route.
fn found(when: &Conditions) -> Result<Option<Arc<Regex>>, String> {
    match &when.path[..] {
        [Pattern::Regex(text)] => Ok(Some(Arc::new(regex(text, when.ignore_case)?))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
