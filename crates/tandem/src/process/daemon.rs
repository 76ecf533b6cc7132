//! Becoming a daemon without `fork`: the program starts itself once more, detached, and waits until it serves.
//!
//! A process with threads, or with a runtime, cannot fork safely; and what a fork would inherit is made again in no
//! time. The parent ends when the child says through a pipe that it listens, with 0; or when the child ends, with its
//! exit code. So whoever started it knows that the next line of the script finds a server.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use crate::exit::{Failure, Result};

/// Set in the environment of the child.
const MARK: &str = "TANDEM_DAEMON";
/// What the child says when it serves.
const READY: &[u8] = b"ready\n";

/// Whether this process is the child.
pub fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the child and waits for its word. `verbose`: it keeps standard error.
pub fn start() -> Result {
    let failed =
        |error: std::io::Error| Failure::failed(format!("cannot become a daemon: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut args = std::env::args_os();
    let name = args.next();
    let mut child = Command::new(program)
        .arg0(name.as_deref().unwrap_or(OsStr::new("tandem")))
        .args(args)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        // It ends when the child puts something else in its place, or ends.
        pipe.read_to_end(&mut said).map_err(failed)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(failed)?;
    // The child has said why, on standard error.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|&code| code != 0).unwrap_or(1)))
}

/// In the child, before anything else: no directory held, and what [`detach_here`] does.
pub fn detach(name: &OsStr) -> Result<()> {
    rustix::process::chdir("/")
        .map_err(|error| Failure::failed(format!("cannot become a daemon: {error}")))?;
    detach_here(name)
}

/// In the child, before anything else: a session of its own, the name of the parent.
pub fn detach_here(name: &OsStr) -> Result<()> {
    let failed =
        |error: rustix::io::Errno| Failure::failed(format!("cannot become a daemon: {error}"));
    rustix::process::setsid().map_err(failed)?;
    let base = std::path::Path::new(name).file_name().unwrap_or(name);
    // A name that is no C string is left as it is.
    if let Ok(name) = std::ffi::CString::new(base.as_encoded_bytes()) {
        let _ = rustix::thread::set_name(&name);
    }
    Ok(())
}

/// In the child, when it listens: tells the parent, and lets go of the terminal unless standard error `stays`.
pub fn ready(stays: bool) -> Result<()> {
    use std::io::Write as _;
    let failed =
        |error: std::io::Error| Failure::failed(format!("cannot become a daemon: {error}"));
    let mut out = std::io::stdout();
    // A parent that is gone does not wait.
    let _ = out.write_all(READY).and_then(|()| out.flush());
    let null = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(failed)?;
    rustix::stdio::dup2_stdout(&null).map_err(|error| failed(error.into()))?;
    if !stays {
        rustix::stdio::dup2_stderr(&null).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}
