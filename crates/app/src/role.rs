//! The applications of a node, from the outside.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tandem_model::{Address, App, Program};
use tandem_telemetry::{Control, Telemetry};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::instance::{Launcher, Supervisor};
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

/// An application of this node. Dropped, its programs are told to stop, without anyone waiting for it.
pub struct AppHandle {
    instances: watch::Receiver<Vec<Instance>>,
    stop: watch::Sender<bool>,
    supervisors: JoinSet<()>,
}

impl AppHandle {
    /// Starts an application: at once, without waiting for it. Its state is published as `app NAME`, and each instance
    /// gets a control `NAME/INDEX`. To be called within a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The user it is to run as is unknown, or cannot be become. All else that can go wrong may be right the next
    /// time: it is reported as an event and tried again.
    pub fn start(app: &App, context: &AppContext) -> Result<Self, AppError> {
        let (published, instances) = watch::channel(Vec::new());
        let (stop, stopped) = watch::channel(false);
        let mut supervisors = JoinSet::new();
        let (command, dir, env, user, count, stop_timeout) = match &app.program {
            Program::Proxy(address) => {
                published.send_replace(vec![Instance {
                    index: 0,
                    address: address.clone(),
                }]);
                return Ok(Self {
                    instances,
                    stop,
                    supervisors,
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
                    app: app.name.clone(),
                    fault,
                });
            }
        };
        let launcher = Arc::new(Launcher {
            app: app.name.clone(),
            command: command.clone(),
            dir: dir.clone().unwrap_or_else(|| context.dir.clone()),
            env: env.clone(),
            user,
            stop_timeout,
            context: context.clone(),
            published,
        });
        let registry = &context.telemetry.registry;
        let states: Vec<Arc<State>> = (0..count)
            .map(|index| Arc::new(State::new(index)))
            .collect();
        for state in &states {
            let control: Arc<dyn Control> = Arc::new(InstanceControl(state.clone()));
            registry.control(&format!("{}/{}", app.name, state.index), control);
            let supervisor = Supervisor::new(launcher.clone(), state.clone(), stopped.clone());
            supervisors.spawn(supervisor.run());
        }
        let source = Source {
            app: app.name.clone(),
            states,
        };
        registry.publish(&format!("app {}", app.name), Arc::new(source));
        Ok(Self {
            instances,
            stop,
            supervisors,
        })
    }

    /// The instances that accept connections, by index: as of now, and whenever that changes.
    pub fn instances(&self) -> watch::Receiver<Vec<Instance>> {
        self.instances.clone()
    }

    /// Stops all instances at the same time: SIGTERM, and SIGKILL after the application's stop timeout. Returns when
    /// nothing of them is left, some seconds after that timeout at the latest.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.supervisors.join_next().await.is_some() {}
    }
}

impl Drop for AppHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
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
