//! Starting a node in the background, and waiting until it serves.
//!
//! The node tells us as it would tell systemd: by a datagram to the socket that NOTIFY_SOCKET names.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tandem_model::NodePlan;

use super::Settings;
use crate::exit::{Failure, Result};
use crate::process;

/// How long a node may take until it serves: a large session log has to be read.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often the process is looked after meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// How much of the log is repeated when it fails, in bytes.
const LAST_WORDS: u64 = 8 * 1024;

/// Starts it. Returns its process when it serves.
pub fn start(settings: &Settings, plan: &NodePlan) -> Result<u32> {
    let cannot = |what: &str, path: &Path, error: std::io::Error| {
        Failure::failed(format!("cannot {what} {}: {error}", path.display()))
    };
    let mut log = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(&settings.log)
        .map_err(|error| cannot("write the log", &settings.log, error))?;
    let begin = log
        .seek(SeekFrom::End(0))
        .map_err(|error| cannot("write the log", &settings.log, error))?;
    let errors = log
        .try_clone()
        .map_err(|error| cannot("write the log", &settings.log, error))?;
    if let Some(dir) = settings.pid_file.parent() {
        std::fs::create_dir_all(dir).map_err(|error| cannot("make the directory", dir, error))?;
    }
    let (ear, ear_path) = ear(plan)?;

    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find the program: {error}")))?;
    let mut command = Command::new(program);
    command.arg("run").arg(&settings.file);
    if let Some(node) = &settings.node {
        command.arg("--node").arg(node);
    }
    command
        .arg("--pid-file")
        .arg(&settings.pid_file)
        .envs(&settings.environment)
        .env("NOTIFY_SOCKET", &ear_path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        // Signals of the terminal are not for it.
        .process_group(0);
    let child = command.spawn();
    let waited = child
        .map_err(|error| Failure::failed(format!("cannot start the node: {error}")))
        .and_then(|child| wait(child, &ear));
    let _ = std::fs::remove_file(&ear_path);
    waited.map_err(|failure| {
        let mut words = String::new();
        let end = log.metadata().map_or(begin, |file| file.len());
        let from = begin.max(end.saturating_sub(LAST_WORDS));
        if log.seek(SeekFrom::Start(from)).is_ok() {
            let _ = log.read_to_string(&mut words);
        }
        Failure::failed(format!(
            "{failure}; its log {} says:\n{words}",
            settings.log.display()
        ))
    })
}

/// A socket to listen at, which only this user may write to, and the one that the node becomes.
fn ear(plan: &NodePlan) -> Result<(UnixDatagram, PathBuf)> {
    let path = std::env::temp_dir().join(format!("tandem-start-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot listen at {}: {error}", path.display()))
    };
    let ear = UnixDatagram::bind(&path).map_err(failed)?;
    ear.set_read_timeout(Some(LOOK)).map_err(failed)?;
    let given = process::give(&path, plan.user.as_deref(), plan.group.as_deref());
    if let Err(error) = given {
        let _ = std::fs::remove_file(&path);
        return Err(failed(error));
    }
    Ok((ear, path))
}

fn wait(mut child: Child, ear: &UnixDatagram) -> Result<u32> {
    let begun = Instant::now();
    let mut bytes = [0; 1024];
    loop {
        if let Ok(length) = ear.recv(&mut bytes)
            && bytes[..length]
                .split(|&byte| byte == b'\n')
                .any(|line| line == b"READY=1")
        {
            return Ok(child.id());
        }
        match child.try_wait() {
            Ok(None) if begun.elapsed() < PATIENCE => {}
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::failed(format!(
                    "the node did not serve within {} s and was stopped",
                    PATIENCE.as_secs()
                )));
            }
            Ok(Some(status)) => {
                return Err(Failure::failed(format!(
                    "the node did not start ({status})"
                )));
            }
            Err(error) => return Err(Failure::failed(format!("the node is lost: {error}"))),
        }
    }
}
