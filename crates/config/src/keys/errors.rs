//! `errors`: pages of errors.

use std::path::PathBuf;

use tandem_model::{ErrorContent, ErrorPage, Errors, Statuses, Template};
use toml::de::DeValue;

use super::policies::template;
use super::route;
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
    redirect: Option<Template>,
    to: Option<Template>,
    status: Option<u16>,
    upstream: bool,
}

pub(crate) static PAGE: Table<PageDraft> = Table {
    heading: "errors = { 503 = { ... } }",
    label: "`errors`",
    doc: "`errors = { 503 = \"sorry.html\" }` is short for `errors = { 503 = { file = \"sorry.html\" } }`; one of `file`, `redirect` and `to` is given. Pages are for statuses from 400 to 599; `4xx` and `5xx` are all of a class that have no page of their own.",
    keys: &[
        &key(
            "file",
            PATH,
            Else("another is given"),
            "The page, as it was at the start or the last reload; 4 MiB at most. Its type is that of its suffix.",
            |d: &mut PageDraft, v| d.file = Some(v.value),
        ),
        &key(
            "redirect",
            Kind {
                text: "URL or path",
                read: route::location,
            },
            Else("another is given"),
            "Where the client is sent instead. It may have [variables](#variables).",
            |d: &mut PageDraft, v| d.redirect = Some(v.value),
        ),
        &key(
            "to",
            Kind {
                text: "path",
                read: target,
            },
            Else("another is given"),
            "What the routes of the listener have at this path is the answer, as to a GET (or HEAD) of it with the fields of the client's request: `{ to = \"/login\" }`. It may have [variables](#variables); `{uri}` stays that of the client's request, and a route with `internal` takes it. An error there has no other in its place.",
            |d: &mut PageDraft, v| d.to = Some(v.value),
        ),
        &key(
            "status",
            Kind {
                text: "status code",
                read: shown,
            },
            Else("302 of a `redirect`, that of the answer of `to`"),
            "The status of the redirect, 301, 302, 303, 307 or 308; or that which the answer of `to` gets, 200 to 599.",
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

/// 304 and those without a body are said of what they are.
fn shown(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<u16> {
    let status = reader.integer(item, 200..=599, "a status code")? as u16;
    if matches!(status, 204..=206 | 304) {
        reader.wrong(&item.span(), "no error is answered with this status");
        return None;
    }
    Some(status)
}

fn target(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Template> {
    let to = template(reader, item)?;
    if !to.to_string().starts_with('/') {
        let why = "a path begins with /: it is one of the listener's own";
        reader.wrong(&item.span(), why);
        return None;
    }
    Some(to)
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
                    let given = ["file", "redirect", "to"];
                    let is_one = given.iter().filter(|key| section.has(key)).count() == 1;
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
            reader.wrong(&name.span, "an error has a `file`, a `redirect` or a `to`");
            continue;
        }
        if draft.upstream && draft.file.is_some() && statuses.has(401) {
            let why = "a server's 401 says how to log in, and must reach the client";
            reader.wrong(&name.span, why);
        }
        let content = match (draft.file, draft.redirect, draft.to) {
            (Some(_), ..) if draft.status.is_some() => {
                let why =
                    "a page has the status of its error: `status` goes with `redirect` and `to`";
                reader.wrong(&name.span, why);
                continue;
            }
            (Some(file), ..) => ErrorContent::File(file),
            (_, Some(to), _) => {
                let status = draft.status.unwrap_or(302);
                if !matches!(status, 301..=303 | 307 | 308) {
                    reader.wrong(&name.span, "a redirect is 301, 302, 303, 307 or 308");
                }
                ErrorContent::Redirect { to, status }
            }
            (_, _, Some(to)) => ErrorContent::Path {
                to,
                status: draft.status,
            },
            // What is wrong with it was told.
            (None, None, None) => continue,
        };
        let upstream = draft.upstream;
        pages.insert(statuses, ErrorPage { content, upstream });
    }
    Some(pages)
}
