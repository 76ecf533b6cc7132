//! What a rehearsal claims for itself, so that several run side by side: a network of 127.84.0.0/16, ports of
//! 127.0.0.1, a directory. Claims are locks on files: the kernel lifts them when the process ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::exit::{Failure, Result};

/// A claim, held as long as this lives.
#[derive(Debug)]
pub struct Claim {
    lock: File,
}

impl Claim {
    /// From now on every process started from here holds it too: a network whose rehearsal was killed is not given
    /// again before the last of its nodes is gone.
    fn leave_to_children(&self) -> io::Result<()> {
        Ok(rustix::io::fcntl_setfd(
            &self.lock,
            rustix::io::FdFlags::empty(),
        )?)
    }
}

/// Where claims of all users of the machine meet.
pub fn claims_dir() -> PathBuf {
    std::env::temp_dir().join("tandem-rehearsals")
}

/// Claims a name. `None` when another process holds it.
fn claim(name: &str) -> io::Result<Option<Claim>> {
    let dir = claims_dir();
    if fs::create_dir(&dir).is_ok() {
        // Every user may add a file, none may remove another's.
        fs::set_permissions(&dir, Permissions::from_mode(0o1777))?;
    }
    let path = dir.join(name);
    // Whoever came first on the machine made the directory: a link there could lead to any file of ours, and a pipe would
    // keep us waiting.
    let safe = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o644)
        .custom_flags(safe)
        .open(&path);
    let (mut lock, is_ours) = match opened {
        // Another user's, who may be long gone: whoever can read a file can lock it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            match OpenOptions::new().read(true).custom_flags(safe).open(&path) {
                Ok(lock) => (lock, false),
                Err(_) => return Ok(None),
            }
        }
        other => (other?, true),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    if is_ours && lock.metadata()?.is_file() {
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
    }
    Ok(Some(Claim { lock }))
}

/// A claimed network and its directory.
#[derive(Debug)]
pub struct Place {
    /// K of 127.84.K.0/24.
    pub network: u8,
    /// The rehearsal's own directory, empty at first.
    pub dir: PathBuf,
    _claim: Claim,
}

/// Claims the lowest network that no other rehearsal holds.
pub fn claim_place() -> Result<Place> {
    for network in 1..=250 {
        match claim(&format!("{network}.lock")) {
            Ok(Some(claim)) => {
                claim.leave_to_children().map_err(|error| {
                    Failure::failed(format!("cannot hold the network 127.84.{network}: {error}"))
                })?;
                let dir = own_dir(&network.to_string()).map_err(|error| {
                    Failure::failed(format!(
                        "cannot make a directory for the rehearsal: {error}"
                    ))
                })?;
                return Ok(Place {
                    network,
                    dir,
                    _claim: claim,
                });
            }
            Ok(None) => {}
            Err(error) => {
                let dir = claims_dir();
                return Err(Failure::failed(format!(
                    "cannot lock a file in {}: {error}",
                    dir.display()
                )));
            }
        }
    }
    Err(Failure::failed(
        "250 rehearsals run on this machine; stop one first",
    ))
}

/// The directory in which this user's rehearsals keep their files, by network.
pub fn user_dir() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("tandem-{uid}"))
}

/// Whether a directory is this user's. Its name is known to everyone on the machine: it must be ours and no link.
pub fn is_ours(dir: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(dir)?;
    Ok(found.is_dir() && found.uid() == rustix::process::getuid().as_raw())
}

/// An empty directory that only this user can read. What an earlier rehearsal of the same network left is removed.
fn own_dir(name: &str) -> io::Result<PathBuf> {
    let user = user_dir();
    if let Err(error) = DirBuilder::new().mode(0o700).create(&user)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    if !is_ours(&user)? {
        return Err(io::Error::other(format!(
            "{} belongs to another user",
            user.display()
        )));
    }
    let dir = user.join(name);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}

/// A claimed port of 127.0.0.1 and of the rehearsal's network.
#[derive(Debug)]
pub struct Port {
    /// The port.
    pub port: u16,
    _claim: Claim,
}

/// Claims `port`, or with `or_next` the next free one.
pub fn claim_port(port: u16, network: u8, or_next: bool) -> Result<Port> {
    let last = if or_next {
        port.saturating_add(500)
    } else {
        port
    };
    for port in port..=last {
        let claimed = claim(&format!("port-{port}.lock")).ok().flatten();
        if let Some(claim) = claimed
            && is_free(port, network)
        {
            return Ok(Port {
                port,
                _claim: claim,
            });
        }
    }
    Err(Failure::usage(if or_next {
        format!("no port from {port} to {last} of 127.0.0.1 is free")
    } else {
        format!(
            "port {port} of 127.0.0.1 is taken; give another one, or none to get the next free one"
        )
    }))
}

fn is_free(port: u16, network: u8) -> bool {
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let own = TcpListener::bind((Ipv4Addr::new(127, 84, network, 10), port));
    front.is_ok() && own.is_ok()
}

/// Writes a file that only this user can read.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rehearsals_never_share_a_network() {
        let first = claim_place().unwrap();
        let second = claim_place().unwrap();
        assert_ne!(first.network, second.network);
        assert!(first.dir.is_dir() && second.dir.is_dir());
        let mode = fs::metadata(&first.dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others could read the key");
        for place in [first, second] {
            fs::remove_dir_all(&place.dir).unwrap();
        }
    }

    #[test]
    fn what_another_user_left_is_no_claim() {
        // Root may write it all the same, and makes the same claim.
        let name = format!("test-{}.lock", std::process::id());
        drop(claim(&name).unwrap().expect("nobody has it"));
        let path = claims_dir().join(&name);
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let held = claim(&name).unwrap();
        assert!(held.is_some() && claim(&name).unwrap().is_none());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_a_claim_is_not_followed() {
        let name = format!("link-{}.lock", std::process::id());
        let victim = std::env::temp_dir().join(format!("tandem-victim-{}", std::process::id()));
        fs::write(&victim, "ours").unwrap();
        drop(claim(&name).unwrap().expect("nobody has it"));
        let path = claims_dir().join(&name);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(claim(&name).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "ours");
        fs::remove_file(&path).unwrap();
        fs::remove_file(&victim).unwrap();
    }

    #[test]
    fn a_taken_port_is_an_error_or_the_next_one_is_taken() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port().min(65_000);
        if port == taken.local_addr().unwrap().port() {
            assert!(
                claim_port(port, 1, false)
                    .unwrap_err()
                    .to_string()
                    .contains("is taken")
            );
        }
        let next = claim_port(port, 1, true).unwrap();
        assert!(next.port > port || port != taken.local_addr().unwrap().port());
    }
}
