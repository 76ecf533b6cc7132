//! Health checks.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How the servers of a service are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not at all: a server is up until requests to it fail.
    Off,
    /// A connection can be opened. Towards a gateway of an application the gateway is asked, so that it is down when
    /// its application is.
    Tcp(Timing),
    /// A TLS handshake succeeds.
    Tls(Timing),
    /// A request is answered as expected.
    Http(HttpCheck, Timing),
    /// A server says what is expected of it, turn by turn.
    Talk(Vec<Turn>, Timing),
}

/// A turn of a talk with a server: something is sent, and something has to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What is sent; what came before is forgotten then.
    pub send: Option<Sent>,
    /// What has to be in what comes.
    pub expect: Option<Expected>,
}

/// Bytes, written as text, or as `hex:` and two digits for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent(pub Vec<u8>);

/// What is looked for in what a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// These bytes, anywhere.
    Bytes(Sent),
    /// `~` and a regular expression, unanchored.
    Regex(String),
}

impl Sent {
    const HEX: &str = "hex:";

    /// Reads text, or `hex:` and digits.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(digits) = text.strip_prefix(Self::HEX) else {
            return match text {
                "" => Err("this is not empty"),
                text => Ok(Self(text.into())),
            };
        };
        let digit = |at: usize| char::from(digits.as_bytes()[at]).to_digit(16);
        let byte = |at: usize| Some((digit(at)? << 4 | digit(at + 1)?) as u8);
        let bytes: Option<Vec<u8>> = match digits.len() {
            0 => None,
            n if n % 2 == 1 => None,
            n => (0..n).step_by(2).map(byte).collect(),
        };
        bytes
            .map(Self)
            .ok_or("two hexadecimal digits for each byte follow hex:")
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with(Self::HEX) && !text.starts_with('~') => f.write_str(text),
            _ => {
                f.write_str(Self::HEX)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl Expected {
    /// Reads text, `hex:` and digits, or `~` and a regular expression. Whether that is one is the front end's to check.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.strip_prefix('~') {
            Some("") => Err("a regular expression follows the ~"),
            Some(regex) => Ok(Self::Regex(regex.into())),
            None => Sent::parse(text).map(Self::Bytes),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Regex(regex) => write!(f, "~{regex}"),
        }
    }
}

/// When to check, and where, and how many answers change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two checks of a server whose state is settled.
    pub every: Duration,
    /// Between two checks while the state is changing.
    pub fast: Duration,
    /// Good answers in a row until a server is up.
    pub rise: u32,
    /// Bad answers in a row until it is down.
    pub fall: u32,
    /// How long one check may take.
    pub timeout: Duration,
    /// Requests in a row that fail, or are answered 500, 502, 503 or 504, until a server is down; 0 does not count them.
    pub errors: u32,
    /// Another port than the one that requests go to.
    pub port: Option<u16>,
}

impl Default for Timing {
    fn default() -> Self {
        let every = Duration::from_secs(2);
        Self {
            every,
            fast: Duration::from_millis(200),
            rise: 2,
            fall: 3,
            timeout: every,
            errors: 0,
            port: None,
        }
    }
}

/// The request of an HTTP check, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Its target.
    pub path: String,
    /// Its Host field; `None` is the server's address.
    pub host: Option<String>,
    /// `GET` unless said otherwise.
    pub method: String,
    /// The expected statuses; none given is any of 200 to 399.
    pub status: Vec<RangeInclusive<u16>>,
    /// What has to be in the body.
    pub contains: Option<Expected>,
    /// What must not be in it.
    pub lacks: Option<Expected>,
    /// It is asked over TLS, also where requests are not sent so. The certificate is not looked at then.
    pub tls: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self::Tcp(Timing::default())
    }
}

impl Check {
    /// Its timing; `None` when nothing is checked.
    pub fn timing(&self) -> Option<Timing> {
        match self {
            Self::Off => None,
            Self::Tcp(timing)
            | Self::Tls(timing)
            | Self::Http(_, timing)
            | Self::Talk(_, timing) => Some(*timing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_reads_as_it_is_shown() {
        for text in ["+PONG", "a\r\n", "hex:ff00", "~^2[0-9]{2}", "ä"] {
            assert_eq!(Expected::parse(text).unwrap().to_string(), text);
        }
        let bytes = |text| Sent::parse(text).unwrap();
        assert_eq!(bytes("hex:50494e47").to_string(), "PING");
        // What would be read as something else is shown by its bytes.
        assert_eq!(Sent(b"~x".into()).to_string(), "hex:7e78");
        for text in ["", "hex:", "hex:5", "hex:5g", "hex:+1", "~"] {
            assert!(Expected::parse(text).is_err(), "{text}");
        }
    }
}
