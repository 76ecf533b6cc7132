//! Exit codes of init scripts, from the Linux Standard Base, Core 5.0, section 22.2.

use crate::exit::Failure;

/// `status`: it is dead and its pid file is still there.
pub const DEAD: u8 = 1;
/// `status`: it does not run.
pub const STOPPED: u8 = 3;
/// `status`: it cannot be known.
pub const UNKNOWN: u8 = 4;

/// Other verbs: the user may not do that.
const FORBIDDEN: u8 = 4;
/// Other verbs: it is not configured, or wrongly.
const NOT_CONFIGURED: u8 = 6;
/// Other verbs: it does not run.
const NOT_RUNNING: u8 = 7;

/// The file is missing or wrong.
pub fn not_configured(mut failure: Failure) -> Failure {
    failure.code = NOT_CONFIGURED;
    failure
}

/// What was to be acted on does not run.
pub fn not_running(what: impl Into<String>) -> Failure {
    let mut failure = Failure::failed(what);
    failure.code = NOT_RUNNING;
    failure
}

/// It needs another user.
pub fn forbidden(what: impl Into<String>) -> Failure {
    let mut failure = Failure::failed(what);
    failure.code = FORBIDDEN;
    failure
}
