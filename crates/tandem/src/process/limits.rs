//! How many descriptors a node needs, and how many it may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tandem_model::NodePlan;
use tandem_net::Pipe;

/// Descriptors that are not for clients: files, logs, checks, the session tier.
pub const RESERVED: u64 = 500;
/// Connections that a listener without a limit should be able to hold: fewer are no web server's.
const LEAST: u64 = 1_000;

/// Raises the limit of open descriptors as far as the system allows, and says how far that is.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = most_descriptors();
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            return limit.current.unwrap_or(most);
        }
    }
    most
}

/// Descriptors that a process like this one may open when it raises its limit.
pub fn most_descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20)
}

/// Descriptors that a node needs to do what the file says: one for each connection from a client and one for the server
/// behind it, those that
/// workers listen with and move bodies by, and those that are not for clients.
pub fn needed_descriptors(plan: &NodePlan, workers: usize) -> u64 {
    let clients: u64 = plan
        .listeners
        .iter()
        .map(|listener| listener.limits.connections.map_or(LEAST, u64::from))
        .sum();
    let addresses: usize = plan.listeners.iter().map(|l| l.bind.len()).sum();
    RESERVED + 2 * clients + ((addresses + Pipe::DESCRIPTORS) * workers) as u64
}

/// What to do about too few of them.
pub fn too_few_descriptors(have: u64, need: u64) -> String {
    format!(
        "it may open {have} descriptors, and the file needs {need}: connections will wait before they are taken; raise \
         the limit (LimitNOFILE={need} in the unit, `ulimit -n {need}` in a shell) or lower `limits.connections`"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan(limits: &str) -> NodePlan {
        let text = format!(
            "[listener.web]\nbind = [\":80\", \":81\"]\nroute = {{ deny = true }}\n{limits}\n"
        );
        let loaded = tandem_config::parse(&text, "test", Path::new("/"), &|_| None);
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        loaded.cluster.for_node("local").expect("the only node")
    }

    #[test]
    fn what_the_file_says_of_connections_is_what_is_needed() {
        let pipes = Pipe::DESCRIPTORS as u64;
        assert_eq!(
            needed_descriptors(&plan(""), 2),
            500 + 2_000 + 4 + 2 * pipes
        );
        let limited = plan("limits = { connections = 40000 }");
        assert_eq!(needed_descriptors(&limited, 1), 500 + 80_000 + 2 + pipes);
    }
}
