//! What the routes around one action say of it, from the outermost to its own.

use std::sync::Arc;

use tandem_model::{self as model, Authorization, FieldChanges, Headers, Policies};

use super::auth::{Auth, Authenticated};
use super::authorize::{Authorized, Authorizing, early};
use super::bounded::Bounded;
use super::busy::{AtOnce, Busy};
use super::compress::Rules;
use super::errors::ErrorPages;
use super::fields::Changes;
use super::missing::OrElse;
use super::path::{ChangedPath, PathRule};
use super::rate::{Limited, Rate};
use super::shape::{Heads, Shaped, Unlogged};
use crate::Handler;

/// The policies of a route, compiled, with those of the groups it stands in.
#[derive(Clone)]
pub struct Governance {
    /// Who answers what a policy refuses, for the log.
    name: Arc<str>,
    path: Option<Arc<PathRule>>,
    headers: Headers,
    errors: Option<Arc<ErrorPages>>,
    compress: Option<Arc<Rules>>,
    /// How large bodies may be, where that is said.
    body: Option<model::BodyLimit>,
    auth: Option<Arc<Auth>>,
    authorize: Option<Arc<Authorization>>,
    /// Of each level that has one; shared by all routes of the level.
    rates: Vec<Arc<Rate>>,
    /// Likewise, of requests at once.
    busy: Vec<Arc<Busy>>,
    /// Who is asked where there is nothing, one after the other.
    pub missing: Vec<Arc<dyn Handler>>,
    /// Whether requests are written to the access log.
    pub log: bool,
}

impl Governance {
    /// Of a listener.
    pub fn new(name: &Arc<str>) -> Self {
        Self {
            name: name.clone(),
            path: None,
            headers: Headers::default(),
            errors: None,
            compress: None,
            body: None,
            auth: None,
            authorize: None,
            rates: Vec::new(),
            busy: Vec::new(),
            missing: Vec::new(),
            log: true,
        }
    }

    /// With what a route says. What it says of its own takes the place of what the groups around it say, but for
    /// changes of heads, which come after theirs.
    ///
    /// # Errors
    /// In words: what cannot be compiled.
    pub fn and(&self, policies: &Policies) -> Result<Self, String> {
        let mut here = self.clone();
        if let Some(change) = &policies.path {
            here.path = Some(Arc::new(PathRule::new(change)?));
        }
        then(&mut here.headers.request, &policies.headers.request);
        then(&mut here.headers.response, &policies.headers.response);
        then(&mut here.headers.success, &policies.headers.success);
        let by_status = policies.headers.by_status.iter().cloned();
        here.headers.by_status.extend(by_status);
        if !policies.errors.is_empty() {
            let outer = self.errors.as_deref().cloned().unwrap_or_default();
            here.errors = outer.and(&policies.errors)?.map(Arc::new);
        }
        match &policies.compress {
            None => {}
            Some(model::Compress::Off) => here.compress = None,
            Some(model::Compress::On(said)) => here.compress = Some(Arc::new(Rules::new(said))),
        }
        here.body = policies.body.or(here.body);
        match &policies.auth {
            None => {}
            Some(model::Auth::Off) => here.auth = None,
            Some(model::Auth::Basic(users)) => {
                here.auth = Some(Arc::new(Auth::new(users, &self.name)?));
            }
        }
        match &policies.authorize {
            None => {}
            Some(model::Authorize::Off) => here.authorize = None,
            Some(model::Authorize::By(by)) => here.authorize = Some(Arc::new(by.clone())),
        }
        if let Some(rate) = &policies.rate {
            here.rates.push(Arc::new(Rate::new(rate, &self.name)));
        }
        if let Some(most) = policies.per_source {
            here.busy.push(Arc::new(Busy::new(most)));
        }
        Ok(here)
    }

    /// What a route does, with the policies around it.
    ///
    /// # Errors
    /// In words: what cannot be compiled.
    pub fn around(&self, deed: Arc<dyn Handler>) -> Result<Arc<dyn Handler>, String> {
        let mut handler = self.moved(deed);
        for missing in &self.missing {
            handler = Arc::new(OrElse {
                first: handler,
                then: self.moved(missing.clone()),
            });
        }
        if let Some(by) = &self.authorize {
            let inner =
                Authorized::new(by, &self.headers, handler, &self.name, self.auth.is_some())?;
            handler = Arc::new(Authorizing(Arc::new(inner)));
        }
        if let Some(auth) = &self.auth {
            handler = Arc::new(Authenticated {
                auth: auth.clone(),
                inner: handler,
            });
        }
        // A password that is tried counts too.
        for rate in self.rates.iter().rev() {
            handler = Arc::new(Limited {
                rate: rate.clone(),
                inner: handler,
            });
        }
        for busy in self.busy.iter().rev() {
            handler = Arc::new(AtOnce {
                busy: busy.clone(),
                inner: handler,
                name: self.name.clone(),
            });
        }
        if let Some(body) = self.body {
            handler = Arc::new(Bounded {
                most: body.most(),
                inner: handler,
                name: self.name.clone(),
            });
        }
        let compile = |changes: &FieldChanges, side| match self.authorize {
            // The rest is known when an answer is there.
            Some(_) => Changes::new(&early(changes), side),
            None => Changes::new(changes, side),
        };
        let heads = Heads::new(&self.headers, compile)?;
        if !heads.is_empty() || self.errors.is_some() || self.compress.is_some() {
            handler = Arc::new(Shaped {
                heads,
                errors: self.errors.clone(),
                compress: self.compress.clone(),
                authenticated: self.auth.is_some(),
                inner: handler,
            });
        }
        if !self.log {
            handler = Arc::new(Unlogged(handler));
        }
        Ok(handler)
    }

    fn moved(&self, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        match &self.path {
            Some(rule) => Arc::new(ChangedPath {
                rule: rule.clone(),
                inner,
                name: self.name.clone(),
            }),
            None => inner,
        }
    }
}

/// Changes of heads that come after others: what is set or removed later undoes what came before.
fn then(first: &mut FieldChanges, later: &FieldChanges) {
    let gone = |name: &str| {
        let sets = later.set.keys().any(|set| set.eq_ignore_ascii_case(name));
        sets || later
            .remove
            .iter()
            .any(|removed| match removed.strip_suffix('*') {
                Some(start) => name
                    .get(..start.len())
                    .is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
                None => removed.eq_ignore_ascii_case(name),
            })
    };
    first.set.retain(|name, _| !gone(name));
    first.default.retain(|name, _| !gone(name));
    first.add.retain(|name, _| !gone(name));
    first.remove.extend(later.remove.iter().cloned());
    first.set.extend(
        later
            .set
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    for (name, steps) in &later.replace {
        let all = first.replace.entry(name.clone()).or_default();
        all.extend(steps.iter().cloned());
    }
    for (name, value) in &later.default {
        let is = |other: &String| other.eq_ignore_ascii_case(name);
        // It is there then.
        if !first.set.keys().any(is) && !first.add.keys().any(is) && !first.default.keys().any(is) {
            first.default.insert(name.clone(), value.clone());
        }
    }
    for (name, values) in &later.add {
        first
            .add
            .entry(name.clone())
            .or_default()
            .extend(values.iter().cloned());
    }
}
