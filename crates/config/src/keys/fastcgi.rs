//! `fastcgi`: how a program is asked that does not speak HTTP, and which of its scripts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::{FastCgi, Protocol};
use toml::de::DeValue;

use crate::kinds::{BOOL, MAP, PATH};
use crate::reader::Reader;
use crate::span::Item;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Ready, Table, key};

/// The extension of every file.
pub(crate) const EVERY: &str = "*";

/// `None` is HTTP.
pub(crate) const FASTCGI: Kind<Option<Arc<FastCgi>>> = Kind {
    text: "true or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Boolean(on) => Some(on.then(Arc::default)),
        DeValue::Table(_) => Some(Some(Arc::new(KEYS.read_item(reader, item)?.draft))),
        _ => {
            reader.expected(item, "true or a table like { root = \"/var/www/shop\" }");
            None
        }
    },
};

/// What a service speaks that speaks uWSGI's protocol; `None` is HTTP.
pub(crate) const UWSGI: Kind<Option<Arc<FastCgi>>> = Kind {
    text: "true or table",
    read: |reader, item| {
        let modifier = 0;
        let mut program = match item.get_ref() {
            DeValue::Boolean(false) => return Some(None),
            DeValue::Boolean(true) => FastCgi::default(),
            DeValue::Table(_) => UWSGI_KEYS.read_item(reader, item)?.draft,
            _ => {
                reader.expected(
                    item,
                    "true or a table like { params = { UWSGI_SCRIPT = \"shop\" } }",
                );
                return None;
            }
        };
        if !matches!(program.protocol, Protocol::Uwsgi { .. }) {
            program.protocol = Protocol::Uwsgi { modifier };
        }
        Some(Some(Arc::new(program)))
    },
};

/// Likewise of SCGI.
pub(crate) const SCGI: Kind<Option<Arc<FastCgi>>> = Kind {
    text: "true or table",
    read: |reader, item| {
        let mut program = match item.get_ref() {
            DeValue::Boolean(false) => return Some(None),
            DeValue::Boolean(true) => FastCgi::default(),
            DeValue::Table(_) => SCGI_KEYS.read_item(reader, item)?.draft,
            _ => {
                reader.expected(
                    item,
                    "true or a table like { params = { APP_ENV = \"production\" } }",
                );
                return None;
            }
        };
        program.protocol = Protocol::Scgi;
        Some(Some(Arc::new(program)))
    },
};

static PARAMS: Ready<FastCgi, BTreeMap<String, String>> = key(
    "params",
    MAP,
    Else("the usual ones alone"),
    "Parameters beside the usual ones, or in their place: `{ APP_ENV = \"production\" }`.",
    |f: &mut FastCgi, v| f.params = v.value,
);

pub(crate) static UWSGI_KEYS: Table<FastCgi> = Table {
    heading: "uwsgi = { ... }",
    label: "`uwsgi`",
    doc: "The program speaks uWSGI's protocol, as uWSGI does at its `socket`. It gets every path as `PATH_INFO`.",
    keys: &[
        &key(
            "modifier",
            Kind {
                text: "number from 0 to 255",
                read: |reader, item| Some(reader.integer(item, 0..=255, "a number")? as u8),
            },
            Is("0"),
            "Which of its plugins is asked (`modifier1`): 0 is Python's (WSGI), 5 Perl's (PSGI), 7 Ruby's (Rack), 14 PHP's.",
            |f: &mut FastCgi, v| f.protocol = Protocol::Uwsgi { modifier: v.value },
        ),
        &PARAMS,
    ],
};

pub(crate) static SCGI_KEYS: Table<FastCgi> = Table {
    heading: "scgi = { ... }",
    label: "`scgi`",
    doc: "The program speaks SCGI. It gets every path as `PATH_INFO`.",
    keys: &[&PARAMS],
};

pub(crate) static KEYS: Table<FastCgi> = Table {
    heading: "fastcgi = { ... }",
    label: "`fastcgi`",
    doc: "The program speaks FastCGI, as PHP-FPM does. With `root` the path says which script is run: one of its own (`/a/x.php`), or that of the directory, or `front`, or always `script`; without, the program gets every path as `PATH_INFO`.",
    keys: &[
        &key(
            "root",
            PATH,
            Else("the program answers every path itself"),
            "The directory of its scripts, as the program knows it. Where this node has it too, a script that is not there is answered 404, or by `front`.",
            |f: &mut FastCgi, v| f.root = Some(v.value),
        ),
        &key(
            "real-root",
            BOOL,
            Is("false"),
            "Symbolic links in `root` are followed at each request, so that a release that takes another's place by a link is another directory for PHP's cache.",
            |f: &mut FastCgi, v| f.real_root = v.value,
        ),
        &key(
            "front",
            Kind {
                text: "path of a URL",
                read: |reader, item| front(reader, item),
            },
            Else("404"),
            "The script that answers where there is none for a path: `\"/index.php\"`.",
            |f: &mut FastCgi, v| f.front = Some(v.value),
        ),
        &key(
            "script",
            Kind {
                text: "path of a URL",
                read: |reader, item| front(reader, item),
            },
            Else("the path says which"),
            "The one script that answers every path, whatever else is there: `\"/index.php\"`.",
            |f: &mut FastCgi, v| f.script = Some(v.value),
        ),
        &key(
            "index",
            Kind {
                text: "file name",
                read: |reader, item| {
                    reader.parsed(item, "a name like \"index.php\"", |text| {
                        if text.is_empty() || text.contains(['/', '\0']) {
                            Err("the script of a directory is a file in it")
                        } else {
                            Ok(text.to_owned())
                        }
                    })
                },
            },
            Is("\"index.php\""),
            "The script of a directory.",
            |f: &mut FastCgi, v| f.index = v.value,
        ),
        &key(
            "extension",
            Kind {
                text: "text",
                read: |reader, item| {
                    reader.parsed(item, "an extension like \".php\"", |text| {
                        let is_dotted = text.len() > 1 && text.starts_with('.');
                        match text {
                            EVERY => Ok(String::new()),
                            _ if is_dotted && !text.contains(['/', '\0']) => Ok(text.to_owned()),
                            _ => Err("an extension begins with a dot: \".php\"; with \"*\" every file is a script"),
                        }
                    })
                },
            },
            Is("\".php\""),
            "How the names of scripts end; with `\"*\"` every file is one.",
            |f: &mut FastCgi, v| f.extension = v.value,
        ),
        &key(
            "path-info",
            BOOL,
            Is("false"),
            "A path goes on behind a script: `/a/x.php/more` runs `/a/x.php`, with `/more` as its `PATH_INFO`. A route that forbids the one path does not forbid the other.",
            |f: &mut FastCgi, v| f.path_info = v.value,
        ),
        &PARAMS,
    ],
};

fn front(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    reader.parsed(item, "a path like \"/index.php\"", |text| {
        let is_file = text.starts_with('/') && !text.ends_with('/');
        let climbs = text.split('/').any(|part| matches!(part, "." | ".."));
        if is_file && !climbs && !text.contains('\0') {
            Ok(text.to_owned())
        } else {
            Err("the script that answers begins with / and names a file below `root`")
        }
    })
}
