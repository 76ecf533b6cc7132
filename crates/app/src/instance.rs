//! One instance: started, watched, started again, until it is told to stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::AppContext;
use crate::backoff::Backoff;
use crate::environment::Facts;
use crate::hand_over::{Handed, Pipes, RunWords, Words};
use crate::held::{Ended, Held, Launch, Report};
use crate::ports::Taken;
use crate::ready::accepts;
use crate::role::Instance;
use crate::status::State;
use crate::user::User;

/// Said of a program that ends without an error before it accepts connections: daemons do that by themselves.
const IN_THE_BACKGROUND: &str = " before it accepted connections (it has to stay in the foreground: what goes into the \
                                 background is ended with it)";
/// From SIGKILL until nothing is left; a keeper itself gives up a little earlier.
const KILLED_WITHIN: Duration = Duration::from_secs(7);

/// What the instances of an application have in common.
pub(crate) struct Launcher {
    pub(crate) app: String,
    pub(crate) command: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    /// Whom it is to become.
    pub(crate) user: Option<User>,
    /// Who it is, if the environment does not know.
    pub(crate) account: Option<User>,
    pub(crate) stop_timeout: Duration,
    pub(crate) context: AppContext,
    /// The instances that accept connections.
    pub(crate) published: watch::Sender<Vec<Instance>>,
}

/// The task that watches an instance.
pub(crate) struct Supervisor {
    launcher: Arc<Launcher>,
    state: Arc<State>,
    wish: watch::Receiver<Wish>,
    /// The run that another process began.
    taken_over: Option<(RunWords, Pipes)>,
    /// The port of the last run: programs that others know by their port keep it.
    port: Option<u16>,
    subject: String,
}

/// What a supervisor is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Keep the program running.
    Run,
    /// Stop it.
    Stop,
    /// Let it live, for somebody else to watch.
    Release,
}

/// How a run ended.
enum Run {
    /// By order.
    Stopped,
    /// It has not: somebody else is to watch it.
    Released(RunWords, Pipes),
    /// Otherwise: why, and how long it had been in service.
    Ended(String, Duration),
}

impl Supervisor {
    pub(crate) fn new(
        launcher: Arc<Launcher>,
        state: Arc<State>,
        wish: watch::Receiver<Wish>,
        handed: Option<Handed>,
    ) -> Self {
        let first = launcher.context.first_port;
        let first = first.and_then(|first| first.checked_add(state.index));
        let (last, taken_over) = handed.map_or((None, None), |handed| {
            (handed.words.port, handed.words.run.zip(handed.pipes))
        });
        Self {
            port: last.or(first),
            taken_over,
            subject: format!("app {}/{}", launcher.app, state.index),
            launcher,
            state,
            wish,
        }
    }

    /// Runs until it is told otherwise; returns the instance if that was to let it live.
    pub(crate) async fn run(mut self) -> Option<Handed> {
        let mut backoff = Backoff::default();
        let events = self.launcher.context.telemetry.events.clone();
        loop {
            let (reason, served) = match self.run_once().await {
                Run::Stopped => {
                    self.state.down("it was stopped");
                    return None;
                }
                Run::Released(run, pipes) => return Some(self.handed(Some((run, pipes)))),
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
                wish = other(&mut self.wish) => {
                    return (wish == Wish::Release).then(|| self.handed(None));
                }
            }
        }
    }

    fn handed(&self, run: Option<(RunWords, Pipes)>) -> Handed {
        let (run, pipes) = run.unzip();
        let words = Words {
            index: self.state.index,
            port: self.port,
            restarts: self.state.restarts(),
            run,
        };
        Handed { words, pipes }
    }

    async fn run_once(&mut self) -> Run {
        if let Some((run, pipes)) = self.taken_over.take() {
            return self.go_on(run, pipes).await;
        }
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
        self.watch_and_withdraw(held, &taken, None).await
    }

    /// Goes on with a run that another process began.
    async fn go_on(&mut self, run: RunWords, pipes: Pipes) -> Run {
        let taken = self.launcher.context.ports.hold(run.address);
        self.port = Some(run.address.port());
        let events = &self.launcher.context.telemetry.events;
        let held = match Held::take_over(pipes, &run, &self.subject, events) {
            Ok(held) => held,
            Err(error) => {
                self.withdraw();
                return never(format!("it could not be taken over: {error}"));
            }
        };
        self.state.starting(taken.address, held.orders());
        if let Some(pid) = run.pid {
            self.state.runs(pid);
        }
        let since = run.accepts.then(Instant::now);
        if since.is_some() {
            self.state.up();
        }
        self.watch_and_withdraw(held, &taken, since).await
    }

    async fn watch_and_withdraw(
        &mut self,
        held: Held,
        taken: &Taken,
        in_service: Option<Instant>,
    ) -> Run {
        let run = self.watch(held, taken, in_service).await;
        // What lives on stays where requests go.
        if !matches!(run, Run::Released(..)) {
            self.withdraw();
        }
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
        if let Some(user) = &self.launcher.account {
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
            secrets: &context.secrets,
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
    async fn watch(
        &mut self,
        mut held: Held,
        taken: &Taken,
        mut in_service: Option<Instant>,
    ) -> Run {
        let events = self.launcher.context.telemetry.events.clone();
        let startup = self.launcher.context.startup;
        let mut accepted = pin!(accepts(taken.address));
        let mut deadline = pin!(sleep(startup));
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
                        let mut reason = ended.to_string();
                        if ended == Ended::Exited(0) && in_service.is_none() {
                            reason += IN_THE_BACKGROUND;
                        }
                        return Run::Ended(reason, served(in_service));
                    }
                    Report::Gone => return Run::Ended("its keeper is gone".into(), served(in_service)),
                },
                wish = other(&mut self.wish) => {
                    if wish == Wish::Release {
                        return self.release(held, taken, in_service.is_some());
                    }
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

    fn release(&self, held: Held, taken: &Taken, accepts: bool) -> Run {
        match held.release() {
            Ok((pipes, report, printed)) => {
                let run = RunWords {
                    address: taken.address,
                    pid: self.state.pid(),
                    accepts,
                    report,
                    printed,
                };
                Run::Released(run, pipes)
            }
            Err(error) => never(format!("it could not be handed over: {error}")),
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
        let instance = Instance::at(self.state.index, taken.address);
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

/// Returns when it is to do something else than run: to stop, also when nobody is left who could say so.
async fn other(wish: &mut watch::Receiver<Wish>) -> Wish {
    let changed = wish.wait_for(|wish| *wish != Wish::Run).await;
    changed.map_or(Wish::Stop, |wish| *wish)
}
