//! What becomes of `stream`.

use super::super::super::Verdict;
use super::super::tests::{are_noted, are_refused, direct, said};

/// A file with this in its `stream`.
fn stream(text: &str) -> String {
    format!("}} stream {{ {text}")
}

/// The same with two upstreams and one server.
fn server(outside: &str, inside: &str) -> String {
    stream(&format!(
        "upstream up1 {{ server 127.0.0.1:91; }} upstream up2 {{ server 127.0.0.1:92; }} {outside} \
         server {{ listen 127.0.0.1:81; {inside} }}"
    ))
}

/// The cluster file, which is taken.
fn taken(text: &str) -> String {
    let made = direct(text);
    assert_eq!(said(&made, Verdict::Refused), [""; 0], "{text}");
    assert!(made.loaded.is_some(), "{text}: {}", made.text);
    made.text
}

/// What the first listener says under a key.
fn value(text: &str, key: &str) -> String {
    let written = taken(text);
    let mut lines = written.lines();
    let first = lines.find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix("= "));
    let first = first
        .unwrap_or_else(|| panic!("{key} in {written}"))
        .to_owned();
    if first != "[" {
        return first;
    }
    let list = lines.map_while(|line| line.strip_prefix("  "));
    let list = list.map(|line| line.split("  # ").next().unwrap_or_default().trim_end());
    list.collect::<Vec<_>>().join(" ")
}

fn routes(outside: &str, inside: &str) -> String {
    value(&server(outside, inside), "route")
}

const PREREAD: &str = "ssl_preread on; proxy_pass $name;";

#[test]
fn names_are_asked_in_the_order_in_which_nginx_chooses() {
    let map = "map $ssl_preread_server_name $name { hostnames; ~^x\\d up2; d.* up2; *.b.example up1; *.a.b.example up2; \
               .c.example up1; A.example up2; d.b.example up1; default 127.0.0.1:93; }";
    assert_eq!(
        routes(map, PREREAD),
        "{ sni = \"c.example\", to = \"up1\" }, { sni = \"a.example\", to = \"up2\" }, \
         { sni = \"d.b.example\", to = \"up1\" }, { sni = \"*.a.b.example\", to = \"up2\" }, \
         { sni = [\"*.b.example\", \"*.c.example\"], to = \"up1\" }, { sni = [\"d.*\", \"~^x\\\\d\"], to = \"up2\" }, \
         { to = \"127-0-0-1-93\" },"
    );
}

#[test]
fn without_hostnames_a_mask_is_a_text_and_without_a_default_the_connection_is_closed() {
    let map = "map $ssl_preread_server_name $name { *.b.example up1; '' up2; }";
    assert_eq!(
        routes(map, PREREAD),
        "{ sni = \"~^\\\\*\\\\.b\\\\.example$\", to = \"up1\" }, { not = { sni = \"*\" }, to = \"up2\" }, { deny = true },"
    );
}

#[test]
fn without_preread_the_name_is_empty() {
    let map = "map $ssl_preread_server_name $name { hostnames; a up1; *.a up1; ~. up1; '' up2; default up1; }";
    assert_eq!(value(&server(map, "proxy_pass $name;"), "to"), "\"up2\"");
    let map = "map $ssl_preread_protocol $name { '' up1; default up2; }";
    assert_eq!(value(&server(map, "proxy_pass $name;"), "to"), "\"up1\"");
    are_noted(&[(
        &server("", "ssl_preread on; proxy_pass up1;"),
        "nothing asks for the name",
    )]);
}

#[test]
fn values_are_filled_in_and_addresses_and_networks_become_sources() {
    let map = "map $ssl_preread_server_name $name { a.example 1; default 2; }";
    assert_eq!(
        routes(map, "ssl_preread on; proxy_pass up${name};"),
        "{ sni = \"a.example\", to = \"up1\" }, { to = \"up2\" },"
    );
    let geo = "geo $name { 10.0.0.0/8 up1; 10.1.0.0/16 up2; default up1; }";
    assert_eq!(
        routes(geo, "proxy_pass $name;"),
        "{ source = \"10.1.0.0/16\", to = \"up2\" }, { to = \"up1\" },"
    );
    let map = "map $remote_addr $name { 127.0.0.1 up1; }";
    assert_eq!(
        routes(map, "proxy_pass $name;"),
        "{ source = \"127.0.0.1\", to = \"up1\" }, { deny = true },"
    );
    let two = "geo $inside { 10.0.0.0/8 1; default 0; } map $inside $name { 1 up1; default up2; }";
    assert_eq!(
        routes(two, "proxy_pass $name;"),
        "{ source = \"10.0.0.0/8\", to = \"up1\" }, { to = \"up2\" },"
    );
    let map = "map $server_port $name { 81 up1; default up2; }";
    assert_eq!(value(&server(map, "proxy_pass $name;"), "to"), "\"up1\"");
}

#[test]
fn what_is_worked_out_for_each_connection_is_refused() {
    let map = |entries: &str| format!("map $ssl_preread_server_name $name {{ {entries} }}");
    let each = "worked out for each connection";
    are_refused(&[
        (
            &server(
                "",
                "ssl_preread on; proxy_pass $ssl_preread_server_name:443;",
            ),
            each,
        ),
        (
            &server(&map("default $ssl_preread_server_name:443;"), PREREAD),
            each,
        ),
        (&server(&map("~(a) $1;"), PREREAD), "elsewhere than in $uri"),
        (
            &server(&map("a up3;"), PREREAD),
            "no port in upstream \"up3\"",
        ),
        (&server("", "proxy_pass 127.0.0.1;"), "no port in upstream"),
        (&server("", "proxy_pass up1:82;"), "may not have port 82"),
        (&server(&map("~(?=a) up1;"), PREREAD), "look"),
        (
            &server(
                "map $ssl_preread_protocol $name { default up1; '' up2; }",
                PREREAD,
            ),
            "not its version",
        ),
        (
            &server("map $ssl_preread_alpn_protocols $name { h2 up1; }", PREREAD),
            "not the protocols in it",
        ),
        (
            &server("map $server_addr $name { 127.0.0.1 up1; }", PREREAD),
            "not \"$server_addr\"",
        ),
        (
            &server(&map("hostnames; a*b up1;"), PREREAD),
            "invalid hostname or wildcard \"a*b\"",
        ),
        (
            &server(&map("hostnames; .a up1; *.a up2;"), PREREAD),
            "conflicting parameter \"*.a\"",
        ),
        (
            &server(&map("a up1; A up2;"), PREREAD),
            "conflicting parameter \"a\"",
        ),
        (
            &stream(
                "map $ssl_preread_server_name $name { a 127.0.0.1:82; } server { listen 81 ssl; \
                 ssl_certificate /c.pem; ssl_certificate_key /c.pem; ssl_preread on; proxy_pass $name; }",
            ),
            "`listen ... ssl` ends it here",
        ),
    ]);
    are_noted(&[
        (&server(&map("a host.example:443;"), PREREAD), "`resolver`"),
        (&server(&map("~^A up1;"), PREREAD), "whatever its case"),
    ]);
}

#[test]
fn who_may_come_is_asked_before_where_to() {
    let to = "proxy_pass up1;";
    for (rules, wanted) in [
        (
            "allow 10.0.0.0/8; allow 127.0.0.1; deny all;",
            "{ not = { source = [\"10.0.0.0/8\", \"127.0.0.1\"] }, deny = true }, { to = \"up1\" },",
        ),
        (
            "deny 10.0.0.1; deny 10.0.0.2;",
            "{ source = [\"10.0.0.1\", \"10.0.0.2\"], deny = true }, { to = \"up1\" },",
        ),
        (
            "deny 10.0.0.1; allow 10.0.0.0/8; deny all; allow 10.9.0.0/16;",
            "{ source = \"10.0.0.1\", deny = true }, { source = \"10.0.0.0/8\", to = \"up1\" }, { deny = true },",
        ),
        (
            "allow 10.0.0.1; deny 10.0.0.0/8;",
            "{ source = \"10.0.0.1\", to = \"up1\" }, { source = \"10.0.0.0/8\", deny = true }, { to = \"up1\" },",
        ),
        ("deny all;", "{ deny = true },"),
    ] {
        assert_eq!(routes("", &format!("{rules} {to}")), wanted, "{rules}");
    }
    assert_eq!(
        value(
            &server("", &format!("allow all; deny 10.0.0.1; {to}")),
            "to"
        ),
        "\"up1\""
    );
    // Those of the stream hold where a server has none.
    let own = server("deny 10.0.0.1;", "allow all; proxy_pass up1;");
    assert_eq!(value(&own, "to"), "\"up1\"");
    assert!(taken(&server("deny 10.0.0.1;", to)).contains("source = \"10.0.0.1\", deny = true"));
    let map = "map $ssl_preread_server_name $name { a up1; default up2; }";
    let written = routes(map, &format!("allow 10.0.0.0/8; deny 127.0.0.1; {PREREAD}"));
    assert!(
        written.starts_with("{ source = \"10.0.0.0/8\", route = ["),
        "{written}"
    );
}

#[test]
fn tls_ends_at_a_listener_with_the_settings_of_http() {
    let tls = |words: &str, lines: &str| {
        format!(
            "upstream up1 {{ server 127.0.0.1:91; }} server {{ listen 127.0.0.1:81 ssl{words}; {lines} proxy_pass up1; }}"
        )
    };
    let certs = "ssl_certificate /c.pem; ssl_certificate_key /c.pem;";
    let said = |lines: &str, key: &str| value(&stream(&tls("", &format!("{certs} {lines}"))), key);
    assert_eq!(said("", "tls"), "\"/c.pem\"");
    assert_eq!(said("", "timeouts"), "{ head = \"1m\" }");
    assert_eq!(
        said("ssl_handshake_timeout 5s; proxy_timeout 2h;", "timeouts"),
        "{ head = \"5s\", idle = \"2h\" }"
    );
    assert_eq!(
        said(
            "ssl_client_certificate ca.pem; ssl_verify_client optional; ssl_crl crl.pem; ssl_protocols TLSv1.3;",
            "tls"
        ),
        "{ certs = \"/c.pem\", client-ca = \"/etc/nginx/ca.pem\", client-cert = \"optional\", \
         client-crl = \"/etc/nginx/crl.pem\", min = \"1.3\" }"
    );
    are_refused(&[
        (
            &stream(&tls("", "")),
            "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive",
        ),
        (
            &stream(&tls("", &format!("{certs} ssl_verify_client on;"))),
            "no \"ssl_client_certificate\" for \"ssl_verify_client\"",
        ),
        (
            &stream(&tls(
                "",
                "ssl_certificate $ssl_server_name; ssl_certificate_key /c.pem;",
            )),
            "not worked out for each connection",
        ),
        (
            &stream(&tls("", &format!("{certs} ssl_alpn h2;"))),
            "negotiates no protocol",
        ),
    ]);
}

#[test]
fn servers_are_spoken_to_in_tls_as_they_are_told() {
    let tls = |lines: &str| {
        value(
            &server("", &format!("proxy_ssl on; {lines} proxy_pass up1;")),
            "tls",
        )
    };
    assert_eq!(tls(""), "{ verify = false }");
    assert_eq!(
        tls("proxy_ssl_server_name on;"),
        "{ verify = false, name = \"up1\" }"
    );
    assert_eq!(
        tls("proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;"),
        "{ ca = \"/etc/nginx/ca.pem\", name = \"up1\" }"
    );
    assert_eq!(
        tls(
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate /ca.pem; proxy_ssl_name db.example;"
        ),
        "{ ca = \"/ca.pem\", name = \"db.example\" }"
    );
    assert_eq!(
        tls("proxy_ssl_certificate /c.pem; proxy_ssl_certificate_key /c.pem;"),
        "{ verify = false, cert = \"/c.pem\" }"
    );
    are_refused(&[
        (
            &server("", "proxy_ssl on; proxy_ssl_verify on; proxy_pass up1;"),
            "no proxy_ssl_trusted_certificate for proxy_ssl_verify",
        ),
        (
            &server(
                "",
                "proxy_ssl on; proxy_ssl_name $ssl_preread_server_name; proxy_pass up1;",
            ),
            "servers have one name",
        ),
        (
            &server(
                "",
                "proxy_ssl on; proxy_ssl_certificate /c.pem; proxy_pass up1;",
            ),
            "no \"proxy_ssl_certificate_key\"",
        ),
    ]);
}

#[test]
fn who_the_client_is_comes_and_goes_in_proxy_headers() {
    let proxied = |listen: &str, lines: &str| {
        stream(&format!(
            "server {{ listen 127.0.0.1:81{listen}; {lines} proxy_pass 127.0.0.1:82; }}"
        ))
    };
    let text = proxied(
        " proxy_protocol",
        "set_real_ip_from 10.0.0.0/8; proxy_protocol on; proxy_protocol_timeout 3s;",
    );
    for (key, wanted) in [
        ("proxy-protocol", "true"),
        ("trust", "\"10.0.0.0/8\""),
        ("timeouts", "{ head = \"3s\" }"),
        ("send-proxy", "\"v1\""),
    ] {
        assert_eq!(value(&text, key), wanted);
    }
    are_refused(&[(
        &proxied(" proxy_protocol", ""),
        "who may say in a PROXY header",
    )]);
    are_noted(&[
        (
            &proxied("", "set_real_ip_from 10.0.0.0/8;"),
            "none is looked at",
        ),
        (
            &proxied(" proxy_protocol", "set_real_ip_from 10.0.0.0/8;"),
            "these alone may open",
        ),
    ]);
}

#[test]
fn connections_of_one_client_are_limited_by_its_address() {
    let limited = |key: &str, lines: &str| {
        server(
            &format!("limit_conn_zone {key} zone=z:1m; limit_conn_zone {key} zone=y:1m;"),
            &format!("{lines} proxy_pass up1;"),
        )
    };
    for key in ["$binary_remote_addr", "$remote_addr"] {
        let text = limited(key, "limit_conn z 3; limit_conn y 2;");
        assert_eq!(value(&text, "limits"), "{ per-source = 2 }");
    }
    are_noted(&[(
        &limited("$remote_addr", "limit_conn z 3;"),
        "each listener counts for itself",
    )]);
    are_refused(&[
        (
            &limited("$server_port", "limit_conn z 3;"),
            "counted by the client's address",
        ),
        (
            &limited("$remote_addr", "limit_conn x 3;"),
            "zero size shared memory zone",
        ),
        (
            &limited("$remote_addr", "limit_conn z 3; limit_conn_dry_run on;"),
            "a limit holds, or it is left out",
        ),
    ]);
}

#[test]
fn addresses_are_taken_once_and_for_connections() {
    let to = "proxy_pass 127.0.0.1:82;";
    are_refused(&[
        (
            &stream(&format!(
                "server {{ listen 81; {to} }} server {{ listen *:81; {to} }}"
            )),
            "duplicate \"0.0.0.0:81\" address and port pair",
        ),
        (
            &stream(&format!("server {{ listen 81; listen 81; {to} }}")),
            "duplicate \"0.0.0.0:81\"",
        ),
        (
            &stream(&format!(
                "server {{ listen 81; {to} }} server {{ listen [::]:81; {to} }}"
            )),
            "are one here",
        ),
        (
            &stream(&format!("server {{ listen 81 udp; {to} }}")),
            "datagrams are not passed on",
        ),
        (
            &stream(&format!("server {{ listen 81 default_server; {to} }}")),
            "the invalid \"default_server\" parameter",
        ),
        (
            &stream(&format!("server {{ listen 127.0.0.1; {to} }}")),
            "no port in \"127.0.0.1\"",
        ),
        (
            &stream(&format!("server {{ {to} }}")),
            "no \"listen\" is defined",
        ),
        (&stream("server { listen 81; }"), "no handler for server"),
        (
            &stream("server { listen 81; return hello; }"),
            "nothing is said in it",
        ),
    ]);
    let both = stream(&format!(
        "server {{ listen 81; listen [::]:81; listen 127.0.0.2:83; {to} }}"
    ));
    assert_eq!(value(&both, "bind"), "[\":81\", \"127.0.0.2:83\"]");
}

#[test]
fn a_stream_has_no_log_unless_it_says_one() {
    assert_eq!(value(&server("", "proxy_pass up1;"), "log"), "false");
    let log = "access_log /var/log/s.log combined; proxy_pass up1;";
    assert_eq!(value(&server("", log), "log"), "\"/var/log/s.log\"");
    let map = "map $ssl_preread_server_name $name { a up1; }";
    let times = "ssl_preread on; preread_timeout 4s; proxy_pass $name;";
    assert_eq!(value(&server(map, times), "timeouts"), "{ head = \"4s\" }");
    assert_eq!(
        value(&server(map, PREREAD), "timeouts"),
        "{ head = \"30s\" }"
    );
}
