//! What an operator may do to a running thing, without knowing which role holds it.

use std::fmt;

/// Something that can be drained, weighted or killed: a server of a service, an application instance, a listener.
///
/// Roles register theirs in the [`crate::Registry`]: servers under `service/server`, listeners under `listener/name`.
pub trait Control: Send + Sync {
    /// No new requests; those in flight finish, and clients that are bound to it still come.
    fn drain(&self) -> Result<(), ControlError>;
    /// Out of service, until [`ready`](Self::ready): a server gets no requests at all and is not checked; a listener
    /// shows its maintenance page.
    fn maintenance(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }
    /// Back to work.
    fn ready(&self) -> Result<(), ControlError>;
    /// Its share of new requests, 0 to 256.
    fn weight(&self, weight: u16) -> Result<(), ControlError>;
    /// Its connections that go on without requests (TCP mode, tunnels) are cut off.
    fn cut(&self) -> Result<(), ControlError> {
        Err(ControlError::Unsupported)
    }
    /// SIGKILL to the program behind it.
    fn kill(&self) -> Result<(), ControlError>;
}

/// Why a control could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// This thing has no such control.
    Unsupported,
    /// It is not running.
    NotRunning,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "this cannot be done to it",
            Self::NotRunning => "it is not running",
        })
    }
}

impl std::error::Error for ControlError {}
