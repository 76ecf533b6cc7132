//! Who can reach the admin pages.

use tandem_model::{Address, Admin, Cluster};

use crate::keys::file::Draft;
use crate::reader::Reader;

/// At an address that others can reach, the pages need a token.
pub(crate) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    let Admin::At(Address::Tcp { host, .. }) = &cluster.admin else {
        return;
    };
    let here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if here || cluster.admin_token.is_some() {
        return;
    }
    let place = draft.cluster.as_ref().map(|section| section.place("admin"));
    reader.wrong_hint(
        &place.unwrap_or(0..0),
        format!(
            "the admin pages at {} can be reached by others and need a token",
            cluster_admin(host)
        ),
        Some("admin-token = \"${TANDEM_ADMIN_TOKEN}\", or admin = \"127.0.0.1:8404\"".into()),
    );
}

fn cluster_admin(host: &str) -> &str {
    if host.is_empty() {
        "every address"
    } else {
        host
    }
}
