//! The thread of a replica: it runs, and when it had to stop because its disk took nothing more, or a task of it panicked, it
//! is started again.
//!
//! What a replica could not write it has not acknowledged, so one that starts again from its directory is who it was.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tandem_net::cluster::Purposes;
use tandem_telemetry::Telemetry;
use tandem_telemetry::disk::is_of_disk;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot, watch};

use super::core::Failed;
use super::panics::Panics;
use super::present;
use super::{Core, NodeOptions, Retention, StartError, register, unregister};
use crate::home::{Home, make_private};
use crate::peers::Voter;
use crate::rt::{Instant, spawn};
use crate::watched::{panicked, tried};

/// What is being written to disk is finished; nothing is waited for on the network.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Between two tries to start a replica that has stopped.
const PAUSE: Duration = Duration::from_secs(2);
/// How often is looked meanwhile whether the node stops.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks whether the state directory is free.
const BRIEFLY: Duration = Duration::from_millis(2);
/// There must be room for so many bytes before it is tried.
const ROOM: usize = 4 * 1024 * 1024;

/// What a replica needs for as long as its node runs.
pub struct Life {
    pub options: NodeOptions,
    pub purposes: Purposes,
    pub telemetry: Telemetry,
    pub voters: watch::Receiver<Arc<[Voter]>>,
    /// Told when it is to hand over and stop; closed when it is to stop as it is.
    pub stopping: oneshot::Receiver<()>,
    /// Has a task panic.
    pub panic: Arc<Notify>,
    /// Why it could not be started again, as it was told last.
    pub told: String,
    /// Those in a row.
    pub panics: Panics,
}

/// How a replica that ran came to its end.
enum Ended {
    /// By order.
    Ordered,
    /// It had to stop, which was told.
    Stopped,
    /// A task of it panicked, and said so.
    Panicked(String),
}

impl Life {
    /// Runs until it is ordered to stop. `started` is told of the first start; later ones are events.
    pub fn live(mut self, started: oneshot::Sender<Result<(), StartError>>) {
        let mut started = Some(started);
        loop {
            let begun = Instant::now();
            let ended = self.once(&mut started);
            let pause = match ended {
                Ok(Ended::Ordered) => return,
                Ok(Ended::Stopped) => PAUSE,
                Ok(Ended::Panicked(said)) if started.is_none() => {
                    let pause = self.panics.note(begun.elapsed());
                    let what = self.panics.tell(&said, pause, &self.options.state);
                    self.telemetry.events.error("sessions", what);
                    pause
                }
                Ok(Ended::Panicked(said)) => {
                    let error = StartError::new(format!("the replica has panicked: {said}"));
                    self.failed(&mut started, error);
                    PAUSE
                }
                Err(error) => {
                    self.failed(&mut started, error);
                    PAUSE
                }
            };
            // Who could not be started at all is not started again, but for its disk: its node says why, and ends.
            if started.is_none() && self.has_room(pause) {
                continue;
            }
            return;
        }
    }

    /// Runs it for as long as it goes.
    fn once(
        &mut self,
        started: &mut Option<oneshot::Sender<Result<(), StartError>>>,
    ) -> Result<Ended, StartError> {
        let (runtime, home) = match tried(|| self.open()) {
            Ok(opened) => opened?,
            Err(said) => return Ok(Ended::Panicked(said)),
        };
        let hold = home.hold.clone();
        let ended = tried(|| runtime.block_on(self.run(home, started)));
        hold.end();
        runtime.shutdown_timeout(SHUTDOWN);
        // Snapshots are written and read on threads of their own, which end now.
        let since = Instant::now();
        while !hold.is_last() && since.elapsed() < SHUTDOWN {
            thread::sleep(BRIEFLY);
        }
        ended.unwrap_or_else(|said| Ok(Ended::Panicked(said)))
    }

    /// Somebody waits for the first start, and goes on without it when it is the disk that takes nothing; of later ones the
    /// log says that they are tried.
    fn failed(
        &mut self,
        started: &mut Option<oneshot::Sender<Result<(), StartError>>>,
        error: StartError,
    ) {
        let why = error.to_string();
        if let Some(started) = started.take() {
            if !error.is_of_disk
                && !takes(&self.options.state).is_err_and(|error| is_of_disk(&error))
            {
                let _ = started.send(Err(error));
                return;
            }
            let (path, seconds) = (self.options.state.display(), PAUSE.as_secs());
            let what = format!(
                "{why}; the node serves without its replica, which is tried again every {seconds} s: make room in {path}, or \
                 have it written to again"
            );
            self.telemetry.events.error("sessions", what);
            self.told = why;
            let _ = started.send(Ok(()));
        } else if self.told != why {
            self.telemetry.events.warning("sessions", &*why);
            self.told = why;
        }
    }

    fn open(&self) -> Result<(Runtime, Home), StartError> {
        let options = &self.options;
        let opened = Home::open(&options.state, &options.node, options.durable);
        let home = opened.map_err(|error| {
            let path = options.state.display();
            StartError {
                what: format!("could not open the session state in {path}: {error}"),
                is_of_disk: is_of_disk(&error),
            }
        })?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            StartError::new(format!(
                "could not start the session node's runtime: {error}"
            ))
        })?;
        Ok((runtime, home))
    }

    async fn run(
        &mut self,
        home: Home,
        started: &mut Option<oneshot::Sender<Result<(), StartError>>>,
    ) -> Result<Ended, StartError> {
        let kept = Retention::default();
        let (options, voters) = (&self.options, self.voters.clone());
        // What the replica before left is no news.
        panicked();
        let core = Core::start(home, options, voters, &self.telemetry, kept).await?;
        spawn(present::run(
            core.clients.peers.clone(),
            options.node.clone(),
        ));
        let panic = self.panic.clone();
        spawn(async move {
            panic.notified().await;
            panic!("on purpose");
        });
        register(&self.purposes, core.clone());
        match started.take() {
            Some(started) => {
                let _ = started.send(Ok(()));
            }
            None => {
                self.told.clear();
                let what = "the replica on this node is started again";
                self.telemetry.events.info("sessions", what);
            }
        }
        let mut hands_over = false;
        let ended = tokio::select! {
            told = &mut self.stopping => {
                hands_over = told.is_ok();
                Ended::Ordered
            }
            why = core.failure() => match why {
                Failed::Panicked(said) => Ended::Panicked(said),
                Failed::Stopped(why) => {
                    let what = format!(
                        "the replica on this node has stopped: {why}; the others go on, and it is started again as soon as its state directory can be written"
                    );
                    self.telemetry.events.error("sessions", what);
                    Ended::Stopped
                }
            },
        };
        unregister(&self.purposes);
        if hands_over {
            core.stop().await;
        }
        Ok(ended)
    }

    /// Waits for so long, and until the state directory takes what is written; `false` when the node stops meanwhile.
    fn has_room(&mut self, pause: Duration) -> bool {
        loop {
            for _ in 0..pause.as_millis() / LOOK.as_millis() {
                if !matches!(self.stopping.try_recv(), Err(TryRecvError::Empty)) {
                    return false;
                }
                thread::sleep(LOOK);
            }
            match takes(&self.options.state) {
                Ok(()) => return true,
                Err(error) if is_of_disk(&error) => {}
                Err(error) => {
                    let path = self.options.state.display();
                    let why =
                        format!("the replica is not started: cannot write in {path}: {error}");
                    if self.told != why {
                        self.telemetry.events.error("sessions", &*why);
                        self.told = why;
                    }
                }
            }
        }
    }
}

/// Whether some bytes can be written there.
fn takes(directory: &Path) -> io::Result<()> {
    make_private(directory)?;
    let path = directory.join("room.new");
    let written = fs::write(&path, vec![0; ROOM]);
    let removed = fs::remove_file(&path);
    written.and(removed)
}
