//! Small files that are replaced as a whole, with a checksum.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::{decode, encode, invalid};

/// Replaces the file at `path` by `value`: a reader finds the old or the new, never a mixture. With `durable` it is
/// on the disk when this returns.
pub fn write<T: Serialize>(path: &Path, value: &T, durable: bool) -> io::Result<()> {
    let body = encode(value)?;
    let mut bytes = crc32fast::hash(&body).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
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

/// Reads what [`write`] wrote; `None` when there is no such file. A wrong checksum is an error of the kind
/// [`io::ErrorKind::InvalidData`].
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
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
