//! `tandem service install`: what the machine's service manager needs, written.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::unit;
use crate::exit::{Failure, Result};

/// Who starts services on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// systemd: a unit.
    Systemd,
    /// Anything else: an init script.
    Init,
}

impl Manager {
    /// The manager of the machine whose root is `root`: systemd, where its directories are.
    pub fn of(root: &Path) -> Self {
        let systemd = [
            "run/systemd/system",
            "lib/systemd/system",
            "usr/lib/systemd/system",
        ];
        if systemd.iter().any(|dir| root.join(dir).is_dir()) {
            Self::Systemd
        } else {
            Self::Init
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Systemd => "etc/systemd/system/tandem.service",
            Self::Init => "etc/init.d/tandem",
        }
    }

    /// The text of its file, for a program at `program`.
    pub fn text(self, program: &str) -> String {
        match self {
            Self::Systemd => unit::systemd(program),
            Self::Init => unit::init_script(program),
        }
    }
}

/// Writes the files below `root`. Returns what was done and what is to be done next.
pub fn install(root: &Path, manager: Manager, program: &str) -> Result<String> {
    let mut said = String::new();
    let mut put = |name: &str, text: &str, mode: u32, keep: bool| {
        let path = root.join(name);
        if keep && path.exists() {
            let _ = writeln!(said, "kept    {}", path.display());
            return Ok(());
        }
        write(&path, text, mode)?;
        let _ = writeln!(said, "wrote   {}", path.display());
        Ok::<_, Failure>(())
    };
    // A key will be in it.
    put("etc/tandem/environment", unit::ENVIRONMENT, 0o600, true)?;
    let mode = if manager == Manager::Init {
        0o755
    } else {
        0o644
    };
    put(manager.file(), &manager.text(program), mode, false)?;
    if manager == Manager::Systemd {
        put("etc/sysusers.d/tandem.conf", unit::SYSUSERS, 0o644, false)?;
    }
    said.push_str(match manager {
        Manager::Systemd => {
            "next: write /etc/tandem/cluster.toml, then\n  systemd-sysusers && systemctl daemon-reload && \
             systemctl enable --now tandem\n"
        }
        Manager::Init => {
            "next: write /etc/tandem/cluster.toml, then\n  update-rc.d tandem defaults && \
             /etc/init.d/tandem start\n"
        }
    });
    Ok(said)
}

/// Removes what [`install`] wrote, but for `/etc/tandem`.
pub fn uninstall(root: &Path) -> Result<String> {
    let mut said = String::new();
    let files = [
        Manager::Systemd.file(),
        Manager::Init.file(),
        "etc/sysusers.d/tandem.conf",
    ];
    for path in files.map(|name| root.join(name)) {
        match fs::remove_file(&path) {
            Ok(()) => {
                let _ = writeln!(said, "removed {}", path.display());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::failed(format!(
                    "cannot remove {}: {error}",
                    path.display()
                )));
            }
        }
    }
    if said.is_empty() {
        said.push_str("nothing was installed\n");
    }
    Ok(said)
}

/// The program that a unit starts: this one.
pub fn this_program() -> Result<PathBuf> {
    std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find the program: {error}")))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot write {}: {error}", path.display()))
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}
