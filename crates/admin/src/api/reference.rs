//! The reference page of the API, from its table.

use std::fmt::Write as _;

use super::ENDPOINTS;

/// `docs/reference/admin-api.md`
pub fn reference() -> String {
    let mut out = String::from(
        "# The admin API\n\n\
         <!-- Made from the table of endpoints (crates/admin/src/api): change it there. -->\n\n\
         Version 1, JSON over HTTP, at `[cluster] admin` (127.0.0.1:8404) and at the socket `admin.sock` in the node's\n\
         state directory, which only its user and root can open. GET reads, POST changes; parameters are in the query.\n\
         An error has a status of 400 and above and a body `{\"error\": \"why\"}`; a change `{\"done\": \"what\"}`. Within\n\
         version 1 fields are added, never renamed or taken away.\n\n\
         A change that meets an upgrade is answered with 503 and `{\"error\", \"again\": true}` while the new process takes\n\
         over, and by the old one afterwards: nothing was done, and the same call made again reaches the process that\n\
         serves. Commands do that by themselves.\n\n\
         Every endpoint takes `nodes=all` or `nodes=edge,app1`: the node passes the call on over the cluster port and\n\
         answers with an object that has for each node `{\"status\", \"body\"}`.\n\n\
         At any address but a loopback one or a Unix socket the API needs `[cluster] admin-token`, and every request\n\
         `Authorization: Bearer TOKEN`. Without a token, requests whose Host is a name other than `localhost` and changes\n\
         that another site's page sent are refused, so that no web page can reach it through a browser.\n\n\
         | call | parameters | what it does |\n|---|---|---|\n",
    );
    for endpoint in ENDPOINTS.iter().copied().flatten() {
        let method = if endpoint.changes { "POST" } else { "GET" };
        let _ = writeln!(
            out,
            "| `{method} {}` | {} | {} |",
            endpoint.path,
            endpoint.parameters.replace('|', "\\|"),
            endpoint.what
        );
    }
    out.push_str("| `GET /metrics` | | [Metrics](metrics.md) in Prometheus' text form. |\n");
    out.push_str(
        "\nExamples:\n\n    curl -s localhost:8404/api/v1/services\n    \
         curl -s -X POST 'localhost:8404/api/v1/servers/shop/app1?state=drain&nodes=all'\n    \
         curl -s 'localhost:8404/api/v1/events?after=120&wait=30'\n",
    );
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_made_from_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/admin-api.md"
        );
        let text = super::reference();
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "write it anew: TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-admin the_reference"
        );
    }
}
