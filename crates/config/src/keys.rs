//! The language: one table of keys for each kind of table in a cluster file.

pub(crate) mod access_log;
pub(crate) mod app;
pub(crate) mod auth;
pub(crate) mod authorize;
pub(crate) mod backend;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod compress;
pub(crate) mod conditions;
pub(crate) mod errors;
pub(crate) mod fastcgi;
pub(crate) mod file;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod maintenance;
pub(crate) mod node;
pub(crate) mod policies;
pub(crate) mod rehearse;
pub(crate) mod retry;
pub(crate) mod route;
pub(crate) mod sessions;
pub(crate) mod site;
pub(crate) mod spread;
pub(crate) mod stick;
pub(crate) mod timeouts;
pub(crate) mod tls;

use crate::table::Described;

/// All tables, in the order of the reference.
pub(crate) static TABLES: &[&dyn Described] = &[
    &file::KEYS,
    &cluster::KEYS,
    &node::KEYS,
    &listener::KEYS,
    &conditions::KEYS,
    &route::KEYS,
    &route::REDIRECT,
    &route::RESPOND,
    &policies::KEYS,
    &policies::HEADERS,
    &policies::CHANGES,
    &policies::BY_STATUS,
    &auth::USERS,
    &authorize::BY,
    &auth::LIMIT,
    &compress::KEYS,
    &errors::PAGE,
    &access_log::KEYS,
    &maintenance::KEYS,
    &site::KEYS,
    &site::ACCESS,
    &app::KEYS,
    &backend::KEYS,
    &backend::SERVER,
    &fastcgi::KEYS,
    &fastcgi::UWSGI_KEYS,
    &fastcgi::SCGI_KEYS,
    &spread::KEYS,
    &retry::KEYS,
    &retry::QUEUE_KEYS,
    &stick::KEYS,
    &check::KEYS,
    &check::TURN,
    &timeouts::LISTENER,
    &timeouts::APP,
    &timeouts::BACKEND,
    &limits::KEYS,
    &limits::ROUTE,
    &timeouts::ROUTE,
    &tls::KEYS,
    &tls::BACKEND,
    &rehearse::KEYS,
    &sessions::KEYS,
    &sessions::GUARD,
];

#[cfg(test)]
mod tests;
