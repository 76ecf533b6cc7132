//! What becomes of files that say something which is not the same everywhere.

use super::super::{Input, Options, Part, Translation, Verdict, nginx, set_up};

fn file(http: &str) -> Input {
    Input {
        name: "/etc/nginx/nginx.conf".into(),
        text: format!("events {{ }}\nhttp {{ {http} }}\n"),
    }
}

/// As `tandem nginx` takes it.
pub(super) fn direct(http: &str) -> Translation {
    let options = Options {
        direct: true,
        directory: "/usr/share/nginx".into(),
        ..Options::default()
    };
    nginx(&file(http), None, &options, &|_| None)
}

/// As `tandem import` makes a cluster file of it.
pub(super) fn imported(http: &str) -> Translation {
    let part = Part {
        input: file(http),
        of: None,
    };
    set_up(&[part], None, &|_| None)
}

/// What is said of a file.
pub(super) fn said(made: &Translation, verdict: Verdict) -> Vec<String> {
    let said = made.report.of(verdict);
    said.map(|entry| entry.message.clone()).collect()
}

/// Each file is refused with a sentence that has these words in it.
pub(super) fn are_refused(files: &[(&str, &str)]) {
    for (http, words) in files {
        let refused = said(&direct(http), Verdict::Refused);
        assert!(
            refused.iter().any(|message| message.contains(words)),
            "{http}: {refused:?}"
        );
    }
}

/// Each file is taken, and a note has these words in it.
pub(super) fn are_noted(files: &[(&str, &str)]) {
    for (http, words) in files {
        let made = direct(http);
        let refused = said(&made, Verdict::Refused);
        assert!(refused.is_empty(), "{http}: {refused:?}");
        let noted = said(&made, Verdict::Noted);
        assert!(
            noted.iter().any(|message| message.contains(words)),
            "{http}: {noted:?}"
        );
    }
}

#[test]
fn what_is_added_to_the_types_of_nginx_is_in_the_cluster_file() {
    let made = imported(
        "include mime.types; types { text/markdown md; text/css css; text/x-mine html; } \
         server { root /srv/a; }",
    );
    assert!(
        made.text.contains(
            "types = { html = \"text/x-mine\", md = \"text/markdown\", \"*\" = \"text/plain\" }"
        ),
        "{}",
        made.text
    );
    assert!(!made.text.contains("only-types"), "{}", made.text);
    let noted = said(&made, Verdict::Noted);
    assert!(
        noted.iter().any(|note| note.contains("built-in table")),
        "{noted:?}"
    );
}

#[test]
fn types_take_the_place_of_all_there_are() {
    let made = imported(
        "types { text/html html; } server { root /srv/a; location /up/ { types { } default_type application/octet-stream; } }",
    );
    let loaded = made.loaded.expect("it is taken");
    let sites = loaded
        .cluster
        .services
        .iter()
        .filter_map(|service| match service {
            tandem_model::Service::Site(site) => Some(site),
            _ => None,
        });
    let types: Vec<(bool, usize)> = sites
        .map(|site| (site.only_types, site.types.len()))
        .collect();
    assert_eq!(types, [(true, 2), (true, 0)]);
}

#[test]
fn what_one_server_asks_of_its_clients_is_not_asked_or_left_out_of_another() {
    let server = |more: &str| {
        format!(
            "server {{ listen 443 ssl; server_name a{}.test; ssl_certificate /c.pem; ssl_certificate_key /c.pem; {more} return 204; }}\n",
            more.len()
        )
    };
    let asks = "ssl_client_certificate /ca.pem; ssl_verify_client on;";
    let words = "all servers of an address ask clients for a certificate";
    are_refused(&[
        (&(server("") + &server(asks)), words),
        (&(server(asks) + &server("")), words),
        (
            &(server(asks) + &server("ssl_client_certificate /other.pem; ssl_verify_client on;")),
            words,
        ),
    ]);
}

#[test]
fn a_listing_that_programs_read_and_a_break_that_leads_to_locations_are_refused() {
    are_refused(&[
        (
            "server { listen 80; root /; autoindex on; autoindex_format json; }",
            "a page for browsers",
        ),
        (
            "server { listen 80; if ($http_x) { break; } return 403; }",
            "would have the locations asked",
        ),
    ]);
}

#[test]
fn the_page_of_502_is_also_that_of_no_server_that_is_left() {
    let errors = |lines: &str| {
        let made = imported(&format!(
            "server {{ root /srv; location / {{ proxy_pass http://127.0.0.1:82; {lines} }} location ~ \\.html$ {{ }} }}"
        ));
        let at = made.text.find("errors = ").expect("there are pages");
        let end = made.text[at..].find('}').expect("it ends") + at;
        made.text[at..=end].to_owned()
    };
    assert_eq!(
        errors("error_page 502 504 /50x.html;"),
        "errors = { 502 = \"/srv/50x.html\", 504 = \"/srv/50x.html\", 503 = \"/srv/50x.html\" }"
    );
    assert_eq!(
        errors("error_page 502 /a.html; error_page 503 /b.html;"),
        "errors = { 502 = \"/srv/a.html\", 503 = \"/srv/b.html\" }"
    );
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let server = "server { listen 81; root /nonexistent/www; }";
    are_noted(&[(server, "answered 404 until a reload finds it")]);
    let noted = said(&imported(server), Verdict::Noted);
    assert!(
        noted.iter().any(|note| note.contains("no site starts")),
        "{noted:?}"
    );
    are_refused(&[
        (
            "server { root /srv/$host; }",
            "not worked out for each request",
        ),
        (
            "server { root /nonexistent; location /s { stub_status; } }",
            "has one path",
        ),
    ]);
}

#[test]
fn a_query_that_is_not_looked_at_is_not_passed_over_in_silence() {
    let server = |condition: &str| {
        format!("server {{ listen 81; if ({condition}) {{ return 403; }} root /srv; }}")
    };
    for pattern in ["union.*select", "^/a/.*x", r"\.php$", "^/a$", "//"] {
        are_refused(&[(
            &server(&format!("$request_uri ~* \"{pattern}\"")),
            "may be found in the query",
        )]);
    }
    are_refused(&[(&server("$request_uri = /a?b"), "may be found in the query")]);
    are_noted(&[
        (&server("$request_uri ~ ^/admin/"), "in its normal form"),
        (&server("$request_uri = /a"), "whatever the query is"),
    ]);
}

#[test]
fn what_comes_after_a_return_has_no_effect() {
    let made = direct(
        "server { listen 81; location / { return 404; rewrite ^/(.*)$ /x/$1 break; if ($arg_a) { return 403; } } }",
    );
    assert!(said(&made, Verdict::Refused).is_empty());
    let without = said(&made, Verdict::Without);
    let after = without
        .iter()
        .filter(|text| text.contains("a `return` comes before it"));
    assert_eq!(after.count(), 3, "{without:?}");
}

#[test]
fn what_is_not_known_of_a_request_is_not_filled_in() {
    let server = |lines: &str| format!("server {{ listen 81; root /srv; {lines} }}");
    let api = "location /api { proxy_pass http://127.0.0.1:82; ";
    are_refused(&[
        (
            &server("return 200 $upstream_addr;"),
            "$upstream_addr cannot",
        ),
        (
            &server("return 200 $nginx_version;"),
            "$nginx_version cannot",
        ),
        (
            &server("return 200 $remote_user;"),
            "before a password was asked for",
        ),
        (
            &server("return 200 \"a$is_args\";"),
            "without $args behind it",
        ),
        // What an expression has found.
        (&server("location / { return 200 $1; }"), "$1 cannot"),
        (
            &server("location ~ ^/(a) { return 200 $2; }"),
            "has 1 parentheses",
        ),
        (
            &server("location ~ ^/(a) { if ($http_x ~ (b)) { return 200 $1; } }"),
            "$1 cannot",
        ),
        (
            &server("location ~ ^/(a) { if ($http_x ~ b) { return 403; } return 200 $1; }"),
            "$1 cannot",
        ),
        (
            &server(
                "location ~ ^/u/(a|b)$ { return 200 $1; } location /r { rewrite ^ /u/a last; }",
            ),
            "location of the new path",
        ),
        // The path that came is not the new one.
        (
            &server("location /a { rewrite ^/a/(.*)$ /b/$1; return 301 https://h$uri; }"),
            "looks at the new path",
        ),
        (
            &format!(
                "map $uri $m {{ /a/x 1; /b/x 2; }} {}",
                server(
                    "location /a { rewrite ^/a/(.*)$ /b/$1 break; proxy_set_header X-A $m; proxy_pass http://127.0.0.1:82; }"
                )
            ),
            "asks the path that came",
        ),
        (
            &format!(
                "map $arg_a $m {{ 1 x; }} {}",
                server(
                    "location /a { rewrite ^/a/(.*)$ /b/$1?a=1 break; proxy_set_header X-A $m; proxy_pass http://127.0.0.1:82; }"
                )
            ),
            "asks the path that came",
        ),
        (
            &server(&format!(
                "{api} proxy_set_header X-A $uri; }} rewrite ^/v1/(.*)$ /api/$1 last;"
            )),
            "$uri, which would be that of the path that came",
        ),
        (
            &server(&format!(
                "{api} proxy_set_header X-A $arg_a; }} rewrite ^/v1/(.*)$ /api/$1?a=b last;"
            )),
            "$arg_NAME, which would be",
        ),
    ]);
}

#[test]
fn requests_at_once_are_counted_by_the_clients_address_or_refused() {
    let server = |zone: &str, lines: &str| {
        let lines = format!("limit_conn z 5; {lines}");
        format!(
            "limit_conn_zone {zone} zone=z:1m; server {{ listen 81; {lines} proxy_pass_header X-A; location / {{ proxy_pass http://127.0.0.1:82; }} }}"
        )
    };
    let address = "$binary_remote_addr";
    are_refused(&[
        (&server("$server_name", ""), "and this by $server_name"),
        (&server(address, "limit_conn y 1;"), "a place has one limit"),
        (
            &server(address, "limit_conn z 0;"),
            "invalid number of connections",
        ),
        (
            "server { listen 81; limit_conn z 1; location / { proxy_pass http://127.0.0.1:82; } }",
            "zero size shared memory zone",
        ),
    ]);
    are_noted(&[(&server(address, ""), "counted for themselves")]);
    let made = direct(&server(address, ""));
    assert!(
        made.text.contains("limits = { per-source = 5 }"),
        "{}",
        made.text
    );
}

#[test]
fn an_error_that_another_place_answers_has_its_status_or_is_refused() {
    let server = |lines: &str| format!("server {{ listen 81; root /srv; {lines} }}");
    let app = "location @app { proxy_pass http://127.0.0.1:82; }";
    are_refused(&[
        (
            &server(&format!(
                "{app} location / {{ error_page 418 @app; return 418; }}"
            )),
            "the status would be that of @app",
        ),
        (
            &server(&format!(
                "{app} location / {{ error_page 418 =200 @app; return 418; }}"
            )),
            "the status would be that of @app",
        ),
        (
            &server(&format!(
                "{app} location / {{ error_page 502 = @app; proxy_pass http://127.0.0.1:83; }}"
            )),
            "for 404, by another place",
        ),
        (
            &server("location / { error_page 404 /errors$uri; }"),
            "not worked out for each request",
        ),
        (
            &server("location / { error_page 418 /errors$uri; return 418; }"),
            "has a file, and no other place",
        ),
    ]);
    are_noted(&[
        (
            &server(&format!("{app} location / {{ error_page 404 @app; }}")),
            "the answer has the status of @app",
        ),
        (
            &server(&format!(
                "{app} location / {{ proxy_intercept_errors on; error_page 404 = @app; proxy_pass http://127.0.0.1:83; }}"
            )),
            "only a 404 to GET and HEAD",
        ),
    ]);
    // The 404 of a server is the server's where nobody intercepts it.
    let passes =
        format!("{app} error_page 404 = @app; location / {{ proxy_pass http://127.0.0.1:83; }}");
    let made = direct(&server(&passes));
    assert!(!made.text.contains("missing"), "{}", made.text);
}

#[test]
fn what_answers_errors_does_not_answer_its_own() {
    let made = direct(
        "server { listen 81; root /srv; error_page 404 = @app; location / { } location @app { proxy_pass http://127.0.0.1:82; } }",
    );
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    assert!(made.text.contains("missing = "), "{}", made.text);
}

#[test]
fn what_is_asked_of_a_clients_certificate_is_asked_by_routes() {
    let server = |verify: &str, lines: &str| {
        format!(
            "server {{ listen 443 ssl; ssl_certificate /c.pem; ssl_certificate_key /c.pem; {verify} {lines} return 204; }}"
        )
    };
    let asks = "ssl_client_certificate /ca.pem; ssl_verify_client optional;";
    are_refused(&[
        (
            &server("ssl_verify_client on;", ""),
            "no \"ssl_client_certificate\"",
        ),
        (
            &server(
                "ssl_client_certificate /ca.pem; ssl_verify_client optional_no_ca;",
                "",
            ),
            "nobody verified",
        ),
        (
            &server("ssl_client_certificate /ca.pem; ssl_verify_client yes;", ""),
            "invalid value \"yes\"",
        ),
        (
            &server(asks, "if ($ssl_client_s_dn = CN=a) { return 403; }"),
            "for its common name",
        ),
        (
            &server(asks, "add_header X $ssl_client_fingerprint;"),
            "SHA-1",
        ),
        (
            &server(asks, "add_header X $ssl_client_cert;"),
            "$ssl_client_cert",
        ),
        (
            &(server(asks, "")
                + &server(
                    "ssl_client_certificate /ca.pem; ssl_verify_client on;",
                    "server_name a;",
                )),
            "all servers of an address",
        ),
    ]);
    are_noted(&[(&server(asks, ""), "nginx answers 400")]);
    let made = direct(&server(asks, ""));
    let tls = "client-ca = \"/ca.pem\", client-cert = \"optional\"";
    assert!(made.text.contains(tls), "{}", made.text);
    let off = "ssl_client_certificate /ca.pem; ssl_verify_client off;";
    for (verify, condition, wanted) in [
        (
            asks,
            "$ssl_client_verify != SUCCESS",
            Some("not = { client-cert = \"*\" }"),
        ),
        (
            asks,
            "$ssl_client_verify = NONE",
            Some("not = { client-cert = \"*\" }"),
        ),
        (
            asks,
            "$ssl_client_verify = SUCCESS",
            Some("client-cert = \"*\", deny = true"),
        ),
        (asks, "$ssl_client_verify ~ ^FAILED", None),
        (asks, "$ssl_client_verify", Some("deny = true")),
        (off, "$ssl_client_verify = SUCCESS", None),
        (off, "$ssl_client_verify = NONE", Some("deny = true")),
    ] {
        let made = direct(&server(
            verify,
            &format!("if ({condition}) {{ return 403; }}"),
        ));
        let refused = said(&made, Verdict::Refused);
        assert!(refused.is_empty(), "{condition}: {refused:?}");
        let has = made.text.contains("deny = true");
        assert_eq!(has, wanted.is_some(), "{condition}:\n{}", made.text);
        assert!(
            made.text.contains(wanted.unwrap_or_default()),
            "{condition}:\n{}",
            made.text
        );
    }
    let fields = "add_header A $ssl_client_verify; add_header B $ssl_client_s_dn; add_header C $ssl_client_serial;";
    let made = direct(&server(asks, fields));
    let wanted =
        "A = \"{client-cert}\", B = \"{client-cert-subject}\", C = \"{client-cert-serial}\"";
    assert!(made.text.contains(wanted), "{}", made.text);
}

#[test]
fn who_asks_for_no_name_of_the_file_does_not_get_past_the_handshake() {
    let strict = "server { listen 81 ssl default_server; ssl_reject_handshake on; location / { return 200 x; } }";
    let named = "server { listen 81 ssl; server_name a.example; ssl_certificate /a.pem; ssl_certificate_key /a.pem; return 204; }";
    let asks = named.replace(
        "return",
        "ssl_client_certificate /ca.pem; ssl_crl /ca.crl; ssl_verify_client on; return",
    );
    let made = direct(&format!("{strict} {asks}"));
    let tls = "= { certs = \"/a.pem\", client-ca = \"/ca.pem\", client-crl = \"/ca.crl\", strict-sni = true }";
    assert!(made.text.contains(tls), "{}", made.text);
    assert!(made.text.contains("deny = \"close\""), "{}", made.text);
    assert!(
        said(&made, Verdict::Refused).is_empty(),
        "{:?}",
        said(&made, Verdict::Refused)
    );
    let plain = direct(&format!("{} {named}", strict.replace("81 ssl", "82")));
    assert!(!plain.text.contains("strict-sni"), "{}", plain.text);
    are_refused(&[
        (strict, "leave them out"),
        (
            &format!(
                "{named} {}",
                strict.replace("default_server", "; server_name b.example")
            ),
            "in the default server",
        ),
    ]);
}

#[test]
fn a_location_is_compared_with_the_decoded_path_as_nginx_does() {
    let made = direct(
        "server { listen 81; location = /a%20b { return 403; } location /q?b { return 404; } location \"/a b\" { return 410; } }",
    );
    for wanted in [r#""~^/a%20b$""#, r#""~^/q\\?b""#, r#""/a b*""#] {
        assert!(made.text.contains(wanted), "{wanted}\n{}", made.text);
    }
    assert!(made.loaded.is_some());
}

#[test]
fn an_error_log_of_a_place_is_told_and_refuses_nothing() {
    let made = direct(
        "error_log /a.log; server { listen 81; error_log /b.log warn; location / { error_log off; return 204; } }",
    );
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    let without = said(&made, Verdict::Without);
    assert_eq!(without.len(), 3, "{without:?}");
    assert!(
        without[0].contains("the `error_log` of main"),
        "{without:?}"
    );
}

#[test]
fn a_server_whose_names_all_are_of_one_before_it_is_passed_by_as_in_nginx() {
    let second = "return 301 https://a.test$request_uri;";
    let made = direct(&format!(
        "server {{ listen 81; server_name a.test; return 204; }} server {{ listen 81; server_name a.test; {second} }}"
    ));
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    assert!(!made.text.contains("redirect"), "{}", made.text);
    let without = said(&made, Verdict::Without);
    assert!(
        without
            .iter()
            .any(|message| message.contains("conflicting server name")),
        "{without:?}"
    );
    // It is asked at another address.
    let made = direct(&format!(
        "server {{ listen 81; server_name a.test; return 204; }} server {{ listen 81; listen 82; server_name a.test; {second} }}"
    ));
    assert!(made.text.contains("redirect"), "{}", made.text);
    assert_eq!(said(&made, Verdict::Without), Vec::<String>::new());
}

#[test]
fn files_of_a_server_are_looked_for_where_it_has_no_location() {
    let server =
        |lines: &str| format!("server {{ listen 81; root /srv; try_files $uri =404; {lines} }}");
    let made = direct(&server("location /x/ { return 204; }"));
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    assert!(made.text.contains("directories = false"), "{}", made.text);
    let made = direct(&server("location / { return 204; }"));
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    let without = said(&made, Verdict::Without);
    assert!(
        without.iter().any(|m| m.contains("has all paths")),
        "{without:?}"
    );
}

#[test]
fn a_variable_may_be_called_as_none_of_upstreams_is() {
    let with = |name: &str| {
        format!(
            "upstream sonarr {{ server 127.0.0.1:82; }} server {{ listen 81; location / {{ set ${name} sonarr; proxy_pass http://${name}; }} }}"
        )
    };
    let made = direct(&with("upstream_app"));
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    are_refused(&[(&with("upstream_addr"), "set another variable")]);
}

#[test]
fn only_proxies_that_are_named_are_believed_unless_the_file_says_so_itself() {
    let server = |more: &str, fields: &str| {
        format!(
            "server {{ listen 81; {more} location / {{ proxy_pass http://127.0.0.1:82; proxy_set_header Host $http_host; {fields} }} }}"
        )
    };
    let proxies = "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;";
    // It is forged by whoever wants to: the file says that it is to be believed.
    let proto = "proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto;";
    let made = direct(&server("", proto));
    assert!(
        made.text
            .contains("set = { X-Forwarded-Proto = \"{header:X-Forwarded-Proto}\" }"),
        "{}",
        made.text
    );
    let made = direct(&server(proxies, proto));
    assert!(!made.text.contains("X-Forwarded-Proto"), "{}", made.text);
    let added = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    let told = "nothing of what a client says in them";
    are_noted(&[
        (&server("", proto), "what whoever asks says"),
        (&server("", added), told),
        (&server("", ""), told),
        (
            &server(
                proxies,
                "proxy_set_header X-Forwarded-For $http_x_forwarded_for;",
            ),
            "is added to what it says",
        ),
    ]);
    let noted = said(&direct(&server(proxies, added)), Verdict::Noted);
    assert!(!noted.iter().any(|note| note.contains(told)), "{noted:?}");
    are_refused(&[
        (
            &server(
                "",
                "proxy_set_header X-Forwarded-For $http_x_forwarded_for;",
            ),
            "say which proxies are in front of it",
        ),
        (
            &server("", "proxy_set_header X-Forwarded-For $http_x_real_ip;"),
            "say which proxies are in front of it",
        ),
        (
            &server("", "proxy_set_header X-Forwarded-For \"\";"),
            "is not left out",
        ),
    ]);
}

#[test]
fn what_a_location_has_found_is_passed_on() {
    let file = |location: &str, pass: &str| {
        format!("server {{ listen 81; location {location} {{ proxy_pass {pass}; }} }}")
    };
    let made = direct(&file(
        "~ ^/x/(.*)$",
        "http://127.0.0.1:82/y/$1$is_args$args",
    ));
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    assert!(
        made.text
            .contains("rewrite = { \"~^/x/(.*)$\" = \"/y/{1}\" }"),
        "{}",
        made.text
    );
    let made = direct(&file("/", "http://127.0.0.1:82$request_uri"));
    assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
    assert!(!made.text.contains("rewrite"), "{}", made.text);
    are_noted(&[(
        &file("~ ^/x/(.*)$", "http://127.0.0.1:82/y/$1"),
        "the query that came",
    )]);
    are_refused(&[
        (
            &file("/x/", "http://127.0.0.1:82/y/$1"),
            "worked out for each request",
        ),
        (
            &file("~ ^/x/(.*)$", "http://127.0.0.1:82/y/$1?a=$host"),
            "worked out for each request",
        ),
        (
            &file("~ ^/x/(.*)$", "http://$1/"),
            "worked out for each request",
        ),
    ]);
}

#[test]
fn a_page_for_errors_in_the_place_itself_is_not_passed_by() {
    let file = |page: &str| format!("server {{ listen 81; root /srv; {page} location / {{ }} }}");
    for status in ["=200", "="] {
        let made = direct(&file(&format!("error_page 404 {status} /index.html;")));
        assert!(
            made.text.contains("fallback   = \"index.html\""),
            "{}",
            made.text
        );
    }
    are_noted(&[(
        &file("error_page 403 =404 /404.html;"),
        "does not change the status",
    )]);
    let made = direct(&file("error_page 403 =404 /404.html;"));
    assert!(made.text.contains("403 = \"404.html\""), "{}", made.text);
    are_refused(&[(
        "server { listen 81; error_page 404 = /index.html; location / { proxy_pass http://127.0.0.1:82; proxy_intercept_errors on; } }",
        "an error is answered with a file",
    )]);
}
