//! Who may use the pages and the API.

use tandem_http::Request;

/// What a caller must prove.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Nothing: the socket's permissions have decided.
    Owner,
    /// That no other site's page sent it here through a browser; the address, a loopback one, has decided the rest.
    #[default]
    Local,
    /// That it knows the token.
    Token(Box<str>),
}

/// Why a caller was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 401 or 403.
    pub status: u16,
    /// Why, and what to do.
    pub why: &'static str,
}

impl Access {
    /// Whether a request may be answered.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Refused> {
        match self {
            Self::Owner => Ok(()),
            Self::Local => local(request),
            Self::Token(token) => {
                let given = request.field("authorization").and_then(bearer);
                if given.is_some_and(|given| same(given, token.as_bytes())) {
                    return Ok(());
                }
                Err(Refused {
                    status: 401,
                    why: "this needs `Authorization: Bearer` and the token of [cluster] admin-token",
                })
            }
        }
    }
}

/// A page of another site can make a browser send requests here; it cannot choose their Host (a name of its own that
/// it points to 127.0.0.1 excepted) nor hide that it sent them.
fn local(request: &Request<'_>) -> Result<(), Refused> {
    let host = request.host();
    let bare = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"));
    let text = std::str::from_utf8(bare.unwrap_or(host)).unwrap_or_default();
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if !is_address && !text.eq_ignore_ascii_case("localhost") {
        return Err(Refused {
            status: 403,
            why: "ask by address or as localhost: a name could be another site's",
        });
    }
    let foreign = Err(Refused {
        status: 403,
        why: "sent by a page of another site",
    });
    match request.field("sec-fetch-site") {
        None | Some(b"same-origin" | b"none") => {}
        Some(_) if request.is_read() => {}
        Some(_) => return foreign,
    }
    match request.field("origin") {
        Some(origin) if !request.is_read() => {
            let own = request.field("host").unwrap_or_default();
            let is_own = origin
                .strip_prefix(b"http://")
                .is_some_and(|origin| origin.eq_ignore_ascii_case(own));
            if is_own { Ok(()) } else { foreign }
        }
        _ => Ok(()),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// Compares in a time that tells nothing of where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && differ == 0
}
