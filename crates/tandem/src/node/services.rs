//! Services of a node as handlers: sites and pools, by the plan's target.

use std::sync::Arc;

use tandem_edge::{Pool, PoolHandler, ProbeHandler, run_checks};
use tandem_http::Handler;
use tandem_model::{NodePlan, Target, TargetId};
use tandem_site::SiteHandler;
use tandem_telemetry::Telemetry;

use super::apps::Apps;
use crate::exit::{Failure, Result};

/// What routes lead to.
pub struct Services {
    handlers: Vec<Arc<dyn Handler>>,
    pools: Vec<Arc<Pool>>,
}

/// Makes a handler for each target of the plan.
pub fn build(
    plan: &NodePlan,
    apps: &Apps,
    workers: usize,
    telemetry: &Telemetry,
) -> Result<Services> {
    let mut services = Services {
        handlers: Vec::new(),
        pools: Vec::new(),
    };
    for target in &plan.targets {
        let handler: Arc<dyn Handler> = match target {
            Target::Site(site) => {
                let site = SiteHandler::new(site, workers, telemetry.clone());
                Arc::new(site.map_err(|error| Failure::usage(error.to_string()))?)
            }
            Target::Pool(pool) => {
                let pool = Pool::new(pool, &apps.instances, telemetry);
                services.pools.push(pool.clone());
                Arc::new(PoolHandler::new(pool))
            }
        };
        services.handlers.push(handler);
    }
    Ok(services)
}

impl Services {
    /// The handler of a target behind a listener; an internal door also answers what other nodes ask of it.
    pub fn handler(&self, plan: &NodePlan, id: TargetId, internal: bool) -> Arc<dyn Handler> {
        let handler = self.handlers[id].clone();
        match &plan.targets[id] {
            Target::Site(site) if internal => Arc::new(ProbeHandler::new(&site.name, handler)),
            Target::Site(_) | Target::Pool(_) => handler,
        }
    }

    /// Looks up servers that are given by name, once, before anyone is let in.
    pub async fn resolve(&self) {
        futures_util::future::join_all(self.pools.iter().map(|pool| pool.resolve())).await;
    }

    /// Checks the servers of all pools until it is dropped.
    pub fn checks(&self) -> impl Future<Output = ()> + 'static {
        run_checks(self.pools.clone(), std::future::pending())
    }
}
