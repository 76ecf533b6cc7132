//! `[site.NAME]`: files from a directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tandem_model::{Access, Coding, Site};
use toml::de::DeValue;

use crate::duration;
use crate::keys::check::NODE_CHECK;
use crate::keys::rehearse::REHEARSE;
use crate::kinds::{BOOL, MAP, NETS, NODES, PATH, PORT, TEXT, TEXTS, net};
use crate::reader::Reader;
use crate::span::{At, Item, values};
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else, Required, WithNodes};
use crate::table::{Kind, Table, in_order, key};

pub(crate) struct Draft {
    pub site: Site,
    pub on: Option<Vec<At<String>>>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            site: Site {
                index: vec!["index.html".into()],
                ..Site::default()
            },
            on: None,
        }
    }
}

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[site.NAME]",
    label: "",
    doc: "Files from a directory.",
    keys: &[
        &key(
            "on",
            NODES,
            WithNodes,
            "The nodes it is on.",
            |d: &mut Draft, v| d.on = Some(v.value),
        ),
        &key(
            "port",
            PORT,
            Else("only listeners of its own nodes reach it"),
            "Where it listens for listeners on other nodes.",
            |d: &mut Draft, v| d.site.port = Some(v.value),
        ),
        &key(
            "root",
            PATH,
            Required,
            "The directory. Nothing outside of it is ever read.",
            |d: &mut Draft, v| {
                d.site.root = v.value;
            },
        ),
        &key(
            "index",
            TEXTS,
            Is("\"index.html\""),
            "File names answered for a directory.",
            |d: &mut Draft, v| {
                d.site.index = v.value;
            },
        ),
        &key(
            "suffixes",
            TEXTS,
            Else("none"),
            "What is looked for behind a path that is no file, before a directory: with `[\".html\", \"/index.html\"]` `/about` is `about.html`, or `about/index.html`.",
            |d: &mut Draft, v| {
                d.site.suffixes = v.value;
            },
        ),
        &key(
            "fallback",
            TEXT,
            Else("404"),
            "The file below the root that is served where there is none, for single-page applications.",
            |d: &mut Draft, v| d.site.fallback = Some(v.value),
        ),
        &key(
            "aliases",
            ALIASES,
            Else("none"),
            "Other directories by the path they are seen under: `{ \"/icons\" = \"/usr/share/icons\" }`.",
            |d: &mut Draft, v| d.site.aliases = v.value,
        ),
        &key(
            "types",
            TYPES,
            Else("the built-in table"),
            "More types by suffix, without the dot: `{ flv = \"video/x-flv\" }`. `\"*\"` is the type of every other file.",
            |d: &mut Draft, v| d.site.types = v.value,
        ),
        &key(
            "only-types",
            BOOL,
            Is("false"),
            "No other types than those of `types`: the built-in table is not asked, and every other file is of the type `\"*\"`.",
            |d: &mut Draft, v| d.site.only_types = v.value,
        ),
        &key(
            "charset",
            CHARSET,
            Is("\"utf-8\""),
            "The charset that text of the built-in table is said to be in; `false` says nothing.",
            |d: &mut Draft, v| d.site.charset = v.value,
        ),
        &key(
            "expires",
            EXPIRES,
            Else("clients ask again when they like"),
            "How long clients may keep files, by media type: `{ \"image/*\" = \"30d\", \"*\" = \"1h\" }`. `0s` has them ask each time.",
            |d: &mut Draft, v| d.site.expires = v.value,
        ),
        &key(
            "precompressed",
            CODINGS,
            Else("none"),
            "Send `file.br`, `file.zst` or `file.gz` in place of `file` to clients that take it, the preferred first.",
            |d: &mut Draft, v| d.site.precompressed = v.value,
        ),
        &key(
            "compress",
            BOOL,
            Is("false"),
            "Compress text (`br`, `gzip`) as it is asked for, and keep the result.",
            |d: &mut Draft, v| d.site.compress = v.value,
        ),
        &key(
            "listing",
            BOOL,
            Is("false"),
            "Show what is in a directory without an index.",
            |d: &mut Draft, v| d.site.listing = v.value,
        ),
        &key(
            "directories",
            BOOL,
            Is("true"),
            "Answer for directories: with their index, with a listing, or with a redirect to the path with a slash. `false`: there are only files, and all else is 404, so that `fallback` or `missing` is asked.",
            |d: &mut Draft, v| d.site.only_files = !v.value,
        ),
        &key(
            "status",
            URL_PATH,
            Else("none"),
            "The path of a page with counters, in the words of nginx's `stub_status`.",
            |d: &mut Draft, v| d.site.status = Some(v.value),
        ),
        &key(
            "allow",
            NETS,
            Else("everyone"),
            "Clients that may ask.",
            |d: &mut Draft, v| {
                d.site.allow = v.value;
            },
        ),
        &key(
            "deny",
            NETS,
            Else("no one"),
            "Clients that may not, asked first.",
            |d: &mut Draft, v| {
                d.site.deny = v.value;
            },
        ),
        &key(
            "access",
            ACCESS_RULES,
            Else("as `allow` and `deny` say"),
            "Who may ask, in order, in place of `allow` and `deny`: the first rule that names a client decides.",
            |d: &mut Draft, v| d.site.access = v.value,
        ),
        &key(
            "errors",
            ERRORS,
            Else("a small page of ours"),
            "Files below the root that are sent with an error, by its status: `{ 404 = \"404.html\" }`.",
            |d: &mut Draft, v| d.site.errors = v.value,
        ),
        &key(
            "hidden",
            BOOL,
            Is("false"),
            "Serve names that begin with a dot.",
            |d: &mut Draft, v| {
                d.site.hidden = v.value;
            },
        ),
        &key(
            "check",
            NODE_CHECK,
            Is("\"tcp\""),
            "How listeners on other nodes check it.",
            |d: &mut Draft, v| {
                d.site.check = v.value;
            },
        ),
        &key(
            "rehearse",
            REHEARSE,
            Else("itself"),
            "What plays it in a rehearsal.",
            |d: &mut Draft, v| {
                d.site.rehearse = Some(v.value);
            },
        ),
    ],
};

/// The word for every network.
pub(crate) const ALL: &str = "all";

/// Every network.
pub(crate) fn everyone() -> Vec<IpNet> {
    let zero = |ip: std::net::IpAddr| IpNet::new_assert(ip, 0);
    vec![
        zero(std::net::Ipv4Addr::UNSPECIFIED.into()),
        zero(std::net::Ipv6Addr::UNSPECIFIED.into()),
    ]
}

#[derive(Default)]
pub(crate) struct AccessDraft {
    allow: Option<Vec<IpNet>>,
    deny: Option<Vec<IpNet>>,
}

pub(crate) static ACCESS: Table<AccessDraft> = Table {
    heading: "access = [{ ... }]",
    label: "a rule of `access`",
    doc: "A rule of who may ask a site: one of the two keys. `\"all\"` is every network.",
    keys: &[
        &key(
            "allow",
            NETS_OR_ALL,
            Else("`deny`"),
            "Clients that may ask.",
            |d: &mut AccessDraft, v| d.allow = Some(v.value),
        ),
        &key(
            "deny",
            NETS_OR_ALL,
            Else("`allow`"),
            "Clients that may not.",
            |d: &mut AccessDraft, v| d.deny = Some(v.value),
        ),
    ],
};

const ACCESS_RULES: Kind<Vec<Access>> = Kind {
    text: "list of rules",
    read: |reader, item| {
        let one = |reader: &mut Reader<'_>, item: &Item<'_>| {
            let section = ACCESS.read_item(reader, item)?;
            match (section.draft.allow, section.draft.deny) {
                (Some(allow), None) => Some(Access::Allow(allow)),
                (None, Some(deny)) => Some(Access::Deny(deny)),
                _ if section.broken => None,
                _ => {
                    let wrong = "a rule of `access` is either { allow = ... } or { deny = ... }";
                    reader.wrong(&item.span(), wrong);
                    None
                }
            }
        };
        Some(values(&reader.some(item, one)))
    },
};

const NETS_OR_ALL: Kind<Vec<IpNet>> = Kind {
    text: "list of networks, or \"all\"",
    read: |reader, item| match item.get_ref() {
        DeValue::String(text) if text == ALL => Some(everyone()),
        _ => Some(values(&reader.some(item, net))),
    },
};

const CHARSET: Kind<Option<String>> = Kind {
    text: "text or false",
    read: |reader, item| {
        if let DeValue::Boolean(false) = item.get_ref() {
            return Some(Some(String::new()));
        }
        let charset = reader.parsed(item, "a charset like \"utf-8\", or false", |text| {
            // RFC 9110 section 8.3.2: a token.
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if text.bytes().all(token) {
                Ok(text.to_owned())
            } else {
                Err("a charset is a name like \"utf-8\"")
            }
        })?;
        // The usual one is not told from one that was left out.
        Some(Some(charset).filter(|charset| charset != "utf-8"))
    },
};

const ERRORS: Kind<BTreeMap<u16, String>> = Kind {
    text: "table of files",
    read: |reader, item| {
        let what = "a table like { 404 = \"404.html\" }";
        let named = table(reader, item, what, |reader, name, item| {
            let status: Option<u16> = name.value.parse().ok();
            if !status.is_some_and(|status| (400..600).contains(&status)) {
                let wrong = "errors are given by their status, 400 to 599";
                reader.wrong(&name.span, wrong);
                return None;
            }
            reader.filled(item, "a file below the root")
        })?;
        let numbered = named.into_iter();
        let numbered = numbered.filter_map(|(status, file)| Some((status.parse().ok()?, file)));
        Some(numbered.collect())
    },
};

const CODINGS: Kind<Vec<Coding>> = Kind {
    text: "list of codings",
    read: |reader, item| {
        let read = |reader: &mut Reader<'_>, item: &Item<'_>| {
            reader.parsed(item, "a coding like \"gzip\"", |text| {
                let coding = Coding::ALL.into_iter().find(|coding| coding.name() == text);
                coding.ok_or("a coding is \"br\", \"zstd\" or \"gzip\"")
            })
        };
        Some(values(&reader.some(item, read)))
    },
};

/// What can be sent as the value of a field.
const TYPES: Kind<BTreeMap<String, String>> = Kind {
    text: MAP.text,
    read: |reader, item| {
        let what = "a table of texts like { flv = \"video/x-flv\" }";
        table(reader, item, what, |reader, _, item| {
            reader.parsed(item, "a media type", |text| {
                if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                    Ok(text.to_owned())
                } else {
                    Err("a media type is of visible ASCII: it is sent as the value of a field")
                }
            })
        })
    },
};

/// What media types begin with (RFC 6838 section 4.2, and those that came later); `*` is any.
const KINDS: [&str; 12] = [
    "*",
    "application",
    "audio",
    "chemical",
    "font",
    "haptics",
    "image",
    "message",
    "model",
    "multipart",
    "text",
    "video",
];

const EXPIRES: Kind<BTreeMap<String, Duration>> = Kind {
    text: "table of durations",
    read: |reader, item| {
        table(
            reader,
            item,
            "a table like { \"image/*\" = \"30d\" }",
            |reader, name, item| {
                if name.value != "*" && !name.value.contains('/') {
                    let wrong =
                        "files expire by media type, like \"text/css\", \"image/*\" or \"*\"";
                    reader.wrong(&name.span, wrong);
                    return None;
                }
                let (kind, _) = name.value.split_once('/').unwrap_or(("*", ""));
                if !KINDS.contains(&kind) && !kind.starts_with("x-") {
                    let message = format!("no media type begins with `{kind}/`");
                    let hint = did_you_mean(kind, KINDS);
                    reader.wrong_hint(&name.span, message, hint);
                    return None;
                }
                reader.parsed(item, "a duration like \"30d\"", duration::parse_or_none)
            },
        )
    },
};

const ALIASES: Kind<BTreeMap<String, PathBuf>> = Kind {
    text: "table of paths",
    read: |reader, item| {
        table(
            reader,
            item,
            "a table like { \"/icons\" = \"/usr/share/icons\" }",
            |reader, name, item| {
                if !is_path(name.value) {
                    let wrong = "an alias is a path like \"/icons\"";
                    reader.wrong(&name.span, wrong);
                    return None;
                }
                reader.path(item)
            },
        )
    },
};

const URL_PATH: Kind<String> = Kind {
    text: "path",
    read: |reader, item| {
        reader.parsed(item, "a path like \"/status\"", |text| {
            if is_path(text) {
                Ok(text.to_owned())
            } else {
                Err("a path here is one of a request, like \"/status\"")
            }
        })
    },
};

/// Begins with a slash and is not the root itself.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.trim_matches('/').is_empty()
}

fn table<T>(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    what: &str,
    read: fn(&mut Reader<'_>, &At<&str>, &Item<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, what);
        return None;
    };
    let mut map = BTreeMap::new();
    for (name, item) in in_order(table) {
        if let Some(value) = read(reader, &name, item) {
            map.insert(name.value.to_owned(), value);
        }
    }
    Some(map)
}
