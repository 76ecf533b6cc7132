//! What is filled in for each request, and rules for answers.

use super::{made, refused, routes};

#[test]
fn an_answer_may_have_what_each_request_fills_in() {
    for (front, wanted) in [
        (
            "http-request return status 200 content-type text/plain lf-string \"%[path,field(-1,/)].abc\\n\" if { path_beg /.well-known/acme-challenge/ }\ndefault_backend b1",
            r#"{ path = "/.well-known/acme-challenge/*", route = [
{ path = "~([^/]*)$", respond = { status = 200, template = "{1}.abc\n", headers = { Content-Type = "text/plain" } } },
] },"#,
        ),
        (
            "http-request return status 200 lf-string \"you are %[src], {x}\"",
            r#"{ respond = { status = 200, template = "you are {client}, {{x}}" } },"#,
        ),
        (
            "http-request set-header X-Forwarded-Port %[dst_port]\nhttp-request set-header X-SSL %[ssl_fc]\nhttp-request set-header X-Proto %[ssl_fc,iif(https,http)]\nhttp-request set-header X-Front %f\ndefault_backend b1",
            r#"{ headers = { request = { set = { X-Forwarded-Port = "{port}" } } }, route = [
{ headers = { request = { set = { X-SSL = "0" } } }, route = [
{ headers = { request = { set = { X-Proto = "http" } } }, route = [
{ to = "b1", headers = { request = { set = { X-Front = "main" } } } },"#,
        ),
    ] {
        let routes = routes(front, "");
        assert!(routes.contains(wanted), "{front}: {routes}");
    }
    // The new path is known for each request only.
    let front = "http-request replace-path ^/v1/(.*) /\\1\nhttp-request return lf-string \"%[path,field(-1,/)]\"\ndefault_backend b1";
    assert!(refused(front, "").contains("has changed before"));
}

#[test]
fn a_part_of_a_path_is_replaced_as_replace_path_does_it() {
    let front =
        "http-request set-path %[path,regsub(^/api/,/)] if { path_beg /api }\ndefault_backend b1";
    let wanted = r#"rewrite = { "~^/api/(.*)" = "/{1}" }"#;
    let routes = routes(front, "");
    assert!(routes.contains(wanted), "{routes}");
    for other in ["regsub(/api/,/)", "regsub(^/(a|b)/,/)", "regsub(^/a/,/,i)"] {
        let front = format!("http-request set-path %[path,{other}]\ndefault_backend b1");
        assert!(
            refused(&front, "").contains("cannot be filled in"),
            "{other}"
        );
    }
}

#[test]
fn a_rule_for_answers_may_ask_about_the_answer() {
    for (rule, wanted) in [
        (
            "set-header X-A 1 if { status 404 }",
            r#"by-status = [{ status = 404, set = { X-A = "1" } }]"#,
        ),
        (
            "del-header X-A if { status ge 500 } or { status 404 }",
            r#"by-status = [{ status = [404, "500-599"], remove = "X-A" }]"#,
        ),
        (
            "set-header X-A 1 unless { status 100:399 }",
            r#"by-status = [{ status = "400-599", set = { X-A = "1" } }]"#,
        ),
        (
            "set-header X-A 1 if { status lt 400 }",
            r#"success = { set = { X-A = "1" } }"#,
        ),
        (
            "set-header X-A 1 if { status ge 100 }",
            r#"response = { set = { X-A = "1" } }"#,
        ),
        (
            "set-header X-A 1 unless { res.hdr(x-a) -m found }",
            r#"response = { default = { X-A = "1" } }"#,
        ),
        (
            "add-header X-A 1 if { res.hdr_cnt(X-A) eq 0 } { status 200 }",
            r#"by-status = [{ status = 200, default = { X-A = "1" } }]"#,
        ),
        (
            "replace-header Location http://a/(.*) /\\1 if { res.hdr(Location) -m found }",
            r#"response = { replace = { Location = { "~http://a/(.*)" = "/{1}" } } }"#,
        ),
    ] {
        let front = format!("acl x always_true\nhttp-response {rule}\ndefault_backend b1");
        let routes = routes(&front, "");
        assert!(routes.contains(wanted), "{rule}: {routes}");
    }
    // With what is asked of the connection.
    let routes = routes(
        "http-response set-header X-A 1 if { status 404 } { src 10.0.0.0/8 }\ndefault_backend b1",
        "",
    );
    assert!(routes.contains("source = \"10.0.0.0/8\""), "{routes}");
    for (front, why) in [
        (
            "http-request deny if { status 200 }",
            "a request has none yet",
        ),
        (
            "use_backend b2 if { res.hdr(X) -m found }",
            "a request has none yet",
        ),
        (
            "http-response set-header X-A 1 if { res.hdr(X-B) -m found }",
            "of an answer is asked",
        ),
        (
            "http-response set-header X-A 1 if { res.hdr(X-A) 1 }",
            "whether it is there",
        ),
        (
            "http-response add-header X-A 1 if { status 404 } or { src 10.0.0.1 }",
            "where one condition holds",
        ),
    ] {
        let said = refused(&format!("{front}\ndefault_backend b1"), "");
        assert!(said.contains(why), "{front}: {said}");
    }
}

#[test]
fn of_the_request_an_answer_knows_no_head() {
    let made = made(
        "acl api path_beg /api\nhttp-response set-header X-A 1 if api\nhttp-response set-header X-B 1 unless api\nhttp-request set-var(txn.path) path\nhttp-response set-header X-C 1 if { var(txn.path) -m beg /api }\ndefault_backend b1",
        "",
    );
    assert!(made.loaded.is_some(), "{}", made.report);
    assert!(
        !made.text.contains("X-A") && made.text.contains("X-B"),
        "{}",
        made.text
    );
    let wanted =
        r#"{ path = "/api*", to = "b1", headers = { response = { set = { X-C = "1" } } } }"#;
    assert!(made.text.contains(wanted), "{}", made.text);
    assert!(
        made.report.to_string().contains("it never holds"),
        "{}",
        made.report
    );
}

#[test]
fn a_field_of_answers_that_both_ends_change_is_told() {
    let told = |rule: &str| {
        let front = "http-response set-header X-A front\ndefault_backend b1";
        let made = made(front, &format!(" http-response {rule}"));
        assert!(made.loaded.is_some(), "{}", made.report);
        made.report.to_string().contains("the frontend changes")
    };
    assert!(told("set-header x-a back") && told("del-header X-A"));
    assert!(!told("set-header X-B back"));
}
