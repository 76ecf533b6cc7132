//! A PHP-FPM of a test's own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{Dir, has, send, wait_until};

/// Its program; each version has a name of its own.
fn program() -> String {
    let files = std::fs::read_dir("/usr/sbin").into_iter().flatten();
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let newest = names.filter(|name| name.starts_with("php-fpm")).max();
    newest.map_or("php-fpm".into(), |name| format!("/usr/sbin/{name}"))
}

/// Whether there is one.
pub fn is_here() -> bool {
    has(&program(), &["-v"])
}

/// One that runs.
pub struct Fpm {
    child: Child,
    socket: PathBuf,
}

impl Fpm {
    /// Starts one with so many processes, at `NAME.sock` of a directory.
    pub fn start(dir: &Dir, name: &str, processes: u32) -> Self {
        let path = dir.path().to_string_lossy().into_owned();
        let conf = dir.file(
            &format!("{name}.conf"),
            &format!(
                "[global]\nerror_log = {path}/{name}.log\ndaemonize = no\n[www]\nlisten = {path}/{name}.sock\n\
                 user = root\ngroup = root\npm = static\npm.max_children = {processes}\nclear_env = no\n"
            ),
        );
        let child = Command::new(program())
            .args(["-F", "-R", "-y", &conf, "-d", "log_errors=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PHP-FPM starts");
        let socket = dir.path().join(format!("{name}.sock"));
        let fpm = Self { child, socket };
        wait_until("PHP-FPM listens", || {
            UnixStream::connect(&fpm.socket).is_ok()
        });
        fpm
    }

    /// Kills it with all its processes, at once.
    pub fn kill(mut self) {
        for child in self.processes() {
            send(child, Signal::KILL);
        }
        send(self.child.id(), Signal::KILL);
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }

    /// The processes that answer.
    pub fn processes(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            send(self.child.id(), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}
