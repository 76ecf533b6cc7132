//! The applications of a node, from the outside.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::{Address, App, Program, Secret};
use tandem_telemetry::{Registry, Telemetry};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::hand_over::Handed;
use crate::instance::{Launcher, Supervisor, Wish};
use crate::ports::Ports;
use crate::status::{InstanceControl, Source, State};
use crate::user::{User, UserError};

/// How long a program may take from its start until it accepts connections, unless the context says otherwise. A large
/// Java application takes half of it.
pub const STARTUP: Duration = Duration::from_mins(1);

/// What the applications of a node have in common.
#[derive(Clone)]
pub struct AppContext {
    /// The node's name: `{node}`.
    pub node: String,
    /// The address on which programs are to listen: `{host}`.
    pub host: IpAddr,
    /// `host:port` of the session tier's agent on this node: `{sessions}`.
    pub sessions: Option<String>,
    /// What applications seal their sessions with, made from the cluster's key: `TANDEM_SESSION_KEY`.
    pub session_key: Option<String>,
    /// The user that this process became, whose home its programs have that name no other; `None`: that of the environment.
    pub user: Option<String>,
    /// What no program is to know: variables of this process's environment that hold one of them are withheld, but for
    /// those that the program is given by the file.
    pub secrets: Vec<Secret>,
    /// This binary; run as `KEEPER keeper ...`, it must call [`crate::keeper_main`].
    pub keeper: PathBuf,
    /// Where programs start that do not say where: the directory of the cluster file.
    pub dir: PathBuf,
    /// The port that instance 0 is to get, the next one instance 1, and so on, as far as they are free. `None`: any.
    pub first_port: Option<u16>,
    /// The ports given away so far; one for all applications of the node.
    pub ports: Ports,
    /// How long a program may take until it accepts connections.
    pub startup: Duration,
    /// Where to report.
    pub telemetry: Telemetry,
}

/// A running instance: it accepts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Counted from 0.
    pub index: u16,
    /// Where it listens.
    pub address: Address,
}

impl Instance {
    pub(crate) fn at(index: u16, address: SocketAddr) -> Self {
        Self {
            index,
            address: Address::tcp(address.ip().to_string(), address.port()),
        }
    }
}

/// An application of this node. Dropped, its programs are told to stop, without anyone waiting for it.
pub struct AppHandle {
    instances: watch::Receiver<Vec<Instance>>,
    wish: watch::Sender<Wish>,
    supervisors: JoinSet<Option<Handed>>,
    listing: Option<Listing>,
}

/// An application's status, and what can be done to its instances, under its name.
#[derive(Clone)]
pub struct Listing {
    registry: Registry,
    source: Arc<Source>,
    /// By their names.
    controls: Arc<[(String, Arc<InstanceControl>)]>,
}

impl Listing {
    fn new(registry: &Registry, app: &str, states: Vec<Arc<State>>) -> Self {
        let controls = states.iter().map(|state| {
            let name = format!("{app}/{}", state.index);
            (name, Arc::new(InstanceControl(state.clone())))
        });
        Self {
            registry: registry.clone(),
            controls: controls.collect(),
            source: Arc::new(Source {
                app: app.into(),
                states,
            }),
        }
    }

    /// Shows it in the place of another program's of the same application.
    pub fn publish(&self) {
        for (name, control) in &*self.controls {
            self.registry.control(name, control.clone());
        }
        self.registry.publish(&self.entry(), self.source.clone());
    }

    /// Shows it no more. What another program has put in its place stays.
    pub fn withdraw(&self) {
        for (name, control) in &*self.controls {
            self.registry.uncover_control(name, &**control, None);
        }
        self.registry.withdraw_own(&self.entry(), &*self.source);
    }

    fn entry(&self) -> String {
        format!("app {}", self.source.app)
    }
}

impl AppHandle {
    /// Starts an application: at once, without waiting for it. Its state is published as `app NAME`, and each instance
    /// gets a control `NAME/INDEX`. To be called within a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The user it is to run as is unknown, or cannot be become. All else that can go wrong may be right the next
    /// time: it is reported as an event and tried again.
    pub fn start(app: &App, context: &AppContext) -> Result<Self, AppError> {
        Self::take_over(&app.name, &app.program, context, Vec::new())
    }

    /// As [`start`](Self::start), with the instances that another process had of it: those that accepted connections
    /// are published from the first moment.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn take_over(
        app: &str,
        program: &Program,
        context: &AppContext,
        handed: Vec<Handed>,
    ) -> Result<Self, AppError> {
        let runs = handed.iter().filter_map(|instance| {
            let run = instance.words.run.as_ref()?;
            (run.accepts && instance.pipes.is_some()).then_some(())?;
            Some(Instance::at(instance.words.index, run.address))
        });
        let (published, instances) = watch::channel(runs.collect());
        let (wish, wished) = watch::channel(Wish::Run);
        let mut supervisors = JoinSet::new();
        let (command, dir, env, user, count, stop_timeout) = match program {
            Program::Proxy(address) => {
                published.send_replace(vec![Instance {
                    index: 0,
                    address: address.clone(),
                }]);
                return Ok(Self {
                    instances,
                    wish,
                    supervisors,
                    listing: None,
                });
            }
            Program::Run {
                command,
                dir,
                env,
                user,
                instances,
                stop_timeout,
            } => (command, dir, env, user, *instances, *stop_timeout),
        };
        let user = match user.as_deref().map(User::to_become).transpose() {
            Ok(user) => user.flatten(),
            Err(fault) => {
                return Err(AppError {
                    app: app.into(),
                    fault,
                });
            }
        };
        let own = context.user.as_deref();
        let account = user.clone().or_else(|| User::known(own?));
        let launcher = Arc::new(Launcher {
            app: app.into(),
            account,
            command: command.clone(),
            dir: dir.clone().unwrap_or_else(|| context.dir.clone()),
            env: env.clone(),
            user,
            stop_timeout,
            context: context.clone(),
            published,
        });
        let mut handed: BTreeMap<u16, Handed> = handed
            .into_iter()
            .map(|instance| (instance.words.index, instance))
            .collect();
        let restarts = |index| handed.get(&index).map_or(0, |known| known.words.restarts);
        let states: Vec<Arc<State>> = (0..count)
            .map(|index| Arc::new(State::new(index, restarts(index))))
            .collect();
        for state in &states {
            let known = handed.remove(&state.index);
            let supervisor =
                Supervisor::new(launcher.clone(), state.clone(), wished.clone(), known);
            supervisors.spawn(supervisor.run());
        }
        let listing = Listing::new(&context.telemetry.registry, app, states);
        listing.publish();
        Ok(Self {
            instances,
            wish,
            supervisors,
            listing: Some(listing),
        })
    }

    /// What is shown of it, as long as no other program is; `None` when its program is not started by Tandem.
    pub fn listing(&self) -> Option<Listing> {
        self.listing.clone()
    }

    /// The instances that accept connections, by index: as of now, and whenever that changes.
    pub fn instances(&self) -> watch::Receiver<Vec<Instance>> {
        self.instances.clone()
    }

    /// Stops all instances at the same time: SIGTERM, and SIGKILL after the application's stop timeout. Returns when
    /// nothing of them is left, some seconds after that timeout at the latest.
    pub async fn stop(mut self) {
        self.wish.send_replace(Wish::Stop);
        while self.supervisors.join_next().await.is_some() {}
    }

    /// Lets go of all instances, which live on, for whoever takes them over; the list of those that accept connections
    /// stays as it is. One that has just ended is there too, without a run.
    pub async fn release(mut self) -> Vec<Handed> {
        self.wish.send_replace(Wish::Release);
        let mut handed = Vec::new();
        while let Some(ended) = self.supervisors.join_next().await {
            handed.extend(ended.ok().flatten());
        }
        handed
    }
}

impl Drop for AppHandle {
    fn drop(&mut self) {
        self.wish.send_replace(Wish::Stop);
        self.supervisors.detach_all();
    }
}

/// Why an application cannot be started, in one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppError {
    app: String,
    fault: UserError,
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "app \"{}\": {}", self.app, self.fault)
    }
}

impl std::error::Error for AppError {}
