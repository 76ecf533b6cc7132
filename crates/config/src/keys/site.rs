//! `[site.NAME]`: files from a directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tandem_model::{Check, Site};

use crate::keys::check::CHECK;
use crate::keys::rehearse::REHEARSE;
use crate::kinds::{BOOL, MAP, NETS, NODES, PATH, PORT, TEXTS};
use crate::span::At;
use crate::table::Need::{Default as Is, Else, Required, WithNodes};
use crate::table::{Table, key, not_yet};

pub(crate) struct Draft {
    pub site: Site,
    pub on: Option<Vec<At<String>>>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            site: Site {
                name: String::new(),
                on: Vec::new(),
                port: None,
                root: PathBuf::new(),
                index: vec!["index.html".into()],
                types: BTreeMap::new(),
                allow: Vec::new(),
                deny: Vec::new(),
                hidden: false,
                check: Check::default(),
                rehearse: None,
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
            "types",
            MAP,
            Else("the built-in table"),
            "More types by suffix, without the dot: `{ flv = \"video/x-flv\" }`.",
            |d: &mut Draft, v| d.site.types = v.value,
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
            CHECK,
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
        &not_yet(
            "fallback",
            "file name",
            "What is served where there is no file.",
        ),
        &not_yet("expires", "table", "How long clients may keep files."),
        &not_yet(
            "listing",
            "true or false",
            "Show what is in a directory without an index.",
        ),
        &not_yet(
            "precompressed",
            "list of codings",
            "Serve `file.gz` and the like where they are.",
        ),
        &not_yet("status", "path", "The path of a stub_status page."),
        &not_yet("aliases", "table", "Other directories under some paths."),
    ],
};
