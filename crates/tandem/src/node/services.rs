//! Services of a node as handlers: sites and pools.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_edge::{Instances, Pool, PoolHandler, ProbeHandler, run_checks};
use tandem_http::{ClientTls, Cx, Handler, Plan, Reply, Request, Step};
use tandem_model::{NodePlan, Overrides, PoolPlan, Site, Target};
use tandem_site::SiteHandler;
use tandem_telemetry::Telemetry;
use tokio::sync::watch;

use super::apps::Apps;
use crate::exit::{Failure, Result};

/// What routes lead to, by [`key`].
pub struct Services(BTreeMap<String, Service>);

enum Service {
    Site {
        site: Site,
        handler: Arc<dyn Handler>,
    },
    Pool {
        plan: PoolPlan,
        pool: Arc<Pool>,
        tls: Option<Arc<ClientTls>>,
        handler: Arc<dyn Handler>,
    },
}

impl Service {
    /// What a target is answered by, or what is known of it already.
    fn new(
        target: &Target,
        known: Option<&Self>,
        instances: &Instances,
        workers: usize,
        telemetry: &Telemetry,
    ) -> Result<Self> {
        Ok(match (target, known) {
            (
                Target::Site(site),
                Some(Self::Site {
                    site: same,
                    handler,
                }),
            ) if site == same => Self::Site {
                site: site.clone(),
                handler: handler.clone(),
            },
            (Target::Site(site), _) => {
                let handler = SiteHandler::new(site, workers, telemetry.clone())
                    .map_err(|error| Failure::usage(error.to_string()))?;
                Self::Site {
                    site: site.clone(),
                    handler: Arc::new(handler),
                }
            }
            (
                Target::Pool(plan),
                Some(Self::Pool {
                    pool, tls, handler, ..
                }),
            ) => Self::Pool {
                plan: plan.clone(),
                pool: pool.clone(),
                tls: client_tls(plan, tls.as_ref())?,
                handler: handler.clone(),
            },
            (Target::Pool(plan), _) => {
                let tls = client_tls(plan, None)?;
                let pool = Pool::new(plan, instances, telemetry);
                pool.secure(tls.clone());
                let handler = Arc::new(PoolHandler::new(pool.clone()));
                Self::Pool {
                    plan: plan.clone(),
                    pool,
                    tls,
                    handler,
                }
            }
        })
    }
}

/// A service has two sides on a node: as its listeners meet it, and as its own door does.
fn key(target: &Target) -> String {
    let side = matches!(target, Target::Pool(pool) if pool.gateway);
    format!("{}{}", target.name(), if side { " (gateway)" } else { "" })
}

impl Services {
    /// Makes a handler for each target of the plan. What `before` has already goes on: a site that is the same, a pool
    /// of the same service, which [`Self::commit`] brings up to date.
    pub fn build(
        plan: &NodePlan,
        apps: &Apps,
        workers: usize,
        telemetry: &Telemetry,
        before: Option<&Self>,
    ) -> Result<Self> {
        let instances = apps.instances();
        let mut made = Self(BTreeMap::new());
        for target in &plan.targets {
            let key = key(target);
            let known = before.and_then(|before| before.0.get(&key));
            match Service::new(target, known, &instances, workers, telemetry) {
                Ok(service) => made.0.insert(key, service),
                Err(failure) => {
                    made.abandon(before);
                    return Err(failure);
                }
            };
        }
        Ok(made)
    }

    /// Nothing comes of them: those that were not there `before` are in no status any more.
    pub fn abandon(&self, before: Option<&Self>) {
        for (key, service) in &self.0 {
            if let Service::Pool { pool, .. } = service
                && !before.is_some_and(|before| before.0.contains_key(key))
            {
                pool.retire();
            }
        }
    }

    /// Brings the pools up to date that were there `before` with another plan, and takes those out that are gone.
    pub fn commit(&self, before: &Self, apps: &Apps) {
        let instances = apps.instances();
        for (key, service) in &before.0 {
            let Service::Pool {
                plan: old,
                pool,
                tls: old_tls,
                ..
            } = service
            else {
                continue;
            };
            match self.0.get(key) {
                Some(Service::Pool { plan, tls, .. }) => {
                    if plan != old {
                        pool.update(plan, &instances);
                    }
                    if plan != old || tls != old_tls {
                        pool.secure(tls.clone());
                    }
                }
                _ => pool.retire(),
            }
        }
    }

    /// The handler of a target behind a listener; an internal door also answers what other nodes ask of it.
    pub fn handler(
        &self,
        target: &Target,
        internal: bool,
        over: &Overrides,
    ) -> Option<Arc<dyn Handler>> {
        Some(match self.0.get(&key(target))? {
            Service::Site { site, handler } if internal => {
                Arc::new(ProbeHandler::new(&site.name, handler.clone()))
            }
            Service::Pool { pool, .. } if !over.is_empty() => {
                Arc::new(PoolHandler::over(pool.clone(), over.clone()))
            }
            Service::Site { handler, .. } | Service::Pool { handler, .. } => handler.clone(),
        })
    }

    /// Where connections go that are passed on as they are; `None` when the target takes only requests.
    pub fn connections(&self, target: &Target, over: &Overrides) -> Option<Arc<PoolHandler>> {
        match self.0.get(&key(target))? {
            Service::Pool { pool, .. } => {
                Some(Arc::new(PoolHandler::over(pool.clone(), over.clone())))
            }
            Service::Site { .. } => None,
        }
    }

    /// Who answers where a target has no service, which a plan does not let happen: 503.
    pub fn nobody() -> Arc<dyn Handler> {
        Arc::new(Nobody)
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.0.values().filter_map(|service| match service {
            Service::Pool { pool, .. } => Some(pool.clone()),
            Service::Site { .. } => None,
        });
        pools.collect()
    }

    /// Looks up servers that are given by name, once, before anyone is let in.
    pub async fn resolve(&self) {
        futures_util::future::join_all(self.pools().iter().map(|pool| pool.resolve())).await;
    }

    /// Checks the servers of all pools, and says to them whether this node reaches the sessions, until it is dropped.
    pub fn checks(&self, sight: watch::Receiver<bool>) -> impl Future<Output = ()> + 'static {
        let pools = self.pools();
        run_checks(pools.clone(), follow(pools, sight))
    }
}

/// Says to pools whether the node reaches the sessions, whenever that changes.
async fn follow(pools: Vec<Arc<Pool>>, mut sight: watch::Receiver<bool>) {
    loop {
        let is_cut_off = !*sight.borrow_and_update();
        for pool in &pools {
            pool.set_cut_off(is_cut_off);
        }
        if sight.changed().await.is_err() {
            // Without an agent, or when it ends with the node, it stays as it is.
            std::future::pending::<()>().await;
        }
    }
}

/// What is needed to speak TLS to the servers of a pool; what was loaded before is used again if nothing changed.
fn client_tls(plan: &PoolPlan, before: Option<&Arc<ClientTls>>) -> Result<Option<Arc<ClientTls>>> {
    let Some(settings) = &plan.tls else {
        return Ok(None);
    };
    let loaded = match before {
        Some(before) => before.reload(settings),
        None => ClientTls::load(settings),
    };
    loaded
        .map(Some)
        .map_err(|error| Failure::usage(format!("{} {}: tls: {error}", plan.kind, plan.service)))
}

/// Answers that there is nobody.
struct Nobody;

impl Handler for Nobody {
    fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
        Step::Plan(Plan::Bytes(Reply::text(
            503,
            &super::shared("none"),
            "Nobody is here to answer\n",
        )))
    }
}
