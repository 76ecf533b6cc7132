//! Clients that prove by a certificate who they are, from outside: curl as the client, over HTTP/1.1 and HTTP/2.

mod common;

use std::path::Path;
use std::process::Command;

use common::loopback::Loopback;
use common::node::Node;
use common::origin::{Origin, fine};
use common::{Dir, Page, certificate, has, parse, wait_until};

/// What a server gets of who came.
const FIELDS: &str = r#"headers = { request = { set = { X-Verify = "{client-cert}", X-Subject = "{client-cert-subject}", X-Client = "{client-cert-cn}", X-Digest = "{client-cert-sha256}", X-Serial = "{client-cert-serial}" } } }"#;

/// The certificates of a listener, of the authority `ca.pem`, and of clients.
fn prepare(dir: &Dir) {
    dir.file("server.pem", &certificate::localhost().0);
    for (name, text) in certificate::clients() {
        dir.file(&format!("{name}.pem"), &text);
    }
}

/// Asks by curl with this certificate; `None` when the connection failed.
fn ask(at: &str, dir: &Path, own: Option<&str>, more: &[&str], path: &str) -> Option<Page> {
    let mut curl = Command::new("curl");
    curl.args(["-sSik", "--max-time", "20", "--noproxy", "*"]);
    if let Some(own) = own {
        curl.arg("--cert").arg(dir.join(format!("{own}.pem")));
    }
    let asked = curl
        .args(more)
        .arg(format!("https://{at}{path}"))
        .output()
        .expect("curl runs");
    let answer = || parse(&asked.stdout).expect("an answer");
    asked.status.success().then(answer)
}

/// The fields that begin with `X-` or `x_` of the last request that a server has got.
fn told(origin: &Origin) -> Vec<String> {
    let heads = origin.heads();
    let lines = heads.last().expect("a request").lines();
    let mine = lines.filter(|line| {
        let name = line.to_ascii_lowercase().replace('_', "-");
        name.starts_with("x-") && !name.starts_with("x-forwarded") && !name.starts_with("x-request")
    });
    let mut mine: Vec<String> = mine.map(str::to_owned).collect();
    mine.sort();
    mine
}

#[test]
fn servers_are_told_who_came_by_fields_that_no_client_can_send() {
    if !has("curl", &["--version"]) || !has("openssl", &["version"]) {
        return;
    }
    let cluster = Loopback::new();
    let address = format!("{}:0", cluster.host(2));
    let origin = Origin::http_at(address.parse().expect("an address"), "app", fine);
    prepare(&cluster.dir);
    // The application is behind the gateway of another node.
    let tables = format!(
        r#"
        [listener.web]
        on = "edge"
        bind = "{}:{}"
        tls = {{ certs = "server.pem", client-ca = "ca.pem", client-cert = "optional" }}
        route = {{ to = "shop", {FIELDS} }}
        [app.shop]
        on = "app1"
        port = {}
        proxy = "{}"
        check = false
        "#,
        cluster.host(1),
        cluster.port,
        cluster.port,
        origin.address,
    );
    let key = "0123456789abcdef0123456789abcdef";
    cluster.write(key, &[("edge", 1), ("app1", 2)], &tables);
    let _app = cluster.start("app1");
    let _edge = cluster.start("edge");
    let at = format!("{}:{}", cluster.host(1), cluster.port);
    let forged: Vec<&str> = [
        "X-Client: eve",
        "x_client: eve",
        "X-VERIFY: SUCCESS",
        "X_Subject: CN=eve",
    ]
    .into_iter()
    .chain(["X-Serial: 1", "x-digest: 00"])
    .flat_map(|field| ["-H", field])
    .collect();
    let ask = |own: Option<&str>, version: &str| {
        let more = [&[version][..], &forged].concat();
        let page = ask(&at, cluster.dir.path(), own, &more, "/").expect("an answer");
        assert_eq!(page.status, 200, "{}", page.text());
        told(&origin)
    };
    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(None, version), ["X-Verify: NONE"]);
        let ann = ask(Some("ann"), version);
        let [client, digest, serial, subject, verify] = &ann[..] else {
            panic!("{ann:?}");
        };
        assert_eq!(client, "X-Client: ann");
        assert_eq!(serial, "X-Serial: 7FAB01");
        assert_eq!(subject, r"X-Subject: CN=ann,O=Example\, Inc.,C=DE");
        assert_eq!(verify, "X-Verify: SUCCESS");
        let digest = digest.strip_prefix("X-Digest: ").unwrap_or_default();
        assert_eq!(digest, sha256(&cluster.dir.path().join("ann.pem")));
        // Of a subject that would be lines of a head nothing is one.
        let odd = ask(Some("odd"), version);
        assert_eq!(odd.len(), 4, "{odd:?}");
        assert!(
            odd[2].contains(r"CN=j\C3\BCrgen\0D\0AX-Admin: 1"),
            "{odd:?}"
        );
    }
}

/// SHA-256 of the certificate in a file, as OpenSSL says it.
fn sha256(path: &Path) -> String {
    let said = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(path)
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&said.stdout);
    let (_, digits) = text.trim().split_once('=').expect("a fingerprint");
    digits.replace(':', "").to_lowercase()
}

#[test]
fn a_certificate_that_was_revoked_is_none() {
    if !has("curl", &["--version"]) {
        return;
    }
    let listener = |verify: &str, list: &str| {
        format!(
            r#"
            [listener.web]
            bind = "127.0.0.1:{{a}}"
            tls = {{ certs = "server.pem", client-ca = "ca.pem", client-cert = "{verify}", client-crl = "{list}" }}
            route = {{ respond = {{ status = 200, template = "{{client-cert-serial}}." }} }}
            "#
        )
    };
    let said = |node: &Node, own| {
        let at = node.address().to_string();
        ask(&at, node.dir.path(), own, &[], "/").map(|page| page.text())
    };
    let node = Node::start_with(&listener("optional", "revoked.pem"), prepare);
    assert_eq!(said(&node, None).as_deref(), Some("."));
    assert_eq!(said(&node, Some("ann")).as_deref(), Some("7FAB01."));
    assert_eq!(said(&node, Some("odd")), None);
    wait_until("it is told", || node.log().contains("has revoked it"));
    // What is no list changes nothing and is told.
    let refused = node.reload(&listener("required", "ca.pem"));
    let why = "ca.pem: there is no list of revoked";
    assert!(refused.contains(why), "{refused}");
    assert_eq!(said(&node, Some("ann")).as_deref(), Some("7FAB01."));

    // A list that has ended does not say who was revoked since: nobody's certificate is taken on its word.
    let node = Node::start_with(&listener("required", "e*ded.pem"), prepare);
    let told = "ended.pem, a list of revoked certificates, has ended";
    assert!(node.log().contains(told), "{}", node.log());
    assert_eq!(said(&node, Some("ann")), None);
    wait_until("it is told", || {
        node.log().contains("(client-crl) has ended")
    });
    node.reload(&listener("required", "revoked.pem"));
    assert_eq!(said(&node, Some("ann")).as_deref(), Some("7FAB01."));
}

#[test]
fn who_asks_for_no_name_of_ours_is_given_none_with_strict_sni() {
    if !has("curl", &["--version"]) {
        return;
    }
    let listener = |tls: &str| {
        format!(
            r#"
            [listener.web]
            bind = "127.0.0.1:{{a}}"
            tls = {{ certs = "server.pem"{tls} }}
            route = {{ respond = {{ status = 200, body = "in" }} }}
            "#
        )
    };
    let node = Node::start_with(&listener(", strict-sni = true"), prepare);
    let dir = node.dir.path().to_owned();
    let port = node.address().port();
    let asks = |name: &str| {
        let to = ["--connect-to", &format!("{name}:{port}:127.0.0.1:{port}")];
        let page = ask(&format!("{name}:{port}"), &dir, None, &to, "/");
        page.map(|page| page.text())
    };
    assert_eq!(asks("localhost").as_deref(), Some("in"));
    for stranger in ["127.0.0.1", "other.example", "a.localhost"] {
        assert_eq!(asks(stranger), None, "{stranger}");
    }
    wait_until("it is told", || {
        node.log().contains("that no certificate has")
    });

    node.reload(&listener(""));
    assert_eq!(asks("127.0.0.1").as_deref(), Some("in"));
    assert_eq!(asks("other.example").as_deref(), Some("in"));
}

#[test]
fn a_place_may_demand_a_certificate_and_the_rest_do_without() {
    if !has("curl", &["--version"]) {
        return;
    }
    let listener = |verify: &str| {
        format!(
            r#"
            [listener.web]
            bind = "127.0.0.1:{{a}}"
            tls = {{ certs = "server.pem", client-ca = "ca.pem", client-cert = "{verify}" }}
            log = {{ file = "access.log" }}
            route = [
              {{ path = "/me", client-cert = "*", redirect = "/users/{{client-cert-cn}}" }},
              {{ path = "/admin/*", not = {{ client-cert = "*" }}, deny = true }},
              {{ path = "/admin/ann/*", not = {{ client-cert = ["ann", "*.ops"] }}, deny = true }},
              {{ respond = {{ status = 200, template = "{{client-cert}} {{client-cert-cn}}" }} }},
            ]
            "#
        )
    };
    let node = Node::start_with(&listener("optional"), prepare);
    let at = node.address().to_string();
    let dir = node.dir.path().to_owned();
    let status = |own: Option<&str>, path: &str| {
        ask(&at, &dir, own, &[], path).map(|page| (page.status, page.text()))
    };
    let said = |status: u16, text: &str| Some((status, text.to_owned()));
    assert_eq!(status(None, "/"), said(200, "NONE "));
    assert_eq!(status(Some("ann"), "/"), said(200, "SUCCESS ann"));
    assert_eq!(status(Some("odd"), "/"), said(200, "SUCCESS "));
    assert_eq!(status(Some("ann"), "/admin/"), said(200, "SUCCESS ann"));
    assert_eq!(status(Some("odd"), "/admin/"), said(200, "SUCCESS "));
    assert_eq!(status(Some("ann"), "/admin/ann/"), said(200, "SUCCESS ann"));
    let denied = |own, path| status(own, path).map(|(status, _)| status);
    assert_eq!(denied(None, "/admin/"), Some(403));
    assert_eq!(denied(None, "/x/../admin/"), Some(403));
    assert_eq!(denied(Some("odd"), "/admin/ann/"), Some(403));
    let me = ask(&at, &dir, Some("ann"), &[], "/me").expect("an answer");
    assert_eq!(me.field("Location"), Some("/users/ann"));
    // One that does not verify does not get past the handshake, and that is told.
    assert_eq!(status(Some("forged"), "/"), None);
    wait_until("it is told", || node.log().contains("did not sign it"));
    // What is in a certificate is no line of a log.
    assert!(!node.log().contains("X-Admin"), "{}", node.log());

    node.reload(&listener("required"));
    assert_eq!(status(None, "/"), None);
    assert_eq!(status(Some("ann"), "/"), said(200, "SUCCESS ann"));
}

#[test]
fn a_check_of_this_machine_reads_certificates_and_keys() {
    let dir = Dir::new();
    let both = common::certificate::localhost().0;
    let (chain, key) = both.split_at(both.find("-----BEGIN PRIVATE").expect("a key"));
    dir.file("live/shop/fullchain.pem", chain);
    let file = dir.file(
        "cluster.toml",
        "[listener.web]\nbind = \"127.0.0.1:0\"\nroute = { respond = 200 }\n\
         tls = { certs = \"live/*/fullchain.pem\", keys = \"live/*/privkey.pem\" }\n",
    );
    let check = || common::output(&["check", &file, "--here"]);
    let said = check();
    assert!(!said.status.success(), "{said:?}");
    let text = common::stdout(&said);
    assert!(
        text.contains("here: listener web: ") && text.contains("no file has such a name"),
        "{text}"
    );
    dir.file("live/shop/privkey.pem", key);
    let said = check();
    assert!(said.status.success(), "{said:?}");
}
