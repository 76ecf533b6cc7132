//! Whole files: what they become, and what is refused.

mod answers;
mod clients;
mod refusals;
mod servers;

use super::super::{Input, Options, Translation, haproxy};

fn made(front: &str, rest: &str) -> Translation {
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend main\n bind 127.0.0.1:8080\n{front}\nbackend b1\n server s1 127.0.0.1:81\n{rest}\nbackend b2\n server s2 127.0.0.1:82\n"
    );
    let input = Input {
        name: "h.cfg".into(),
        text,
    };
    haproxy(&[input], &Options::default(), &|_| None)
}

/// The routes of a file that is taken, without what is around them.
fn routes(front: &str, rest: &str) -> String {
    let made = made(front, rest);
    let refused = refusals(&made);
    assert!(refused.is_empty(), "{front}: {refused:?}\n{}", made.text);
    let lines = made.text.lines().map(str::trim_start);
    lines
        .skip_while(|line| !line.starts_with("route"))
        .take_while(|line| *line != "]")
        .map(|line| line.split("  # ").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn refusals(made: &Translation) -> Vec<String> {
    made.report.refused().map(|d| d.message.clone()).collect()
}

fn refused(front: &str, rest: &str) -> String {
    let made = made(front, rest);
    let said = refusals(&made).join("; ");
    assert!(!said.is_empty(), "{front} is taken:\n{}", made.text);
    said
}

fn whole(text: &str) -> Translation {
    let input = Input {
        name: "h.cfg".into(),
        text: format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n{text}"
        ),
    };
    haproxy(&[input], &Options::default(), &|_| None)
}

#[test]
fn a_rule_behind_a_change_that_cannot_be_foreseen_is_refused() {
    for (front, rest) in [
        // The path is made of what came.
        (
            "http-request replace-path /v1/(.*) /\\1\nhttp-request deny if { path_beg /admin }\ndefault_backend b1",
            "",
        ),
        (
            "http-request replace-path ^/(..)/(.*) /\\2\nhttp-request deny if { path_beg -i /admin }\ndefault_backend b1",
            "",
        ),
        (
            "http-request replace-path ^/v1/(.*) /\\1\nhttp-request deny if { path_reg ^/admin }\ndefault_backend b1",
            "",
        ),
        (
            "http-request replace-path ^/v[12](/.*) \\1\nuse_backend b2 if { path_end .php }\ndefault_backend b1",
            "",
        ),
        (
            "http-request set-path %[hdr(X-Path)]\nhttp-request deny if { path_beg /admin }\ndefault_backend b1",
            "",
        ),
        (
            "http-request replace-path ^/api/(v.)/(.*) /\\2 if { path_beg /api/ }\ndefault_backend b1",
            " http-request deny if { path_beg /admin }",
        ),
        (
            "http-request replace-path ^/v1/(.*) /\\1\nhttp-request set-header X-Path %[path]\ndefault_backend b1",
            "",
        ),
        (
            "http-request replace-path ^/v1/(.*) /\\1\nhttp-request replace-path ^/admin(.*) /x\\1\ndefault_backend b1",
            "",
        ),
        // A field is.
        (
            "http-request set-header X-Real %[src]\nhttp-request deny if { hdr(X-Real) 10.0.0.1 }\ndefault_backend b1",
            "",
        ),
        (
            "http-request set-header Host %[hdr(X-Host)]\nuse_backend b2 if { hdr(host) a.example }\ndefault_backend b1",
            "",
        ),
        (
            "http-request set-header Cookie a=1\nuse_backend b2 if { req.cook(a) 1 }\ndefault_backend b1",
            "",
        ),
    ] {
        let said = refused(front, rest);
        assert!(
            said.contains("which h.cfg:8 has changed before"),
            "{front}: {said}"
        );
    }
}

#[test]
fn a_rule_behind_a_change_that_can_be_foreseen_finds_what_was_changed() {
    for (front, rest, wanted) in [
        (
            "http-request set-path /admin if { path /v1a }\nhttp-request deny if { path_beg /admin }\ndefault_backend b1",
            "",
            "route = [\n{ path = \"/v1a\", rewrite = \"/admin\", route = [\n{ deny = true },\n] },\n{ path = \"/admin*\", deny = true },\n{ to = \"b1\" },",
        ),
        (
            "http-request del-header X-Role\nuse_backend b2 if { hdr(X-Role) admin }\ndefault_backend b1",
            "",
            "route = [\n{ to = \"b1\", headers = { request = { remove = \"X-Role\" } } },",
        ),
        (
            "http-request set-header X-A 1 if { path_beg /name }\nuse_backend b2 if { req.fhdr(X-A) 1 }\ndefault_backend b1",
            "",
            "route = [\n{ path = \"/name*\", to = \"b2\", headers = { request = { set = { X-A = \"1\" } } } },\n{ header = { X-A = \"1\" }, to = \"b2\" },\n{ to = \"b1\" },",
        ),
        (
            "http-request set-header X-A 0\nhttp-request deny if { hdr(X-A) 1 }\ndefault_backend b1",
            "",
            "route = [\n{ to = \"b1\", headers = { request = { set = { X-A = \"0\" } } } },",
        ),
        (
            "http-request set-header X-Frontend f\ndefault_backend b1",
            " http-request deny unless { hdr(X-Frontend) f }",
            "route = [\n{ to = \"b1\", headers = { request = { set = { X-Frontend = \"f\" } } } },",
        ),
        (
            "http-request set-header Host b.example:81\nuse_backend b2 if { hdr(host) B.example }\ndefault_backend b1",
            "",
            "route = [\n{ to = \"b2\", headers = { request = { set = { Host = \"b.example:81\" } } } },",
        ),
        // Of a path with another beginning the rest is as it came.
        (
            "http-request replace-path ^/v1/(.*) /\\1\nhttp-request deny if { path_beg /admin }\ndefault_backend b1",
            "",
            "route = [\n{ path = \"~^/v1/(.*)\", rewrite = { \"~^/v1/(.*)\" = \"/{1}\" }, route = [\n{ path = \"/v1/admin*\", deny = true },\n{ to = \"b1\" },\n] },\n{ path = \"/admin*\", deny = true },\n{ to = \"b1\" },",
        ),
        // What begins otherwise is another path.
        (
            "http-request replace-path ^/v1/(.*) /app/\\1\nhttp-request deny if { path_beg /admin }\ndefault_backend b1",
            "",
            "route = [\n{ path = \"~^/v1/(.*)\", rewrite = { \"~^/v1/(.*)\" = \"/app/{1}\" }, to = \"b1\" },\n{ path = \"/admin*\", deny = true },\n{ to = \"b1\" },",
        ),
        // What is added comes besides.
        (
            "http-request add-header X-A 2\nhttp-request deny if { req.fhdr(X-A) 1 }\nuse_backend b2 if { req.fhdr(X-A) 2 }\ndefault_backend b1",
            "",
            "route = [\n{ headers = { request = { add = { X-A = \"2\" } } }, route = [\n{ header = { X-A = \"1\" }, deny = true },\n{ to = \"b2\" },\n] },",
        ),
        (
            "http-request set-path /x\nhttp-request set-header X-Path %[path]\ndefault_backend b1",
            "",
            "route = [\n{ rewrite = \"/x\", to = \"b1\", headers = { request = { set = { X-Path = \"/x\" } } } },",
        ),
    ] {
        let routes = routes(front, rest);
        // The order of keys says nothing.
        let sorted = |text: &str| {
            let words = text.split([' ', ',', '\n']).filter(|word| !word.is_empty());
            let mut words: Vec<String> = words.map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(&routes), sorted(wanted), "{front}\n{routes}");
    }
}

#[test]
fn a_rule_that_looks_at_something_else_stays_as_it_is() {
    for (front, rest) in [
        (
            "http-request replace-path ^/v1/(.*) /\\1\nhttp-request deny if { src 10.0.0.0/8 }\nuse_backend b2 if { hdr(X-A) 1 }\ndefault_backend b1",
            "",
        ),
        (
            "http-request deny if { path_beg /admin }\nhttp-request replace-path ^/v1/(.*) /\\1\ndefault_backend b1",
            "",
        ),
        (
            "http-request set-header X-Real %[src]\nhttp-request deny if { hdr(X-Other) 1 }\nhttp-request redirect prefix https://x.example if { path_beg /r }\ndefault_backend b1",
            "",
        ),
        (
            "use_backend b2 if { path_beg /b2 }\ndefault_backend b1",
            " http-request replace-path ^/v1/(.*) /\\1",
        ),
        (
            "http-request set-header X-Real %[src]\nhttp-request deny unless { hdr(X-Real) -m found }\ndefault_backend b1",
            "",
        ),
        (
            "http-request replace-path ^/v1/(.*) /\\1\nhttp-request redirect prefix https://x.example if { hdr(X-A) 1 }\ndefault_backend b1",
            "",
        ),
    ] {
        assert!(!routes(front, rest).is_empty());
    }
}

#[test]
fn of_two_changes_of_the_path_the_second_works_on_what_the_first_has_made() {
    let two = routes(
        "http-request replace-path ^/a /b\nhttp-request replace-path ^/b /ok\ndefault_backend b1",
        "",
    );
    assert!(
        two.contains("{ to = \"b1\", rewrite = \"/ok\" },\n] },"),
        "{two}"
    );
    let prefixed = routes(
        "http-request replace-path ^/v1/(.*) /\\1\nhttp-request set-path /app%[path]\ndefault_backend b1",
        "",
    );
    assert!(
        prefixed.contains("\"~^/v1/(.*)\" = \"/app/{1}\""),
        "{prefixed}"
    );
    assert!(prefixed.contains("\"/app{path}\""), "{prefixed}");
}

#[test]
fn after_allow_the_rest_is_asked_that_allow_does_not_end() {
    let routes = routes(
        "http-request allow if { src 10.0.0.0/8 }\nhttp-request deny if { path /x }\nhttp-response set-header X-F 1\nredirect location / if { path /y }\ndefault_backend b1",
        " http-request allow if { src 10.0.0.1 }\n http-request deny if { path /z }",
    );
    let allowed = routes.split("deny").next().unwrap_or_default();
    assert!(
        allowed.contains("X-F") && allowed.contains("/y"),
        "{routes}"
    );
    assert!(
        routes.contains("source = \"10.0.0.1\", to = \"b1\""),
        "{routes}"
    );
}

#[test]
fn of_a_field_each_element_is_compared_or_the_whole_by_fhdr() {
    let routes = routes(
        "acl role hdr(X-Role) banned\nhttp-request deny if role\nhttp-request deny if { req.fhdr(X-Whole) a,b }\nuse_backend b2 if { hdr(host) a.example }\ndefault_backend b1",
        "",
    );
    assert!(routes.contains("banned[ \\\\t]*(?:,|$)"), "{routes}");
    assert!(
        routes.contains("header = { X-Whole = \"a,b\" }, deny"),
        "{routes}"
    );
    assert!(routes.contains("host = \"a.example\""), "{routes}");
    let comma = refused(
        "http-request deny if { hdr(X-Role) a,b }\ndefault_backend b1",
        "",
    );
    assert!(comma.contains("req.fhdr()"), "{comma}");
    let one = refused(
        "http-request deny if { req.hdr(X-Role,-1) a }\ndefault_backend b1",
        "",
    );
    assert!(one.contains("not picked out"), "{one}");
    let number = refused(
        "http-request deny if { req.hdr(X-N) -m int gt 5 }\ndefault_backend b1",
        "",
    );
    assert!(number.contains("not compared in texts"), "{number}");
}

#[test]
fn all_backups_share_the_requests_with_allbackups_only() {
    let servers = " server s2 127.0.0.1:83 backup\n server s3 127.0.0.1:84 backup";
    let all = made(
        "default_backend b1",
        &format!("{servers}\n option allbackups"),
    )
    .text;
    assert!(all.contains("backups  = \"all\""), "{all}");
    let first = made("default_backend b1", servers).text;
    assert!(!first.contains("backups "), "{first}");
}

#[test]
fn the_page_of_503_is_that_of_servers_that_cannot_be_reached() {
    let place = std::env::temp_dir().join(format!("tandem-errorfile-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    for status in [502, 503] {
        let text = format!("HTTP/1.0 {status} Sorry\r\n\r\nsorry {status}\n");
        std::fs::write(place.join(status.to_string()), text).unwrap();
    }
    let errorfile = |status: u16| format!("errorfile {status} {}/{status}\n", place.display());
    let text =
        |front: String, rest: String| made(&format!("{front}default_backend b1"), &rest).text;
    let one = text(errorfile(503), String::new());
    assert!(
        one.contains("503 = \"errors/main-503.html\", 502 = \"errors/main-503.html\""),
        "{one}"
    );
    let both = text(errorfile(502) + &errorfile(503), String::new());
    assert!(
        both.contains("502 = \"errors/main-502.html\", 503 = \"errors/main-503.html\""),
        "{both}"
    );
    let own = text(String::new(), errorfile(503));
    assert!(
        own.contains("errors = { 503 = \"errors/b1-backend-503.html\""),
        "{own}"
    );
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn the_id_of_a_request_is_a_field_that_servers_get() {
    let id = routes(
        "unique-id-format %{+X}o\\ %ci\nunique-id-header X-UID\ndefault_backend b1",
        "",
    );
    assert!(id.contains("set = { X-UID = \"{request-id}\" }"), "{id}");
    assert!(!routes("unique-id-header X-UID\ndefault_backend b1", "").contains("X-UID"));
}

#[test]
fn compression_and_retries_are_those_of_routes_and_backends() {
    let front = "compression algo gzip\ncompression type text/html text/*\ndefault_backend b1";
    let compressed = routes(front, "");
    assert!(
        compressed
            .contains("compress = { types = [\"text/html\", \"text/*\"], codings = \"gzip\" }"),
        "{compressed}"
    );
    let backend = routes(
        "default_backend b1",
        " compression algo gzip\n compression offload",
    );
    assert!(
        backend.contains("remove = \"Accept-Encoding\""),
        "{backend}"
    );
    for (lines, wanted) in [
        (
            " retry-on 503 conn-failure 500",
            "retry    = { on = [500, 503] }",
        ),
        (
            " retry-on all-retryable-errors\n retries 1",
            "retry    = { tries = 1, on = [500, 502, 503, 504] }",
        ),
        (" retry-on none", "retry    = 0"),
        (" retry-on 503\n retries 0", "retry    = 0"),
        (" retry-on conn-failure\n retries 2", "retry    = 2"),
    ] {
        let text = made("default_backend b1", lines).text;
        assert!(text.contains(wanted), "{lines}\n{text}");
    }
    refused("default_backend b1", " retry-on 999");
}

#[test]
fn what_would_change_answers_when_left_out_is_refused() {
    for (front, rest) in [
        ("monitor-uri /alive\nmonitor fail if { src 10.0.0.1 }", ""),
        ("monitor-net 10.0.0.0/8", ""),
        ("", " http-send-name-header X-Server"),
    ] {
        let said = refused(&format!("{front}\ndefault_backend b1"), rest);
        assert!(said.contains("is not translated"), "{said}");
    }
}

#[test]
fn a_field_is_hashed_as_it_came_or_not_at_all() {
    let set = "http-request set-header X-Key %[src]\n";
    let said = refused(&format!("{set}default_backend b1"), " balance hdr(x-key)");
    assert!(said.contains("hashed as it came"), "{said}");
    let said = refused(
        "default_backend b1",
        &format!(" balance hdr(X-Key)\n {set}"),
    );
    assert!(said.contains("hashed as it came"), "{said}");
    routes(&format!("{set}default_backend b1"), " balance hdr(X-Other)");
}

#[test]
fn what_is_worth_knowing_of_a_condition_is_told_where_it_stands() {
    let made = made(
        "use_backend b2 if { hdr_reg(X-A) ^a }\ndefault_backend b1",
        "",
    );
    let told = made.report.to_string();
    assert!(
        told.contains("h.cfg:8: each element of the field is compared"),
        "{told}"
    );
}

#[test]
fn a_tunnel_may_be_silent_for_its_own_time() {
    let tunnel = routes("default_backend b1", " timeout tunnel 1h");
    assert!(
        tunnel.contains("{ to = \"b1\", timeouts = { idle = \"1h\" } }"),
        "{tunnel}"
    );
}

#[test]
fn a_service_of_haproxys_own_is_refused_unless_there_is_one_like_it() {
    let said = refused(
        "http-request use-service lua.x if { path /l }\ndefault_backend b1",
        "",
    );
    assert!(said.contains("no services but one"), "{said}");
    routes(
        "http-request use-service prometheus-exporter if { path /m }\ndefault_backend b1",
        "",
    );
}

#[test]
fn rules_of_connections_are_asked_before_those_of_requests_each_kind_for_itself() {
    let rules = "http-request deny if { path /a }\ntcp-request content reject if { path /b }\n\
                 tcp-request content accept if { path /c }\ntcp-request connection reject if { src 10.0.0.0/8 }\ndefault_backend b1";
    let made = routes(rules, "");
    assert_eq!(
        made,
        "route    = [\n{ source = \"10.0.0.0/8\", deny = \"close\" },\n{ path = \"/b\", deny = \"close\" },\n\
         { path = \"/a\", deny = true },\n{ to = \"b1\" },"
    );
    // What ends the rules of one kind leaves the others.
    let rules = "tcp-request content accept if { src 10.1.0.0/16 }\ntcp-request content reject\nhttp-request deny if { path /a }\ndefault_backend b1";
    assert_eq!(
        routes(rules, ""),
        "route    = [\n{ source = \"10.1.0.0/16\", route = [\n{ path = \"/a\", deny = true },\n{ to = \"b1\" },\n] },\n{ deny = \"close\" },"
    );
    let said = refused(
        "tcp-request content set-priority-class int(1)\ndefault_backend b1",
        "",
    );
    assert!(said.contains("'tcp-request content set-priority"), "{said}");
    let said = refused("tcp-request contnet reject\ndefault_backend b1", "");
    assert!(
        said.contains("'tcp-request contnet' is not translated"),
        "{said}"
    );
}

#[test]
fn who_asks_too_often_is_denied_by_a_rate_and_nothing_else_is_done_to_it() {
    let table = "stick-table type ip size 1k expire 1m store gpc0,http_req_rate(10s)\nhttp-request track-sc0 src\n";
    let made = routes(
        &format!("{table}http-request deny if {{ sc_http_req_rate(0) gt 20 }}\ndefault_backend b1"),
        "",
    );
    assert!(
        made.contains("{ rate = { limit = \"2/s\", burst = 20 }, to = \"b1\" }")
            || made.contains("{ to = \"b1\", rate = { limit = \"2/s\", burst = 20 } }"),
        "{made}"
    );
    // Requests that are errors, beside all of them.
    let made = routes(
        "stick-table type ip size 1k expire 1m store http_req_rate(10s),http_err_rate(1m)\nhttp-request track-sc0 src\nhttp-request deny deny_status 429 if { sc_http_err_rate(0) gt 30 } or { sc_http_req_rate(0) gt 20 }\ndefault_backend b1",
        "",
    );
    assert!(
        made.contains("rate = { limit = \"30/m\", burst = 31, counts = \"errors\" }")
            && made.contains("rate = { limit = \"2/s\", burst = 20 }"),
        "{made}"
    );
    // Of a table elsewhere, of some requests, and beside another reason.
    let made = routes(
        "acl often src_http_req_rate(b1) ge 61\nhttp-request deny if often { path /login } or { path /no }\ndefault_backend b1",
        " stick-table type ipv6 size 1k store http_req_rate(1m)",
    );
    assert_eq!(
        made,
        "route    = [\n{ path = \"/login\", rate = { limit = \"1/s\", burst = 60 }, route = [\n\
         { path = \"/no\", deny = true },\n{ to = \"b1\" },\n] },\n{ path = \"/no\", deny = true },\n{ to = \"b1\" },"
    );
    for (rules, why) in [
        (
            "use_backend b2 if { sc_http_req_rate(0) gt 20 }",
            "nothing else be done to",
        ),
        (
            "http-request set-header X-A b if { sc_http_req_rate(0) gt 20 }",
            "nothing else be done to",
        ),
        (
            "http-request deny if !{ sc_http_req_rate(0) gt 20 }",
            "whether it is exceeded",
        ),
        (
            "http-request deny if { sc_http_req_rate(0) lt 20 }",
            "greater than a number",
        ),
        (
            "http-request deny if { sc_http_req_rate(1) gt 20 }",
            "no rule sets this counter",
        ),
        (
            "http-request deny if { src_http_req_rate(b2) gt 20 }",
            "there is no table for it",
        ),
        ("http-request track-sc1 hdr(x)", "counted by its address"),
    ] {
        let said = refused(&format!("{table}{rules}\ndefault_backend b1"), "");
        assert!(said.contains(why), "{rules}: {said}");
    }
}

#[test]
fn a_client_stays_with_its_server_by_its_address_for_as_long_as_the_table_says() {
    let text = |rest: &str| made("default_backend b1", rest).text;
    let kept = text(" stick-table type ip size 1m expire 45m\n stick on src");
    assert!(
        kept.contains("stick    = { by = \"source\", expires = \"45m\" }"),
        "{kept}"
    );
    for learned in [
        "stick match req.cook(A)\n stick store-response res.cook(A)",
        "stick-table type string len 32 size 1m\n stick on req.cook(A)",
        "appsession A len 52 timeout 3h",
    ] {
        let kept = text(&format!(" {learned}"));
        let wanted = "stick    = { by = \"prefix\", name = \"A\" }";
        assert!(kept.contains(wanted), "{learned}: {kept}");
    }
    for (rest, why) in [
        (" stick on src", "there is no `stick-table type ip`"),
        (" stick match req.cook(A)", "both stores and looks"),
        (
            " stick match req.cook(A)\n stick store-response res.cook(B)",
            "for one reason",
        ),
        (
            " stick-table type ip size 1k\n stick on hdr(x)",
            "by its address",
        ),
        (
            " stick-table type ip size 1k\n stick on src\n cookie X insert",
            "for one reason",
        ),
    ] {
        let said = refused("default_backend b1", rest);
        assert!(said.contains(why), "{rest}: {said}");
    }
}

#[test]
fn all_addresses_of_both_families_are_bound_once() {
    let made = made(
        "bind *:81\nbind [::]:81 v6only\nbind :::82 v4v6\ndefault_backend b1",
        "",
    );
    assert!(refusals(&made).is_empty(), "{:?}", refusals(&made));
    assert!(
        made.text
            .contains("bind     = [\"127.0.0.1:8080\", \":81\", \":82\"]"),
        "{}",
        made.text
    );
}

#[test]
fn servers_are_told_of_clients_alike() {
    let text = |rest: &str| made("default_backend b1", rest).text;
    // `s1`, which every file here has, is told nothing.
    let said = refused(
        "default_backend b1",
        " server s2 127.0.0.1:83 send-proxy-v2",
    );
    assert!(said.contains("`send-proxy` of all or of none"), "{said}");
    let told = text(" server s2 127.0.0.1:83 send-proxy no-send-proxy");
    assert!(!told.contains("send-proxy ="), "{told}");
}

#[test]
fn what_would_pass_by_a_rule_without_a_word_is_refused() {
    for (rules, why) in [
        (
            "http-request deny if { url_sub -i union }",
            "compares the query, too",
        ),
        (
            "http-request deny if { url_reg \\?x= }",
            "compares the query, too",
        ),
        ("http-request deny if { url /x }", "compares the query, too"),
        (
            "http-request deny if { url_beg /x?y }",
            "compares the query, too",
        ),
        (
            "http-request deny if { path_reg /a%20b }",
            "compared decoded",
        ),
        (
            "http-request return status 200 errorfile /e.http",
            "cannot read '/e.http'",
        ),
        (
            "http-request return status 200 lf-file /e",
            "the text of an answer is fixed",
        ),
        (
            "http-request deny deny_status 403 if-none",
            "an answer does not know 'if-none'",
        ),
        (
            "http-request return status 200 errorfiles own",
            "name the page",
        ),
        ("errorfiles nobody", "no section http-errors 'nobody'"),
        (
            "http-error status 503 content-type image/tiff string x",
            "pages are of these types",
        ),
        (
            "http-error status 503 content-type text/plain lf-string %[src]",
            "the same for all requests",
        ),
        (
            "http-error status 503 content-type text/plain string x hdr a b",
            "'http-error' with 'hdr'",
        ),
        ("http-response set-status 200", "'http-response set-status'"),
        ("http-response deny", "'http-response deny'"),
        ("http-request auth", "who is not in a list"),
        (
            "http-request auth if { http_auth(u) }",
            "who is not in a list",
        ),
        (
            "http-request auth unless { http_auth(nobody) }",
            "there is no userlist 'nobody'",
        ),
        (
            "http-request deny unless { http_auth(u) }",
            "nothing else is done to",
        ),
        (
            "use_backend b2 if { http_auth(u) }",
            "is asked by `http-request auth",
        ),
    ] {
        let said = refused(
            &format!("{rules}\ndefault_backend b1"),
            "userlist u\n user a password $6$x",
        );
        assert!(said.contains(why), "{rules}: {said}");
    }
    let said = refused("default_backend b1", " server s2 127.0.0.1:83 track b2/s2");
    assert!(said.contains("checks its own servers"), "{said}");
    let said = refused(
        "http-request auth unless { http_auth(u) }\ndefault_backend b1",
        "userlist u\n user a insecure-password",
    );
    assert!(said.contains("a user has a `password`"), "{said}");
}

/// The line of the file that this is in, of the backend with these lines.
fn line_of_backend(lines: &str, key: &str) -> String {
    let made = made(
        "default_backend b1",
        &format!(" server c 127.0.0.1:83 check\n{lines}"),
    );
    let said = refusals(&made);
    assert!(said.is_empty(), "{lines}: {said:?}");
    let section = made
        .text
        .split("\n[")
        .find(|text| text.starts_with("backend.b1]"));
    let mut lines = section.unwrap_or_default().lines();
    let line = lines.find(|line| line.starts_with(key));
    let (_, value) = line
        .unwrap_or_default()
        .split_once("= ")
        .unwrap_or_default();
    value.to_owned()
}

#[test]
fn checks_ask_what_they_ask_in_haproxy() {
    for (lines, wanted) in [
        (
            "option redis-check",
            r#"{ send = "*1\r\n$4\r\nPING\r\n", expect = "+PONG\r\n" }"#,
        ),
        (
            "option smtpchk EHLO a.example",
            r#"{ talk = [{ expect = "~^2[0-9][0-9]" }, { send = "EHLO a.example\r\n", expect = "~^2[0-9][0-9]" }, { send = "QUIT\r\n" }] }"#,
        ),
        (
            "option tcp-check\ntcp-check connect\ntcp-check send PING\\r\\n\ntcp-check expect string +PONG\ntcp-check send QUIT\\r\\n",
            r#"{ talk = [{ send = "PING\r\n", expect = "+PONG" }, { send = "QUIT\r\n" }] }"#,
        ),
        (
            "option tcp-check\ntcp-check send-binary FF00\ntcp-check expect binary 4f4b",
            r#"{ send = "hex:ff00", expect = "OK" }"#,
        ),
        (
            "option mysql-check user a",
            r#"{ talk = [{ expect = "hex:0000000a" }, { send = "hex:230000010082000000800001210000000000000000000000000000000000000000000000610000", expect = "hex:00000200" }, { send = "hex:0100000001" }] }"#,
        ),
        ("option mysql-check", r#"{ expect = "hex:0000000a" }"#),
        (
            "option ldap-check",
            r#"{ send = "hex:300c020101600702010304008000", expect = "~^0(?s-u:.{1,5})\\x02\\x01\\x01a(?s-u:.{1,5})\\n\\x01\\x00" }"#,
        ),
        ("option tcp-check", ""),
        (
            "option httpchk GET /a\nhttp-check expect ! status 500-599",
            r#"{ path = "/a", status = "100-499" }"#,
        ),
        (
            "option httpchk GET /a\nhttp-check expect rstatus ^2[0-9][02]$",
            r#"{ path = "/a", status = [200, 202, 210, 212, 220, 222, 230, 232, 240, 242, 250, 252, 260, 262, 270, 272, 280, 282, 290, 292] }"#,
        ),
        (
            "option httpchk GET /a\nhttp-check expect status 200\nhttp-check expect ! rstring (?i)error",
            r#"{ path = "/a", status = 200, lacks = "~(?i)error" }"#,
        ),
        // The last one counts.
        (
            "option redis-check\noption httpchk GET /a\nhttp-check expect string OK",
            r#"{ path = "/a", status = "100-599", contains = "OK" }"#,
        ),
    ] {
        assert_eq!(line_of_backend(lines, "check "), wanted, "{lines}");
    }
    for (lines, words) in [
        (
            "option tcp-check\ntcp-check expect ! string x",
            "say what has to come",
        ),
        (
            "option tcp-check\ntcp-check connect port 80",
            "one connection",
        ),
        (
            "option tcp-check\ntcp-check send-lf %[src]",
            "'tcp-check send-lf' is not translated",
        ),
        ("option tcp-check\ntcp-check send \\xff", "in hexadecimal"),
        (
            "option httpchk\nhttp-check expect hdr name x",
            "'http-check expect hdr'",
        ),
        (
            "option httpchk\nhttp-check expect string a\nhttp-check expect string b",
            "one text",
        ),
        (
            "option httpchk\nhttp-check send uri /a\nhttp-check send uri /b",
            "one request",
        ),
        (
            "option httpchk\nhttp-check expect min-recv 5 string a",
            "'min-recv'",
        ),
        ("option mysql-check user", "user NAME"),
        ("option external-check", "by what `tcp-check` sends"),
    ] {
        let said = refused(
            "default_backend b1",
            &format!(" server c 127.0.0.1:83 check\n{lines}"),
        );
        assert!(said.contains(words), "{lines}: {said}");
    }
}

#[test]
fn what_a_variable_is_set_to_is_put_where_it_is_read() {
    for (front, rest, wanted) in [
        (
            "http-request set-var(txn.host) req.hdr(host),lower\nuse_backend b2 if { var(txn.host) -m str a.example }\ndefault_backend b1",
            "",
            "route    = [\n{ host = \"a.example\", to = \"b2\" },\n{ to = \"b1\" },",
        ),
        (
            "http-request set-var(req.at) path\nhttp-request set-header X-At %[var(req.at)]\ndefault_backend b1",
            "",
            "route    = [\n{ to = \"b1\", headers = { request = { set = { X-At = \"{path}\" } } } },",
        ),
        // Under a condition: the condition is asked for.
        (
            "http-request set-var(txn.bad) bool(true) if { path_beg /x }\nhttp-request deny if { var(txn.bad) -m bool }\ndefault_backend b1",
            "",
            "route    = [\n{ path = \"/x*\", deny = true },\n{ to = \"b1\" },",
        ),
        // The last one that is set counts.
        (
            "http-request set-var(txn.to) str(one)\nhttp-request set-var(txn.to) str(two) if { method POST }\nuse_backend b2 if { var(txn.to) -m str two }\ndefault_backend b1",
            "",
            "route    = [\n{ method = \"POST\", to = \"b2\" },\n{ to = \"b1\" },",
        ),
        (
            "http-request set-var-fmt(txn.all) %[src]/%[method]\nhttp-response set-header X-All %[var(txn.all)]\ndefault_backend b1",
            "",
            "route    = [\n{ to = \"b1\", headers = { response = { set = { X-All = \"{client}/{method}\" } } } },",
        ),
        // In the backend that the section leads to.
        (
            "http-request set-var(txn.at) path\ndefault_backend b1",
            "http-request deny if { var(txn.at) -m beg /x }",
            "route    = [\n{ path = \"/x*\", deny = true },\n{ to = \"b1\" },",
        ),
    ] {
        let found = routes(front, rest);
        assert_eq!(found, wanted, "{front}");
    }
}

#[test]
fn a_variable_that_is_known_for_each_request_only_is_refused_where_it_is_read() {
    for (front, rest, words) in [
        (
            "http-request deny if { var(txn.a) -m found }",
            "",
            "nothing sets the variable 'txn.a'",
        ),
        (
            "http-request deny if { var(txn.a) -m found }\nhttp-request set-var(txn.a) path",
            "",
            "it is set behind this",
        ),
        (
            "http-request set-var(txn.a) path if { method GET }\nhttp-request set-header X-A %[var(txn.a)]",
            "",
            "set under a condition",
        ),
        (
            "http-request set-var(txn.a) path\nhttp-request set-path /b\nhttp-request deny if { var(txn.a) -m beg /x }",
            "",
            "'txn.a' is made of the path, which a rule changes",
        ),
        (
            "http-request set-var(txn.a) bool(1) if { hdr(X-A) 1 }\nhttp-request del-header X-A\nhttp-request deny if { var(txn.a) -m bool }",
            "",
            "made of the field x-a",
        ),
        (
            "http-request allow if { path /a }\nhttp-request set-var(txn.a) path\nuse_backend b2 if { var(txn.a) -m beg /x }",
            "",
            "may end the rules",
        ),
        (
            "http-request set-var(txn.a) req.hdr(X-A)\nhttp-request deny if { var(txn.a) -m str 1 }",
            "",
            "the last of several values",
        ),
        (
            "http-request set-var(sess.a) bool(1) if { path /a }\nhttp-request deny if { var(sess.a) -m bool }",
            "",
            "a request before on the same connection",
        ),
        (
            "http-request set-var(proc.a) path\nhttp-request deny if { var(proc.a) -m found }",
            "",
            "that of all requests",
        ),
        (
            "http-request set-var(req.a) path\nhttp-response set-header X-A %[var(req.a)]",
            "",
            "an answer does not see it",
        ),
        (
            "http-request set-var(txn.a) path\ndefault_backend b1\nfrontend other\nbind 127.0.0.1:8081\ndefault_backend b1",
            "http-request deny if { var(txn.a) -m beg /x }",
            "more than one section",
        ),
        (
            "http-request set-var(txn.a) var(txn.a)\nhttp-request deny if { var(txn.a) -m found }",
            "",
            "it is set behind this",
        ),
    ] {
        let said = refused(front, rest);
        assert!(said.contains(words), "{front}: {said}");
    }
}

#[test]
fn connections_to_servers_come_from_one_address() {
    for (lines, wanted) in [
        ("source 10.0.0.5", r#""10.0.0.5""#),
        ("source 10.0.0.5:0", r#""10.0.0.5""#),
        ("source ::1", r#""::1""#),
        ("source *", ""),
    ] {
        assert_eq!(line_of_backend(lines, "source "), wanted, "{lines}");
    }
    for (lines, words) in [
        ("source 10.0.0.5 usesrc clientip", "by its own ways"),
        ("source 10.0.0.5:2000", "no address alone"),
        ("server d 127.0.0.1:84 source 10.0.0.5", "from one address"),
        ("source banana", "no address alone"),
        (
            "http-send-name-header X-Server",
            "servers are not told their names",
        ),
    ] {
        let said = refused("default_backend b1", lines);
        assert!(said.contains(words), "{lines}: {said}");
    }
}

#[test]
fn what_a_condition_looks_at_is_said_by_routes_or_it_is_refused() {
    for (condition, wanted) in [
        (
            "path_len gt 3",
            "{ path = \"~^(?s:.{4,})$\", to = \"b2\" },",
        ),
        ("method -i get", "{ method = \"GET\", to = \"b2\" },"),
        (
            "req.hdr(host),field(1,:) a.example",
            "{ host = \"a.example\", to = \"b2\" },",
        ),
        ("src -m found", "{ to = \"b2\" },"),
        (
            "req.fhdr(X-A),upper -m str ABC",
            "{ header = { X-A = \"~(?i)^ABC$\" }, to = \"b2\" },",
        ),
        ("dst_port 8080", "{ to = \"b2\" },"),
        ("ssl_fc,not", ""),
    ] {
        let front = format!("use_backend b2 if {{ {condition} }}\ndefault_backend b1");
        if wanted.is_empty() {
            assert!(
                refused(&front, "").contains("is not translated"),
                "{condition}"
            );
            continue;
        }
        let routes = routes(&front, "");
        assert_eq!(routes.lines().nth(1), Some(wanted), "{condition}");
    }
    for (condition, words) in [
        ("src -m reg ^10", "compared with networks"),
        ("method -m beg P", "named as a whole"),
        ("urlp(a,;) 1", "parted by &"),
        ("path,lower -m str /ABC", "never found"),
        ("path_len 4x", "no length"),
        ("req.ver 1.1", "which version of HTTP"),
        ("hdr_ip(X-A) 10.0.0.1", "'hdr_ip' is not translated"),
    ] {
        let said = refused(&format!("http-request deny if {{ {condition} }}"), "");
        assert!(said.contains(words), "{condition}: {said}");
    }
    let said = refused("http-request deny if HTTP_1.0", "");
    assert!(said.contains("which version of HTTP"), "{said}");
}

#[test]
fn a_log_format_is_that_of_the_log_or_it_is_told_why_not() {
    let log = |front: &str| {
        let made = made(&format!("{front}\ndefault_backend b1"), "");
        assert!(refusals(&made).is_empty(), "{front}");
        let line = made.text.lines().find(|line| line.starts_with("log "));
        line.unwrap_or_default().to_owned()
    };
    let wanted = r#"log      = { format = "{client}:{client-port} {status} {header:X-A}" }"#;
    let known = "log 127.0.0.1 local0\nhttp-request set-var(txn.a) req.hdr(X-A)\nlog-format \"%ci:%cp %ST %[var(txn.a)]\"";
    assert_eq!(log(known), wanted);
    for other in [
        "log 127.0.0.1 local0\nlog-format \"%ci %tsc\"",
        "log-format %ci",
        "log 127.0.0.1 local0\nlog-format %ci\noption httplog",
    ] {
        assert_eq!(log(other), "", "{other}");
    }
}

/// What a file becomes whose clients come by TLS, and are asked for a certificate.
fn asked(verify: &str, front: &str) -> Translation {
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend main\n \
         bind :443 ssl crt /a.pem {verify}\n{front}\ndefault_backend b\nbackend b\n server s 127.0.0.1:81\n"
    );
    let input = Input {
        name: "h.cfg".into(),
        text,
    };
    haproxy(&[input], &Options::default(), &|_| None)
}

#[test]
fn a_client_may_be_asked_for_a_certificate() {
    for (verify, tls) in [
        (
            "ca-file /ca.pem verify required",
            "= { certs = \"/a.pem\", client-ca = \"/ca.pem\" }",
        ),
        (
            "ca-file /ca.pem verify optional",
            "= { certs = \"/a.pem\", client-ca = \"/ca.pem\", client-cert = \"optional\" }",
        ),
        (
            "ca-file /ca.pem verify required crl-file /ca.crl",
            "= { certs = \"/a.pem\", client-ca = \"/ca.pem\", client-crl = \"/ca.crl\" }",
        ),
        ("strict-sni", "= { certs = \"/a.pem\", strict-sni = true }"),
        ("ca-file /ca.pem crl-file /ca.crl", " = \"/a.pem\"\n"),
        ("ca-file /ca.pem verify none", " = \"/a.pem\"\n"),
        ("ca-file /ca.pem", " = \"/a.pem\"\n"),
    ] {
        let made = asked(verify, "");
        assert!(refusals(&made).is_empty(), "{:?}", refusals(&made));
        assert!(made.text.contains(tls), "{verify}:\n{}", made.text);
    }
    for (verify, words) in [
        ("verify optional", "certificates of somebody"),
        ("verify required", "certificates of somebody"),
        ("ca-file /ca.pem verify requierd", "'verify requierd'"),
        (
            "ca-file /ca.pem verify optional crt-ignore-err all",
            "'crt-ignore-err'",
        ),
    ] {
        let said = refusals(&asked(verify, "")).join("; ");
        assert!(said.contains(words), "{verify}: {said}");
    }
}

#[test]
fn what_is_asked_of_a_clients_certificate_is_asked_by_routes() {
    let optional = "ca-file /ca.pem verify optional";
    let deny = |condition: &str| format!("http-request deny if {{ path_beg /admin }} {condition}");
    for (condition, wanted) in [
        ("!{ ssl_c_used }", "not = { client-cert = \"*\" }"),
        ("{ ssl_c_used 0 }", "not = { client-cert = \"*\" }"),
        ("!{ ssl_fc_has_crt }", "not = { client-cert = \"*\" }"),
        ("{ ssl_c_used 1 }", "client-cert = \"*\""),
        ("{ ssl_c_s_dn(CN) ann }", "client-cert = \"ann\""),
        ("{ ssl_c_s_dn(cn) -m beg ops- }", "client-cert = \"ops-*\""),
        ("{ ssl_c_s_dn(cn) -i ann }", "client-cert = \"~(?i)^ann$\""),
        ("{ ssl_c_s_dn(cn) -m found }", "client-cert = \"~.\""),
        ("{ ssl_c_s_dn(cn) -m beg '' }", "client-cert = \"~.\""),
    ] {
        let made = asked(optional, &deny(condition));
        assert!(refusals(&made).is_empty(), "{:?}", refusals(&made));
        let line = made.text.lines().find(|line| line.contains("/admin*"));
        let line = line.unwrap_or_default();
        assert!(line.contains(wanted), "{condition}:\n{}", made.text);
    }
    // One that does not verify ends the handshake, and nobody has one who is not asked.
    for (verify, condition, denies) in [
        (optional, "{ ssl_c_verify 0 }", true),
        (optional, "!{ ssl_c_verify 0 }", false),
        (optional, "{ ssl_c_verify gt 0 }", false),
        ("", "{ ssl_c_used }", false),
        ("", "!{ ssl_c_used }", true),
        ("", "{ ssl_c_s_dn(cn) ann }", false),
    ] {
        let made = asked(verify, &deny(condition));
        assert!(refusals(&made).is_empty(), "{:?}", refusals(&made));
        assert!(!made.text.contains("client-cert = \"*"), "{}", made.text);
        let has = made.text.contains("/admin");
        assert_eq!(has, denies, "{condition}:\n{}", made.text);
    }
    let said = refusals(&asked(optional, &deny("{ ssl_c_s_dn(O) x }"))).join("; ");
    assert!(said.contains("ssl_c_s_dn(CN)"), "{said}");
    // What a client says itself must not stand beside what it has proved.
    let add = "http-request add-header X-Client %[ssl_c_s_dn(cn)]";
    let said = refusals(&asked(optional, add)).join("; ");
    assert!(said.contains("would pass beside it"), "{said}");
    let set = "http-request set-header X-Client %[ssl_c_s_dn(cn)]";
    let made = asked(optional, set);
    assert!(refusals(&made).is_empty(), "{:?}", refusals(&made));
    let field = "set = { X-Client = \"{client-cert-cn}\" }";
    assert!(made.text.contains(field), "{}", made.text);
}

#[test]
fn a_path_that_is_compared_as_it_came_is_compared_decoded() {
    let front =
        "http-request deny if { path_beg /a%20b } || { path /100%25ab /q%3Fb }\ndefault_backend b1";
    let text = made(front, "").text;
    for wanted in [r#""/a b*""#, r#""~^/100%ab$""#, r#""~^/q\\?b$""#] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn of_servers_with_the_same_cookie_the_first_has_it() {
    let lines =
        " cookie SRV insert\n server a 10.0.0.1:80 cookie x\n server b 10.0.0.2:80 cookie x backup";
    let translation = made("default_backend b1", lines);
    let ids = translation.text.matches("stick-id = \"x\"").count();
    assert_eq!(ids, 1, "{}", translation.text);
    assert!(translation.loaded.is_some());
}
