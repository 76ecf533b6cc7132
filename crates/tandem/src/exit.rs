//! How a command fails: one sentence for the user, one exit code for scripts.

use std::fmt;

/// The request itself is wrong: an option, the file, an address that cannot be had. Trying again changes nothing.
pub const USAGE: u8 = 2;
/// It was tried and did not work.
pub const FAILED: u8 = 1;

/// Why a command ends, and with which code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    message: String,
}

/// What commands return.
pub type Result<T = std::process::ExitCode> = std::result::Result<T, Failure>;

impl Failure {
    /// The request is wrong. Exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: message.into(),
        }
    }

    /// It did not work. Exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(format!("{error}; `tandem --help` shows what there is"))
    }
}
