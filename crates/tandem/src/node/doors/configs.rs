//! What is answered where a node listens, compiled from its plan.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::SystemTime;

use tandem_edge::{Router, TcpRouter};
use tandem_http::policy::{ErrorPages, Maintenance, Works};
use tandem_http::{Admission, Handler, ListenerConfig, ListenerMeters};
use tandem_model::{
    AccessFormat, Address, Limits, ListenerPlan, ListenerTls, Mode, NodePlan, Overrides, Route,
    Timeouts,
};
use tandem_net::tls::revocations;
use tandem_net::{ClientRule, ServerTls};
use tandem_telemetry::disk::is_of_disk;
use tandem_telemetry::{Control as _, Telemetry};

use crate::exit::{Failure, Result};
use crate::node::services::Services;
use crate::node::shared;
use crate::process::is_pipe;

/// What is to be answered at which address.
pub struct Configs {
    pub(super) doors: Vec<(Address, Arc<ListenerConfig>)>,
    /// By the listener: the switch of its works, and whether the file says that they go on.
    pub(super) works: BTreeMap<String, (Arc<Works>, bool)>,
    /// Whom the works of a listener do not hold off.
    pub(super) allow: BTreeMap<String, Vec<String>>,
}

/// What of listeners goes on through a reload, by their names.
#[derive(Default)]
pub struct Before {
    pub(super) certificates: BTreeMap<String, Arc<ServerTls>>,
    pub(super) admissions: BTreeMap<String, Arc<Admission>>,
    pub(super) works: BTreeMap<String, Arc<Works>>,
}

impl Before {
    /// Of another process: the works that went on there, and whether its file said so.
    pub fn left(works: &BTreeMap<String, (bool, bool)>) -> Self {
        let left = works.iter().map(|(listener, &(now, file))| {
            let works = Works::new(file);
            // Of works both can be ordered.
            let _ = if now {
                works.maintenance()
            } else {
                works.ready()
            };
            (listener.clone(), Arc::new(works))
        });
        Self {
            works: left.collect(),
            ..Self::default()
        }
    }
}

/// Compiles what is answered at each address of the plan.
///
/// Certificates that are as they were are not set up anew, so that clients are resumed; and what was ordered about works
/// at run time goes on.
pub fn configure(
    plan: &NodePlan,
    services: &Services,
    rule: &ClientRule,
    before: &Before,
    telemetry: &Telemetry,
) -> Result<Configs> {
    let mut configs = Configs {
        doors: Vec::new(),
        works: BTreeMap::new(),
        allow: BTreeMap::new(),
    };
    let missing = Services::nobody();
    for listener in &plan.listeners {
        // A pipe is opened by workers, once somebody reads it.
        if let Some(path) = listener.log.as_ref().filter(|path| !is_pipe(path)) {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            if let Err(error) = opened {
                let (name, at) = (&listener.name, path.display());
                let what =
                    format!("listener {name}: the access log {at} cannot be opened: {error}");
                // Without a log it serves all the same; workers open it when the disk takes something again.
                let has_no_place = error.kind() == ErrorKind::NotFound
                    && path.starts_with(&plan.state)
                    && !plan.state.exists();
                if !is_of_disk(&error) && !has_no_place {
                    return Err(Failure::usage(what));
                }
                telemetry.events.error("node", what);
            }
        }
        let handler = |id: usize, over: &Overrides| {
            let found = plan.targets.get(id);
            let found = found.and_then(|target| services.handler(target, listener.internal, over));
            found.unwrap_or_else(|| missing.clone())
        };
        let connections = |id: usize, over: &Overrides| {
            let target = plan.targets.get(id)?;
            services.connections(target, over)
        };
        let router = match listener.mode {
            Mode::Http => Router::new(listener, &handler)
                .map(|router| (router.labels(), Arc::new(router) as Arc<dyn Handler>)),
            Mode::Tcp => TcpRouter::new(listener, &connections)
                .map(|router| (router.labels(), Arc::new(router) as _)),
        };
        let (labels, mut handler) = router.map_err(|error| Failure::usage(error.to_string()))?;
        let name = shared(&listener.name);
        let wrong = |what| Failure::usage(format!("listener {}: {what}", listener.name));
        if let Some(said) = &listener.maintenance {
            let known = before.works.get(&listener.name).cloned();
            let known = known.unwrap_or_else(|| Arc::new(Works::new(said.active)));
            let around = Maintenance::new(said, known.clone(), &name, handler).map_err(wrong)?;
            handler = Arc::new(around);
            configs
                .works
                .insert(listener.name.clone(), (known, said.active));
            let allow = said.allow.iter().map(ToString::to_string).collect();
            configs.allow.insert(listener.name.clone(), allow);
        }
        let config = Arc::new(ListenerConfig {
            name,
            handler,
            timeouts: listener.timeouts,
            rule: ClientRule {
                nodes: rule.nodes.clone(),
                trust: listener.trust.clone(),
            },
            http2: listener.http2 && listener.mode == Mode::Http,
            limits: listener.limits,
            admission: before
                .admissions
                .get(&listener.name)
                .cloned()
                .unwrap_or_default(),
            proxy_protocol: listener.proxy_protocol,
            tls: listener
                .tls
                .as_ref()
                .map(|tls| server_tls(&listener.name, tls, before, telemetry))
                .transpose()?,
            internal: listener.internal,
            hands_over: listener.routes.iter().any(Route::hands_over),
            errors: ErrorPages::read(&listener.errors).map_err(wrong)?,
            log: listener.log.clone(),
            log_format: listener.log_format.clone(),
            request_id: listener.request_id,
            meters: meters(listener, &labels, telemetry),
        });
        let addresses = listener.bind.iter().cloned();
        let doors = addresses.map(|address| (address, config.clone()));
        configs.doors.extend(doors);
    }
    Ok(configs)
}

/// What a listener counts with. The door of a service is told from a listener of the same name.
fn meters(plan: &ListenerPlan, labels: &[String], telemetry: &Telemetry) -> ListenerMeters {
    let name = if plan.internal {
        format!("{}/door", plan.name)
    } else {
        plan.name.clone()
    };
    ListenerMeters::new(
        &telemetry.meters,
        &name,
        labels.iter().map(String::as_str),
        plan.targets.keys().map(String::as_str),
    )
}

/// The certificates that a listener has, or is to have.
fn server_tls(
    listener: &str,
    tls: &ListenerTls,
    before: &Before,
    telemetry: &Telemetry,
) -> Result<Arc<ServerTls>> {
    let now = SystemTime::now();
    let ends = revocations(tls).unwrap_or_default();
    let over = ends.iter().find(|end| end.at < now);
    if let Some(over) = over {
        let what = format!(
            "{}, a list of revoked certificates, has ended: no client's certificate is taken until there is a new one, and a \
             reload",
            over.file.display()
        );
        telemetry
            .events
            .warning(format!("listener {listener}"), what);
    }
    let loaded = match before.certificates.get(listener) {
        Some(before) => before.reload(tls),
        None => ServerTls::load(tls),
    };
    loaded.map_err(|error| Failure::usage(format!("listener {listener}: {error}")))
}

/// The listener of admin pages.
pub fn admin_config(handler: Arc<dyn Handler>) -> ListenerConfig {
    ListenerConfig {
        name: shared("admin"),
        handler,
        timeouts: Timeouts::default(),
        rule: ClientRule::default(),
        proxy_protocol: false,
        tls: None,
        http2: false,
        limits: Limits::default(),
        admission: Arc::default(),
        internal: false,
        hands_over: false,
        errors: None,
        log: None,
        log_format: AccessFormat::Combined,
        request_id: false,
        meters: ListenerMeters::default(),
    }
}
