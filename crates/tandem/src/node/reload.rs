//! A running node, and how it takes a changed file: as a difference.
//!
//! Everything that can fail is done first and changes nothing that serves: addresses are bound, roots opened, routes
//! compiled, programs started. Then the listeners' configurations are exchanged. Connections whose listener still
//! exists are kept, requests in flight finish on what they began with, servers that are still there keep their health
//! and counts, applications whose program is the same are not touched.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_admin::Order;
use tandem_model::NodePlan;
use tandem_net::privilege::{self, Right};
use tandem_telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::apps::Apps;
use super::cluster_port::{ClusterPort, Serving};
use super::doors::{self, Doors};
use super::manager::Manager;
use super::names::Names;
use super::others::Peers;
use super::services::Services;
use super::sessions::{self, Sessions};
use super::succession::Line;
use super::{Options, Read, configuration, set_log};
use crate::exit::{Failure, Result};
use crate::process::{self, PidFile};

/// A node that serves.
pub struct Running {
    /// What it does now.
    pub plan: NodePlan,
    /// What it was to do when it started: some of that lasts as long as the process.
    pub started: NodePlan,
    /// Where its log is, if it is a file.
    pub log: Option<PathBuf>,
    /// What the file said, as checked.
    pub text: String,
    /// How many workers.
    pub workers: usize,
    /// Where it reports.
    pub telemetry: Telemetry,
    /// Where the other nodes reach it,
    pub port: ClusterPort,
    /// while it accepts their connections.
    pub serving: Option<Serving>,
    /// Answers their calls of the admin API.
    pub answering: Option<AbortHandle>,
    /// Passes calls on to them.
    pub others: Arc<Peers>,
    /// Its part in the session tier.
    pub sessions: Sessions,
    /// Its applications.
    pub apps: Apps,
    /// What its routes lead to.
    pub services: Services,
    /// Where it listens.
    pub doors: Doors,
    /// The health checks.
    /// Whether the sessions are reached from here.
    pub seen: watch::Receiver<bool>,
    pub checks: JoinHandle<()>,
    /// Its pid files.
    pub pid_files: Vec<PidFile>,
    /// The lines to processes whose place it took and that drain still.
    pub earlier: Vec<Line>,
}

impl Running {
    /// Carries out an order of the admin API.
    pub async fn obey(
        &mut self,
        order: Order,
        options: &Options,
        manager: &Manager,
    ) -> std::result::Result<Value, String> {
        match order {
            Order::Reload => {
                let waits = self.reload(&*options.reread, manager).await?;
                Ok(json!({ "done": "reloaded: the file is in effect", "next_start": waits }))
            }
            Order::ReopenLogs => {
                self.reopen_logs()?;
                Ok(json!({ "done": "the logs are opened anew" }))
            }
            Order::Upgrade { .. } | Order::Stop { .. } => Err("it was not understood".into()),
            Order::Configuration => Ok(configuration::told(&self.text)),
            Order::Difference => {
                let read = (options.reread)();
                let new = read.map_err(|failure| failure.to_string().trim().to_owned())?;
                let waits = at_the_next_start(&self.started, &new.plan);
                Ok(configuration::difference(&self.text, &new.text, &waits))
            }
        }
    }

    /// Opens the node's log and the access logs anew, as after a rotation. The log is where it was when the node started,
    /// whatever the file says by now. An error says, as an event does, that it is not.
    pub fn reopen_logs(&self) -> std::result::Result<(), String> {
        let events = &self.telemetry.events;
        self.doors.reopen_logs();
        if let Some(path) = &self.log
            && let Err(error) = process::log_to(path, None)
        {
            let what = format!("the log {} cannot be opened anew: {error}", path.display());
            events.error("node", what.clone());
            return Err(what);
        }
        events.info("node", "the logs are opened anew");
        Ok(())
    }

    /// Reads the file again and does what is different now. A file that is wrong, or that cannot be done, changes
    /// nothing, and an event says why. What of it waits for the next start is the answer.
    pub async fn reload(
        &mut self,
        reread: &dyn Fn() -> Result<Read>,
        manager: &Manager,
    ) -> std::result::Result<Vec<&'static str>, String> {
        manager.reloading();
        let outcome = self.try_reload(reread).await;
        manager.ready_again();
        let events = &self.telemetry.events;
        match outcome {
            Ok(waits) => {
                events.info("node", "reloaded: the file is in effect");
                Ok(waits)
            }
            Err(failure) => {
                let why = failure.to_string().trim().to_owned();
                events.error(
                    "node",
                    format!("not reloaded, everything stays as it was: {why}"),
                );
                Err(why)
            }
        }
    }

    async fn try_reload(&mut self, reread: &dyn Fn() -> Result<Read>) -> Result<Vec<&'static str>> {
        // By the user it was started as, the file and what it is made of may be read by root alone.
        let Read {
            plan,
            text,
            in_effect,
        } = privilege::with(Right::Read, reread)?;
        let (port, other) = (self.started.cluster_port, plan.cluster_port);
        if port != other && !plan.peers.is_empty() {
            // This node would look for the others where none of them listens yet, and they for it.
            return Err(Failure::usage(format!(
                "[cluster] port is {other} in the file and {port} where the nodes run: nodes meet there, so that it is changed by stopping all of them and starting them with the new file"
            )));
        }
        let names = Names::of(&plan).await;
        let rule = names.client_rule(&plan)?;
        let voters = sessions::voters_of(&plan, &names)?;
        let bound = self.doors.bind_new(&plan, self.workers)?;
        self.apps.prepare(&plan)?;
        let before = Some(&self.services);
        let services = Services::build(&plan, &self.apps, self.workers, &self.telemetry, before)?;
        let doors = self.doors.before();
        let mut complete = || {
            let configs = doors::configure(&plan, &services, &rule, &doors, &self.telemetry)?;
            self.apps.update(&plan)?;
            Ok(configs)
        };
        let configs = complete().inspect_err(|_: &Failure| services.abandon(before))?;

        services.resolve().await;
        services.commit(&self.services, &self.apps);
        // At once: a server that is new here, and out of service by the file, can be chosen until this has put it out.
        if let Some(in_effect) = in_effect {
            in_effect();
        }
        self.doors.exchange(bound, configs);
        self.checks.abort();
        self.checks = tokio::task::spawn_local(services.checks(self.seen.clone()));
        self.services = services;
        self.apps.drop_all_but(&plan);
        self.sessions.set_voters(voters);
        self.sessions.set_others(sessions::others_of(&plan, &names));
        self.others.follow(&plan);
        if (self.plan.log_format, self.plan.log_level) != (plan.log_format, plan.log_level) {
            set_log(&plan, &self.telemetry);
        }
        // Each time: a reload that seemed to change it must not be the end of the matter.
        let waits = at_the_next_start(&self.started, &plan);
        for what in &waits {
            self.telemetry.events.warning(
                "node",
                format!("{what} was changed: it takes effect at the next start"),
            );
        }
        self.plan = plan;
        configuration::publish(&text, &self.telemetry);
        self.text = text;
        Ok(waits)
    }
}

/// What a running node cannot change about itself.
fn at_the_next_start(old: &NodePlan, new: &NodePlan) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut tell = |differs: bool, what| {
        if differs {
            changed.push(what);
        }
    };
    tell(old.address != new.address, "the node's address");
    tell(old.workers != new.workers, "workers");
    tell(old.state != new.state, "[cluster] state");
    tell(
        (&old.user, &old.group) != (&new.user, &new.group),
        "[cluster] user or group",
    );
    tell(old.admin != new.admin, "[cluster] admin");
    tell(old.admin_token != new.admin_token, "[cluster] admin-token");
    tell(old.log != new.log, "[cluster] log");
    tell(old.key != new.key, "[cluster] key");
    let part = |plan: &NodePlan| {
        let part = plan.sessions.as_ref();
        part.map(|part| (part.voter, part.agent.clone()))
    };
    tell(part(old) != part(new), "this node's part in [sessions]");
    // What only those that hold sessions go by.
    let voter = |plan: &NodePlan| plan.sessions.clone().filter(|part| part.voter);
    if let (Some(old), Some(new)) = (voter(old), voter(new)) {
        tell(old.memory != new.memory, "[sessions] memory");
        tell(old.durable != new.durable, "[sessions] durable");
        tell(old.guard != new.guard, "[sessions] guard");
    }
    changed
}
