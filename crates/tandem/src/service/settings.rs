//! Which node a verb is about: options, the environment, `/etc/tandem`, in this order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::Opt;
use crate::exit::{Failure, Result};
use crate::process::{self, Holder};

/// Where a machine's configuration is, unless TANDEM_ETC says otherwise.
const ETC: &str = "/etc/tandem";

/// The option of the cluster file; [`Given::take`] reads these four.
pub const FILE: Opt = Opt {
    form: "--file FILE",
    text: "the cluster file, instead of TANDEM_FILE or /etc/tandem/cluster.toml",
};
/// The option of the node.
pub const NODE: Opt = Opt {
    form: "--node NAME",
    text: "the node to play, instead of TANDEM_NODE or the one whose address this machine has",
};
/// The option of the pid file.
pub const PID_FILE: Opt = Opt {
    form: "--pid-file FILE",
    text: "instead of TANDEM_PID_FILE or /run/tandem/tandem.pid",
};
/// The option of the log.
pub const LOG: Opt = Opt {
    form: "--log FILE",
    text: "where standard error goes, instead of TANDEM_LOG or /var/log/tandem.log",
};

/// What the command line said.
#[derive(Default)]
pub struct Given {
    file: Option<PathBuf>,
    node: Option<String>,
    pid_file: Option<PathBuf>,
    log: Option<PathBuf>,
}

/// A node of this machine.
pub struct Settings {
    /// The cluster file.
    pub file: PathBuf,
    /// It was named, by an option or the environment, and is not just where one would be.
    pub file_is_named: bool,
    /// The node, when it was named.
    pub node: Option<String>,
    /// The pid file.
    pub pid_file: PathBuf,
    /// Where standard error goes.
    pub log: PathBuf,
    /// Variables of `/etc/tandem/environment`, which the environment does not have itself.
    pub environment: BTreeMap<String, String>,
}

impl Given {
    /// Takes one of these options; says whether it was one.
    pub fn take(&mut self, name: &str, args: &mut lexopt::Parser) -> Result<bool> {
        let path = |args: &mut lexopt::Parser| Ok::<_, Failure>(Some(PathBuf::from(args.value()?)));
        match name {
            "file" => self.file = path(args)?,
            "pid-file" => self.pid_file = path(args)?,
            "log" => self.log = path(args)?,
            "node" => self.node = Some(args.value()?.to_string_lossy().into_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Completes it from the environment and from `/etc/tandem`.
    pub fn complete(self) -> Result<Settings> {
        let etc = std::env::var_os("TANDEM_ETC").map_or_else(|| PathBuf::from(ETC), PathBuf::from);
        let mut environment = read_environment(&etc.join("environment"))?;
        environment.retain(|name, _| std::env::var_os(name).is_none());
        let find = |name: &str| {
            std::env::var(name)
                .ok()
                .or_else(|| environment.get(name).cloned())
        };
        let path = |given: Option<PathBuf>, name: &str, otherwise: PathBuf| {
            let path = given
                .or_else(|| find(name).map(PathBuf::from))
                .unwrap_or(otherwise);
            std::path::absolute(&path).unwrap_or(path)
        };
        let file_is_named = self.file.is_some() || find("TANDEM_FILE").is_some();
        Ok(Settings {
            file_is_named,
            file: path(self.file, "TANDEM_FILE", etc.join("cluster.toml")),
            pid_file: path(
                self.pid_file,
                "TANDEM_PID_FILE",
                "/run/tandem/tandem.pid".into(),
            ),
            log: path(self.log, "TANDEM_LOG", "/var/log/tandem.log".into()),
            node: self.node.or_else(|| find("TANDEM_NODE")),
            environment,
        })
    }
}

impl Settings {
    /// What to say when nobody holds the pid file. It names the file: a node that was started by `tandem run`, or with
    /// another pid file, is not seen here.
    pub fn not_running(&self) -> String {
        format!(
            "tandem does not run: nobody holds {} (`tandem run` has its pid file in the node's state directory; \
             --pid-file names another)",
            self.pid_file.display()
        )
    }

    /// `${VAR}` of the cluster file.
    pub fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name)
            .ok()
            .or_else(|| self.environment.get(name).cloned())
    }

    /// Who holds the pid file.
    pub fn holder(&self) -> Result<Holder> {
        process::holder(&self.pid_file).map_err(|error| {
            super::exit_codes::forbidden(format!(
                "cannot tell whether it runs: {}: {error}",
                self.pid_file.display()
            ))
        })
    }
}

/// Lines `NAME=value`, as systemd's EnvironmentFile reads the simple ones: comments by `#`, quotes around a value.
fn read_environment(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => {
            return Err(super::exit_codes::forbidden(format!(
                "cannot read {}: {error}",
                path.display()
            )));
        }
    };
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(super::exit_codes::not_configured(Failure::usage(format!(
                "{}:{}: a line is NAME=value, not `{line}`",
                path.display(),
                number + 1
            ))));
        };
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
        found.insert(name.trim().to_owned(), bare.unwrap_or(value).to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_file_is_read_as_systemd_reads_it() {
        let path = std::env::temp_dir().join(format!("tandem-env-{}", std::process::id()));
        let text = "# keys\nTANDEM_KEY=\"a b\"\nexport TANDEM_NODE='edge'\n; more\n\nEMPTY=\n";
        std::fs::write(&path, text).unwrap();
        let found = read_environment(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let expected = [
            ("EMPTY", ""),
            ("TANDEM_KEY", "a b"),
            ("TANDEM_NODE", "edge"),
        ];
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        assert_eq!(found, expected);
        assert!(read_environment(&path).unwrap().is_empty());
    }
}
