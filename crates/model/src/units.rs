//! Small values with units.

use std::fmt;
use std::str::FromStr;

/// A count of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// From mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for Size {
    type Err = &'static str;

    /// `128 MiB`, `64KiB`, `10 MB`, `512 B`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split_unit(s);
        let number: u64 = number
            .parse()
            .map_err(|_| "a size is a whole number and a unit, like \"128 MiB\"")?;
        let factor: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "" => return Err("a size needs a unit: B, KiB, MiB, GiB, kB, MB or GB"),
            _ => return Err("the units of a size are B, KiB, MiB, GiB, kB, MB and GB"),
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or("this size is too large")
    }
}

/// Splits `"128 MiB"` into number and unit.
pub fn split_unit(s: &str) -> (&str, &str) {
    let s = s.trim();
    let end = s
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(s.len());
    (&s[..end], s[end..].trim_start())
}

/// Where a socket listens or connects to, as written: a host (name or address) and a port, or a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// TCP. An empty host is every address of the machine.
    Tcp {
        /// Host name, IPv4 or IPv6 address without brackets; empty is all.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket by its path.
    Unix(String),
}

impl Address {
    /// A TCP address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    /// The TCP port, if any.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl FromStr for Address {
    type Err = &'static str;

    /// `host:port`, `[v6]:port`, `:port`, `unix:/path`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Some(path) = s.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("a Unix socket needs a path: \"unix:/run/app.sock\"");
            }
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = s
            .rsplit_once(':')
            .ok_or("an address is \"host:port\", \":port\" or \"unix:/path\"")?;
        let port = port
            .parse()
            .map_err(|_| "the port is a number from 0 to 65535")?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or("an IPv6 address is written \"[::1]:80\"")?,
            None if host.contains(':') => return Err("an IPv6 address is written \"[::1]:80\""),
            None if host == "*" => "",
            None => host,
        };
        Ok(Self::Tcp {
            host: host.into(),
            port,
        })
    }
}

/// A secret: shown as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_are_shown() {
        for text in ["128 MiB", "1 GiB", "3 KiB", "1000 B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("64KiB".parse::<Size>(), Ok(Size(65_536)));
        assert_eq!("1 MB".parse::<Size>(), Ok(Size(1_000_000)));
        assert!("128".parse::<Size>().unwrap_err().contains("unit"));
        assert!("99999999999999 GiB".parse::<Size>().is_err());
    }

    #[test]
    fn addresses_read_as_they_are_shown() {
        for text in ["localhost:80", "[::1]:80", ":8080", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("*:80".parse::<Address>(), Ok(Address::tcp("", 80)));
        for wrong in ["localhost", "::1:80", "a:99999", "unix:", "[::1:80"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }
}
