//! A running node, and how it lets another process take its place.
//!
//! 1. The new binary is started, and prepares as far as it can while this process serves.
//! 2. This one lets go of its applications, whose programs run on, and stops its session replica, which hands
//!    leadership over; sessions are answered by the other nodes, or wait.
//! 3. The new process goes on with all that and opens its doors, which are this one's.
//! 4. This one accepts nothing more and drains.
//!
//! If the new process fails before 4, this one takes everything back and goes on.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tandem_admin::operations::STOP;
use tandem_app::Handed;
use tandem_model::Address;
use tandem_telemetry::{Health, Telemetry};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::apps::Released;
use super::doors::Closing;
use super::end::{End, Order};
use super::reload::Running;
use super::stop::cut_off;
use super::succession::{App, CONVERSATION, Estate, Orders, Role, Sockets, Successor, Way, pack};
use crate::exit::{Failure, Result};
use crate::process::PidFile;

/// How long an upgrade waits for a leader of the session tier. One that does not come needs the new binary, perhaps.
const SETTLE: Duration = Duration::from_secs(8);
/// How often is looked whether there is one.
const LOOK: Duration = Duration::from_millis(20);

impl Running {
    /// Has `binary` take this process's place. An error says why it did not, and then everything is as it was.
    pub async fn hand_over(
        &mut self,
        binary: &Path,
        succession: &std::result::Result<Vec<std::ffi::OsString>, &'static str>,
    ) -> std::result::Result<(Successor, Value), String> {
        let events = self.telemetry.events.clone();
        events.info("node", format!("upgrade: starts {}", binary.display()));
        let outcome = self.try_to_hand_over(binary, succession).await;
        match &outcome {
            Ok((successor, _)) => events.info(
                "node",
                format!(
                    "upgraded: process {} serves, this one drains",
                    successor.pid
                ),
            ),
            Err(why) => events.error(
                "node",
                format!("not upgraded, everything stays as it was: {why}"),
            ),
        }
        outcome
    }

    async fn try_to_hand_over(
        &mut self,
        binary: &Path,
        succession: &std::result::Result<Vec<std::ffi::OsString>, &'static str>,
    ) -> std::result::Result<(Successor, Value), String> {
        let arguments = succession.as_ref().map_err(|why| (*why).to_owned())?;
        if std::process::id() == 1 {
            return Err(
                "this node is the first process of its container, which ends with it: start a new container".into(),
            );
        }
        let _ = timeout(SETTLE, self.settled()).await;
        let (estate, descriptors) = self
            .estate()
            .map_err(|error| format!("its sockets cannot be handed over: {error}"))?;
        let mut successor = Successor::start(&Way {
            binary: binary.to_owned(),
            arguments: arguments.clone(),
        })?;
        let version = match successor.prepare(estate, descriptors).await {
            Ok(version) => version,
            Err(why) => {
                successor.end().await;
                return Err(why);
            }
        };
        let released = self.let_go().await;
        let begun = match pack(&released) {
            Ok((apps, pipes)) => successor.begin(apps, pipes).await,
            Err(error) => Err(format!("its applications cannot be handed over: {error}")),
        };
        if let Err(why) = begun {
            // Its lock of the session state must be free, and its ends of the keepers' pipes closed.
            successor.end().await;
            self.take_back(released).await;
            return Err(why);
        }
        let told = json!({
            "done": format!("process {} serves, version {version}", successor.pid),
            "pid": successor.pid,
            "version": version,
        });
        Ok((successor, told))
    }

    /// Waits until sessions are answered: after an upgrade a moment ago they may still be waiting, and must not wait for
    /// another one on top of that.
    async fn settled(&self) {
        let sessions = self.plan.sessions.as_ref();
        while sessions.is_some_and(|part| part.voter) && !self.is_led() {
            sleep(LOOK).await;
        }
    }

    fn is_led(&self) -> bool {
        let sessions = self.telemetry.registry.status().sessions;
        sessions.is_some_and(|sessions| sessions.leader.is_some())
    }

    /// All that can be shared with another process, and words about it.
    fn estate(&mut self) -> std::io::Result<(Estate, Vec<OwnedFd>)> {
        let (mut sockets, mut descriptors) = (Vec::new(), Vec::new());
        let mut put = |role, address: String, shared: Vec<OwnedFd>| {
            sockets.push(Sockets {
                role,
                address,
                count: shared.len(),
            });
            descriptors.extend(shared);
        };
        for (role, address, shared) in self.doors.sockets()? {
            put(role, address.to_string(), shared);
        }
        let agent = self.plan.sessions.as_ref();
        let agent = agent.and_then(|sessions| sessions.agent.as_ref());
        if let (Some(address), Some(door)) = (agent, self.sessions.share_door()?) {
            put(Role::Agent, Address::to_string(address), vec![door]);
        }
        if let Some((address, socket)) = self.port.share()? {
            put(Role::Cluster, address.to_string(), vec![socket]);
        }
        for file in &self.pid_files {
            descriptors.push(file.share()?);
        }
        // Those that have ended by now are forgotten.
        self.earlier.retain(|line| !line.has_ended());
        for line in &self.earlier {
            descriptors.push(line.share()?);
        }
        let key = self.plan.key.is_none();
        let estate = Estate {
            conversation: CONVERSATION,
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.plan.node.clone(),
            state: self.plan.state.clone(),
            key: key.then(|| self.port.key.reveal().to_vec()),
            sockets,
            locks: self
                .pid_files
                .iter()
                .map(|file| file.path().to_owned())
                .collect(),
            earlier: self.earlier.len(),
            instances: self.apps.places(),
            orders: self.orders(),
            incarnation: self.port.incarnation.number(),
        };
        Ok((estate, descriptors))
    }

    /// What was ordered at run time.
    fn orders(&self) -> Orders {
        let mut orders = Orders {
            works: self.doors.works(),
            ..Orders::default()
        };
        for service in self.telemetry.registry.status().services {
            for server in service.servers {
                let name = format!("{}/{}", service.name, server.name);
                match server.health {
                    Health::Draining => orders.draining.push(name),
                    Health::Maintenance => orders.maintenance.push(name),
                    Health::Up | Health::Down | Health::Starting => {}
                }
            }
        }
        orders
    }

    /// Lets go of what only one process can have.
    async fn let_go(&mut self) -> Vec<Released> {
        // What comes to the cluster port from now on waits for whoever serves next.
        self.serving = None;
        let released = self.apps.release().await;
        self.sessions.stop_replica().await;
        released
    }

    /// Goes on as before.
    async fn take_back(&mut self, released: Vec<Released>) {
        let events = self.telemetry.events.clone();
        let failed = |failure: Failure| {
            events.error("node", format!("after an upgrade that failed: {failure}"));
        };
        for file in &self.pid_files {
            claim(file).unwrap_or_else(failed);
        }
        self.apps.take_over(released).unwrap_or_else(failed);
        // A new program that did not serve yet was stopped.
        self.apps.update(&self.plan).unwrap_or_else(failed);
        let restarted = self.sessions.start_replica(&self.port, &self.telemetry);
        restarted.await.unwrap_or_else(failed);
        self.serving = Some(self.port.serve());
    }

    /// Drains, and returns when nothing is left, when the time is over, or when nobody serves here any more.
    pub async fn retire(self, successor: Successor, drain: Duration, end: &mut End) {
        // One that came while the place was being taken is for whoever has it.
        while let Some(order) = end.wait().now_or_never() {
            let signal = match order {
                Order::Stop(_) | Order::StopNow(_) => Signal::TERM,
                Order::Reload => Signal::HUP,
                Order::ReopenLogs => Signal::USR1,
            };
            if let Some(pid) = pid(&successor) {
                let _ = kill_process(pid, signal);
            }
        }
        if let Some(answering) = &self.answering {
            answering.abort();
        }
        drop((self.port, self.pid_files, self.earlier));
        let events = self.telemetry.events.clone();
        let (agent, checks) = (self.sessions.retire(successor.line(), drain), self.checks);
        let drained = async {
            let doors = self.doors.stop(Closing::Succeeded(drain), &self.telemetry);
            let (cut, ()) = tokio::join!(doors, agent);
            self.apps.stop().await;
            cut
        };
        let open = || self.telemetry.counters.totals().open;
        let mut drained = pin!(drained);
        let (mut stops, mut lives) = (successor.stops(), true);
        // When the node stops, by which what is in flight may have less than an upgrade gives it.
        let mut stop: Option<(Instant, Duration)> = None;
        let (why, cut, within) = loop {
            let (until, left) = stop.unwrap_or((Instant::now(), drain));
            tokio::select! {
                cut = &mut drained => {
                    let why = if cut == 0 { "nothing is left to be answered" } else { "its time is over" };
                    break (why, cut as u64, drain);
                }
                why = end.wait_again() => break (why, open(), Duration::ZERO),
                told = stops.recv(), if lives => {
                    // One that ends without a word was killed, and what is in flight here is not the worse for it.
                    lives = told.is_some();
                    let left = told.unwrap_or(STOP);
                    let until = Instant::now() + left;
                    if stop.is_none_or(|(before, _)| until < before) {
                        stop = Some((until, left));
                    }
                }
                () = sleep_until(until), if stop.is_some() => break ("the node stops", open(), left),
            }
        };
        checks.abort();
        if cut > 0 {
            events.warning("node", cut_off(cut, within));
        }
        events.info("node", format!("ends: {why}"));
    }
}

fn pid(successor: &Successor) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(successor.pid.cast_signed())
}

/// Gives the servers that there are the orders that they had.
pub fn obey(orders: &Orders, telemetry: &Telemetry) {
    let control = |name: &String| telemetry.registry.find_control(name);
    // One that the file no longer has needs no order.
    for server in orders.draining.iter().filter_map(control) {
        let _ = server.drain();
    }
    for server in orders.maintenance.iter().filter_map(control) {
        let _ = server.maintenance();
    }
}

/// Writes this process's number into a pid file.
pub fn claim(file: &PidFile) -> Result<()> {
    file.claim().map_err(|error| {
        Failure::failed(format!("cannot write {}: {error}", file.path().display()))
    })
}

/// What was handed over, as this process would have released it.
pub fn released(handed: Vec<(App, Vec<Handed>)>) -> Vec<Released> {
    handed
        .into_iter()
        .map(|(app, instances)| {
            let program = app.program();
            (app.name, program, instances)
        })
        .collect()
}
