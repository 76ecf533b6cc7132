//! Which node a command asks: the one that was named, this machine's service, or a node of the rehearsal that runs.

use std::path::PathBuf;

use tandem_model::Address;

use super::Client;
use crate::cli::Opt;
use crate::commands::load;
use crate::exit::{Failure, Result};
use crate::node::OWN_SOCKET;
use crate::rehearsal::state::{State, running};
use crate::service::settings::Given;

/// The options by which every command finds its node; [`Wanted::take`] reads them.
pub const ADMIN: Opt = Opt {
    form: "--admin ADDRESS",
    text: "ask the node whose admin pages are there (HOST:PORT or unix:PATH); the token is in TANDEM_ADMIN_TOKEN",
};
/// Another node.
pub const NODE: Opt = Opt {
    form: "--node NAME",
    text: "ask this node, of this machine's file or of the rehearsal that runs",
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

    /// The node, if one is to be found that answers.
    pub fn client(self) -> Result<Client> {
        let token = std::env::var("TANDEM_ADMIN_TOKEN").ok();
        let named = self.admin.or_else(|| std::env::var("TANDEM_ADMIN").ok());
        if let Some(text) = named {
            return Ok(Client::new(address(&text)?, token));
        }
        let settings = self.file.complete()?;
        let mut tried = Vec::new();
        if settings.file.exists() {
            let loaded = load(&settings.file, &|name| settings.variable(name))?;
            let mut cluster = loaded.cluster;
            cluster.start_in(&loaded.base);
            let names = cluster.nodes.iter().map(|node| node.name.clone());
            let wanted = self.node.clone().or_else(|| settings.node.clone());
            for name in names.filter(|name| wanted.as_ref().is_none_or(|wanted| wanted == name)) {
                if let Some(plan) = cluster.for_node(&name) {
                    tried.push(plan.state.join(OWN_SOCKET));
                }
            }
        }
        for state in running() {
            tried.extend(sockets(&state, self.node.as_deref()));
        }
        let clients = tried.iter().map(|path| Client::at(path));
        if let Some(client) = clients.into_iter().find(Client::answers) {
            return Ok(client);
        }
        Err(Failure::failed(if tried.is_empty() {
            "no node runs here: neither is there a /etc/tandem/cluster.toml nor a rehearsal; --admin ADDRESS names one"
                .to_owned()
        } else {
            let places: Vec<String> = tried
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("no node answers at {}", places.join(", "))
        }))
    }
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
