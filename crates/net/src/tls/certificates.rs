//! Certificates from PEM files, and which of them answers for a name.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, words};
use crate::privilege::{self, Right};

/// Certificates by name.
pub(super) struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or for one that is not here (RFC 6066 section 3 leaves that open): the first,
    /// or none.
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else {
            return self.default.as_ref();
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // A wildcard stands for one label (RFC 9525 section 6.3).
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact
            .get(&name)
            .or_else(wildcard)
            .or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.exact.keys().chain(self.wildcard.keys());
        f.debug_set().entries(names).finish()
    }
}

/// A PEM file as it was read.
pub(super) struct File {
    pub path: PathBuf,
    pub text: Vec<u8>,
}

impl File {
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            path: path.to_owned(),
            text: privilege::read(path).map_err(|e| TlsError::at(path, e))?,
        })
    }
}

/// Reads all that `places` name; the file name of a place may have a `*`.
pub(super) fn read(places: &[PathBuf]) -> Result<Vec<File>, TlsError> {
    let mut files = Vec::new();
    for place in places {
        for path in expand(place)? {
            files.push(File::read(&path)?);
        }
    }
    Ok(files)
}

/// Where two certificates have the same name the first of them answers; with `strict` none does for a name that is not
/// here. Files without a key have theirs in one of `keys`.
pub(super) fn parse(
    files: &[File],
    keys: &[File],
    strict: bool,
    provider: &CryptoProvider,
) -> Result<Certificates, TlsError> {
    let (mut exact, mut wildcard, mut default) = (HashMap::new(), HashMap::new(), None);
    let keys = Keys::new(keys, provider);
    for file in files {
        let key = Arc::new(certified(file, &keys)?);
        for name in names(&file.path, &key)? {
            match name.strip_prefix("*.") {
                Some(rest) => wildcard.entry(rest.to_owned()),
                None => exact.entry(name),
            }
            .or_insert_with(|| key.clone());
        }
        default.get_or_insert(key);
    }
    let default = default.ok_or_else(|| TlsError("there is no certificate".into()))?;
    Ok(Certificates {
        exact,
        wildcard,
        default: (!strict).then_some(default),
    })
}

/// Private keys in files of their own.
pub(super) struct Keys<'a> {
    /// Each is looked through once, and not before a certificate is without its key.
    files: Vec<(&'a File, OnceCell<Found>)>,
    provider: &'a CryptoProvider,
}

/// What is in a file with keys: those that can be used, and what keeps the rest from being looked at.
type Found = (Vec<Arc<dyn SigningKey>>, Option<String>);

impl<'a> Keys<'a> {
    pub fn new(files: &'a [File], provider: &'a CryptoProvider) -> Self {
        let files = files.iter().map(|file| (file, OnceCell::new()));
        Self {
            files: files.collect(),
            provider,
        }
    }

    /// The chain of `file` with the key that belongs to it.
    fn complete(
        &self,
        file: &File,
        chain: &[CertificateDer<'static>],
    ) -> Result<CertifiedKey, TlsError> {
        for (place, found) in &self.files {
            let (keys, fault) = found.get_or_init(|| self.look_through(place));
            for key in keys {
                let pair = CertifiedKey::new(chain.to_vec(), key.clone());
                if is_of_one(&pair) {
                    return Ok(pair);
                }
            }
            if let Some(fault) = fault {
                return Err(TlsError::at(&place.path, fault));
            }
        }
        let what = match &self.files[..] {
            [] => {
                "there is no private key in it: a file holds the chain and the key, or another one that is named has the key".into()
            }
            [(only, _)] => format!("{} does not have its private key", only.path.display()),
            _ => "none of the files with keys has its private key".into(),
        };
        Err(TlsError::at(&file.path, what))
    }

    fn look_through(&self, file: &File) -> Found {
        let mut keys = Vec::new();
        if let Some(why) = enciphered(file) {
            return (keys, Some(why.into()));
        }
        let mut is_empty = true;
        for key in PrivateKeyDer::pem_slice_iter(&file.text) {
            is_empty = false;
            match key {
                Ok(key) => keys.extend(self.provider.key_provider.load_private_key(key)),
                Err(error) => return (keys, Some(words::of_pem(&error))),
            }
        }
        let fault = is_empty.then(|| "there is no private key in it".into());
        (keys, fault)
    }
}

/// Whether a key is that of its certificate, or cannot be told, as of a key of which the public part is not known.
fn is_of_one(pair: &CertifiedKey) -> bool {
    use rustls::{Error, InconsistentKeys};
    let matched = pair.keys_match();
    matches!(
        matched,
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown))
    )
}

/// The chain of a file, the holder's own certificate first, with the key that is in it, in any order, or else with the one of
/// `keys` that belongs to it.
pub(super) fn certified(file: &File, keys: &Keys<'_>) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.text).collect();
    let chain = chain.map_err(|e| TlsError::at(&file.path, words::of_pem(&e)))?;
    if chain.is_empty() {
        return Err(TlsError::at(&file.path, "there is no certificate in it"));
    }
    if let Some(why) = enciphered(file) {
        return Err(TlsError::at(&file.path, why));
    }
    let Ok(key) = PrivateKeyDer::from_pem_slice(&file.text) else {
        return keys.complete(file, &chain);
    };
    CertifiedKey::from_der(chain, key, keys.provider).map_err(|e| {
        TlsError::at(
            &file.path,
            format_args!("the certificate cannot be used: {}", words::of_tls(&e)),
        )
    })
}

/// What is said of a key that a pass phrase opens, in both of its forms (RFC 7468 section 11, RFC 1421 section 4.6.1.1).
fn enciphered(file: &File) -> Option<&'static str> {
    let marks = [
        &b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ];
    let is_marked = |mark: &&[u8]| memchr::memmem::find(&file.text, mark).is_some();
    marks.iter().any(is_marked).then_some(
        "the private key is enciphered, and there is nobody to ask for its pass phrase: `openssl pkey -in FILE -out KEY` writes it \
         in clear, for a file that root alone may read",
    )
}

fn names(path: &Path, key: &CertifiedKey) -> Result<Vec<String>, TlsError> {
    let own = key
        .cert
        .first()
        .ok_or_else(|| TlsError::at(path, "there is no certificate in it"))?;
    let parsed = webpki::EndEntityCert::try_from(own)
        .map_err(|e| TlsError::at(path, format_args!("the certificate cannot be read: {e:?}")))?;
    Ok(parsed
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}

/// The files of a place, in the order of their names.
fn expand(place: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let mut found = vec![PathBuf::new()];
    let mut is_pattern = false;
    for part in place.components() {
        let name = part.as_os_str().to_string_lossy();
        if !name.contains('*') {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        is_pattern = true;
        let mut below = Vec::new();
        for dir in &found {
            match inside(dir, &name) {
                // As with a shell, what is no directory has nothing in it.
                Err(e) if found.len() > 1 && e.kind() == ErrorKind::NotADirectory => {}
                inside => below.extend(inside.map_err(|e| TlsError::at(dir, e))?),
            }
        }
        found = below;
    }
    // Of directories that a `*` stands for, those count that have the file.
    let is_there = |path: &Path| privilege::with(Right::Read, || path.exists());
    if is_pattern {
        found.retain(|path| is_there(path));
    }
    if found.is_empty() {
        return Err(TlsError::at(place, "no file has such a name"));
    }
    found.sort();
    Ok(found)
}

/// What of a directory has a name like `pattern`.
fn inside(dir: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let here = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let mut found = Vec::new();
    for entry in privilege::with(Right::Read, || std::fs::read_dir(here))? {
        let name = entry?.file_name();
        if matches(pattern, &name.to_string_lossy()) {
            found.push(dir.join(name));
        }
    }
    Ok(found)
}

/// Whether a file's name is one that `pattern` means; as in a shell, `*` does not begin with a dot.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    if start.is_empty() && name.starts_with('.') {
        return false;
    }
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inside = name
        .strip_prefix(start)
        .and_then(|name| name.strip_suffix(end));
    let Some(mut left) = inside else {
        return false;
    };
    middle.split('*').all(|part| match left.find(part) {
        Some(at) => {
            left = &left[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_directories_too() {
        let root = std::env::temp_dir().join(format!("tandem-star-{}", std::process::id()));
        for file in ["b/key.pem", "a/key.pem", "c/other.pem", ".d/key.pem"] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(root.join("README"), "").unwrap();
        let found = |place: &str| expand(&root.join(place)).map_err(|e| e.to_string());
        let of = |names: &[&str]| Ok(names.iter().map(|name| root.join(name)).collect());
        assert_eq!(found("*/key.pem"), of(&["a/key.pem", "b/key.pem"]));
        assert_eq!(found("*/k*.pem"), of(&["a/key.pem", "b/key.pem"]));
        assert_eq!(found("c/key.pem"), of(&["c/key.pem"]), "it is named");
        assert!(
            found("*/none")
                .unwrap_err()
                .contains("no file has such a name")
        );
        assert!(found("none/*").unwrap_err().contains("none"));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_star_in_a_file_name_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*.pem", "a.pem", true),
            ("*.pem", ".pem", false),
            ("*.pem", "a.key", false),
            ("a*", "a", true),
            ("a*b*c", "axbyc", true),
            ("a*b*c", "axc", false),
            ("ab*ba", "aba", false),
            ("a.pem", "a.pem", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
