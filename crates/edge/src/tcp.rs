//! The routes of a listener in TCP mode: which connection goes where. The first that matches decides.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tandem_http::{Attempts, Connection, Connections, Cx, Handler, Plan, Reply, Request, Step};
use tandem_model::{Action, Conditions, ListenerPlan, Overrides, Route, TargetId};

use crate::handler::PoolHandler;
use crate::router::{Label, PatternSet, RouterError};

/// The compiled routes of a listener in TCP mode.
pub struct TcpRouter {
    rules: Vec<Rule>,
    wants_name: bool,
    /// For a request, of which such a listener has none.
    no_request: Reply,
}

struct Rule {
    /// The conditions of each level, outermost first.
    levels: Vec<Arc<Level>>,
    /// `None` turns the connection away.
    to: Option<Arc<PoolHandler>>,
    label: String,
}

/// Conditions of one level, all of which must hold.
struct Level {
    name: Option<PatternSet>,
    source: Vec<IpNet>,
    not: Option<Box<Level>>,
}

impl Level {
    fn new(when: &Conditions) -> Result<Self, String> {
        let name = (!when.sni.is_empty()).then(|| PatternSet::new(&when.sni, true));
        let not = when.not.as_deref().map(Self::new).transpose()?;
        Ok(Self {
            name: name.transpose()?,
            source: when.source.clone(),
            not: not.map(Box::new),
        })
    }

    fn holds(&self, connection: &Connection<'_>) -> bool {
        let Connection { client, name } = *connection;
        let named = |set: &PatternSet| name.is_some_and(|name| set.matches(name.as_bytes()));
        self.name.as_ref().is_none_or(named)
            && (self.source.is_empty() || self.source.iter().any(|net| net.contains(&client)))
            && self.not.as_ref().is_none_or(|not| !not.any(connection))
    }

    /// Whether one of the conditions holds.
    fn any(&self, connection: &Connection<'_>) -> bool {
        let Connection { client, name } = *connection;
        let named = |set: &PatternSet| name.is_some_and(|name| set.matches(name.as_bytes()));
        self.name.as_ref().is_some_and(named)
            || self.source.iter().any(|net| net.contains(&client))
            || self.not.as_ref().is_some_and(|not| !not.any(connection))
    }

    fn wants_name(&self) -> bool {
        self.name.is_some() || self.not.as_ref().is_some_and(|not| not.wants_name())
    }
}

impl TcpRouter {
    /// Compiles the routes of a listener in TCP mode. `handler` gives the pool of a target of the plan, for a route that
    /// says some things of it differently.
    ///
    /// # Errors
    /// When a route leads nowhere, or does what only a route of requests can do.
    pub fn new(
        plan: &ListenerPlan,
        handler: &dyn Fn(TargetId, &Overrides) -> Option<Arc<PoolHandler>>,
    ) -> Result<Self, RouterError> {
        let mut rules = Vec::new();
        let top = (Vec::new(), Overrides::default(), Label::default());
        compile(plan, &plan.routes, handler, &top, &mut rules)?;
        let wants_name = rules
            .iter()
            .flat_map(|rule| &rule.levels)
            .any(|level| level.wants_name());
        let name: Arc<str> = plan.name.as_str().into();
        Ok(Self {
            rules,
            wants_name,
            no_request: Reply::text(400, &name, "No requests are taken here\n"),
        })
    }

    /// What its routes are called, in the order of their numbers ([`Cx::take_route`]).
    pub fn labels(&self) -> Vec<String> {
        self.rules.iter().map(|rule| rule.label.clone()).collect()
    }
}

/// The levels around a route, what they say differently, and their label.
type Above = (Vec<Arc<Level>>, Overrides, Label);

fn compile(
    plan: &ListenerPlan,
    routes: &[Route],
    handler: &dyn Fn(TargetId, &Overrides) -> Option<Arc<PoolHandler>>,
    above: &Above,
    rules: &mut Vec<Rule>,
) -> Result<(), RouterError> {
    for route in routes {
        let error = |what: String| RouterError {
            listener: plan.name.clone(),
            line: route.line,
            what,
        };
        let (mut levels, over) = (above.0.clone(), route.over.within(&above.1));
        let label = above.2.and(route);
        if !route.when.is_empty() {
            levels.push(Arc::new(Level::new(&route.when).map_err(error)?));
        }
        let to = match &route.action {
            Action::Routes(nested) => {
                compile(plan, nested, handler, &(levels, over, label), rules)?;
                continue;
            }
            Action::To(service) => {
                let found = plan.targets.get(service);
                let pool = found.and_then(|&id| handler(id, &over));
                let pool = pool.ok_or_else(|| error(format!("{service} takes no connections")));
                Some(pool?)
            }
            Action::Deny | Action::Close => None,
            _ => return Err(error("it is of requests, and here are none".into())),
        };
        rules.push(Rule {
            levels,
            to,
            label: label.to_string(),
        });
    }
    Ok(())
}

impl Connections for TcpRouter {
    fn wants_name(&self) -> bool {
        self.wants_name
    }

    fn connect(&self, connection: &Connection<'_>, cx: &Cx) -> Option<Box<dyn Attempts>> {
        let mut numbered = (0..).zip(&self.rules);
        let (number, rule) =
            numbered.find(|(_, rule)| rule.levels.iter().all(|level| level.holds(connection)))?;
        cx.take_route(number);
        let client: IpAddr = connection.client;
        Some(Box::new(rule.to.as_ref()?.connection(client, cx)))
    }
}

impl Handler for TcpRouter {
    fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
        Step::Plan(Plan::Bytes(self.no_request.clone()))
    }

    fn connections(&self) -> Option<&dyn Connections> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
