//! What a listener counts with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tandem_telemetry::meters::{Connections, PerWorker};
use tandem_telemetry::{Meter, Meters};

use super::record::Record;
use crate::handler::{Cx, Taken};

/// The label of requests that no route took: none fitted, or nothing could be read of them.
const NO_ROUTE: &str = "none";

/// The meters of a listener, its routes, and the services they lead to. By default one that nobody reads.
#[derive(Clone, Debug, Default)]
pub struct ListenerMeters {
    /// Its connections.
    pub(super) connections: Arc<PerWorker<Connections>>,
    /// By their numbers.
    routes: Box<[Route]>,
    none: Arc<Meter>,
    services: HashMap<Arc<str>, Arc<Meter>, foldhash::fast::RandomState>,
}

#[derive(Clone, Debug)]
struct Route {
    /// What it counts with, as near as can be: where there are thousands of routes each step to it is one out of the caches.
    cells: Meter,
    label: Box<str>,
    /// The same, for as long as somebody counts with it.
    _meter: Arc<Meter>,
}

impl ListenerMeters {
    /// Of a listener whose handler numbers its routes ([`Cx::take_route`]) in the order of `routes`, their labels.
    pub fn new<'a>(
        meters: &Meters,
        listener: &str,
        routes: impl Iterator<Item = &'a str>,
        services: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            connections: meters.listener(listener),
            routes: routes
                .map(|label| {
                    let meter = meters.route(listener, label);
                    Route {
                        cells: Meter::clone(&meter),
                        label: label.into(),
                        _meter: meter,
                    }
                })
                .collect(),
            none: meters.route(listener, NO_ROUTE),
            services: services
                .map(|name| (name.into(), meters.service(name)))
                .collect(),
        }
    }

    /// What the route is called that took a request, or empty.
    pub(super) fn label(&self, cx: &Cx) -> &str {
        match cx.taken() {
            Taken::Route(number) => self.routes.get(number).map_or("", |route| &route.label),
            Taken::None | Taken::Uncounted => "",
        }
    }

    /// Counts what was answered.
    pub(super) fn count(&self, cx: &Cx, record: &Record, took: Duration) {
        let service = record.service.as_deref().unwrap_or_default();
        let bytes = record.bytes + record.head_bytes;
        self.note(cx, service, record.status, bytes, record.retries, took);
    }

    /// Counts an answer of `service`.
    pub(super) fn note(
        &self,
        cx: &Cx,
        service: &str,
        status: u16,
        bytes: u64,
        retries: u32,
        took: Duration,
    ) {
        let route = match cx.taken() {
            Taken::Uncounted => return,
            Taken::None => None,
            Taken::Route(number) => self.routes.get(number).map(|route| &route.cells),
        };
        let route = route.unwrap_or(&self.none);
        let service = self.services.get(service).map(|meter| &**meter);
        for meter in [Some(route), service].into_iter().flatten() {
            meter.answered(cx.worker, status, took);
            meter.sent(cx.worker, bytes, retries);
        }
    }

    /// Counts what was refused before there was a request.
    pub(super) fn refused(&self, worker: usize, status: u16, bytes: u64, took: Duration) {
        self.none.answered(worker, status, took);
        self.none.sent(worker, bytes, 0);
    }
}
