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
