//! Small files that are replaced as a whole, with a checksum.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::{decode, encode, invalid};

/// Bytes of the largest: what says that it has more is none of ours.
const MOST: u64 = 1024 * 1024;
/// A link is not followed, and a pipe not waited for.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Replaces the file at `path` by `value`: a reader finds the old or the new, never a mixture. With `durable` it is
/// on the disk when this returns.
pub fn write<T: Serialize>(path: &Path, value: &T, durable: bool) -> io::Result<()> {
    let body = encode(value)?;
    let mut bytes = crc32fast::hash(&body).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = options
        .custom_flags(SAFE.bits().cast_signed())
        .open(&temporary)?;
    file.write_all(&bytes)?;
    if durable {
        #[cfg(test)]
        crate::sim::disk::waits();
        file.sync_all()?;
    }
    #[cfg(test)]
    crate::sim::disk::replaces(path);
    fs::rename(&temporary, path)?;
    if durable && let Some(directory) = path.parent() {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Reads what [`write`] wrote; `None` when there is no such file. A wrong checksum, and whatever is no file, is an error of
/// the kind [`io::ErrorKind::InvalidData`].
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(SAFE.bits().cast_signed());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A link, or a socket.
        Err(error)
            if [Errno::LOOP, Errno::NXIO]
                .map(|no| Some(no.raw_os_error()))
                .contains(&error.raw_os_error()) =>
        {
            return Err(invalid(&format!("{} is no file", path.display())));
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(invalid(&format!("{} is no file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(invalid(&format!("{} is too large", path.display())));
    }
    let checked = bytes
        .split_first_chunk::<4>()
        .filter(|(sum, body)| crc32fast::hash(body).to_be_bytes() == **sum);
    let Some((_, body)) = checked else {
        return Err(invalid(&format!("{} is corrupted", path.display())));
    };
    decode(body).map(Some)
}

/// Makes names that were created or replaced in `directory` last.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(test)]
    crate::sim::disk::waits();
    File::open(directory)?.sync_all()?;
    #[cfg(test)]
    crate::sim::disk::named(directory);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_said_to_be_damaged_at_once_and_replaced() {
        let directory = std::env::temp_dir().join(format!("tandem-files-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("value");
        write(&directory.join("other"), &7_u64, false).unwrap();
        let pipe = |path: &Path| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )
            .unwrap();
        };
        let link = |to: &str| std::os::unix::fs::symlink(to, &path).unwrap();
        let is_damaged = || {
            let error = read::<u64>(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        };
        assert_eq!(read::<u64>(&path).unwrap(), None);
        let made: [&dyn Fn(); 5] = [
            &|| pipe(&path),
            // To one that has what it should, and one without an end.
            &|| link("other"),
            &|| link("/dev/zero"),
            &|| drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
            &|| File::create(&path).unwrap().set_len(1 << 24).unwrap(),
        ];
        for make in made {
            make();
            is_damaged();
            write(&path, &8_u64, false).unwrap();
            assert_eq!(read(&path).unwrap(), Some(8_u64));
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        is_damaged();
        // Nor does writing wait, or follow.
        write(&path, &8_u64, false).unwrap_err();
        fs::remove_dir(&path).unwrap();
        let temporary = path.with_extension("new");
        fs::remove_file(&temporary).unwrap();
        pipe(&temporary);
        write(&path, &8_u64, false).unwrap_err();
        fs::remove_dir_all(&directory).unwrap();
    }
}
