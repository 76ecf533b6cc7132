//! The sockets for commands: bound, given away, replaced, removed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_config::import::{CommandPlace, CommandSocket};
use tandem_net::listen;
use tokio::io::{AsyncRead, AsyncWrite};

/// From a connection that could not be taken to the next try.
pub const AGAIN: Duration = Duration::from_millis(100);

/// A bound socket.
pub struct Door {
    pub socket: CommandSocket,
    bound: Bound,
}

enum Bound {
    Unix(UnixListener, SocketFile),
    Tcp(Vec<OwnedFd>),
}

/// The file of a Unix socket: it goes with the process, unless it is another one's by then.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// The one that was there, as long as this process may fail to serve.
    before: Option<PathBuf>,
}

/// A place as it is written.
pub fn shown(place: &CommandPlace) -> &str {
    match place {
        CommandPlace::Unix(path) => path,
        CommandPlace::Tcp(address) => address,
    }
}

/// Binds a socket. A Unix socket takes the place of the one that is there in one step, so that whoever connects reaches the
/// old process or this one.
///
/// # Errors
/// Says what was tried, and what to do.
pub fn bind(socket: &CommandSocket, beside: bool) -> Result<Door, String> {
    let bound = match &socket.place {
        CommandPlace::Unix(path) => {
            let (listener, file) = bind_file(Path::new(path), socket).map_err(|error| {
                format!("cannot make the socket {path} for commands (stats socket): {error}")
            })?;
            Bound::Unix(listener, file)
        }
        CommandPlace::Tcp(text) => {
            let address = text
                .parse()
                .map_err(|error| format!("stats socket {text}: {error}"))?;
            let bound = if beside {
                listen::bind_beside(&address, 1)
            } else {
                listen::bind(&address, 1)
            };
            let bound = bound.map_err(|error| format!("stats socket: {error}"))?;
            Bound::Tcp(bound.into_iter().flat_map(|bound| bound.sockets).collect())
        }
    };
    Ok(Door {
        socket: socket.clone(),
        bound,
    })
}

fn bind_file(path: &Path, socket: &CommandSocket) -> Result<(UnixListener, SocketFile), String> {
    let said = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory: make it".to_owned(),
        io::ErrorKind::PermissionDenied => format!("{error}: the directory is not this user's"),
        _ => error.to_string(),
    };
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.{end}", std::process::id()));
        PathBuf::from(name)
    };
    let (user, group) = (socket.user.as_deref(), socket.group.as_deref());
    let (uid, gid) = tandem_app::ids_of_file(user, group).map_err(|error| error.to_string())?;
    let is_there = match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => true,
        Ok(_) => return Err("there is a file of another kind: move it away".into()),
        Err(_) => false,
    };
    let new = beside("tmp");
    // What a process of this number has left behind.
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(said)?;
    let ready = || -> io::Result<Option<PathBuf>> {
        if let Some(mode) = socket.mode {
            fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        }
        if uid.is_some() || gid.is_some() {
            lchown(&new, uid, gid)?;
        }
        listener.set_nonblocking(true)?;
        let before = is_there.then(|| beside("bak"));
        if let Some(before) = &before {
            let _ = fs::remove_file(before);
            fs::hard_link(path, before)?;
        }
        fs::rename(&new, path)?;
        Ok(before)
    };
    let before = ready().map_err(|error| {
        let _ = fs::remove_file(&new);
        said(error)
    })?;
    let found = fs::symlink_metadata(path).map_err(said)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (found.dev(), found.ino()),
        before,
    };
    Ok((listener, file))
}

impl Door {
    /// This process serves: the socket that was there before is not put back any more.
    pub fn settle(&mut self) {
        if let Bound::Unix(_, file) = &mut self.bound
            && let Some(before) = file.before.take()
        {
            let _ = fs::remove_file(before);
        }
    }

    /// What connections are taken from.
    pub fn listening(&self) -> io::Result<Vec<Listening>> {
        match &self.bound {
            Bound::Unix(listener, _) => {
                let listener = tokio::net::UnixListener::from_std(listener.try_clone()?)?;
                Ok(vec![Listening::Unix(listener)])
            }
            Bound::Tcp(sockets) => sockets
                .iter()
                .map(|socket| {
                    let listener = std::net::TcpListener::from(socket.try_clone()?);
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    Ok(Listening::Tcp(listener))
                })
                .collect(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if !found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            return;
        }
        // Where the process's user may not, the next start replaces it.
        let _ = match &self.before {
            Some(before) => fs::rename(before, &self.path),
            None => fs::remove_file(&self.path),
        };
    }
}

/// A socket that connections are taken from.
pub enum Listening {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener),
}

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Listening {
    pub async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn place(name: &str) -> (PathBuf, CommandSocket) {
        let directory = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("s.sock");
        let socket = CommandSocket {
            place: CommandPlace::Unix(path.display().to_string()),
            mode: Some(0o666),
            user: None,
            group: None,
            level: tandem_config::import::Level::default(),
        };
        (directory, socket)
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_later_process_keeps_its_own() {
        let (directory, socket) = place("stale");
        let path = directory.join("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        let mut first = bind(&socket, false).unwrap();
        first.settle();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "whatever the umask");
        let mut second = bind(&socket, false).unwrap();
        second.settle();
        drop(first);
        UnixStream::connect(&path).expect("it is the second one's");
        drop(second);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn whoever_never_serves_puts_the_socket_back_that_was_there() {
        let (directory, socket) = place("back");
        let path = directory.join("s.sock");
        let _first = UnixListener::bind(&path).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        drop(bind(&socket, false).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(bind(&socket, false).is_err(), "a file is no socket");
        fs::remove_dir_all(directory).unwrap();
    }
}
