//! Holding a program.

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::{AS, COMMAND, Orders, START, sweep};
use crate::sys;

/// How often adopted processes that ended are looked for.
const REAP: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// How often the program is looked at by a kernel without pidfd (before 5.3).
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// What is told of why a program could not be started, in bytes.
const LONGEST_FAILURE: usize = 256;

/// Runs the program until it ends, by itself, by order, or because Tandem is gone; then kills what it left.
pub(super) fn hold(orders: &Orders) -> ExitCode {
    // A stop sent to all processes of the service is for Tandem to act on; the pipe then tells us.
    sys::ignore_signals();
    // Not found by those who kill everything called tandem.
    let _ = rustix::thread::set_name(c"app-keeper");
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let mut held = match start(orders) {
        Ok(held) => held,
        Err(error) => {
            report(&format!("failed {error}"));
            return ExitCode::FAILURE;
        }
    };
    let status = held.watch();
    // What is left of its group cannot have been reused yet: this is the moment after it ended.
    let _ = rustix::process::kill_process_group(held.program, Signal::KILL);
    let signal = status.terminating_signal().unwrap_or_default();
    let code = status.exit_status().unwrap_or(128 + signal);
    if !held.failure.is_empty() {
        let why = String::from_utf8_lossy(&held.failure).replace('\n', " ");
        report(&format!("failed {why}"));
    } else if status.exited() {
        report(&format!("exited {code}"));
    } else {
        report(&format!("signaled {signal}"));
    }
    sweep::sweep();
    ExitCode::from(code as u8)
}

/// A program, and what is known of it.
struct Held {
    program: Pid,
    /// Readable when it has ended.
    pidfd: Option<OwnedFd>,
    /// From the step before the program: why it failed, or its end when the program runs.
    starting: Option<PipeReader>,
    failure: Vec<u8>,
    /// `term` was ordered before the program ran, which would not have noticed.
    term: bool,
    /// The line that is being read from Tandem's pipe; `None` when Tandem is gone.
    orders: Option<Vec<u8>>,
}

/// Starts the program by way of this binary, whose path may have been replaced meanwhile.
fn start(orders: &Orders) -> io::Result<Held> {
    let (starting, started) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(COMMAND)
        .arg(START)
        .arg(std::process::id().to_string());
    if let Some(user) = &orders.user {
        command.arg(AS).arg(user.to_string());
    }
    let prints = io::stderr().as_fd().try_clone_to_owned()?;
    let child = command
        .arg("--")
        .args(&orders.command)
        .stdin(Stdio::from(started))
        .stdout(prints)
        .spawn()?;
    // Reaped below, by its pid; dropping the handle leaves it alone.
    let program = Pid::from_child(&child);
    Ok(Held {
        program,
        pidfd: rustix::process::pidfd_open(program, PidfdFlags::empty()).ok(),
        starting: Some(starting),
        failure: Vec::new(),
        term: false,
        orders: Some(Vec::new()),
    })
}

impl Held {
    /// Carries out orders until the program has ended.
    fn watch(&mut self) -> WaitStatus {
        loop {
            let [starting, ordered] = self.wait();
            if starting {
                self.read_start();
            }
            if ordered {
                self.read_orders();
            }
            if let Some(status) = reap(self.program) {
                self.term = false;
                // What the failed start wrote is there by now.
                while self.starting.is_some() {
                    self.read_start();
                }
                return status;
            }
        }
    }

    /// Waits until something happens: whether to the start, and to Tandem's pipe.
    fn wait(&self) -> [bool; 2] {
        let stdin = io::stdin();
        let mut watched = Vec::with_capacity(3);
        let mut watch = |fd: Option<_>| {
            fd.map(|fd| {
                watched.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                watched.len() - 1
            })
        };
        let starting = watch(self.starting.as_ref().map(|fd| fd.as_fd()));
        let ordered = watch(self.orders.is_some().then(|| stdin.as_fd()));
        watch(self.pidfd.as_ref().map(|fd| fd.as_fd()));
        let timeout = if self.pidfd.is_some() { &REAP } else { &LOOK };
        // An interrupted poll is a poll: everything is looked at anew.
        let _ = poll(&mut watched, Some(timeout));
        [starting, ordered].map(|at| at.is_some_and(|at| !watched[at].revents().is_empty()))
    }

    /// Reads from the step before the program. Its end without a word means that the program runs.
    fn read_start(&mut self) {
        let Some(starting) = &mut self.starting else {
            return;
        };
        let mut bytes = [0; LONGEST_FAILURE];
        match starting.read(&mut bytes) {
            Ok(read) if read > 0 => {
                let room = LONGEST_FAILURE - self.failure.len();
                self.failure.extend_from_slice(&bytes[..read.min(room)]);
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            _ => self.starting = None,
        }
        if self.failure.is_empty() {
            report(&format!("started {}", self.program));
        }
        if self.term {
            signal(self.program, Signal::TERM);
        }
    }

    /// Carries out the orders that are there.
    fn read_orders(&mut self) {
        let Some(line) = &mut self.orders else {
            return;
        };
        let mut bytes = [0; 64];
        // Not by way of the standard library's buffer, which poll does not see.
        let read = match rustix::io::read(io::stdin(), &mut bytes) {
            Ok(read) if read > 0 => read,
            Err(Errno::INTR) => return,
            _ => {
                // Tandem is gone: at once, and without asking.
                self.orders = None;
                signal(self.program, Signal::KILL);
                sweep::kill_children();
                return;
            }
        };
        for &b in &bytes[..read] {
            if b != b'\n' {
                // No order is longer.
                if line.len() < 8 {
                    line.push(b);
                }
                continue;
            }
            match line.as_slice() {
                b"term" if self.starting.is_some() => self.term = true,
                b"term" => signal(self.program, Signal::TERM),
                b"kill" => signal(self.program, Signal::KILL),
                _ => {}
            }
            line.clear();
        }
    }
}

/// To the group; to the program alone before it leads one.
fn signal(program: Pid, signal: Signal) {
    if rustix::process::kill_process_group(program, signal).is_err() {
        let _ = rustix::process::kill_process(program, signal);
    }
}

/// Takes the status of everything that has ended: the program, and what was adopted.
fn reap(program: Pid) -> Option<WaitStatus> {
    while let Ok(Some((ended, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if ended == program {
            return Some(status);
        }
    }
    None
}

fn report(line: &str) {
    let mut out = io::stdout().lock();
    // Nobody reads when Tandem is gone; the pipe of orders tells that.
    let _ = out
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| out.flush());
}
