//! Passwords against their hashes.

use std::fmt;

use md5::{Digest, Md5};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use tandem_model::auth::check_hash;

/// The longest password that is looked at, in bytes: SHA-crypt takes time by its length.
pub(super) const LONGEST: usize = 256;

/// The hash of a password.
#[derive(Clone)]
pub(super) struct Hash(Box<str>);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(***)")
    }
}

impl Hash {
    /// Takes the text of a hash.
    ///
    /// # Errors
    /// In words, when it is none.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        check_hash(text).map(|()| Self(text.into()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is the hash of this password. Takes from microseconds to seconds; compares in constant time.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        match self.0.as_bytes() {
            [b'$', b'2', ..] => bcrypt::verify(password, &self.0).unwrap_or(false),
            [b'$', b'a', ..] => apr1(&self.0, password),
            _ => ShaCrypt::default()
                .verify_password(password, &*self.0)
                .is_ok(),
        }
    }
}

/// Apache's variant of the MD5 crypt of FreeBSD: `$apr1$SALT$HASH`.
fn apr1(hash: &str, password: &[u8]) -> bool {
    let mut parts = hash.split('$').skip(2);
    let (Some(salt), Some(wanted)) = (parts.next(), parts.next()) else {
        return false;
    };
    let found = apr1_hash(salt.as_bytes(), password);
    same_in_constant_time(&found, wanted.as_bytes())
}

fn apr1_hash(salt: &[u8], password: &[u8]) -> [u8; 22] {
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut outer = Md5::new()
        .chain_update(password)
        .chain_update(b"$apr1$")
        .chain_update(salt);
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut bits = password.len();
    while bits != 0 {
        // A NUL, or the first byte of the password: so it was written, and so it has stayed.
        outer.update(if bits & 1 == 1 {
            &[0][..]
        } else {
            &password[..1]
        });
        bits >>= 1;
    }
    let mut last = outer.finalize();
    for round in 0..1_000 {
        let mut next = Md5::new();
        next.update(if round & 1 == 1 { password } else { &last });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if round & 1 == 1 { &last } else { password });
        last = next.finalize();
    }
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut out = [0; 22];
    let mut to = 0;
    let mut write = |mut bits: u32, digits: usize| {
        const ALPHABET: &[u8; 64] =
            b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for _ in 0..digits {
            out[to] = ALPHABET[(bits & 63) as usize];
            bits >>= 6;
            to += 1;
        }
    };
    for [a, b, c] in ORDER {
        let three = u32::from(last[a]) << 16 | u32::from(last[b]) << 8 | u32::from(last[c]);
        write(three, 4);
    }
    write(u32::from(last[11]), 2);
    out
}

fn same_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_hash_knows_its_password() {
        // Made by `openssl passwd` and crypt(3).
        for hash in [
            "$2b$04$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW",
            "$2y$04$p.0xQ9/Zu7WmLuBg0arYGeWQrIW/8bG/bR265YZrKN5s6l0xeGjwW",
            "$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0",
            "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
            "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/",
        ] {
            let hash = Hash::new(hash).unwrap();
            assert!(hash.is_of(b"correct horse"), "{}", hash.text());
            for wrong in ["", "correct hors", "correct horse ", &"x".repeat(300)] {
                assert!(!hash.is_of(wrong.as_bytes()), "{} {wrong}", hash.text());
            }
            assert_eq!(format!("{hash:?}"), "Hash(***)");
        }
        assert!(Hash::new("secret").is_err());
    }
}
