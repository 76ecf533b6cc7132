//! The side of the process that runs.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tandem_app::Handed;
use tandem_net::privilege;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::line::Line;
use super::words::{Answer, App, Estate, Order};

/// How long the new process may take to prepare: names are looked up, servers checked.
const PREPARE: Duration = Duration::from_secs(40);
/// How long it may take until it serves: a large session log has to be read.
const SERVE: Duration = Duration::from_mins(1);
/// How long a process that says nothing more may take to end.
const END: Duration = Duration::from_secs(5);

/// How a node is started again.
pub struct Way {
    /// The new binary.
    pub binary: PathBuf,
    /// What the node was started with, after the name of the program.
    pub arguments: Vec<OsString>,
}

/// The new process.
pub struct Successor {
    line: Line,
    child: Child,
    binary: PathBuf,
    /// Its process.
    pub pid: u32,
}

impl Successor {
    /// Starts it.
    pub fn start(way: &Way) -> Result<Self, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            format!("{} cannot be started: {what}{error}", way.binary.display())
        };
        let (line, there) = Line::pair().map_err(|error| failed("no socket: ", &error))?;
        let mut command = Command::new(&way.binary);
        command
            .args(&way.arguments)
            .arg("--successor")
            .stdin(Stdio::from(there))
            // A wrapper starts others: whoever gives it up ends them all.
            .process_group(0)
            // The watchdog's orders to this process are for whoever takes its place.
            .env_remove("WATCHDOG_PID");
        let child = privilege::lend(|| command.spawn()).map_err(|error| failed("", &error))?;
        let pid = child
            .id()
            .ok_or_else(|| failed("", &"it has ended at once"))?;
        Ok(Self {
            line,
            child,
            binary: way.binary.clone(),
            pid,
        })
    }

    /// Gives it the estate, and waits until it is prepared; its version.
    pub async fn prepare(
        &mut self,
        estate: Estate,
        descriptors: Vec<OwnedFd>,
    ) -> Result<String, String> {
        match self.exchange(estate, descriptors, PREPARE).await? {
            Answer::Ready { version } => Ok(version),
            Answer::Failed { why } => Err(why),
            Answer::Serves | Answer::Stops { .. } => Err("it serves before its time".into()),
        }
    }

    /// Gives it the applications, and waits until it serves.
    pub async fn begin(&mut self, apps: Vec<App>, pipes: Vec<OwnedFd>) -> Result<(), String> {
        let order = Order::Begin { apps };
        match self.exchange(order, pipes, SERVE).await? {
            Answer::Serves => Ok(()),
            Answer::Failed { why } => Err(why),
            Answer::Ready { .. } | Answer::Stops { .. } => Err("it is ready twice".into()),
        }
    }

    /// Tells it that it leads.
    pub async fn lead(&self) {
        // If it is gone by now, nothing can be taken back any more.
        let _ = self.say(Order::Lead, Vec::new()).await;
    }

    /// By which connections of the agent are handed over.
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// How long this process has from then on, each time that it, or whoever took its place, says that it stops. Ends
    /// when they have ended.
    pub fn stops(&self) -> mpsc::UnboundedReceiver<Duration> {
        let (tell, told) = mpsc::unbounded_channel();
        let line = self.line();
        // A thread of its own: reading cannot be called off.
        let listen = move || {
            while let Ok(Some((Answer::Stops { within_ms }, _))) = line.hear::<Answer>(None) {
                if tell.send(Duration::from_millis(within_ms)).is_err() {
                    return;
                }
            }
        };
        // Without the thread it is as if they had ended.
        let _ = std::thread::Builder::new()
            .name("successor".into())
            .spawn(listen);
        told
    }

    /// Ends it and what it started, so that nothing of it is left. Its descriptors are closed then, those too that it has
    /// not taken from the line, and its locks free.
    pub async fn end(mut self) {
        if let Some(group) = Pid::from_raw(self.pid.cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait().await;
        let line = self.line();
        let _ = tokio::task::spawn_blocking(move || line.wait_for_end(END)).await;
    }

    async fn say(
        &self,
        what: impl Serialize + Send + 'static,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let line = self.line();
        let said = tokio::task::spawn_blocking(move || {
            let with: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            line.say(&what, &with)
        });
        said.await?
    }

    async fn exchange(
        &mut self,
        what: impl Serialize + Send + 'static,
        descriptors: Vec<OwnedFd>,
        within: Duration,
    ) -> Result<Answer, String> {
        let said = self.say(what, descriptors).await;
        let line = self.line();
        let heard = tokio::task::spawn_blocking(move || line.hear::<Answer>(Some(within))).await;
        match (heard, said) {
            (Ok(Ok(Some((answer, _)))), _) => Ok(answer),
            (Ok(Err(error)), Ok(())) if error.kind() == io::ErrorKind::WouldBlock => Err(format!(
                "{} did not get so far within {} s",
                self.binary.display(),
                within.as_secs()
            )),
            (Ok(Err(error)), Ok(())) if error.kind() != io::ErrorKind::ConnectionReset => Err(
                format!("{} cannot be understood: {error}", self.binary.display()),
            ),
            // It ended without a word, or read nothing of what was said.
            _ => Err(self.without_a_word().await),
        }
    }

    async fn without_a_word(&mut self) -> String {
        let how = match tokio::time::timeout(END, self.child.wait()).await {
            Ok(Ok(status)) => format!("ended ({status})"),
            _ => "closed its standard input".into(),
        };
        format!(
            "{} {how} without a word: is it a tandem that can follow a running node? What it printed is in the node's \
             log",
            self.binary.display()
        )
    }
}

impl Line {
    /// Hands connections of the agent over; none says that those were all.
    pub fn hand_over(&self, clients: &[OwnedFd]) -> io::Result<()> {
        let with: Vec<BorrowedFd<'_>> = clients.iter().map(AsFd::as_fd).collect();
        self.say(&Order::Clients, &with)
    }
}

/// What is said of released applications, and their pipes, which this process keeps until it is sure.
pub fn pack(
    released: &[(String, tandem_model::Program, Vec<Handed>)],
) -> io::Result<(Vec<App>, Vec<OwnedFd>)> {
    let (mut apps, mut pipes) = (Vec::new(), Vec::new());
    for (name, program, instances) in released {
        for descriptor in instances
            .iter()
            .filter_map(|instance| instance.pipes.as_ref())
            .flat_map(tandem_app::Pipes::descriptors)
        {
            pipes.push(descriptor.try_clone_to_owned()?);
        }
        let words = instances.iter().map(|instance| instance.words.clone());
        apps.extend(App::new(name, program, words.collect()));
    }
    Ok((apps, pipes))
}
