//! One instance: started, watched, started again, until it is told to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::Address;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::AppContext;
use crate::backoff::Backoff;
use crate::environment::Facts;
use crate::held::{Held, Launch, Report};
use crate::ports::Taken;
use crate::ready::accepts;
use crate::role::Instance;
use crate::status::State;
use crate::user::User;

/// From SIGKILL until nothing is left; a keeper itself gives up a little earlier.
const KILLED_WITHIN: Duration = Duration::from_secs(7);

/// What the instances of an application have in common.
pub(crate) struct Launcher {
    pub(crate) app: String,
    pub(crate) command: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: Option<User>,
    pub(crate) stop_timeout: Duration,
    pub(crate) context: AppContext,
    /// The instances that accept connections.
    pub(crate) published: watch::Sender<Vec<Instance>>,
}

/// The task that watches an instance.
pub(crate) struct Supervisor {
    launcher: Arc<Launcher>,
    state: Arc<State>,
    stop: watch::Receiver<bool>,
    /// The port of the last run: programs that others know by their port keep it.
    port: Option<u16>,
    subject: String,
}

/// How a run ended.
enum Run {
    /// By order.
    Stopped,
    /// Otherwise: why, and how long it had been in service.
    Ended(String, Duration),
}

impl Supervisor {
    pub(crate) fn new(
        launcher: Arc<Launcher>,
        state: Arc<State>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let first = launcher.context.first_port;
        Self {
            port: first.and_then(|first| first.checked_add(state.index)),
            subject: format!("app {}/{}", launcher.app, state.index),
            launcher,
            state,
            stop,
        }
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let events = self.launcher.context.telemetry.events.clone();
        loop {
            let (reason, served) = match self.run_once().await {
                Run::Stopped => {
                    self.state.down("it was stopped");
                    return;
                }
                Run::Ended(reason, served) => (reason, served),
            };
            self.state.down(&reason);
            let pause = backoff.after(served);
            let when = match pause.as_millis() {
                0 => "it is started again at once".into(),
                millis => format!("it is started again in {millis} ms"),
            };
            events.warning(self.subject.clone(), format!("{reason}; {when}"));
            tokio::select! {
                () = sleep(pause) => self.state.restarted(),
                () = stopped(&mut self.stop) => return,
            }
        }
    }

    async fn run_once(&mut self) -> Run {
        let taken = match self
            .launcher
            .context
            .ports
            .take(self.launcher.context.host, self.port)
        {
            Ok(taken) => taken,
            Err(error) => {
                let host = self.launcher.context.host;
                return never(format!("there is no port for it on {host}: {error}"));
            }
        };
        self.port = Some(taken.address.port());
        let held = match self.start(&taken) {
            Ok(held) => held,
            Err(reason) => return never(reason),
        };
        let run = self.watch(held, &taken).await;
        self.withdraw();
        run
    }

    fn start(&self, taken: &Taken) -> Result<Held, String> {
        let Launcher { context, .. } = &*self.launcher;
        let facts = Facts {
            port: taken.address.port(),
            host: context.host.to_string(),
            node: context.node.clone(),
            instance: self.state.index,
            sessions: context.sessions.clone().unwrap_or_default(),
            session_key: context.session_key.clone().unwrap_or_default(),
        };
        let mut variables = facts.variables(&self.launcher.env);
        if let Some(user) = &self.launcher.user {
            for (name, value) in [
                ("HOME", &user.home),
                ("USER", &user.name),
                ("LOGNAME", &user.name),
            ] {
                variables
                    .entry(name.into())
                    .or_insert_with(|| value.clone());
            }
        }
        let dir = &self.launcher.dir;
        if !dir.is_dir() {
            // A missing directory would otherwise look like a missing program.
            return Err(format!("its directory {} does not exist", dir.display()));
        }
        let launch = Launch {
            keeper: &context.keeper,
            subject: self.subject.clone(),
            command: self
                .launcher
                .command
                .iter()
                .map(|word| facts.fill(word))
                .collect(),
            variables,
            dir,
            user: self.launcher.user.as_ref(),
        };
        let held = Held::start(&launch, &context.telemetry.events).map_err(|error| {
            format!(
                "its keeper {} cannot be started: {error}",
                context.keeper.display()
            )
        })?;
        self.state.starting(taken.address, held.orders());
        Ok(held)
    }

    /// Watches a program until nothing of it is left.
    async fn watch(&mut self, mut held: Held, taken: &Taken) -> Run {
        let events = self.launcher.context.telemetry.events.clone();
        let startup = self.launcher.context.startup;
        let mut accepted = pin!(accepts(taken.address));
        let mut deadline = pin!(sleep(startup));
        let mut in_service: Option<Instant> = None;
        let served = |since: Option<Instant>| since.map_or(Duration::ZERO, |since| since.elapsed());
        let mut overdue = false;
        loop {
            tokio::select! {
                biased;
                report = held.report() => match report {
                    Report::Started(pid) => self.state.runs(pid),
                    Report::Ended(ended) => {
                        // At once, before what it left behind is killed.
                        self.withdraw();
                        self.until_gone(&mut held).await;
                        return Run::Ended(ended.to_string(), served(in_service));
                    }
                    Report::Gone => return Run::Ended("its keeper is gone".into(), served(in_service)),
                },
                () = stopped(&mut self.stop) => {
                    self.withdraw();
                    self.end(held).await;
                    return Run::Stopped;
                }
                // Not before it runs: what accepts until then is something else.
                () = &mut accepted, if in_service.is_none() && self.state.pid().is_some() => {
                    in_service = Some(Instant::now());
                    self.state.up();
                    let pid = self.state.pid().unwrap_or_default();
                    events.info(
                        self.subject.clone(),
                        format!("it accepts connections on {} (pid {pid})", taken.address),
                    );
                    self.publish(taken);
                }
                () = &mut deadline, if in_service.is_none() && !overdue => {
                    overdue = true;
                    events.error(self.subject.clone(), format!(
                        "it does not accept connections on {} after {} s and is killed; does its command use {{port}} \
                         and {{host}}, or does it read PORT and HOST?",
                        taken.address, startup.as_secs_f64()
                    ));
                    held.orders().kill();
                }
            }
        }
    }

    /// SIGTERM, and SIGKILL when that does not help in time.
    async fn end(&self, mut held: Held) {
        self.state.stopping();
        held.orders().term();
        if timeout(self.launcher.stop_timeout, gone(&mut held))
            .await
            .is_ok()
        {
            return;
        }
        let events = &self.launcher.context.telemetry.events;
        let seconds = self.launcher.stop_timeout.as_secs_f64();
        events.warning(
            self.subject.clone(),
            format!("it did not stop within {seconds} s and is killed"),
        );
        held.orders().kill();
        self.until_gone(&mut held).await;
    }

    /// Waits for the end of a program that has ended or was killed.
    async fn until_gone(&self, held: &mut Held) {
        if timeout(KILLED_WITHIN, gone(held)).await.is_err() {
            let events = &self.launcher.context.telemetry.events;
            events.error(
                self.subject.clone(),
                "some of its processes cannot be killed",
            );
        }
    }

    fn publish(&self, taken: &Taken) {
        let instance = Instance {
            index: self.state.index,
            address: Address::tcp(taken.address.ip().to_string(), taken.address.port()),
        };
        self.launcher.published.send_modify(|list| {
            let at = list.partition_point(|other| other.index < instance.index);
            list.insert(at, instance);
        });
    }

    fn withdraw(&self) {
        let index = self.state.index;
        self.launcher.published.send_if_modified(|list| {
            let before = list.len();
            list.retain(|instance| instance.index != index);
            list.len() != before
        });
    }
}

fn never(reason: String) -> Run {
    Run::Ended(reason, Duration::ZERO)
}

async fn gone(held: &mut Held) {
    while held.report().await != Report::Gone {}
}

/// Returns when it is to stop, also when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
