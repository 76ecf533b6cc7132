//! Where a node listens for HTTP: bound first, opened when there is someone to answer.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_admin::{AdminHandler, NodeInfo, SelfRow};
use tandem_edge::Router;
use tandem_http::{Engine, Handler, ListenerConfig};
use tandem_model::{NodePlan, Timeouts};
use tandem_net::ClientRule;
use tandem_net::listen::{self, Bound};
use tandem_net::workers::{self, WorkerCx, Workers};
use tandem_telemetry::Telemetry;

use super::services::Services;
use super::shared;
use crate::exit::{Failure, Result};

/// Descriptors that are not for clients: files, logs, checks, the session tier.
const RESERVED: u64 = 500;
/// How long workers may take beyond draining.
const GRACE: Duration = Duration::from_secs(2);

/// Bound sockets, in the order of the plan's listeners; the admin's last.
pub struct Doors {
    listeners: Vec<Vec<Bound>>,
    admin: Vec<Bound>,
}

/// Binds every listener and the admin pages, for so many workers.
pub fn bind(plan: &NodePlan, workers: usize) -> Result<Doors> {
    let bind = |address| listen::bind(address, workers).map_err(|error| error.to_string());
    let mut wrong = Vec::new();
    let mut listeners = Vec::new();
    for listener in &plan.listeners {
        let mut bound = Vec::new();
        for address in &listener.bind {
            match bind(address) {
                Ok(more) => bound.extend(more),
                Err(error) => wrong.push(format!("listener {}: {error}", listener.name)),
            }
        }
        listeners.push(bound);
    }
    let mut admin = Vec::new();
    if let Some(address) = &plan.admin {
        match bind(address) {
            Ok(bound) => admin = bound,
            Err(error) => wrong.push(format!("admin pages: {error}")),
        }
    }
    if wrong.is_empty() {
        Ok(Doors { listeners, admin })
    } else {
        Err(Failure::usage(wrong.join("\ntandem: ")))
    }
}

/// Connections from clients that a worker may hold. A proxied request takes a second descriptor.
pub fn connections(descriptors: u64, workers: usize) -> usize {
    let each = descriptors.saturating_sub(RESERVED).max(64) / 2 / workers.max(1) as u64;
    usize::try_from(each).unwrap_or(usize::MAX)
}

type Opened = Vec<(OwnedFd, Arc<ArcSwap<ListenerConfig>>)>;

/// Gives each door who answers at it. The result has each worker's share.
pub fn open(
    plan: &NodePlan,
    doors: Doors,
    services: &Services,
    rule: &ClientRule,
    info: &NodeInfo,
    telemetry: &Telemetry,
) -> Result<Vec<Opened>> {
    let mut shares = Vec::new();
    for (listener, bound) in plan.listeners.iter().zip(doors.listeners) {
        let handler = |id| services.handler(plan, id, listener.internal);
        let router =
            Router::new(listener, &handler).map_err(|error| Failure::usage(error.to_string()))?;
        let config = ListenerConfig {
            name: shared(&listener.name),
            handler: Arc::new(router),
            timeouts: listener.timeouts,
            rule: ClientRule {
                nodes: rule.nodes.clone(),
                trust: listener.trust.clone(),
            },
            internal: listener.internal,
            log: listener.log.clone(),
        };
        share(&mut shares, bound, config);
    }
    let rows = Arc::new(SelfRow {
        info: info.clone(),
        telemetry: telemetry.clone(),
    });
    let admin: Arc<dyn Handler> = Arc::new(AdminHandler::new(
        rows,
        Some((info.clone(), telemetry.clone())),
    ));
    share(&mut shares, doors.admin, admin_config(admin));
    Ok(shares)
}

/// The listener of admin pages.
pub fn admin_config(handler: Arc<dyn Handler>) -> ListenerConfig {
    ListenerConfig {
        name: shared("admin"),
        handler,
        timeouts: Timeouts::default(),
        rule: ClientRule::default(),
        internal: false,
        log: None,
    }
}

/// Deals the sockets of a door among the workers.
fn share(shares: &mut Vec<Opened>, bound: Vec<Bound>, config: ListenerConfig) {
    let config = Arc::new(ArcSwap::from_pointee(config));
    for place in bound {
        for (worker, socket) in place.sockets.into_iter().enumerate() {
            if shares.len() <= worker {
                shares.resize_with(worker + 1, Vec::new);
            }
            shares[worker].push((socket, config.clone()));
        }
    }
}

/// Running workers.
pub struct Serving(Workers);

/// Starts the workers; each may hold `most` connections.
pub fn serve(
    shares: Vec<Opened>,
    workers: usize,
    most: usize,
    telemetry: &Telemetry,
) -> Result<Serving> {
    let shares: Arc<Mutex<Vec<Option<Opened>>>> =
        Arc::new(Mutex::new(shares.into_iter().map(Some).collect()));
    let telemetry = telemetry.clone();
    let work = move |cx: WorkerCx| {
        let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = shares
            .get_mut(cx.index)
            .and_then(Option::take)
            .unwrap_or_default();
        worker(cx, mine, most, telemetry.clone())
    };
    let started = workers::start("worker", workers, work);
    started
        .map(Serving)
        .map_err(|error| Failure::failed(format!("cannot start the workers: {error}")))
}

async fn worker(mut cx: WorkerCx, doors: Opened, most: usize, telemetry: Telemetry) {
    let engine = Engine::new(cx.index, most, telemetry.clone());
    for (socket, config) in doors {
        let name = config.load().name.clone();
        if let Err(error) = engine.listen(socket, config) {
            telemetry.events.error(
                format!("listener {name}"),
                format!("cannot listen: {error}"),
            );
        }
    }
    cx.stop.ordered().await;
    engine.drain(super::DRAIN).await;
}

impl Serving {
    /// Stops listening, lets requests in flight finish within `drain`, ends the workers.
    pub async fn stop(self, drain: Duration, telemetry: &Telemetry) {
        self.0.stop();
        let joined = tokio::task::spawn_blocking(move || self.0.join(drain + GRACE)).await;
        if let Ok(Err(unclean)) = joined {
            telemetry
                .events
                .warning("node", format!("workers did not end in order: {unclean:?}"));
        }
    }
}
