//! Whether nodes can speak TLS with what the file names: for those who test a file before it is taken.

use tandem_config::import::Translation;
use tandem_model::{Cluster, Service};
use tandem_net::{ClientTls, ServerTls};

/// What keeps these nodes from it, in sentences.
pub fn wrong(cluster: &Cluster, nodes: &[&str]) -> Vec<String> {
    let is_on = |on: &[String]| on.iter().any(|name| nodes.contains(&name.as_str()));
    let listeners = cluster.listeners.iter().filter(|one| is_on(&one.on));
    let listeners = listeners.filter_map(|listener| {
        let why = ServerTls::load(listener.tls.as_ref()?).err()?;
        Some(format!("listener {}: {why}", listener.name))
    });
    let backends = cluster.services.iter().filter_map(|service| match service {
        Service::Backend(backend) => {
            let why = ClientTls::load(backend.tls.as_ref()?).err()?;
            Some(format!("backend {}: {why}", backend.name))
        }
        Service::Site(_) | Service::App(_) => None,
    });
    listeners.chain(backends).collect()
}

/// As [`wrong`], of a file of another program, where nothing else is wrong with it.
pub fn wrong_in(translation: &Translation) -> Vec<String> {
    let Some(loaded) = &translation.loaded else {
        return Vec::new();
    };
    let nodes = loaded.cluster.nodes.iter().map(|node| &*node.name);
    wrong(&loaded.cluster, &nodes.collect::<Vec<_>>())
}
