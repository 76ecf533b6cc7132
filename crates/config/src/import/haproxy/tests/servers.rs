//! Servers: where they are, how they are checked.

use super::{made, refusals, refused, whole};

#[test]
fn a_server_without_a_port_has_that_of_the_frontends_that_lead_to_it() {
    let made = whole(
        "frontend main\n bind :80\n default_backend b1\nfrontend other\n bind :81\n default_backend b2\nlisten l\n bind :82\n server s 10.0.0.3\nbackend b1\n server s 10.0.0.1\nbackend b2\n server s 10.0.0.2:8080\n",
    );
    assert!(made.loaded.is_some(), "{}", made.report);
    for wanted in ["\"10.0.0.1:80\"", "\"10.0.0.3:82\""] {
        assert!(made.text.contains(wanted), "{}", made.text);
    }
    let made = whole(
        "frontend main\n bind :80\n bind :81\n default_backend b1\nbackend b1\n server s 10.0.0.1\n server t _http._tcp.x\n",
    );
    let said = refusals(&made).join("; ");
    assert!(
        said.contains("write its port") && said.contains("SRV"),
        "{said}"
    );
}

#[test]
fn requests_that_fail_count_where_they_are_observed() {
    let check = |settings: &str| {
        let server = format!(" default-server {settings}\n server c 127.0.0.1:83 check");
        let text = made("default_backend b1", &server).text;
        let line = text.lines().find(|line| line.starts_with("check "));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(check("observe layer7"), "check    = { errors = 10 }");
    assert_eq!(
        check("observe layer7 error-limit 5 on-error mark-down"),
        "check    = { errors = 5 }"
    );
    // That of another backend.
    assert_eq!(check("error-limit 5"), "check    = false");
    let said = refused(
        "default_backend b1",
        " default-server observe layer3 on-error x",
    );
    assert!(
        said.contains("layer4 or layer7") && said.contains("mark-down"),
        "{said}"
    );
}

#[test]
fn a_default_server_counts_for_the_servers_behind_it() {
    let made = made(
        "default_backend b1",
        " default-server weight 5\n server c 127.0.0.1:83\n default-server weight 7\n server d 127.0.0.1:84",
    );
    // `s1` stands before all of them.
    for wanted in [
        "{ address = \"127.0.0.1:81\", name = \"s1\" }",
        "name = \"c\", weight = 5",
        "name = \"d\", weight = 7",
    ] {
        assert!(made.text.contains(wanted), "{}", made.text);
    }
}

#[test]
fn a_server_is_checked_at_the_port_that_says_how_it_is() {
    let check = |server: &str| {
        let made = whole(&format!(
            "frontend main\n bind :80\n default_backend b1\nbackend b1\n option httpchk GET /primary\n server s 10.0.0.1:5432 {server}\n server t 10.0.0.2:5432 {server}\n"
        ));
        assert!(made.loaded.is_some(), "{}", made.report);
        let line = made.text.lines().find(|line| line.starts_with("check "));
        let (_, check) = line.and_then(|line| line.split_once("= ")).unwrap();
        check.to_owned()
    };
    for (server, wanted) in [
        ("check port 8008", r#"{ path = "/primary", port = 8008 }"#),
        ("check port 5432", r#"{ path = "/primary" }"#),
        (
            "check check-ssl verify none",
            r#"{ path = "/primary", tls = true }"#,
        ),
        (
            "ssl verify none check port 8008 check-ssl",
            r#"{ path = "/primary", port = 8008, tls = true }"#,
        ),
        (
            "ssl verify none check check-ssl",
            r#"{ path = "/primary" }"#,
        ),
        (
            "ssl verify none check port 8008",
            r#"{ path = "/primary", port = 8008 }"#,
        ),
        (
            "send-proxy check port 8008",
            r#"{ path = "/primary", port = 8008 }"#,
        ),
    ] {
        assert_eq!(check(server), wanted, "{server}");
    }
    for (rule, wanted) in [
        ("connect port 9000", r#"{ path = "/", port = 9000 }"#),
        ("connect default", r#"{ path = "/" }"#),
        (
            "connect ssl port 9000",
            r#"{ path = "/", port = 9000, tls = true }"#,
        ),
    ] {
        let made = whole(&format!(
            "frontend main\n bind :80\n default_backend b1\nbackend b1\n option httpchk GET /\n http-check {rule}\n server s 10.0.0.1:81 check port 8008\n"
        ));
        let wanted = wanted.replace("{ path = \"/\" }", "{ path = \"/\", port = 8008 }");
        assert!(
            made.text.contains(&format!("= {wanted}\n")),
            "{rule}: {}",
            made.text
        );
    }
    for (first, second, why) in [
        ("check port 8008", "check port 8009", "at one `port`"),
        ("check port 8008", "check", "at one `port`"),
        (
            "check port 8008 check-send-proxy",
            "check port 8008 check-send-proxy",
            "does not speak the PROXY protocol",
        ),
        (
            "check ssl verify none no-check-ssl",
            "check ssl verify none no-check-ssl",
            "goes with a `port`",
        ),
    ] {
        let made = whole(&format!(
            "frontend main\n bind :80\n default_backend b1\nbackend b1\n server s 10.0.0.1:81 {first}\n server t 10.0.0.2:81 {second}\n"
        ));
        let said = refusals(&made).join("; ");
        assert!(said.contains(why), "{first}, {second}: {said}");
    }
}

#[test]
fn connections_are_cut_off_where_servers_say_so() {
    let cut = |servers: &str| {
        let made = whole(&format!("listen l\n mode tcp\n bind :81\n{servers}"));
        assert!(made.loaded.is_some(), "{}", made.report);
        let line = made.text.lines().find(|line| line.starts_with("cut "));
        let words = line.unwrap_or_default().split_whitespace();
        (words.collect::<Vec<_>>().join(" "), made.report.to_string())
    };
    let (text, report) = cut(
        " default-server on-marked-down shutdown-sessions\n server a 10.0.0.1:1 check on-marked-up shutdown-backup-sessions\n server b 10.0.0.2:1 check backup\n",
    );
    assert_eq!(text, "cut = [\"down\", \"backups\"]");
    assert!(!report.contains("holds for all servers"), "{report}");
    let (text, report) = cut(
        " server a 10.0.0.1:1 check on-marked-down shutdown-sessions\n server b 10.0.0.2:1 check on-marked-up shutdown-backup-sessions backup\n",
    );
    assert_eq!(
        text, "cut = \"down\"",
        "a backup is none of those that count"
    );
    assert!(report.contains("holds for all servers"), "{report}");
    let said = refused(
        "default_backend b1",
        " server s 127.0.0.1:1 on-marked-down shut",
    );
    assert!(said.contains("shutdown-sessions"), "{said}");
}
