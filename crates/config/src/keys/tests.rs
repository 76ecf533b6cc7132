use std::path::Path;

use super::TABLES;
use crate::table::Need;
use crate::{Diagnostics, Loaded};

fn parse(text: &str) -> Result<Loaded, Diagnostics> {
    crate::parse(text, "test", Path::new("/base"), &|_| None)
}

/// A file that is right and has a `PAIR` to fill in in the table of this heading.
fn around(heading: &str) -> &'static str {
    match heading {
        "the file" => "PAIR",
        "[cluster]" => "[cluster]\nPAIR",
        "[nodes] NAME = { ... }" => "nodes.a = { address = \"127.0.0.1\", PAIR }",
        "[listener.NAME]" => "[listener.web]\nbind = \":80\"\nroute = { deny = true }\nPAIR",
        "route = [{ conditions }]" | "route = [{ ... }]" => {
            "listener.web = { bind = \":80\", route = { deny = true, PAIR } }"
        }
        "redirect = { ... }" => {
            "listener.web = { bind = \":80\", route = { redirect = { to = \"/x\", PAIR } } }"
        }
        "respond = { ... }" => {
            "listener.web = { bind = \":80\", route = { respond = { status = 404, PAIR } } }"
        }
        "route = [{ policies }]" => {
            "listener.web = { bind = \":80\", route = { deny = true, PAIR } }"
        }
        "headers = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true, headers = { PAIR } } }"
        }
        "request = { ... }, response = { ... } and success = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true, headers = { request = { PAIR } } } }"
        }
        "by-status = [{ ... }]" => {
            "listener.web = { bind = \":80\", route = { deny = true, headers = { by-status = { status = 404, PAIR } } } }"
        }
        "errors = { 503 = { ... } }" => {
            "listener.web = { bind = \":80\", route = { deny = true }, errors = { 503 = { file = \"a\", PAIR } } }"
        }
        "log = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true }, log = { PAIR } }"
        }
        "maintenance = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true }, maintenance = { PAIR } }"
        }
        "auth = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true, auth = { file = \"a\", PAIR } } }"
        }
        "authorize = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true, authorize = { path = \"/a\", PAIR } } }"
        }
        "rate = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true, rate = { limit = \"1/s\", PAIR } } }"
        }
        "compress = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true, compress = { PAIR } } }"
        }
        "[site.NAME]" => "[site.www]\nroot = \"www\"\nPAIR",
        "access = [{ ... }]" => "site.www = { root = \"www\", access = { allow = \"all\", PAIR } }",
        "[app.NAME]" | "[app.NAME] and [backend.NAME]" => "[app.shop]\nrun = \"shop\"\nPAIR",
        "[backend.NAME]" => "[backend.old]\nservers = \"10.0.0.1:80\"\nPAIR",
        "servers = [{ ... }]" => "backend.old.servers = { address = \"10.0.0.1:80\", PAIR }",
        "check = { ... }" => "app.shop = { run = \"shop\", check = { path = \"/alive\", PAIR } }",
        "check = { talk = [{ ... }] }" => {
            "backend.old = { servers = \"a:1\", check = { talk = [{ PAIR }] } }"
        }
        "tls = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true }, tls = { certs = \"a\", client-ca = \"b\", PAIR } }"
        }
        "fastcgi = { ... }" => {
            "backend.old = { servers = \"a:1\", fastcgi = { root = \"www\", PAIR } }"
        }
        "uwsgi = { ... }" => {
            "backend.old = { servers = \"a:1\", uwsgi = { params = { A = \"b\" }, PAIR } }"
        }
        "scgi = { ... }" => "backend.old = { servers = \"a:1\", scgi = { PAIR } }",
        "retry = { ... }" => "app.shop = { run = \"shop\", retry = { PAIR } }",
        "queue = { ... }" => "app.shop = { run = \"shop\", queue = { PAIR } }",
        "stick = { ... }" => "app.shop = { run = \"shop\", stick = { PAIR } }",
        "route = [{ timeouts = { ... } }]" => {
            "listener.web = { bind = \":80\", route = { to = \"old\", timeouts = { PAIR } } }\nbackend.old.servers = \"a:1\""
        }
        "tls = { ... } of a backend" => "backend.old = { servers = \"a:1\", tls = { PAIR } }",
        "route = [{ limits = { ... } }]" => {
            "listener.web = { bind = \":80\", route = { deny = true, limits = { body = \"1 KiB\", PAIR } } }"
        }
        "limits = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true }, limits = { PAIR } }"
        }
        "[listener.NAME] timeouts = { ... }" => {
            "listener.web = { bind = \":80\", route = { deny = true }, timeouts = { PAIR } }"
        }
        "[app.NAME] timeouts = { ... }" => {
            "app.shop = { run = \"shop\", port = 81, timeouts = { PAIR } }"
        }
        "[backend.NAME] timeouts = { ... }" => {
            "backend.old = { servers = \"a:1\", timeouts = { PAIR } }"
        }
        "rehearse = { ... }" => {
            "app.shop = { run = \"shop\", rehearse = { proxy = \"a:1\", PAIR } }"
        }
        "[sessions]" => "[sessions]\nPAIR",
        "guard = { ... }" => "sessions.guard = { keys = \"a*\", for = \"1s\", PAIR }",
        other => panic!("no file around {other}"),
    }
}

#[test]
fn a_default_is_what_leaving_the_key_out_gives() {
    let mut tried = 0;
    for table in TABLES {
        let around = around(table.heading());
        let without = parse(&around.replace("PAIR", "").replace(",  }", " }")).unwrap();
        for row in table.rows() {
            let Need::Default(default) = row.need else {
                continue;
            };
            let text = around.replace("PAIR", &format!("{} = {default}", row.name));
            match parse(&text) {
                Ok(with) => assert_eq!(with, without, "{text}"),
                Err(wrong) => panic!("{wrong}"),
            }
            tried += 1;
        }
    }
    assert!(tried > 20);
}

#[test]
fn a_key_of_the_language_that_is_not_there_yet_is_said_to_be_just_that() {
    for table in TABLES {
        for row in table.rows().iter().filter(|row| !row.available) {
            let text = around(table.heading()).replace("PAIR", &format!("{} = 1", row.name));
            let wrong = parse(&text).unwrap_err();
            let message = format!("`{}` is not available yet in this version", row.name);
            assert_eq!(wrong.len(), 1, "{wrong}");
            assert_eq!(wrong.iter().next().unwrap().message, message);
        }
    }
}

#[test]
fn every_key_is_known_in_its_table() {
    for table in TABLES {
        for row in table.rows().iter().filter(|row| row.available) {
            // A date is no value of any key.
            let text =
                around(table.heading()).replace("PAIR", &format!("{} = 1979-05-27", row.name));
            for diagnostic in &parse(&text).unwrap_err() {
                assert!(!diagnostic.message.contains("unknown key"), "{diagnostic}");
            }
        }
    }
}

#[test]
fn no_table_has_a_key_twice() {
    for table in TABLES {
        let mut names: Vec<&str> = table.rows().iter().map(|row| row.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{}", table.heading());
    }
}
