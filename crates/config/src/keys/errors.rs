//! `errors`: pages of errors.

use std::path::PathBuf;

use tandem_model::{ErrorPage, Errors, Statuses};
use toml::de::DeValue;

use crate::kinds::{BOOL, PATH};
use crate::reader::Reader;
use crate::span::Item;
use crate::table::Need::{Default as Is, Required};
use crate::table::{Kind, Table, in_order, key};

pub(crate) const ERRORS: Kind<Errors> = Kind {
    text: "table of files",
    read: errors,
};

#[derive(Default)]
pub(crate) struct PageDraft {
    file: Option<PathBuf>,
    upstream: bool,
}

pub(crate) static PAGE: Table<PageDraft> = Table {
    heading: "errors = { 503 = { ... } }",
    label: "`errors`",
    doc: "`errors = { 503 = \"sorry.html\" }` is short for `errors = { 503 = { file = \"sorry.html\" } }`. Pages are for statuses from 400 to 599; `4xx` and `5xx` are all of a class that have no page of their own.",
    keys: &[
        &key(
            "file",
            PATH,
            Required,
            "The page, as it was at the start or the last reload; 4 MiB at most. Its type is that of its suffix.",
            |d: &mut PageDraft, v| d.file = Some(v.value),
        ),
        &key(
            "upstream",
            BOOL,
            Is("false"),
            "Whether it also takes the place of what servers answer with this status. Without it only Tandem's own errors have it.",
            |d: &mut PageDraft, v| d.upstream = v.value,
        ),
    ],
};

fn errors(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Errors> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, "a table like { 503 = \"sorry.html\" }");
        return None;
    };
    let mut pages = Errors::new();
    for (name, item) in in_order(table) {
        let Some(statuses) = Statuses::parse(name.value) else {
            let why = "errors are given by their status, 400 to 599, or `4xx` or `5xx`";
            reader.wrong(&name.span, why);
            continue;
        };
        let draft = match item.get_ref() {
            DeValue::Table(_) => match PAGE.read_item(reader, item) {
                Some(section) => section.draft,
                None => continue,
            },
            _ => PageDraft {
                file: reader.path(item),
                upstream: false,
            },
        };
        let Some(file) = draft.file else { continue };
        if draft.upstream && statuses.has(401) {
            let why = "a server's 401 says how to log in, and must reach the client";
            reader.wrong(&name.span, why);
        }
        let upstream = draft.upstream;
        pages.insert(statuses, ErrorPage { file, upstream });
    }
    Some(pages)
}
