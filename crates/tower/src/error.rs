//! Why something was not stored or could not be read.

use std::fmt;
use std::io;

use tower_sessions::session_store;

/// What went wrong, for those who decide by it (whether to try again, say).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The agent did not answer: nothing is known of a change that was asked for.
    Unreachable,
    /// Nothing was changed; it may be asked again.
    NotStored,
    /// It may or may not have been changed.
    OutcomeUnknown,
    /// The session tier's memory is full.
    OutOfMemory,
    /// The session is larger than an item may be.
    TooLarge,
    /// The session is there, or may be, and cannot be read now.
    Unreadable,
    /// Others changed the session each time it was to be saved.
    Conflicts,
    /// The session was ended, or got another id, while this request used it. Nothing that the request changed is stored,
    /// and no new session was made of it. Answer with an error and leave the cookie as it is: the browser may have got a
    /// better one by then.
    Over,
    /// Any other answer that was not expected.
    Other,
}

/// All kinds, and the word by which each is known in a text.
const WORDS: [(ErrorKind, &str); 9] = [
    (ErrorKind::Unreachable, "unreachable"),
    (ErrorKind::NotStored, "not stored"),
    (ErrorKind::OutcomeUnknown, "outcome unknown"),
    (ErrorKind::OutOfMemory, "out of memory"),
    (ErrorKind::TooLarge, "too large"),
    (ErrorKind::Unreadable, "unreadable"),
    (ErrorKind::Conflicts, "conflicts"),
    (ErrorKind::Over, "session over"),
    (ErrorKind::Other, "refused"),
];

/// An error of the store: its kind, and what the session tier said.
///
/// tower-sessions' own error has a text only; [`StoreError::of`] makes it one of these again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    kind: ErrorKind,
    text: String,
}

impl StoreError {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error behind one that tower-sessions hands on; `None` when it is not of this store.
    pub fn of(error: &session_store::Error) -> Option<Self> {
        let session_store::Error::Backend(text) = error else {
            return None;
        };
        WORDS.iter().find_map(|(kind, word)| {
            let text = text.strip_prefix(word)?.strip_prefix(": ")?;
            Some(Self::new(*kind, text))
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS
            .iter()
            .find_map(|(kind, word)| (*kind == self.kind).then_some(*word))
            .unwrap_or("refused");
        write!(f, "{word}: {}", self.text)
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for session_store::Error {
    fn from(error: StoreError) -> Self {
        Self::Backend(error.to_string())
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        let kind = if error.kind() != io::ErrorKind::Other {
            ErrorKind::Unreachable
        } else if text.contains("outcome unknown") {
            ErrorKind::OutcomeUnknown
        } else if text.contains("too large") {
            ErrorKind::TooLarge
        } else if text.contains("out of memory") {
            ErrorKind::OutOfMemory
        } else if text.contains("cannot be read") {
            ErrorKind::Unreadable
        } else if text.contains("not stored") {
            ErrorKind::NotStored
        } else {
            ErrorKind::Other
        };
        Self::new(kind, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_survives_tower_sessions_text() {
        for (kind, _) in WORDS {
            let error = StoreError::new(kind, "why: and where");
            let handed_on = session_store::Error::from(error.clone());
            assert_eq!(StoreError::of(&handed_on), Some(error));
        }
        let other = session_store::Error::Backend("another store's".into());
        assert_eq!(StoreError::of(&other), None);
        assert_eq!(
            StoreError::of(&session_store::Error::Decode("unreadable: x".into())),
            None
        );
    }

    #[test]
    fn what_the_tier_says_is_understood() {
        for (said, kind) in [
            ("SERVER_ERROR not stored (no leader)", ErrorKind::NotStored),
            (
                "SERVER_ERROR outcome unknown (no answer)",
                ErrorKind::OutcomeUnknown,
            ),
            (
                "SERVER_ERROR out of memory storing object",
                ErrorKind::OutOfMemory,
            ),
            (
                "SERVER_ERROR object too large for cache",
                ErrorKind::TooLarge,
            ),
            (
                "SERVER_ERROR cannot be read now (no leader)",
                ErrorKind::Unreadable,
            ),
            ("ERROR", ErrorKind::Other),
        ] {
            let error = StoreError::from(io::Error::other(said));
            assert_eq!(error.kind(), kind, "{said}");
        }
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(StoreError::from(refused).kind(), ErrorKind::Unreachable);
    }
}
