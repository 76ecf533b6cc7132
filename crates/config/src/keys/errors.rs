//! `errors`: pages of errors.

use std::path::PathBuf;

use tandem_model::{ErrorContent, ErrorPage, Errors, Statuses};
use toml::de::DeValue;

use super::route::REDIRECTION;
use crate::kinds::{BOOL, PATH};
use crate::reader::Reader;
use crate::span::Item;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, in_order, key};

pub(crate) const ERRORS: Kind<Errors> = Kind {
    text: "table of files",
    read: errors,
};

#[derive(Default)]
pub(crate) struct PageDraft {
    file: Option<PathBuf>,
    redirect: Option<String>,
    status: Option<u16>,
    upstream: bool,
}

pub(crate) static PAGE: Table<PageDraft> = Table {
    heading: "errors = { 503 = { ... } }",
    label: "`errors`",
    doc: "`errors = { 503 = \"sorry.html\" }` is short for `errors = { 503 = { file = \"sorry.html\" } }`; either `file` or `redirect` is given. Pages are for statuses from 400 to 599; `4xx` and `5xx` are all of a class that have no page of their own.",
    keys: &[
        &key(
            "file",
            PATH,
            Else("`redirect` is given"),
            "The page, as it was at the start or the last reload; 4 MiB at most. Its type is that of its suffix.",
            |d: &mut PageDraft, v| d.file = Some(v.value),
        ),
        &key(
            "redirect",
            Kind {
                text: "URL or path",
                read: location,
            },
            Else("`file` is given"),
            "Where the client is sent instead. It has no variables.",
            |d: &mut PageDraft, v| d.redirect = Some(v.value),
        ),
        &key(
            "status",
            REDIRECTION,
            Else("302"),
            "The status of the redirect.",
            |d: &mut PageDraft, v| d.status = Some(v.value),
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

fn location(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let text = reader.filled(item, "a URL like \"https://sorry.example/\"")?;
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        let why =
            "a URL has no spaces, and other characters than those of ASCII are percent-encoded";
        reader.wrong(&item.span(), why);
        return None;
    }
    if text.contains(['{', '}']) {
        let why =
            "where an error leads is the same for all requests: no variables are filled in here";
        let hint = Some("a brace of the URL itself is %7B or %7D".into());
        reader.wrong_hint(&item.span(), why, hint);
        return None;
    }
    Some(text)
}

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
        let (draft, is_one) = match item.get_ref() {
            DeValue::Table(_) => match PAGE.read_item(reader, item) {
                Some(section) => {
                    let is_one = section.has("file") != section.has("redirect");
                    (section.draft, is_one)
                }
                None => continue,
            },
            _ => {
                let file = reader.path(item);
                let draft = PageDraft {
                    file,
                    ..PageDraft::default()
                };
                (draft, true)
            }
        };
        if !is_one {
            reader.wrong(&name.span, "an error has a `file` or a `redirect`");
            continue;
        }
        if draft.upstream && draft.redirect.is_none() && statuses.has(401) {
            let why = "a server's 401 says how to log in, and must reach the client";
            reader.wrong(&name.span, why);
        }
        let content = match (draft.file, draft.redirect) {
            (Some(_), _) if draft.status.is_some() => {
                let why = "a page has the status of its error: `status` goes with `redirect`";
                reader.wrong(&name.span, why);
                continue;
            }
            (Some(file), _) => ErrorContent::File(file),
            (None, Some(to)) => ErrorContent::Redirect {
                to,
                status: draft.status.unwrap_or(302),
            },
            // What is wrong with it was told.
            (None, None) => continue,
        };
        let upstream = draft.upstream;
        pages.insert(statuses, ErrorPage { content, upstream });
    }
    Some(pages)
}
