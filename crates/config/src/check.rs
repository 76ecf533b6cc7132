//! What no single key can know: names, ports, routes and placement across the whole file.

mod admin;
mod apart;
mod fastcgi;
mod modes;
mod names;
mod placement;
mod ports;
mod routes;
mod unused;
mod users;

use tandem_model::Cluster;

use crate::keys::file::Draft;
use crate::reader::Reader;

/// Looks for contradictions. `cluster` is what `draft` means.
pub(crate) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    admin::check(draft, cluster, reader);
    names::check(draft, cluster, reader);
    placement::check(draft, cluster, reader);
    fastcgi::check(draft, reader);
    ports::check(draft, cluster, reader);
    routes::check(draft, reader);
    modes::check(draft, cluster, reader);
    unused::check(draft, cluster, reader);
    users::check(draft, cluster, reader);
}

pub(crate) use placement::notes;
