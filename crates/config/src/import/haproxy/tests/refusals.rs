//! What has no effect, and what is refused, with its reason.

use super::super::super::{Input, Options, haproxy};
use super::{refusals, refused, whole};

#[test]
fn what_is_of_http_has_no_effect_in_tcp_mode_and_it_is_told() {
    let own = [
        "monitor-uri /x",
        "http-request set-header X-A b",
        "http-request deny if { path /x }",
        "http-response set-header X-A b",
        "redirect scheme https if { path /y }",
        "errorfile 503 /nowhere.http",
        "compression algo gzip",
        "unique-id-header X-I",
    ];
    let of_defaults = "unique-id-format %ci\n errorfile 504 /nowhere.http\n compression algo gzip\n option forwardfor";
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n {of_defaults}\nfrontend main\n bind 127.0.0.1:8080\n {}\n default_backend b1\nbackend b1\n balance\n cookie X insert\n http-request deny\n errorfile 503 /nowhere.http\n server s1 127.0.0.1:81 cookie a\n",
        own.join("\n ")
    );
    let input = Input {
        name: "h.cfg".into(),
        text,
    };
    let made = haproxy(&[input], &Options::default(), &|_| None);
    let report = made.report.to_string();
    assert!(made.loaded.is_some(), "{report}");
    for line in own.iter().chain(&["cookie X insert", "http-request deny"]) {
        let told = format!("`{line}`: it is of HTTP, and this section has `mode tcp`");
        assert!(report.contains(&told), "{line}: {report}");
    }
    assert!(
        report.contains("`errorfile 504 /nowhere.http`: nothing here needs it"),
        "{report}"
    );
    for gone in [
        "errors", "headers", "compress", "stick", "X-I", "redirect", "deny",
    ] {
        assert!(!made.text.contains(gone), "{gone}: {}", made.text);
    }
}

#[test]
fn a_connection_that_leads_nowhere_is_closed_in_tcp_mode() {
    let made = whole(
        "frontend main\n mode tcp\n bind :80\n filter compression\n use_backend b1 if { src 10.0.0.0/8 }\n use_backend b2 if { src 11.0.0.0/8 }\nbackend b1\n mode tcp\n server s 10.0.0.1:81\nbackend b2\n mode tcp\n",
    );
    assert!(made.loaded.is_some(), "{}", made.report);
    assert_eq!(
        made.text.matches("deny = \"close\"").count(),
        2,
        "{}",
        made.text
    );
    let said = refusals(&whole("frontend main\n bind :80\n filter spoe engine x\n")).join("; ");
    assert!(said.contains("there are no filters"), "{said}");
}

#[test]
fn what_is_refused_says_why_and_what_there_is() {
    for (front, rest, why) in [
        ("http-request set-uri /x", "", "the query stays as it comes"),
        (
            "http-request set-query a=b",
            "",
            "the query stays as it comes",
        ),
        ("http-request set-header X-A: b", "", "no name of a field"),
        (
            "http-response set-header X-A %s",
            "",
            "the access log says it",
        ),
        (
            "http-request deny if { sc0_bytes_out_rate gt 5 }",
            "",
            "how many connections it has",
        ),
        (
            "http-request deny if { nbsrv(b1) lt 1 }",
            "",
            "`backup` servers",
        ),
        (
            "http-request deny if { payload(0,3) -m bin 535348 }",
            "",
            "the name that TLS asks for",
        ),
        (
            "",
            " server x 10.0.0.1:80 proto h2",
            "HTTP/1.1 is spoken to servers",
        ),
        (
            "bind :81 interface eth0",
            "",
            "bind the address that it has",
        ),
    ] {
        let said = refused(&format!("{front}\ndefault_backend b1"), rest);
        assert!(said.contains(why), "{front}{rest}: {said}");
    }
    let made = whole(
        "cache c\n max-age 60\nfrontend f\n bind :80\n http-request cache-use c\n http-request deny\n",
    );
    assert!(made.loaded.is_some(), "{}", made.report);
    assert!(
        made.report
            .to_string()
            .contains("answers are not cached: servers are asked each time")
    );
}
