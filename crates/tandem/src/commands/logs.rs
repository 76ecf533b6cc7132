//! `tandem logs`

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Arg::{Long, Short};
use tandem_model::{LogTo, NodePlan};

use crate::cli::{Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{is_configured, plans};
use crate::process::{self, Holder};
use crate::rehearsal::state::running;
use crate::service::settings::{Given, Settings};

/// How much is read of the end of a file to find its last lines, in bytes.
const END: u64 = 1 << 20;
/// Between two looks for new lines.
const PAUSE: Duration = Duration::from_millis(200);

/// The command.
pub const COMMAND: Command = Command {
    name: "logs",
    summary: "the logs of this machine's nodes, and with -f as they are written",
    usage: &["logs [--access] [-f] [-n COUNT] [--node NAME]"],
    about: "\
The log of this machine's node, or, where there is no cluster file, of the nodes of the rehearsal that runs; rotated
files are followed.
",
    options: &[
        Opt {
            form: "--access",
            text: "the access logs instead",
        },
        Opt {
            form: "-f, --follow",
            text: "go on with what is written, until Ctrl-C",
        },
        Opt {
            form: "-n, --lines COUNT",
            text: "so many of the last lines of each (20)",
        },
        Opt {
            form: "--node NAME",
            text: "of this node only",
        },
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut access, mut follow, mut count, mut node) = (false, false, 20usize, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("access") => access = true,
            Short('f') | Long("follow") => follow = true,
            Short('n') | Long("lines") => {
                let text = args.value()?.to_string_lossy().into_owned();
                count = text
                    .parse()
                    .map_err(|_| Failure::usage(format!("-n takes a number, not `{text}`")))?;
            }
            Long("node") => node = Some(args.value()?.to_string_lossy().into_owned()),
            arg => return Err(arg.unexpected().into()),
        }
    }
    let mut files = files(access, node.as_deref())?;
    let several = files.len() > 1;
    for file in &mut files {
        let text = file.end(count);
        file.print(&text, several);
    }
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(PAUSE);
        for file in &mut files {
            let text = file.news();
            file.print(&text, several);
        }
    }
}

/// A file that is followed.
struct Followed {
    name: String,
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl Followed {
    fn new(name: &str, path: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            open: None,
        }
    }

    /// Its last lines.
    fn end(&mut self, count: usize) -> String {
        let Ok(mut file) = File::open(&self.path) else {
            return String::new();
        };
        let length = file.metadata().map_or(0, |file| file.len());
        let from = length.saturating_sub(END);
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(from)).is_ok() {
            let _ = (&mut file).take(length - from).read_to_end(&mut bytes);
        }
        let at = from + bytes.len() as u64;
        let inode = file.metadata().map_or(0, |file| file.ino());
        let _ = file.seek(SeekFrom::Start(at));
        self.open = Some((file, inode));
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(count)..];
        last.iter()
            .fold(String::new(), |out, line| out + line + "\n")
    }

    /// What was written since. A file that was exchanged is read to its end, then the new one from its beginning.
    fn news(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Some((file, _)) = &mut self.open {
            let _ = file.take(END).read_to_end(&mut bytes);
        }
        let now = std::fs::metadata(&self.path).map(|file| file.ino()).ok();
        let known = self.open.as_ref().map(|(_, inode)| *inode);
        if now.is_some() && now != known {
            self.open = File::open(&self.path).ok().zip(now);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn print(&self, text: &str, several: bool) {
        let mut out = std::io::stdout().lock();
        for line in text.lines() {
            let written = if several {
                writeln!(out, "{}: {line}", self.name)
            } else {
                writeln!(out, "{line}")
            };
            if written.is_err() {
                std::process::exit(0);
            }
        }
        let _ = out.flush();
    }
}

/// The logs of this machine that can be read; else why there are none.
fn files(access: bool, node: Option<&str>) -> Result<Vec<Followed>> {
    let settings = Given::default().complete()?;
    let is_wanted = |name: &str| node.is_none_or(|node| node == name);
    let of_file = of_file(&settings, access, node)?;
    let files = of_file.iter();
    let mut found: Vec<_> = files
        .map(|(name, path)| Followed::new(name, path))
        .collect();
    let rehearsals = running();
    let is_configured = is_configured(&settings);
    for state in rehearsals.iter().filter(|_| !is_configured) {
        let dir = if access {
            state.dir.join("state")
        } else {
            state.dir.clone()
        };
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = if access {
                entry.path().join("access.log")
            } else {
                entry.path()
            };
            let name = if access {
                entry.path()
            } else {
                entry.path().with_extension("")
            };
            let name = name
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_log = path.extension().is_some_and(|end| end == "log");
            if is_log && is_wanted(&name) {
                found.push(Followed::new(&name, &path));
            }
        }
    }
    found.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    found.dedup_by(|a, b| a.path == b.path);
    let mut missing = Vec::new();
    found.retain(|file| match File::open(&file.path) {
        Ok(_) => true,
        Err(error) => {
            missing.push(format!("{} ({error})", file.path.display()));
            false
        }
    });
    if !found.is_empty() {
        return Ok(found);
    }
    let beside = rehearsals.iter().find(|_| is_configured);
    let beside = beside.map_or_else(String::new, |state| {
        let dir = state.dir.display();
        format!("; a rehearsal runs, whose nodes log to {dir}")
    });
    Err(Failure::failed(if missing.is_empty() {
        format!(
            "no logs are found here: there is neither {} nor a rehearsal",
            settings.file.display()
        )
    } else {
        format!(
            "no logs can be read: {}. What systemd runs logs to its journal: `journalctl -u tandem`{beside}",
            missing.join(", ")
        )
    }))
}

/// Where the nodes of this machine's file write, by their names. A file that nobody named need not be there.
fn of_file(
    settings: &Settings,
    access: bool,
    node: Option<&str>,
) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for plan in &plans(settings, node)? {
        let name = || plan.node.clone();
        if access {
            let logs = plan
                .listeners
                .iter()
                .filter_map(|listener| listener.log.as_ref());
            found.extend(logs.map(|path| (name(), path.into())));
        } else if let LogTo::File(path) = &plan.log {
            found.push((name(), path.into()));
        } else {
            let path = standard_error(plan).unwrap_or_else(|| settings.log.clone());
            found.push((name(), path));
        }
    }
    Ok(found)
}

/// The file that the node which runs by this plan has as its standard error: whoever started it has chosen it.
fn standard_error(plan: &NodePlan) -> Option<PathBuf> {
    let Ok(Holder::Runs(pid)) = process::holder(&plan.state.join("tandem.pid")) else {
        return None;
    };
    let path = std::fs::read_link(format!("/proc/{pid}/fd/2")).ok()?;
    path.is_file().then_some(path)
}
