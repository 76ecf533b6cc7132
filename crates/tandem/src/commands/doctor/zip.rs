//! Files inside of a zip archive (APPNOTE.TXT of PKWARE): a jar is one.

use std::fs::File;
use std::io::{self, Error, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::DeflateDecoder;

/// An archive's end is looked for in so many of its last bytes: its record, and the longest comment.
const END: u64 = 22 + 65_535;
/// The largest directory that is read, in bytes: a jar of 100,000 classes has one of 10 MiB.
const MAX_DIRECTORY: u64 = 64 << 20;
/// The largest file that is unpacked, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A file inside, or `None` when there is none of that name.
pub fn read(archive: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(archive)?;
    let Some(entry) = find(&directory(&mut file)?, name.as_bytes()) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(u64::from(entry.offset)))?;
    let mut head = [0; 30];
    file.read_exact(&mut head)?;
    // The lengths here may differ from those of the directory (4.3.7 and 4.3.12).
    let skip = u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
    file.seek_relative(i64::try_from(skip).map_err(|_| damaged())?)?;
    let packed = file.take(u64::from(entry.packed));
    let mut bytes = Vec::new();
    match entry.method {
        0 => packed.take(MAX_FILE).read_to_end(&mut bytes)?,
        8 => DeflateDecoder::new(packed)
            .take(MAX_FILE)
            .read_to_end(&mut bytes)?,
        _ => return Err(damaged()),
    };
    Ok(Some(bytes))
}

struct Entry {
    method: u16,
    packed: u32,
    offset: u32,
}

/// The central directory (4.3.12).
fn directory(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min(END);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut end = Vec::new();
    file.by_ref().take(tail).read_to_end(&mut end)?;
    let at = end
        .windows(4)
        .rposition(|four| four == b"PK\x05\x06")
        .filter(|at| at + 22 <= end.len())
        .ok_or_else(damaged)?;
    let size = u64::from(u32_at(&end[at..], 12));
    let start = u64::from(u32_at(&end[at..], 16));
    if size > MAX_DIRECTORY || start + size > length {
        return Err(damaged());
    }
    file.seek(SeekFrom::Start(start))?;
    let mut directory = Vec::new();
    file.by_ref().take(size).read_to_end(&mut directory)?;
    Ok(directory)
}

fn find(mut directory: &[u8], name: &[u8]) -> Option<Entry> {
    while directory.len() >= 46 && directory.starts_with(b"PK\x01\x02") {
        let [name_length, extra, comment] =
            [28, 30, 32].map(|at| usize::from(u16_at(directory, at)));
        if directory.get(46..46 + name_length)? == name {
            return Some(Entry {
                method: u16_at(directory, 10),
                packed: u32_at(directory, 20),
                offset: u32_at(directory, 42),
            });
        }
        directory = directory.get(46 + name_length + extra + comment..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn damaged() -> Error {
    Error::other("it is no zip archive, or a damaged one")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// An archive with two files, the second one compressed.
    fn archive() -> Vec<u8> {
        let mut deflated =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflated.write_all(&b"compressed ".repeat(100)).unwrap();
        let files = [
            ("a.txt", 0u16, b"stored".to_vec()),
            ("b/c.txt", 8, deflated.finish().unwrap()),
        ];
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, method, packed) in files {
            let offset = out.len() as u32;
            let mut local = [0u8; 30];
            local[26..28].copy_from_slice(&(name.len() as u16).to_le_bytes());
            local[28..30].copy_from_slice(&3u16.to_le_bytes());
            out.extend_from_slice(&local);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"xyz");
            out.extend_from_slice(&packed);
            let mut central = [0u8; 46];
            central[..4].copy_from_slice(b"PK\x01\x02");
            central[10..12].copy_from_slice(&method.to_le_bytes());
            central[20..24].copy_from_slice(&(packed.len() as u32).to_le_bytes());
            central[28..30].copy_from_slice(&(name.len() as u16).to_le_bytes());
            central[42..46].copy_from_slice(&offset.to_le_bytes());
            directory.extend_from_slice(&central);
            directory.extend_from_slice(name.as_bytes());
        }
        let start = out.len() as u32;
        out.extend_from_slice(&directory);
        let mut end = [0u8; 22];
        end[..4].copy_from_slice(b"PK\x05\x06");
        end[12..16].copy_from_slice(&(directory.len() as u32).to_le_bytes());
        end[16..20].copy_from_slice(&start.to_le_bytes());
        out.extend_from_slice(&end);
        out
    }

    fn of(bytes: &[u8], name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = std::env::temp_dir().join(format!(
            "tandem-zip-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, bytes)?;
        let found = read(&path, name);
        std::fs::remove_file(&path)?;
        found
    }

    #[test]
    fn files_are_found_stored_and_compressed() {
        let archive = archive();
        assert_eq!(of(&archive, "a.txt").unwrap().unwrap(), b"stored");
        assert_eq!(of(&archive, "b/c.txt").unwrap().unwrap().len(), 1100);
        assert_eq!(of(&archive, "none").unwrap(), None);
    }

    #[test]
    fn what_is_damaged_is_an_error_and_no_panic() {
        let archive = archive();
        assert!(of(b"", "a.txt").is_err());
        assert!(of(&archive[..archive.len() - 5], "a.txt").is_err());
        for at in 0..archive.len() {
            let mut bytes = archive.clone();
            bytes[at] ^= 0xff;
            let _ = of(&bytes, "b/c.txt");
        }
    }
}
