//! Who may speak: names and passwords, from a file of lines `name:password` (memcached's `-Y`).

use std::fmt;
use std::sync::{PoisonError, RwLock};

/// How a client proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a first `set` whose value is `name password` (text protocol).
    Ascii,
    /// By SASL PLAIN (binary protocol).
    Sasl,
}

/// The names and passwords that are let in. They can be replaced while the server runs.
pub struct Users(RwLock<Vec<User>>);

/// A name and a password.
type User = (Box<[u8]>, Box<[u8]>);

/// A line of the file that is not `name:password`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine(pub usize);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not `name:password`", self.0)
    }
}

impl std::error::Error for BadLine {}

impl Users {
    /// Reads the lines. Empty ones count for nothing.
    pub fn parse(text: &[u8]) -> Result<Self, BadLine> {
        read(text).map(|users| Self(RwLock::new(users)))
    }

    /// Reads them anew; what was read before stays when a line is bad.
    pub fn replace(&self, text: &[u8]) -> Result<(), BadLine> {
        let users = read(text)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = users;
        Ok(())
    }

    /// Whether these are the name and the password of one user. How long it takes tells nothing about a password.
    pub fn admit(&self, name: &[u8], password: &[u8]) -> bool {
        let users = self.0.read().unwrap_or_else(PoisonError::into_inner);
        users.iter().fold(false, |found, (known, secret)| {
            let same = **known == *name && same_in_constant_time(secret, password);
            found | same
        })
    }
}

fn read(text: &[u8]) -> Result<Vec<User>, BadLine> {
    let mut users = Vec::new();
    for (index, line) in text.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = line.iter().position(|&b| b == b':');
        let colon = colon
            .filter(|&at| at > 0 && at + 1 < line.len())
            .ok_or(BadLine(index + 1))?;
        users.push((line[..colon].into(), line[colon + 1..].into()));
    }
    Ok(users)
}

fn same_in_constant_time(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_let_in_by_name_and_password_only() {
        let users = Users::parse(b"a:b\n\nname:pass:word\r\n").unwrap();
        assert!(users.admit(b"a", b"b") && users.admit(b"name", b"pass:word"));
        for (name, password) in [("a", "c"), ("a", ""), ("b", "b"), ("", ""), ("a", "bb")] {
            assert!(!users.admit(name.as_bytes(), password.as_bytes()));
        }
        assert_eq!(users.replace(b"x"), Err(BadLine(1)));
        assert!(users.admit(b"a", b"b"), "a bad file changes nothing");
        users.replace(b"c:d").unwrap();
        assert!(users.admit(b"c", b"d") && !users.admit(b"a", b"b"));
    }
}
