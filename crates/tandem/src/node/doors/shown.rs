//! The listeners as status shows them.

use std::sync::Arc;

use tandem_http::policy::Works;
use tandem_telemetry::meters::{Connections, PerWorker};
use tandem_telemetry::{ListenerStatus, NodeStatus, StatusSource, Telemetry};

use super::Configs;

/// Those of the file: doors of services are none.
struct Shown(Vec<ShownListener>);

struct ShownListener {
    name: Arc<str>,
    bind: Vec<String>,
    works: Option<Arc<Works>>,
    allow: Vec<String>,
    connections: Arc<PerWorker<Connections>>,
}

/// From now on status shows these.
pub(super) fn publish(configs: &Configs, telemetry: &Telemetry) {
    let shown = Shown::new(configs, telemetry);
    telemetry.registry.publish("listeners", Arc::new(shown));
}

impl Shown {
    fn new(configs: &Configs, telemetry: &Telemetry) -> Self {
        let mut all: Vec<ShownListener> = Vec::new();
        for (address, config) in configs.doors.iter().filter(|(_, config)| !config.internal) {
            let bind = address.to_string();
            if let Some(same) = all.iter_mut().find(|listener| listener.name == config.name) {
                same.bind.push(bind);
                continue;
            }
            let works = configs.works.get(&*config.name);
            all.push(ShownListener {
                name: config.name.clone(),
                bind: vec![bind],
                works: works.map(|(works, _)| works.clone()),
                allow: configs
                    .allow
                    .get(&*config.name)
                    .cloned()
                    .unwrap_or_default(),
                connections: telemetry.meters.listener(&config.name),
            });
        }
        Self(all)
    }
}

impl StatusSource for Shown {
    fn fill(&self, status: &mut NodeStatus) {
        let listeners = self.0.iter().map(|listener| ListenerStatus {
            name: listener.name.to_string(),
            bind: listener.bind.clone(),
            maintenance: listener.works.as_ref().is_some_and(|works| works.go_on()),
            allow: listener.allow.clone(),
            connections: listener.connections.read().1,
        });
        status.listeners.extend(listeners);
    }
}
