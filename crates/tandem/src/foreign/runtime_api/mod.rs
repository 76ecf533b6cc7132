//! HAProxy's runtime API: the commands of `stats socket`, as operators' scripts, deploy tools and exporters send them.
//!
//! 1. [`sockets`]: the sockets of the file are bound before the process becomes its user;
//! 2. [`session`]: whoever connects sends lines of commands ([`words`]) and reads answers;
//! 3. [`table`]: what can be ordered, by whom, and what does it;
//! 4. orders to servers ([`servers`]) are calls of the admin API, and so audited and for one process at any time; what is shown
//!    ([`stat`], [`state`], [`info`]) is what telemetry knows ([`counts`]), under the names of the haproxy.cfg.
//!
//! Nothing is kept here but what nobody else has: rates and maxima, looked at once a second ([`watch`]).

mod counts;
mod fields;
mod info;
mod output;
#[cfg(test)]
mod reference;
mod servers;
mod session;
mod sockets;
mod stat;
mod state;
mod table;
mod watch;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tandem_admin::Api;
use tandem_app::Ids;
use tandem_config::import::{CommandSocket, Commands};
use tandem_telemetry::Telemetry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch as signal};
use tokio::task::{AbortHandle, spawn_local};

use crate::exit::{Failure, Result};
use session::Session;
use sockets::{Door, Listening, Stream};
use watch::Watch;

/// The sockets for commands, and what commands need. Lives on the control thread; cheap to clone.
#[derive(Clone)]
pub struct RuntimeApi(Rc<Inner>);

struct Inner {
    commands: RefCell<Rc<Commands>>,
    doors: RefCell<Vec<Open>>,
    /// What serves; `None` before it does.
    node: RefCell<Option<Node>>,
    places: Arc<Semaphore>,
    beside: Cell<bool>,
    /// Servers that the file took away while it had them as `disabled`: if they come back without the word, they serve.
    gone: RefCell<BTreeSet<(String, String)>>,
    /// The process ends: what comes now is for the one that follows.
    ends: signal::Sender<bool>,
}

/// A place, and the tasks that take its connections: one for each of its sockets.
struct Open {
    door: Door,
    accepting: Vec<AbortHandle>,
}

/// The node behind the sockets.
#[derive(Clone)]
struct Node {
    api: Api,
    telemetry: Telemetry,
    watch: Rc<RefCell<Watch>>,
}

/// What would keep sockets from being made on this machine as it is now.
pub fn wrong_with(commands: &Commands) -> Vec<String> {
    let sockets = commands.sockets.iter();
    sockets.filter_map(sockets::wrong_with).collect()
}

impl RuntimeApi {
    /// Binds the sockets of a file. `beside`: another process that has their ports lets go of them soon.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub fn bind(commands: Commands, beside: bool) -> Result<Self> {
        let bound = commands.sockets.iter();
        let bound = bound.map(|socket| sockets::bind(socket, beside));
        let doors: std::result::Result<Vec<Door>, String> = bound.collect();
        let doors = doors.map_err(Failure::usage)?.into_iter();
        let doors = doors.map(|door| Open {
            door,
            accepting: Vec::new(),
        });
        Ok(Self(Rc::new(Inner {
            doors: RefCell::new(doors.collect()),
            places: Arc::new(Semaphore::new(commands.connections)),
            commands: RefCell::new(Rc::new(commands)),
            node: RefCell::default(),
            beside: Cell::new(beside),
            gone: RefCell::default(),
            ends: signal::Sender::new(false),
        })))
    }

    /// The process is about to become this user.
    pub fn become_user(&self, ids: &Ids) {
        for open in &mut *self.0.doors.borrow_mut() {
            open.door.become_user(ids);
        }
    }

    /// The process ends: commands are no more taken, or else the kernel gave one that follows at the same port only some of them.
    /// Those who are connected may finish.
    pub fn stop(&self) {
        self.0.ends.send_replace(true);
        self.0.doors.borrow_mut().clear();
    }

    /// Takes commands from now on, for a node that is about to serve. Within a local runtime.
    pub fn open(&self, api: &Api, telemetry: &Telemetry) {
        let watch = Rc::new(RefCell::new(Watch::default()));
        *self.0.node.borrow_mut() = Some(Node {
            api: api.clone(),
            telemetry: telemetry.clone(),
            watch,
        });
        self.put_out(&Commands::default());
        self.0.accept();
        let this = self.0.clone();
        spawn_local(async move { watch::every_second(&this).await });
    }

    /// The file was read again, and is in effect.
    pub fn follow(&self, commands: Commands) {
        let before = self.0.commands.replace(Rc::new(commands));
        self.0.limit(before.connections);
        self.put_out(&before);
        self.0.beside.set(false);
        let commands = self.0.commands();
        let mut waits = Vec::new();
        self.0.doors.borrow_mut().retain_mut(|open| {
            let same = |socket: &&CommandSocket| socket.place == open.door.socket.place;
            let Some(socket) = commands.sockets.iter().find(same) else {
                for task in &open.accepting {
                    task.abort();
                }
                return false;
            };
            // What may be ordered there holds for connections to come.
            open.door.socket.level = socket.level;
            if let Err(why) = open.door.follow(socket) {
                waits.push(format!(
                    "mode, user or group of {} was changed: it takes effect at the next start ({why})",
                    sockets::shown(&socket.place)
                ));
            }
            true
        });
        for why in waits {
            self.0.warn(&why);
        }
        for socket in &commands.sockets {
            let mut doors = self.0.doors.borrow_mut();
            if doors
                .iter()
                .any(|open| open.door.socket.place == socket.place)
            {
                continue;
            }
            match sockets::bind(socket, false) {
                Ok(door) => doors.push(Open {
                    door,
                    accepting: Vec::new(),
                }),
                Err(why) => self.0.warn(&why),
            }
        }
        self.0.accept();
    }

    /// Puts servers that the file has as `disabled` into maintenance, and out of it those that it has so no more. Where
    /// nothing changed since `before`, what was done to them since then stays.
    fn put_out(&self, before: &Commands) {
        let node = self.0.node.borrow();
        let Some(node) = &*node else { return };
        let disabled = |commands: &Commands| -> Vec<(String, String)> {
            let servers = commands.proxies.iter().flat_map(|proxy| &proxy.servers);
            let servers = servers.filter(|server| server.is_disabled);
            servers.flat_map(|server| server.places.clone()).collect()
        };
        let (before, now) = (disabled(before), disabled(&self.0.commands()));
        let out = now.iter().filter(|place| !before.contains(place));
        let gone = self.0.gone.take();
        let back = before.iter().chain(&gone);
        let back: BTreeSet<_> = back.filter(|place| !now.contains(place)).collect();
        let all = out.map(|place| (place, true));
        let back = back.into_iter().map(|place| (place, false));
        for (place @ (service, server), is_out) in all.chain(back) {
            let name = format!("{service}/{server}");
            // What is gone has none. One given by a host name has, and keeps the order for what the lookup finds.
            let Some(control) = node.telemetry.registry.find_control(&name) else {
                continue;
            };
            let done = if is_out {
                control.maintenance()
            } else {
                control.ready()
            };
            if let Err(why) = done {
                if !is_out {
                    self.0.gone.borrow_mut().insert(place.clone());
                    continue;
                }
                self.0
                    .warn(&format!("{name} is not as the file has it: {why}"));
            }
        }
    }
}

impl Inner {
    fn commands(&self) -> Rc<Commands> {
        self.commands.borrow().clone()
    }

    fn warn(&self, what: &str) {
        if let Some(node) = &*self.node.borrow() {
            node.telemetry.events.warning("stats socket", what);
        }
    }

    /// As many are answered at once as the file says now, where it was `before`; those who are connected may finish.
    fn limit(&self, before: usize) {
        let now = self.commands().connections;
        if now >= before {
            self.places.add_permits(now - before);
            return;
        }
        let fewer = u32::try_from(before - now).unwrap_or(u32::MAX);
        let places = self.places.clone();
        spawn_local(async move {
            if let Ok(taken) = places.acquire_many_owned(fewer).await {
                taken.forget();
            }
        });
    }

    /// Has every socket taken care of that is not yet.
    fn accept(self: &Rc<Self>) {
        let mut failed = Vec::new();
        for open in &mut *self.doors.borrow_mut() {
            if !open.accepting.is_empty() {
                continue;
            }
            open.door.settle();
            match open.door.listening() {
                Ok(listening) => {
                    for listening in listening {
                        let (this, socket) = (self.clone(), open.door.socket.clone());
                        let task = spawn_local(this.take(listening, socket));
                        open.accepting.push(task.abort_handle());
                    }
                }
                Err(error) => failed.push(format!(
                    "cannot listen at {}: {error}",
                    sockets::shown(&open.door.socket.place)
                )),
            }
        }
        for why in failed {
            self.warn(&why);
        }
    }

    /// Takes connections, `stats maxconn` of them at once; others wait.
    async fn take(self: Rc<Self>, listening: Listening, socket: CommandSocket) {
        let mut ends = self.ends.subscribe();
        loop {
            let accepted = tokio::select! {
                // Who has come already is served.
                biased;
                accepted = listening.accept() => accepted,
                _ = ends.wait_for(|ends| *ends) => return,
            };
            let Ok(stream) = accepted else {
                // Out of descriptors, say: not at once again.
                tokio::time::sleep(sockets::AGAIN).await;
                continue;
            };
            let mut place = pin!(self.places.clone().acquire_owned());
            let got = tokio::select! {
                biased;
                got = &mut place => Some(got),
                _ = ends.wait_for(|ends| *ends) => None,
            };
            match got {
                Some(Ok(place)) => self.serve(stream, place, &socket),
                Some(Err(_)) => return,
                None => {
                    drop(listening);
                    if let Ok(place) = place.await {
                        self.serve(stream, place, &socket);
                    }
                    return;
                }
            }
        }
    }

    fn serve(
        self: &Rc<Self>,
        stream: Box<dyn Stream>,
        place: OwnedSemaphorePermit,
        socket: &CommandSocket,
    ) {
        let doors = self.doors.borrow();
        let level = doors
            .iter()
            .find(|open| open.door.socket.place == socket.place)
            .map_or(socket.level, |open| open.door.socket.level);
        drop(doors);
        let by = format!("the socket {}", sockets::shown(&socket.place));
        let session = Session::new(self.clone(), level, by);
        spawn_local(async move {
            session.serve(stream).await;
            drop(place);
        });
    }

    /// The node, which is there when commands are.
    fn node(&self) -> Option<Node> {
        self.node.borrow().clone()
    }
}
