//! What a process that root started keeps of root's rights when it becomes another user: to read a file that only root may
//! read, as keys are, and to listen at a port below 1024. A file that is reloaded may name either.
//!
//! The rights lie in reserve: they are permitted to the thread that became the user, and in effect for as long as one
//! [`with`] takes. Whatever else that thread opens, it opens as the user; threads that serve let go of them for good
//! ([`let_go`]), and a program that is started has none, unless they are lent to it ([`lend`]).

use std::io;
use std::marker::PhantomData;
use std::path::Path;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities, set_keep_capabilities,
};

/// Both rights to read; containers often have the second one alone.
const READ: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE);
const BIND: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// What can be done beyond what the user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read files, whoever may.
    Read,
    /// To listen at any port.
    Bind,
}

impl Right {
    fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Read => READ,
            Self::Bind => BIND,
        }
    }
}

/// Becomes another user by `become_user`, and keeps what there is of both rights in reserve. Of the thread that calls it,
/// and of those that it makes later.
///
/// # Errors
/// When `become_user` fails, or the kernel does not say or change what this thread may do.
pub fn keep(become_user: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    let had = capabilities(None)?.permitted;
    set_keep_capabilities(true)?;
    let became = become_user();
    set_keep_capabilities(false)?;
    became?;
    let mut reserve = had & (READ | BIND);
    if reserve.contains(CapabilitySet::DAC_READ_SEARCH) {
        // It lets read; the other one would let write, too.
        reserve -= CapabilitySet::DAC_OVERRIDE;
    }
    set(CapabilitySet::empty(), reserve)
}

/// Puts what was lent to this process ([`lend`]) into reserve.
pub fn take() {
    let Ok(has) = capabilities(None) else { return };
    if rustix::process::geteuid().is_root() || !has.effective.intersects(READ) {
        return;
    }
    // Without inheritable ones there are no ambient ones, which programs that are started would get.
    let _ = set(CapabilitySet::empty(), has.permitted & (READ | BIND));
}

/// Lets go of what this thread has in reserve. To be called by threads that do what others tell them.
pub fn let_go() {
    if let Ok(has) = capabilities(None)
        && has.permitted != has.effective
    {
        // Giving up is always allowed.
        let _ = set_capabilities(
            None,
            CapabilitySets {
                permitted: has.effective,
                ..has
            },
        );
    }
}

/// Does something with a right that this thread has in reserve, or without, where it has none. `work` starts no thread: it
/// would have the right for good.
pub fn with<T>(right: Right, work: impl FnOnce() -> T) -> T {
    let _raised = Raised::new(right.capabilities());
    work()
}

/// Reads a file as the user, and where that may not read it, with the right to.
///
/// # Errors
/// As [`std::fs::read`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            with(Right::Read, || std::fs::read(path))
        }
        read => read,
    }
}

/// Starts a program that takes this one's place, with what this thread has in reserve in effect ([`take`]).
pub fn lend<T>(start: impl FnOnce() -> T) -> T {
    let _lent = Raised::inherited();
    start()
}

fn set(effective: CapabilitySet, permitted: CapabilitySet) -> rustix::io::Result<()> {
    set_capabilities(
        None,
        CapabilitySets {
            effective,
            permitted,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// What the thread that made it has more than before, until it is dropped.
struct Raised {
    before: CapabilitySets,
    _of_this_thread: PhantomData<*const ()>,
}

impl Raised {
    fn new(wanted: CapabilitySet) -> Option<Self> {
        let before = capabilities(None).ok()?;
        let more = (before.permitted & wanted) - before.effective;
        let raised = CapabilitySets {
            effective: before.effective | more,
            ..before
        };
        Self::to(before, more, raised)
    }

    /// What lies in reserve goes to programs that are started.
    fn inherited() -> Option<Self> {
        let before = capabilities(None).ok()?;
        let reserve = (before.permitted & (READ | BIND)) - before.effective;
        let inherited = CapabilitySets {
            inheritable: before.inheritable | reserve,
            ..before
        };
        let raised = Self::to(before, reserve, inherited)?;
        for one in reserve {
            // Without it the program is started as any other.
            let _ = configure_capability_in_ambient_set(one, true);
        }
        Some(raised)
    }

    fn to(before: CapabilitySets, more: CapabilitySet, sets: CapabilitySets) -> Option<Self> {
        if more.is_empty() {
            return None;
        }
        set_capabilities(None, sets).ok()?;
        Some(Self {
            before,
            _of_this_thread: PhantomData,
        })
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // Less is always allowed; what is no longer inheritable is not inherited.
        let _ = set_capabilities(None, self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    const NOBODY: u32 = 65_534;

    /// On a thread that became nobody. Other threads, and other tests, stay what they are.
    fn as_nobody(work: impl FnOnce() + Send + 'static) {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root becomes another user");
            return;
        }
        let became = move || {
            keep(|| {
                let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                set_thread_groups(&[])?;
                set_thread_res_gid(gid, gid, gid)?;
                set_thread_res_uid(uid, uid, uid)
            })
            .expect("root becomes nobody");
            work();
        };
        std::thread::spawn(became).join().expect("it ends");
    }

    /// A file that only root may read.
    fn of_root(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        std::fs::write(&path, b"secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn in_effect() -> CapabilitySet {
        capabilities(None).unwrap().effective
    }

    #[test]
    fn what_only_root_may_read_is_read_and_nothing_else_is() {
        let path = of_root("privilege-read");
        let there = path.clone();
        as_nobody(move || {
            assert!(std::fs::read(&there).is_err());
            assert_eq!(read(&there).unwrap(), b"secret");
            assert!(std::fs::read(&there).is_err(), "it is over");
            assert!(with(Right::Read, || std::fs::write(&there, b"mine")).is_err());
            assert!(with(Right::Bind, || std::fs::read(&there)).is_err());
        });
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_port_below_1024_is_listened_at_and_nothing_else_is() {
        as_nobody(|| {
            let bind = || (700..1024).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
            let open = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
            if open.is_ok_and(|first| first.trim() == "1024") {
                assert!(bind().is_none());
            }
            assert!(with(Right::Bind, bind).is_some());
        });
    }

    #[test]
    fn threads_that_serve_have_nothing_in_reserve() {
        let path = of_root("privilege-gone");
        let there = path.clone();
        as_nobody(move || {
            let serving = std::thread::spawn(move || {
                let_go();
                assert!(read(&there).is_err());
                assert!(capabilities(None).unwrap().permitted.is_empty());
            });
            serving.join().unwrap();
            assert!(!capabilities(None).unwrap().permitted.is_empty());
        });
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_program_has_what_is_in_reserve_only_if_it_is_lent() {
        let effective = || {
            let mut grep = Command::new("grep");
            let told = grep.args(["CapEff", "/proc/self/status"]).output();
            let told = String::from_utf8(told.expect("grep is there").stdout).unwrap();
            u64::from_str_radix(told.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        as_nobody(move || {
            assert_eq!(effective(), 0);
            assert_ne!(lend(effective), 0);
            assert_eq!(effective(), 0, "it is over");
            assert_eq!(in_effect(), CapabilitySet::empty());
        });
    }
}
