//! The sockets for commands: bound, given away, replaced, removed.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tandem_app::Ids;
use tandem_config::import::{CommandPlace, CommandSocket};
use tandem_net::listen;
use tokio::io::{AsyncRead, AsyncWrite};

/// From a connection that could not be taken to the next try.
pub const AGAIN: Duration = Duration::from_millis(100);

/// Connections that wait to be taken.
const BACKLOG: i32 = 1_024;

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

/// What would keep a socket from being made on this machine as it is now; nothing is made.
pub fn wrong_with(socket: &CommandSocket) -> Option<String> {
    let CommandPlace::Unix(path) = &socket.place else {
        return None;
    };
    let (user, group) = (socket.user.as_deref(), socket.group.as_deref());
    if let Err(error) = tandem_app::ids_of_file(user, group) {
        return Some(format!("stats socket {path}: {error}"));
    }
    let is_there = Path::new(path).parent().is_none_or(Path::is_dir);
    (!is_there).then(|| {
        format!("stats socket {path}: there is no such directory now, and without it nothing starts: make it")
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
    let listener = listen_at(&new, socket.mode).map_err(said)?;
    let ready = || -> io::Result<((u64, u64), Option<PathBuf>)> {
        let made = Made::open(&new)?;
        made.give(socket.mode, uid, gid)?;
        // One of another user's may not be linked (fs.protected_hardlinks): then nothing is put back.
        let before = beside("bak");
        let _ = fs::remove_file(&before);
        let is_kept = is_there && fs::hard_link(path, &before).is_ok();
        fs::rename(&new, path).inspect_err(|_| {
            let _ = fs::remove_file(&before);
        })?;
        Ok((made.identity, is_kept.then_some(before)))
    };
    let (identity, before) = ready().map_err(|error| {
        let _ = fs::remove_file(&new);
        said(error)
    })?;
    let file = SocketFile {
        path: path.to_owned(),
        identity,
        before,
    };
    Ok((listener, file))
}

/// Listens at a new file, which has no more rights than `mode` at any moment, whatever the umask.
fn listen_at(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    if let Some(mode) = mode {
        // The file gets what the socket has, less the umask.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    }
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The file of a socket of this process, held: its directory may be another user's, who may put something else, or a link, in its
/// place, which must not be given away by root.
struct Made {
    file: OwnedFd,
    mode: u32,
    identity: (u64, u64),
}

impl Made {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            let what =
                "somebody put another file in its place: use a directory that only root writes";
            return Err(io::Error::other(what));
        }
        Ok(Self {
            file,
            mode: found.st_mode & 0o7777,
            identity: (found.st_dev, found.st_ino),
        })
    }

    /// Gives it its rights and its owner.
    fn give(&self, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        if let Some(mode) = mode.filter(|mode| *mode != self.mode) {
            // By the descriptor: the name may be another file's by now.
            let held = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            fs::set_permissions(held, fs::Permissions::from_mode(mode))?;
        }
        if uid.is_some() || gid.is_some() {
            let uid = uid.map(rustix::fs::Uid::from_raw);
            let gid = gid.map(rustix::fs::Gid::from_raw);
            rustix::fs::chownat(&self.file, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }
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

    /// The process becomes this user: where that one could not put the socket back that was there, it is let go of now.
    pub fn become_user(&mut self, ids: &Ids) {
        if let Bound::Unix(_, file) = &self.bound
            && !may_replace(&file.path, ids)
        {
            self.settle();
        }
    }

    /// Brings rights and owner of its file in line with what the file says of it now. Who is connected stays.
    ///
    /// # Errors
    /// Says why not: it is so from the next start on.
    pub fn follow(&mut self, now: &CommandSocket) -> Result<(), String> {
        let Bound::Unix(_, file) = &self.bound else {
            return Ok(());
        };
        let was = &self.socket;
        if (was.mode, &was.user, &was.group) == (now.mode, &now.user, &now.group) {
            return Ok(());
        }
        let left_out = (was.mode.is_some() && now.mode.is_none())
            || (was.user.is_some() && now.user.is_none())
            || (was.group.is_some() && now.group.is_none());
        if left_out {
            return Err("what it is without the word is known when the process starts".into());
        }
        let (user, group) = (now.user.as_deref(), now.group.as_deref());
        let (uid, gid) = tandem_app::ids_of_file(user, group).map_err(|error| error.to_string())?;
        let made = Made::open(&file.path).map_err(|error| error.to_string())?;
        if made.identity != file.identity {
            return Err("another process has its place".into());
        }
        // What has not changed needs no right to change it.
        let uid = uid.filter(|_| was.user != now.user);
        let gid = gid.filter(|_| was.group != now.group);
        made.give(now.mode, uid, gid)
            .map_err(|error| error.to_string())?;
        self.socket = now.clone();
        Ok(())
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

/// Whether a user may remove and replace what root has made at a path.
fn may_replace(path: &Path, ids: &Ids) -> bool {
    const STICKY: u32 = 0o1000;
    let Some(found) = path.parent().and_then(|parent| fs::metadata(parent).ok()) else {
        return false;
    };
    let mode = found.mode();
    if found.uid() == ids.uid {
        return mode & 0o200 != 0;
    }
    let is_in = found.gid() == ids.gid || ids.groups.contains(&found.gid());
    mode & STICKY == 0 && mode & if is_in { 0o020 } else { 0o002 } != 0
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
    fn a_tightened_mode_takes_effect_at_once_and_one_that_is_left_out_is_told() {
        let (directory, socket) = place("mode");
        let path = directory.join("s.sock");
        let mut door = bind(&socket, false).unwrap();
        let tight = CommandSocket {
            mode: Some(0o600),
            ..socket.clone()
        };
        door.follow(&tight).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        let none = CommandSocket {
            mode: None,
            ..socket.clone()
        };
        assert!(door.follow(&none).is_err());
        assert_eq!(mode(), 0o600);
        // What another process has there by now is not touched.
        let _next = bind(&tight, false).unwrap();
        assert!(door.follow(&socket).is_err());
        assert_eq!(mode(), 0o600);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_check_tells_of_a_socket_that_could_not_be_made() {
        let (directory, mut socket) = place("check");
        assert_eq!(wrong_with(&socket), None);
        socket.group = Some("no-such-group-here".into());
        assert!(wrong_with(&socket).is_some());
        socket.group = None;
        fs::remove_dir_all(directory).unwrap();
        assert!(wrong_with(&socket).is_some_and(|why| why.contains("make it")));
    }

    #[test]
    fn no_other_file_gets_the_rights_of_a_socket() {
        let (directory, _) = place("link");
        let (other, link) = (directory.join("other"), directory.join("link"));
        fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert!(Made::open(&other).is_err());
        assert!(Made::open(&link).is_err(), "nor through a link");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_user_who_could_not_put_a_socket_back_leaves_nothing_behind() {
        let (directory, socket) = place("user");
        let _first = UnixListener::bind(directory.join("s.sock")).unwrap();
        let own = fs::metadata(&directory).unwrap();
        let ids = |uid| Ids {
            uid,
            gid: u32::MAX - 1,
            groups: Vec::new(),
        };
        let files = || fs::read_dir(&directory).unwrap().count();
        let mut door = bind(&socket, false).unwrap();
        door.become_user(&ids(own.uid()));
        assert_eq!(files(), 2, "it may be put back yet");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        door.become_user(&ids(own.uid() + 1));
        assert_eq!(files(), 1);
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
