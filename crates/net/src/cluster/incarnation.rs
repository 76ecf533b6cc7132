//! Which start of a node a process is of.

use std::io;

/// Drawn when a node is started, and kept by the processes that take its place while it runs: two processes under one name with
/// different ones were started apart, the one after the other or one of them from a copy of the other's machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Of nobody that can be told apart: a command that asks in a node's name, or a node of an older version.
    pub const NONE: Self = Self(0);

    /// One that no other start has.
    pub fn draw() -> io::Result<Self> {
        let drawn = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(drawn.max(1)))
    }

    /// The one of the process whose place is taken.
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// As it is said.
    pub fn number(self) -> u64 {
        self.0
    }
}
