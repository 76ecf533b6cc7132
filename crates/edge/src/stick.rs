//! Stickiness: which server a client had, and how it is told to come back to it.
//!
//! What a client shows (a cookie, a path parameter) is compared with what each server of the pool is called, which is
//! worked out when the servers change and not for each request. A client's word is never more than the choice of one of
//! the pool's servers.

mod id;
mod table;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tandem_http::{CookieEdits, CookiePrefix, Request};
use tandem_model::{Gone, Secret, Stick, StickBy, StickCookie};
use tokio::time::Instant;

use crate::balance;
use crate::server::Server;
pub(crate) use id::plain;
pub(crate) use table::Table;

/// What a pool or a route says of stickiness, ready for use.
#[derive(Debug)]
pub(crate) struct Sticker {
    service: Arc<str>,
    by: By,
    gone: Gone,
    /// What signs the ids.
    secret: Option<Secret>,
    known: ArcSwapOption<Known>,
}

#[derive(Debug)]
enum By {
    Cookie(StickCookie, Arc<str>),
    Prefix(Arc<str>),
    JvmRoute {
        name: Arc<str>,
        parameter: Box<[u8]>,
    },
    Source(Duration, Arc<Table>),
}

/// What the servers of one view are called.
#[derive(Debug)]
struct Known {
    servers: Arc<[Arc<Server>]>,
    ids: Box<[Arc<str>]>,
}

/// What a request says of the server that its client had.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// That server, if it is one of the pool's; whether it can be used is not said.
    pub(crate) server: Option<Arc<Server>>,
    /// It shows our cookie, right or wrong.
    shown: bool,
    /// The hash of its address, where that matters.
    source: Option<u64>,
    secure: bool,
}

impl Sticker {
    /// `gateway`: of the pool behind a gateway, whose cookie has a name of its own: the listener before it has one too.
    pub(crate) fn new(
        stick: &Stick,
        service: &Arc<str>,
        gateway: bool,
        secret: Option<&Secret>,
        table: impl FnOnce() -> Arc<Table>,
    ) -> Self {
        let (by, signed) = match &stick.by {
            StickBy::Cookie(cookie) => {
                let suffix = if gateway { "-instance" } else { "" };
                let name = format!("{}{suffix}", cookie.name);
                (By::Cookie(cookie.clone(), name.into()), cookie.signed)
            }
            StickBy::Prefix { name } => (By::Prefix(name.as_str().into()), false),
            StickBy::JvmRoute { name } => {
                let parameter = format!(";{}=", name.to_lowercase()).into_bytes().into();
                let name = name.as_str().into();
                (By::JvmRoute { name, parameter }, false)
            }
            StickBy::Source { expires } => (By::Source(*expires, table()), false),
        };
        Self {
            service: service.clone(),
            by,
            gone: stick.gone,
            secret: secret.filter(|_| signed).cloned(),
            known: ArcSwapOption::empty(),
        }
    }

    /// Whether a client whose server cannot be used is answered 503.
    pub(crate) fn is_strict(&self) -> bool {
        self.gone == Gone::Fail
    }

    /// The server that the client of a request had.
    pub(crate) fn find(&self, request: &Request<'_>, servers: &Arc<[Arc<Server>]>) -> Found {
        let mut found = Found {
            secure: request.secure,
            ..Found::default()
        };
        if servers.len() < 2 {
            // There is nothing to choose, but what was set when there were more is still not the application's.
            found.shown = matches!(&self.by, By::Cookie(_, name) if request.cookie(name).is_some());
            return found;
        }
        match &self.by {
            By::Cookie(_, name) => {
                for value in id::cookies(request, name) {
                    found.shown = true;
                    found.server = found.server.or_else(|| self.named(value, servers));
                }
            }
            By::Prefix(name) => {
                found.server = id::cookies(request, name)
                    .filter_map(|value| Some(&value[..memchr::memchr(b'~', value)?]))
                    .find_map(|id| self.named(id, servers));
            }
            By::JvmRoute { name, parameter } => {
                let cookies = id::cookies(request, name);
                let parameter = id::parameter(request.target(), parameter);
                found.server = cookies
                    .chain(parameter)
                    .filter_map(|value| Some(&value[memchr::memrchr(b'.', value)? + 1..]))
                    .find_map(|id| self.named(id, servers));
            }
            By::Source(..) => return self.find_source(balance::source(request), servers),
        }
        found
    }

    /// The server that the client with this hash of its address had.
    pub(crate) fn find_source(&self, hash: u64, servers: &[Arc<Server>]) -> Found {
        let By::Source(expires, table) = &self.by else {
            return Found::default();
        };
        let token = table.find(hash, *expires, Instant::now());
        let server = token.and_then(|token| servers.iter().find(|server| server.token == token));
        Found {
            server: server.cloned(),
            source: Some(hash),
            ..Found::default()
        }
    }

    /// What has to be done so that the client comes back to `server`, and what `server` is not to see.
    pub(crate) fn keep(
        &self,
        found: &Found,
        server: &Arc<Server>,
        servers: &Arc<[Arc<Server>]>,
    ) -> Option<Box<CookieEdits>> {
        let several = servers.len() > 1;
        let mut edits = CookieEdits::default();
        match &self.by {
            By::Cookie(cookie, name) => {
                let same = found
                    .server
                    .as_ref()
                    .is_some_and(|s| Arc::ptr_eq(s, server));
                edits.hide = found.shown.then(|| name.clone());
                if several && !same {
                    let id = self.id_of(server, servers)?;
                    edits.set = Some(line(cookie, name, &id, found.secure));
                }
            }
            By::Prefix(name) => {
                edits.prefix = Some(CookiePrefix {
                    name: name.clone(),
                    value: self.id_of(server, servers)?,
                });
            }
            By::JvmRoute { .. } => {}
            By::Source(_, table) => {
                if let Some(hash) = found.source.filter(|_| several) {
                    table.note(hash, server.token, Instant::now());
                }
            }
        }
        (edits != CookieEdits::default()).then(|| Box::new(edits))
    }

    /// The server that is called so.
    fn named(&self, id: &[u8], servers: &Arc<[Arc<Server>]>) -> Option<Arc<Server>> {
        let known = self.known(servers);
        let is = |known: &Arc<str>| known.as_bytes() == id;
        // A node's name stands before those of its instances.
        let is_node = |known: &Arc<str>| {
            id.strip_prefix(known.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        let mut ids = known.ids.iter();
        let at = ids.position(is).or_else(|| {
            known
                .ids
                .iter()
                .position(is_node)
                .filter(|_| self.secret.is_none())
        })?;
        servers.get(at).cloned()
    }

    fn id_of(&self, server: &Arc<Server>, servers: &Arc<[Arc<Server>]>) -> Option<Arc<str>> {
        let at = servers.iter().position(|s| Arc::ptr_eq(s, server))?;
        self.known(servers).ids.get(at).cloned()
    }

    /// What these servers are called; worked out anew when they are not those of the last time.
    fn known(&self, servers: &Arc<[Arc<Server>]>) -> Arc<Known> {
        if let Some(known) = &*self.known.load()
            && Arc::ptr_eq(&known.servers, servers)
        {
            return known.clone();
        }
        let id = |server: &Arc<Server>| -> Arc<str> {
            let raw = matches!(self.by, By::JvmRoute { .. });
            let plain = match (server.stick_id(), raw) {
                (Some(id), _) => id.to_string(),
                (None, true) => server.key.name.to_string(),
                (None, false) => plain(&server.key.name),
            };
            match &self.secret {
                Some(secret) => id::sign(&plain, &self.service, secret).into(),
                None => plain.into(),
            }
        };
        let known = Arc::new(Known {
            servers: servers.clone(),
            ids: servers.iter().map(id).collect(),
        });
        self.known.store(Some(known.clone()));
        known
    }
}

/// The Set-Cookie field's line (RFC 6265 section 4.1).
fn line(cookie: &StickCookie, name: &str, id: &str, secure: bool) -> Bytes {
    let mut line = format!("Set-Cookie: {name}={id}; Path={}", cookie.path);
    if let Some(domain) = &cookie.domain {
        let _ = write!(line, "; Domain={domain}");
    }
    if let Some(age) = cookie.max_age {
        let _ = write!(line, "; Max-Age={}", age.as_secs().max(1));
    }
    if cookie.secure.unwrap_or(secure) {
        line.push_str("; Secure");
    }
    if cookie.http_only {
        line.push_str("; HttpOnly");
    }
    if let Some(same) = cookie.same_site {
        let _ = write!(line, "; SameSite={}", same.name());
    }
    line.push_str("\r\n");
    line.into()
}

#[cfg(test)]
mod tests;
