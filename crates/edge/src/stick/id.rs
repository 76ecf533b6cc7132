//! What servers are called in cookies, and where a request says such a name.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tandem_http::Request;
use tandem_model::Secret;

use crate::balance::hash;

/// Bytes of a signature.
const SIGNATURE: usize = 16;

/// A server's name as clients may see it: the name itself, or a hash of it when it shows an address.
pub(crate) fn plain(name: &str) -> String {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_/".contains(&b);
    // A machine's address in letters and dashes is one too, but nobody names a server so by accident.
    if name.bytes().all(good) {
        name.to_owned()
    } else {
        format!("{:016x}", hash::of(name.as_bytes()))
    }
}

/// `id` with the proof that it is this cluster's, for this service.
pub(super) fn sign(id: &str, service: &str, secret: &Secret) -> String {
    let mut out = format!("{id}.");
    let mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes());
    // HMAC takes keys of any length.
    let Ok(mut mac) = mac else { return out };
    for part in ["tandem stick", service, id] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    for byte in &mac.finalize().into_bytes()[..SIGNATURE] {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The values of all cookies of a name: a browser sends several when they were set for different paths.
pub(super) fn cookies<'a>(request: &Request<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    request
        .fields()
        .filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|(_, value)| value.split(|&b| b == b';'))
        .filter_map(move |pair| {
            pair.trim_ascii()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
        .map(|value| match value {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        })
}

/// The value of a path parameter; `parameter` is `;name=` in small letters, compared without case.
pub(super) fn parameter<'a>(target: &'a [u8], parameter: &[u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    let path = &target[..end];
    let mut starts = memchr::memchr_iter(b';', path);
    let value = starts.find_map(|at| {
        let (begins, value) = path[at..].split_at_checked(parameter.len())?;
        begins.eq_ignore_ascii_case(parameter).then_some(value)
    })?;
    let end = memchr::memchr2(b';', b'/', value).unwrap_or(value.len());
    Some(&value[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_shows_an_address_is_not_shown() {
        assert_eq!(plain("app1"), "app1");
        assert_eq!(plain("app1/0"), "app1/0");
        for name in ["10.0.0.1:80", "db/10.0.0.1", "[::1]:80", "a.example:80"] {
            let id = plain(name);
            assert!(
                id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{id}"
            );
        }
    }

    #[test]
    fn a_signature_is_of_the_id_the_service_and_the_key() {
        let sign = |id, service, key| sign(id, service, &Secret::new(key));
        let one = sign("app1", "shop", "key");
        assert_eq!(one, sign("app1", "shop", "key"));
        assert!(one.starts_with("app1.") && one.len() == 5 + 32, "{one}");
        for other in [
            sign("app2", "shop", "key"),
            sign("app1", "shop2", "key"),
            sign("app1", "shop", "other"),
        ] {
            assert_ne!(
                one.split_once('.').map(|(_, s)| s),
                other.split_once('.').map(|(_, s)| s)
            );
        }
    }

    #[test]
    fn a_path_parameter_is_found_where_containers_write_it() {
        for (target, expected) in [
            ("/a;jsessionid=X.r1", Some("X.r1")),
            ("/a;JSESSIONID=X.r1?b=1", Some("X.r1")),
            ("/a;v=1;jsessionid=X.r1;w=2/b", Some("X.r1")),
            ("/a;jsessionid=X.r1/b", Some("X.r1")),
            ("/a?;jsessionid=X.r1", None),
            ("/a;jsessionid2=X", None),
            ("/jsessionid=X", None),
            (";jsessionid=", Some("")),
        ] {
            let found = parameter(target.as_bytes(), b";jsessionid=");
            assert_eq!(found, expected.map(str::as_bytes), "{target}");
        }
    }
}
