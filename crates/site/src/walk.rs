//! Resolving a name below a directory step by step, with nothing but `openat` and `O_NOFOLLOW`.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one name.
const MOST_LINKS: usize = 40;
/// Each directory on the way is held open until the end, so the way has a longest length.
const DEEPEST: usize = 64;

/// Opens `name` below `root`, whose path is `path`, with `flags`. A link may lead anywhere below the root, also by an
/// absolute target; one that leads out of it is [`Errno::XDEV`].
///
/// `..` is never given to the kernel: it drops the last directory of those we hold, so a directory that is moved
/// meanwhile cannot carry us out.
pub(crate) fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    name: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let mut way: Vec<OwnedFd> = Vec::new();
    // Steps still to be made, the next one last.
    let mut steps: Vec<Vec<u8>> = Vec::new();
    push(&mut steps, name);
    let mut links = 0;
    while let Some(step) = steps.pop() {
        if step.is_empty() || step == b"." {
            continue;
        }
        if step == b".." {
            way.pop().ok_or(Errno::XDEV)?;
            continue;
        }
        let here = way.last().map_or(root, |fd| fd.as_fd());
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat(here, &step[..], look, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    let rest = below(&target, root, path).ok_or(Errno::XDEV)?;
                    way.clear();
                    push(&mut steps, &rest);
                } else {
                    push(&mut steps, &target);
                }
            }
            FileType::Directory => {
                if way.len() == DEEPEST {
                    return Err(Errno::NAMETOOLONG);
                }
                way.push(next);
            }
            _ if steps.is_empty() => {
                return rustix::fs::openat(
                    here,
                    &step[..],
                    flags | OFlags::NOFOLLOW,
                    Mode::empty(),
                );
            }
            _ => return Err(Errno::NOTDIR),
        }
    }
    let here = way.last().map_or(root, |fd| fd.as_fd());
    rustix::fs::openat(here, ".", flags, Mode::empty())
}

/// Adds the steps of `name`. A slash at its end asks for a directory: the step after it is `.`.
fn push(steps: &mut Vec<Vec<u8>>, name: &[u8]) {
    let parts = name.split(|&b| b == b'/').rev();
    steps.extend(parts.map(|part| {
        if part.is_empty() {
            b".".to_vec()
        } else {
            part.to_vec()
        }
    }));
}

/// What is left of an absolute target below the root, as its path is written or as it really is.
fn below(target: &[u8], root: BorrowedFd<'_>, path: &Path) -> Option<Vec<u8>> {
    let real = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd())).ok();
    let target = Path::new(std::ffi::OsStr::from_bytes(target));
    let rest = target
        .strip_prefix(path)
        .or_else(|error| {
            real.as_deref()
                .map_or(Err(error), |real| target.strip_prefix(real))
        })
        .ok()?;
    Some(PathBuf::from(rest).into_os_string().into_vec())
}
