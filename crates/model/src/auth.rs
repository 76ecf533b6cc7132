//! Who may ask, and how often.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::Secret;

/// What a route says of who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everyone, whatever the groups around it say.
    Off,
    /// These users, by HTTP's basic authentication (RFC 7617).
    Basic(Users),
}

/// Users and their passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    /// What a browser shows when it asks for a password.
    pub realm: String,
    /// Hashes of passwords by name.
    pub users: BTreeMap<String, Secret>,
    /// More of them: lines `name:hash`.
    pub file: Option<PathBuf>,
}

/// What a browser shows unless the file says otherwise.
pub const REALM: &str = "Restricted";

/// The highest cost of bcrypt that is taken: each step takes twice as long, and this one seconds.
const MOST_COST: u8 = 16;
/// The most rounds of SHA-crypt that are taken, which take seconds.
const MOST_ROUNDS: u32 = 5_000_000;

/// Whether `text` is the hash of a password: bcrypt (`$2b$`, `$2y$`, `$2a$`), SHA-crypt (`$5$`, `$6$`) or Apache's MD5
/// (`$apr1$`).
///
/// # Errors
/// In words, when it is none.
pub fn check_hash(text: &str) -> Result<(), &'static str> {
    let all = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/')
    };
    let parts: Vec<&str> = text.split('$').collect();
    match parts[..] {
        ["", "2a" | "2b" | "2y", cost, rest] if cost.len() == 2 && all(rest, 53) => {
            match cost.parse() {
                Ok(4..=MOST_COST) => Ok(()),
                Ok(17..=31) => Err("a hash of this cost takes too long to be checked: 16 at most"),
                _ => Err("this is no bcrypt hash"),
            }
        }
        ["", id @ ("5" | "6"), ref rest @ ..] => {
            let (rounds, salt, hash) = match rest {
                [salt, hash] => (None, salt, hash),
                [rounds, salt, hash] => (Some(rounds), salt, hash),
                _ => return Err("this is no SHA-crypt hash"),
            };
            if let Some(rounds) = rounds {
                let rounds = rounds.strip_prefix("rounds=").map(str::parse);
                match rounds {
                    Some(Ok(1_000..=MOST_ROUNDS)) => {}
                    Some(Ok(rounds)) if rounds > MOST_ROUNDS => {
                        return Err("a hash of so many rounds takes too long to be checked");
                    }
                    _ => return Err("this is no SHA-crypt hash"),
                }
            }
            let length = if id == "5" { 43 } else { 86 };
            if salt.len() <= 16 && all(hash, length) {
                Ok(())
            } else {
                Err("this is no SHA-crypt hash")
            }
        }
        ["", "apr1", salt, hash] if salt.len() <= 8 && all(hash, 22) => Ok(()),
        _ => Err("this is no hash of a password: `htpasswd -nB NAME` makes one (bcrypt)"),
    }
}

/// How often a client may ask: so many requests in a time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in that time.
    pub requests: u32,
    /// The time: a second, a minute or an hour.
    pub per: Duration,
    /// Requests at once, after a time without any.
    pub burst: u32,
    /// What counts.
    pub counts: Counts,
}

/// Which requests of a client count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counts {
    /// All that are not refused.
    #[default]
    Requests,
    /// Those that are answered with a status from 400 to 499: of a client that guesses, or looks for holes.
    Errors,
}

/// The most that is counted of either.
pub const MOST_REQUESTS: u32 = 1_000_000;

impl FromStr for Rate {
    type Err = &'static str;

    /// Reads `10/s`, `100/m`, `1000/h`; so many may come at once.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a rate is a number and a time, like \"10/s\", \"100/m\" or \"1000/h\"";
        let (number, unit) = text.split_once('/').ok_or(wrong)?;
        let per = match unit.trim() {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return Err(wrong),
        };
        match number.trim().parse() {
            Ok(requests @ 1..=MOST_REQUESTS) => Ok(Self {
                requests,
                per,
                burst: requests,
                counts: Counts::Requests,
            }),
            Ok(_) => Err("a rate is from 1 to 1000000"),
            Err(_) => Err(wrong),
        }
    }
}

/// Without the burst.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

impl Rate {
    /// How long it takes until a client that has used its burst up may have all of it again.
    pub fn refill(&self) -> Duration {
        self.per
            .mul_f64(f64::from(self.burst) / f64::from(self.requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_known_by_their_form() {
        for good in [
            "$2b$04$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW",
            "$2y$16$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW",
            "$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0",
            "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
            "$5$rounds=10000$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
            "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/",
        ] {
            assert_eq!(check_hash(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$1$aaaaaaaa$bbbbbbbbbbbbbbbbbbbbbb",
            "$2b$17$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW",
            "$2b$03$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW",
            "$2b$04$short",
            "$5$rounds=900000000$s$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
            "$6$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
        ] {
            assert!(check_hash(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_read_as_they_are_shown() {
        for text in ["10/s", "100/m", "1000000/h"] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), text);
            assert_eq!(rate.refill(), rate.per);
        }
        for text in ["0/s", "10", "10/d", "/s", "1.5/s", "1000001/s", "-1/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
