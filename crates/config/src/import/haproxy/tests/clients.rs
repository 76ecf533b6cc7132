//! What is asked of clients, and what listeners say of them.

use super::{made, refusals, refused, routes, whole};

#[test]
fn a_client_has_so_many_connections_to_a_listener() {
    const TRACK: &str = "tcp-request connection track-sc0 src";
    for (rules, wanted) in [
        (
            format!("{TRACK}\ntcp-request connection reject if {{ src_conn_cur ge 20 }}"),
            19,
        ),
        (
            format!("{TRACK}\ntcp-request content reject if {{ sc0_conn_cur gt 20 }}"),
            20,
        ),
        // It is not counted yet when the rule is asked.
        (
            format!("tcp-request connection reject if {{ src_conn_cur gt 10 }}\n{TRACK}"),
            11,
        ),
        (
            "http-request track-sc0 src\nhttp-request deny deny_status 429 if { sc_conn_cur(0) gt 5 }".into(),
            5,
        ),
    ] {
        let front = format!("stick-table type ip size 1m expire 10s store conn_cur\n{rules}\ndefault_backend b1");
        let made = made(&front, "");
        assert!(made.loaded.is_some(), "{rules}: {}", made.report);
        let limits = format!("limits   = {{ per-source = {wanted} }}");
        assert!(made.text.contains(&limits), "{rules}: {}", made.text);
        assert!(made.report.to_string().contains("of one address at once"), "{}", made.report);
    }
    for (front, rest, why) in [
        (
            format!(
                "{TRACK}\ntcp-request connection reject if {{ src_conn_cur ge 20 }} !{{ src 10.0.0.0/8 }}"
            ),
            "",
            "under no other condition",
        ),
        (
            format!("{TRACK}\nhttp-request set-header X-A b if {{ src_conn_cur ge 20 }}"),
            "",
            "can be denied",
        ),
        (
            "tcp-request connection reject if { src_conn_cur ge 20 }".into(),
            "",
            "no rule counts",
        ),
        (
            String::new(),
            " http-request track-sc0 src\n http-request deny if { sc0_conn_cur gt 5 }",
            "in the frontend",
        ),
    ] {
        let said = refused(&format!("{front}\ndefault_backend b1"), rest);
        assert!(said.contains(why), "{front}{rest}: {said}");
    }
}

#[test]
fn a_proxy_is_believed_who_the_client_is_where_its_networks_are_named() {
    for rules in [
        "acl cf src 10.0.0.0/8 10.1.0.0/16\nacl said req.hdr(CF-Connecting-IP) -m found\nhttp-request set-src hdr(CF-Connecting-IP) if cf said",
        "http-request set-src hdr_ip(x-forwarded-for,-1) if { src 10.0.0.0/8 10.1.0.0/16 }\nhttp-request deny if { src 10.9.9.9 }",
    ] {
        let made = made(&format!("{rules}\ndefault_backend b1"), "");
        assert!(made.loaded.is_some(), "{rules}: {}", made.report);
        let trust = "trust    = [\"10.0.0.0/8\", \"10.1.0.0/16\"]";
        assert!(made.text.contains(trust), "{rules}: {}", made.text);
        assert!(
            made.report
                .to_string()
                .contains("the client is the last of X-Forwarded-For"),
            "{}",
            made.report
        );
    }
    for (rules, why) in [
        (
            "http-request set-src hdr(X-Forwarded-For)",
            "whom is this believed",
        ),
        (
            "http-request set-src hdr(X-Forwarded-For) if !{ src 10.0.0.0/8 }",
            "whom is this believed",
        ),
        (
            "http-request set-src hdr(X-Real-IP) if { src 10.0.0.0/8 }",
            "who has filled it in",
        ),
        (
            "http-request set-src hdr(X-Forwarded-For,1) if { src 10.0.0.0/8 }",
            "who has filled it in",
        ),
        (
            "http-request deny if !{ src 10.0.0.0/8 }\nhttp-request set-src hdr(X-Forwarded-For) if { src 10.0.0.0/8 }",
            "a rule before this one",
        ),
    ] {
        let said = refused(&format!("{rules}\ndefault_backend b1"), "");
        assert!(said.contains(why), "{rules}: {said}");
    }
    let said = refused(
        "default_backend b1",
        " http-request set-src hdr(X-Forwarded-For) if { src 10.0.0.0/8 }",
    );
    assert!(said.contains("in the frontend"), "{said}");
}

#[test]
fn certificates_may_be_named_in_a_list() {
    let directory = std::env::temp_dir().join(format!("tandem-crt-list-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let list = directory.join("list");
    let asked = |text: &str| {
        std::fs::write(&list, text).unwrap();
        whole(&format!(
            "frontend main\n bind :443 ssl crt /a.pem crt-list {}\n http-request deny\n",
            list.display()
        ))
    };
    let text =
        asked("# mine\n/b.pem [alpn h2 ciphers X] b.example *.b.example\n\n/c.pem\n/b.pem other\n")
            .text;
    let wanted = "tls      = [\"/a.pem\", \"/b.pem\", \"/c.pem\"]";
    assert!(text.contains(wanted), "{text}");
    for (text, why) in [
        (
            "/b.pem [verify required] x\n",
            "holds for one certificate alone",
        ),
        ("/b.pem [alpn h2\n", "a ] closes"),
        ("# none\n", "names no certificate"),
    ] {
        let said = refusals(&asked(text)).join("; ");
        assert!(said.contains(why), "{text}: {said}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_field_of_its_own_says_who_the_client_is() {
    let wanted = r#"headers = { request = { set = { X-Client = "{client}" } } }"#;
    for (front, rest) in [
        ("option forwardfor header X-Client", ""),
        ("option forwardfor if-none header X-Client", ""),
        ("", " option forwardfor except 127.0.0.1 header X-Client"),
    ] {
        let text = made(&format!("{front}\ndefault_backend b1"), rest).text;
        assert!(text.contains(wanted), "{front}{rest}: {text}");
    }
    let text = made(
        "option forwardfor header X-Forwarded-For\ndefault_backend b1",
        "",
    )
    .text;
    assert!(!text.contains("headers"), "{text}");
}

#[test]
fn whether_a_map_has_it_is_asked_of_its_keys() {
    let path = std::env::temp_dir().join(format!("tandem-map-found-{}", std::process::id()));
    std::fs::write(&path, "a.example x\n# none\nb.example y\n").unwrap();
    let front = format!(
        "acl works hdr(host),lower,map({}) -m found\nuse_backend b2 if works\ndefault_backend b1",
        path.display()
    );
    let routes = routes(&front, "");
    let wanted = r#"{ host = ["a.example", "b.example"], to = "b2" },"#;
    assert!(routes.contains(wanted), "{routes}");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_cookie_is_there_when_it_has_a_value() {
    for (condition, wanted) in [
        ("req.cook(a) -m found", r#"cookie = { a = "~." }"#),
        ("req.cook_cnt(a) gt 0", r#"cookie = { a = "~." }"#),
        ("urlp(a) -m found", r#"query = { a = "*" }"#),
    ] {
        let routes = routes(
            &format!("use_backend b2 if {{ {condition} }}\ndefault_backend b1"),
            "",
        );
        assert!(routes.contains(wanted), "{condition}: {routes}");
    }
    let made = made(
        "http-request deny if { path_sub .. }\ndefault_backend b1",
        "",
    );
    assert!(
        made.report.to_string().contains("segments of dots"),
        "{}",
        made.report
    );
}

#[test]
fn a_client_connects_so_often_to_a_listener() {
    const TRACK: &str = "tcp-request connection track-sc0 src";
    for (rules, burst) in [
        (
            format!("{TRACK}\ntcp-request connection reject if {{ sc_conn_rate(0) gt 20 }}"),
            20,
        ),
        // It is not counted yet when the rule is asked.
        (
            format!("tcp-request connection reject if {{ src_conn_rate ge 20 }}\n{TRACK}"),
            20,
        ),
        (
            format!("{TRACK}\nhttp-request deny if {{ sc0_conn_rate gt 20 }}"),
            20,
        ),
    ] {
        let front = format!(
            "stick-table type ip size 1m expire 10s store conn_rate(10s)\n{rules}\ndefault_backend b1"
        );
        let made = made(&front, "");
        assert!(made.loaded.is_some(), "{rules}: {}", made.report);
        let wanted = format!("burst = {burst} }}");
        let line = made.text.lines().find(|line| line.starts_with("limits "));
        let line = line.unwrap_or_default();
        assert!(
            line.contains("per-source-rate = { limit = \"") && line.contains(&wanted),
            "{rules}: {}",
            made.text
        );
    }
    let said = refused(
        &format!(
            "stick-table type ip size 1m store conn_rate(10s)\n{TRACK} if {{ src 10.0.0.0/8 }}\ntcp-request connection reject if {{ sc0_conn_rate gt 5 }}\ndefault_backend b1"
        ),
        "",
    );
    assert!(said.contains("under no condition"), "{said}");
}
