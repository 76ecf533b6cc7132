//! The side of the new process.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_app::{Handed, Pipes};
use tandem_model::{Address, NodePlan};
use tandem_net::cluster::Incarnation;
use tokio::sync::mpsc;

use super::line::Line;
use super::words::{Answer, App, CONVERSATION, Estate, Order, Orders, Role};
use crate::exit::{Failure, Result};
use crate::process::PidFile;

/// The process whose place is taken, and what it left.
pub struct Predecessor {
    line: Line,
    legacy: Legacy,
    locks: Vec<(PathBuf, OwnedFd)>,
    earlier: Vec<Line>,
    node: String,
    state: PathBuf,
    key: Option<Vec<u8>>,
    instances: BTreeMap<String, Vec<(u16, SocketAddr)>>,
    orders: Orders,
    incarnation: Incarnation,
}

/// Sockets that were listened at.
#[derive(Default)]
pub struct Legacy(Vec<(Role, String, Vec<OwnedFd>)>);

impl Legacy {
    /// The sockets at an address, for each place that it is.
    pub fn take(&mut self, role: Role, address: &Address) -> Vec<Vec<OwnedFd>> {
        let address = address.to_string();
        let is_it =
            |known: &mut (Role, String, Vec<OwnedFd>)| known.0 == role && known.1 == address;
        let found = self.0.extract_if(.., is_it);
        found.map(|(_, _, sockets)| sockets).collect()
    }

    /// The one socket of a role that has one, if it is at this address.
    pub fn take_one(&mut self, role: Role, address: &Address) -> Option<OwnedFd> {
        self.take(role, address).pop()?.pop()
    }

    /// The cluster port, wherever it is.
    pub fn cluster_port(&mut self) -> Option<(SocketAddr, OwnedFd)> {
        let at = self
            .0
            .iter()
            .position(|(role, ..)| *role == Role::Cluster)?;
        let address = self.0[at].1.parse().ok()?;
        Some((address, self.0.remove(at).2.pop()?))
    }
}

fn lost(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the running node cannot be understood: {error}"))
}

impl Predecessor {
    /// The process that started this one by `tandem upgrade`, on standard input, and its estate.
    pub fn on_stdin() -> Result<Self> {
        let line = Line::on_stdin().map_err(|error| lost(&error))?;
        let heard = line.hear::<Estate>(None).map_err(|error| lost(&error))?;
        let Some((estate, descriptors)) = heard else {
            return Err(Failure::usage(
                "--successor is for `tandem upgrade`, which starts it",
            ));
        };
        let mut descriptors = descriptors.into_iter();
        let mut next =
            |count: usize| -> Vec<OwnedFd> { descriptors.by_ref().take(count).collect() };
        let sockets = estate.sockets.into_iter().map(|known| {
            let sockets = next(known.count);
            (known.role, known.address, sockets)
        });
        let legacy = Legacy(sockets.collect());
        let locks = next(estate.locks.len());
        let earlier = next(estate.earlier).into_iter();
        let earlier: std::io::Result<_> = earlier.map(|end| Line::of(end.into())).collect();
        let this = Self {
            line,
            legacy,
            locks: estate.locks.into_iter().zip(locks).collect(),
            earlier: earlier.map_err(|error| lost(&error))?,
            node: estate.node,
            state: estate.state,
            key: estate.key,
            instances: estate.instances,
            orders: estate.orders,
            incarnation: Incarnation::of(estate.incarnation),
        };
        if estate.conversation != CONVERSATION {
            let why = Failure::failed(format!(
                "version {} and the running node's, {}, cannot follow one another: restart the node",
                env!("CARGO_PKG_VERSION"),
                estate.version
            ));
            this.line().refuse(&why);
            return Err(why);
        }
        Ok(this)
    }

    /// Which start of the node it is, as this one is, too.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// By which it can be told how things went, whoever has this.
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// Whether a node can take its place by this plan.
    pub fn may_be_followed_by(&self, plan: &NodePlan) -> Result<()> {
        let wrong = |what: &str, was: &str, is: &str| {
            Err(Failure::usage(format!(
                "{what} was `{was}` and is `{is}` now: that needs a restart"
            )))
        };
        if self.node != plan.node {
            return wrong("the node", &self.node, &plan.node);
        }
        if self.state != plan.state {
            let (was, is) = (self.state.display(), plan.state.display());
            return wrong("[cluster] state", &was.to_string(), &is.to_string());
        }
        Ok(())
    }

    /// Its pid file, still locked and with its number.
    pub fn pid_file(&mut self, path: &Path) -> Option<PidFile> {
        let at = self.locks.iter().position(|(known, _)| known == path)?;
        let (path, lock) = self.locks.swap_remove(at);
        Some(PidFile::take_over(path, lock))
    }

    /// Where it listened. What nobody takes stays its own.
    pub fn legacy(&mut self) -> Legacy {
        std::mem::take(&mut self.legacy)
    }

    /// The key of a cluster whose file has none.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Where its applications are.
    pub fn instances(&self) -> &BTreeMap<String, Vec<(u16, SocketAddr)>> {
        &self.instances
    }

    /// What was ordered of its servers and listeners.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The lines of earlier processes, and its own: to be held as long as this process lives.
    pub fn lines(&mut self) -> Vec<Line> {
        let mut lines = std::mem::take(&mut self.earlier);
        lines.push(self.line());
        lines
    }

    /// Says that all is prepared, and waits until it lets go of its applications.
    pub async fn begin(&self) -> Result<Vec<(App, Vec<Handed>)>> {
        let line = self.line();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let heard = tokio::task::spawn_blocking(move || {
            line.say(&Answer::Ready { version }, &[])?;
            line.hear::<Order>(None)
        });
        let heard = heard
            .await
            .map_err(|error| Failure::failed(error.to_string()))?;
        match heard.map_err(|error| lost(&error))? {
            Some((Order::Begin { apps }, descriptors)) => Ok(unpack(apps, descriptors)),
            _ => Err(Failure::failed("the running node goes on by itself")),
        }
    }

    /// Says that this process serves, and waits until that is known.
    pub async fn serves(&self) {
        let line = self.line();
        let told = tokio::task::spawn_blocking(move || {
            line.say(&Answer::Serves, &[])?;
            line.hear::<Order>(None)
        });
        // Whatever came of it: this process has the applications now.
        let _ = told.await;
    }

    /// Connections of the agent that it hands over from now on, until it says that those were all, or ends.
    pub fn clients(&self) -> mpsc::UnboundedReceiver<TcpStream> {
        let (give, given) = mpsc::unbounded_channel();
        let line = self.line();
        // A thread of its own: reading cannot be called off.
        let listen = move || {
            while let Ok(Some((Order::Clients, descriptors))) = line.hear::<Order>(None) {
                if descriptors.is_empty() {
                    return;
                }
                for client in descriptors {
                    if give.send(client.into()).is_err() {
                        return;
                    }
                }
            }
        };
        // Without the thread these connections end, as they would without their successor.
        let _ = std::thread::Builder::new()
            .name("predecessor".into())
            .spawn(listen);
        given
    }
}

impl Line {
    /// Tells the running node that nothing comes of it.
    pub fn refuse(&self, failure: &Failure) {
        let why = failure.to_string().trim().to_owned();
        // One that is gone, or serves by itself again, need not know.
        let _ = self.say(&Answer::Failed { why }, &[]);
    }

    /// Tells a process that drains that its successor stops, and how long what is in flight has.
    pub fn stops(&self, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        // One that is gone has nothing in flight.
        let _ = self.say(&Answer::Stops { within_ms }, &[]);
    }
}

/// The instances, with the pipes that came for them.
fn unpack(apps: Vec<App>, descriptors: Vec<OwnedFd>) -> Vec<(App, Vec<Handed>)> {
    let mut descriptors = descriptors.into_iter();
    let mut pipes = || {
        let orders = descriptors.next()?;
        Some(Pipes::from([
            orders,
            descriptors.next()?,
            descriptors.next()?,
        ]))
    };
    let mut handed = |words: &tandem_app::Words| Handed {
        pipes: words.run.as_ref().and_then(|_| pipes()),
        words: words.clone(),
    };
    apps.into_iter()
        .map(|app| {
            let instances = app.words.iter().map(&mut handed).collect();
            (app, instances)
        })
        .collect()
}
