//! Tandem's side of a keeper.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal};
use tandem_model::Secret;
use tandem_telemetry::Events;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::environment::WITHHELD;
use crate::flood::Sink;
use crate::hand_over::{Pipes, RunWords};
use crate::keeper;
use crate::output::Printing;
use crate::user::User;

/// No report is longer, in bytes.
const LONGEST_REPORT: usize = 512;

/// What a keeper is to start.
pub(crate) struct Launch<'a> {
    /// This binary.
    pub(crate) keeper: &'a Path,
    /// `app shop/0`: what its lines in the log begin with.
    pub(crate) subject: String,
    pub(crate) command: Vec<String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) dir: &'a Path,
    pub(crate) user: Option<&'a User>,
    /// What is withheld from it.
    pub(crate) secrets: &'a [Secret],
}

/// A program held by a keeper. Dropped, it is killed.
pub(crate) struct Held {
    orders: Arc<Orders>,
    reports: pipe::Receiver,
    line: Vec<u8>,
    program: Option<Pid>,
    ended: bool,
    printing: Printing,
    /// Reaped by the runtime when it ends. One that another process started is not its child.
    _keeper: Option<Child>,
}

/// The pipe by which a keeper is told what to do. While one is held, the program lives.
pub(crate) struct Orders(OwnedFd);

/// What a keeper says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The program runs.
    Started(u32),
    /// It has ended; some of its processes may still be there.
    Ended(Ended),
    /// Nothing of it is left.
    Gone,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
    /// It never ran.
    Failed(String),
    /// Its keeper was killed, and it with it.
    Lost,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it exited with status {code}"),
            Self::Signaled(signal) => match Signal::from_named_raw(*signal) {
                Some(Signal::KILL) => f.write_str("it was killed (SIGKILL)"),
                Some(Signal::TERM) => f.write_str("it was ended (SIGTERM)"),
                Some(Signal::SEGV) => f.write_str("it crashed (SIGSEGV)"),
                Some(Signal::ABORT) => f.write_str("it crashed (SIGABRT)"),
                _ => write!(f, "it was ended by signal {signal}"),
            },
            Self::Failed(why) => write!(f, "it could not be started: {why}"),
            Self::Lost => f.write_str("its keeper was killed, and it with it"),
        }
    }
}

impl Held {
    /// Starts a keeper. Whether the program runs, it reports.
    pub(crate) fn start(launch: &Launch<'_>, events: &Events) -> io::Result<Self> {
        let (orders_in, orders) = io::pipe()?;
        let (reports, reports_out) = io::pipe()?;
        let (prints, prints_out) = io::pipe()?;
        let orders = OwnedFd::from(orders);
        // An order is given without waiting, also to a keeper that is stopped.
        rustix::io::ioctl_fionbio(&orders, true)?;
        let mut command = Command::new(launch.keeper);
        command
            .arg0(format!("app-keeper {}", launch.subject))
            .arg(keeper::COMMAND)
            .current_dir(launch.dir)
            .envs(&launch.variables)
            .stdin(Stdio::from(orders_in))
            .stdout(Stdio::from(reports_out))
            .stderr(Stdio::from(prints_out))
            // What a terminal sends to Tandem's group is not for it.
            .process_group(0);
        for name in WITHHELD {
            if !launch.variables.contains_key(name) {
                command.env_remove(name);
            }
        }
        // A secret is one whatever its variable is called.
        for (name, value) in std::env::vars_os() {
            let is_secret = launch
                .secrets
                .iter()
                .any(|secret| value == *secret.reveal());
            let is_given = |name| launch.variables.contains_key(name);
            if is_secret && !name.to_str().is_some_and(is_given) {
                command.env_remove(name);
            }
        }
        if let Some(user) = launch.user {
            command.arg(keeper::AS).arg(user.ids.to_string());
        }
        let keeper = command.arg("--").args(&launch.command).spawn()?;
        // It holds our copies of the pipes' other ends.
        drop(command);
        let pipes = Pipes {
            orders,
            reports: reports.into(),
            prints: prints.into(),
        };
        Self::hold(pipes, &launch.subject, events, Some(keeper), Vec::new())
    }

    /// Goes on with a keeper where another process stopped.
    pub(crate) fn take_over(
        pipes: Pipes,
        run: &RunWords,
        subject: &str,
        events: &Events,
    ) -> io::Result<Self> {
        let mut held = Self::hold(pipes, subject, events, None, run.printed.clone())?;
        held.line.clone_from(&run.report);
        held.program = run.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(held)
    }

    fn hold(
        pipes: Pipes,
        subject: &str,
        events: &Events,
        keeper: Option<Child>,
        printed: Vec<u8>,
    ) -> io::Result<Self> {
        let mut sink = Sink::new(events, subject);
        let line = move |line: &[u8]| sink.line(line);
        Ok(Self {
            printing: Printing::start(subject, pipes.prints, printed, line)?,
            orders: Arc::new(Orders(pipes.orders)),
            reports: pipe::Receiver::from_owned_fd(pipes.reports)?,
            line: Vec::new(),
            program: None,
            ended: false,
            _keeper: keeper,
        })
    }

    /// Lets go of the keeper, which lives on for whoever takes the pipes: those, and the beginnings of a report and of
    /// a printed line.
    ///
    /// # Errors
    /// When there are no descriptors left; then the program is killed.
    pub(crate) fn release(self) -> io::Result<(Pipes, Vec<u8>, Vec<u8>)> {
        let (prints, printed) = self.printing.stop();
        let pipes = Pipes {
            // A control may be about to use it.
            orders: self.orders.0.try_clone()?,
            reports: self.reports.into_nonblocking_fd()?,
            prints,
        };
        Ok((pipes, self.line, printed))
    }

    /// By which it can be killed from elsewhere.
    pub(crate) fn orders(&self) -> &Arc<Orders> {
        &self.orders
    }

    /// The next report. Nothing is lost when it is dropped before it returns.
    pub(crate) async fn report(&mut self) -> Report {
        loop {
            while let Some(end) = self.line.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                if let Some(report) = self.read(&String::from_utf8_lossy(&line[..end])) {
                    return report;
                }
            }
            let mut bytes = [0; 128];
            let read = match self.reports.readable().await {
                Ok(()) => self.reports.try_read(&mut bytes),
                Err(error) => Err(error),
            };
            match read {
                Ok(read) if read > 0 && self.line.len() < LONGEST_REPORT => {
                    self.line.extend_from_slice(&bytes[..read]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Its end; or it talks nonsense, and is no keeper of ours.
                _ => return self.gone(),
            }
        }
    }

    /// The keeper is gone. It should have said first how the program ended.
    fn gone(&mut self) -> Report {
        if std::mem::replace(&mut self.ended, true) {
            return Report::Gone;
        }
        if let Some(program) = self.program {
            // The kernel has killed the program itself; this is for the rest of its group.
            let _ = rustix::process::kill_process_group(program, Signal::KILL);
        }
        Report::Ended(Ended::Lost)
    }

    fn read(&mut self, line: &str) -> Option<Report> {
        let (word, rest) = line.split_once(' ')?;
        let ended = match word {
            "started" => {
                self.program = Pid::from_raw(rest.parse().ok()?);
                return Some(Report::Started(rest.parse().ok()?));
            }
            "exited" => Ended::Exited(rest.parse().ok()?),
            "signaled" => Ended::Signaled(rest.parse().ok()?),
            "failed" => Ended::Failed(rest.into()),
            _ => return None,
        };
        self.ended = true;
        Some(Report::Ended(ended))
    }
}

impl Orders {
    /// SIGTERM to the program's group.
    pub(crate) fn term(&self) {
        self.give(b"term\n");
    }

    /// SIGKILL to the program's group.
    pub(crate) fn kill(&self) {
        self.give(b"kill\n");
    }

    fn give(&self, order: &[u8]) {
        // The pipe is full of the same orders, or the keeper is gone: there is nothing more to order.
        let _ = rustix::io::write(&self.0, order);
    }
}
