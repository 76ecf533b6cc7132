//! Which node a command asks: the one that was named, this machine's service, or, where there is no file, a node of the
//! rehearsal that runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tandem_model::{Address, Cluster, NodePlan};

use super::Client;
use super::client::not_allowed;
use crate::cli::Opt;
use crate::commands::{load, node_names};
use crate::exit::{Failure, Result};
use crate::node::OWN_SOCKET;
use crate::process::Holder;
use crate::rehearsal::state::{State, running};
use crate::service::settings::{Given, Settings};

/// The options by which every command finds its node; [`Wanted::take`] reads them.
pub const ADMIN: Opt = Opt {
    form: "--admin ADDRESS",
    text: "ask the node whose admin pages are there (HOST:PORT or unix:PATH); the token is in TANDEM_ADMIN_TOKEN",
};
/// Another node.
pub const NODE: Opt = Opt {
    form: "--node NAME",
    text: "ask this node, of this machine's file or, if there is none, of a rehearsal",
};

/// What the command line said of it.
#[derive(Default)]
pub struct Wanted {
    admin: Option<String>,
    node: Option<String>,
    file: Given,
}

impl Wanted {
    /// Takes one of the options; any other is an error.
    pub fn take(&mut self, name: &str, args: &mut lexopt::Parser) -> Result<()> {
        match name {
            "admin" => self.admin = Some(args.value()?.to_string_lossy().into_owned()),
            "node" => self.node = Some(args.value()?.to_string_lossy().into_owned()),
            "file" if self.file.take(name, args)? => {}
            _ => return Err(Failure::usage(format!("there is no option `--{name}`"))),
        }
        Ok(())
    }

    /// The node, if one is to be found that answers; else why not.
    pub fn client(self) -> Result<Client> {
        let token = std::env::var("TANDEM_ADMIN_TOKEN").ok();
        let named = self.admin.or_else(|| std::env::var("TANDEM_ADMIN").ok());
        if let Some(text) = named {
            return Ok(Client::new(address(&text)?, token));
        }
        let settings = self.file.complete()?;
        let wanted = self.node.clone().or_else(|| settings.node.clone());
        // What is wrong with a file that is there ends the command: who means its nodes does not mean a rehearsal's.
        let mut tried: Vec<PathBuf> = (plans(&settings, wanted.as_deref())?.iter())
            .map(|plan| plan.state.join(OWN_SOCKET))
            .collect();
        let rehearsals = running();
        let is_configured = is_configured(&settings);
        if !is_configured {
            for state in &rehearsals {
                tried.extend(sockets(state, self.node.as_deref()));
            }
        }
        let mut refused = None;
        for path in &tried {
            let client = Client::at(path);
            match client.reach() {
                Ok(()) => return Ok(client),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    refused = refused.or(Some(not_allowed(&path.display().to_string())));
                }
                Err(_) => {}
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if tried.is_empty() {
            return Err(Failure::failed(format!(
                "no node runs here: there is neither {} nor a rehearsal; --admin ADDRESS names one",
                settings.file.display()
            )));
        }
        let places: Vec<String> = tried
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let beside = rehearsals.iter().find(|_| is_configured);
        let hint = match (settings.holder(), beside) {
            (Ok(Holder::Runs(pid)), _) => format!(
                "; process {pid} runs by {}: if [cluster] state or the node was another one when it started, --admin \
                 unix:STATE/{OWN_SOCKET} asks it",
                settings.pid_file.display()
            ),
            (_, Some(state)) => format!(
                "; a rehearsal runs, whose nodes are asked by --admin unix:{}/state/NODE/{OWN_SOCKET}",
                state.dir.display()
            ),
            _ => String::new(),
        };
        Err(Failure::failed(format!(
            "no node answers at {}{hint}",
            places.join(", ")
        )))
    }
}

/// Whether there is a file that says which nodes are meant. One that was named, or cannot be looked at, is to be read.
pub fn is_configured(settings: &Settings) -> bool {
    settings.file_is_named || settings.file.try_exists().unwrap_or(true)
}

/// The nodes that this machine's file has, or the one that is wanted. A file that nobody named need not be there.
pub fn plans(settings: &Settings, wanted: Option<&str>) -> Result<Vec<NodePlan>> {
    if !is_configured(settings) {
        return Ok(Vec::new());
    }
    let loaded = load(&settings.file, &|name| settings.variable(name))?;
    let mut cluster = loaded.cluster;
    cluster.start_in(&loaded.base);
    let names = cluster.nodes.iter().map(|node| node.name.as_str());
    let plans: Vec<NodePlan> = names
        .filter(|name| wanted.is_none_or(|wanted| wanted == *name))
        .filter_map(|name| cluster.for_node(name))
        .collect();
    match wanted {
        Some(wanted) if plans.is_empty() => Err(no_such_node(wanted, &settings.file, &cluster)),
        _ => Ok(plans),
    }
}

/// What is said of a node that a file does not have.
fn no_such_node(wanted: &str, file: &Path, cluster: &Cluster) -> Failure {
    Failure::usage(format!(
        "there is no node `{wanted}` in {}; there are {}",
        file.display(),
        node_names(cluster)
    ))
}

/// The sockets of a rehearsal's nodes.
fn sockets(state: &State, node: Option<&str>) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(state.dir.join("state")) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| node.is_none_or(|node| entry.file_name() == node))
        .map(|entry| entry.path().join(OWN_SOCKET))
        .collect();
    found.sort();
    found
}

fn address(text: &str) -> Result<Address> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(path.to_owned()));
    }
    let wrong = || Failure::usage(format!("`{text}` is no address: HOST:PORT or unix:PATH"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Address::tcp(host, port.parse().map_err(|_| wrong())?))
}
