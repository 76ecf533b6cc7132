//! Whatever a file holds, it is read or refused; nothing panics, and what is said points into the file.

use std::path::Path;

use proptest::prelude::*;

fn read(text: &str) {
    let env = |name: &str| (name.len() < 3).then(|| "value".to_owned());
    if let Err(wrong) = tandem_config::parse(text, "hostile", Path::new("/"), &env) {
        let lines = text.lines().count().max(1) + 1;
        for diagnostic in &wrong {
            let line = diagnostic.place.as_ref().map_or(1, |place| place.line);
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
        assert!(!wrong.to_string().is_empty());
    }
}

/// Pieces of cluster files, so that the tree is reached and not the parser alone.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "[nodes]\n",
        "[cluster]\n",
        "[listener.web]\n",
        "[site.www]\n",
        "[app.shop]\n",
        "[backend.b]\n",
        "[sessions]\n",
        "[[listener.web.route]]\n",
        "[site]\n",
        "on",
        "bind",
        "route",
        "to",
        "path",
        "not",
        "missing",
        "check",
        "root",
        "proxy",
        "run",
        "servers",
        "third",
        "agents",
        "weight",
        "key",
        "port",
        "a",
        "b",
        "www",
        "shop",
        " = ",
        "=",
        ", ",
        ".",
        "{ ",
        " }",
        "[",
        "]",
        "\"",
        "'",
        "\"\"\"",
        "\n",
        "\n",
        "\"a\"",
        "\"b\"",
        "\"www\"",
        "\"shop\"",
        "\":80\"",
        "\"/x*\"",
        "\"~(\"",
        "\"${A}\"",
        "\"${\"",
        "\"127.0.0.1\"",
        "\"127.0.0.1:80\"",
        "true",
        "false",
        "0",
        "80",
        "-1",
        "1.5",
        "1979-05-27",
        "# c",
        "\r",
        "\t",
        "\u{feff}",
        "\0",
        "é",
        "\\u0000",
        "0x",
        "99999999999999999999",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => ".{0,4}",
    ]
}

/// Lines that are whole, with values of every kind under every key.
fn line() -> impl Strategy<Value = String> {
    let heads = [
        "nodes",
        "nodes.a",
        "nodes.b",
        "cluster.key",
        "cluster.port",
        "cluster.admin",
        "cluster.log",
        "listener.web.on",
        "listener.web.bind",
        "listener.web.route",
        "listener.web.timeouts",
        "listener.web.log",
        "site.www.on",
        "site.www.root",
        "site.www.port",
        "site.www.allow",
        "site.www.types",
        "app.shop.on",
        "app.shop.proxy",
        "app.shop.run",
        "app.shop.weight",
        "app.shop.check",
        "app.shop.instances",
        "app.shop.port",
        "backend.b.servers",
        "sessions.on",
        "sessions.third",
        "sessions.memory",
        "sessions.agents",
        "sessions.guard",
        "app.shop.rehearse",
    ];
    let values = [
        "\"a\"",
        "[\"a\", \"b\"]",
        "\"127.0.0.1\"",
        "\"10.0.0.1\"",
        "\":80\"",
        "[\":80\", \"127.0.0.1:80\"]",
        "80",
        "0",
        "true",
        "false",
        "{}",
        "[]",
        "{ to = \"shop\" }",
        "[{ path = \"/a*\", to = \"www\" }, { path = \"/a/b\", deny = true }]",
        "[{ route = { not = { path = \"/\" }, to = \"shop\" }, header = { X = \"*\" } }]",
        "{ path = \"/x\" }",
        "\"2s\"",
        "\"1 MiB\"",
        "{ a = 1 }",
        "{ run = \"x\" }",
        "\"${A}\"",
        "\"${LONG}\"",
        "{ keys = \"*\", for = \"1s\" }",
        "[[[1]]]",
        "\"b\"",
    ];
    (
        prop::sample::select(heads.to_vec()),
        prop::sample::select(values.to_vec()),
    )
        .prop_map(|(head, value)| format!("{head} = {value}\n"))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}|(?s).{0,200}") {
        read(&text);
    }

    #[test]
    fn any_mix_of_pieces_is_read_or_refused(pieces in prop::collection::vec(piece(), 0..60)) {
        read(&pieces.concat());
    }

    #[test]
    fn any_mix_of_lines_is_read_or_refused(lines in prop::collection::vec(line(), 0..25)) {
        read(&lines.concat());
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for (open, close) in [
        ("[", "]"),
        ("{ a = ", " }"),
        ("{ not = ", " }"),
        ("[{ route = ", " }]"),
    ] {
        let text = format!(
            "[listener.web]\nroute = {}1{}",
            open.repeat(5_000),
            close.repeat(5_000)
        );
        read(&text);
        read(&text[..text.len() / 2]);
    }
}
