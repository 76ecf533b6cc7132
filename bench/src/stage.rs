//! A directory for one benchmark: files to serve, configurations, a certificate.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Removed when it is dropped.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves it there.
    pub fn keep(self) -> PathBuf {
        let mut dir = std::mem::ManuallyDrop::new(self);
        std::mem::take(&mut dir.0)
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("room for directories");
        }
        std::fs::write(&path, content).expect("room for files");
        path
    }

    /// A certificate for localhost: `cert.pem`, `key.pem`, and both in `both.pem`.
    pub fn certificate(&self) {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-keyout"])
            .arg(self.0.join("key.pem"))
            .arg("-out")
            .arg(self.0.join("cert.pem"))
            .output();
        assert!(made.is_ok_and(|done| done.status.success()), "openssl");
        let read = |name: &str| std::fs::read(self.0.join(name)).expect("openssl wrote it");
        self.write("both.pem", [read("cert.pem"), read("key.pem")].concat());
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that are no text.
pub fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 % 251) as u8).collect()
}
