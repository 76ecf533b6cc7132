//! `authorize`: another request says whether one may pass.

use std::time::Duration;

use tandem_model::{Authorization, Authorize};
use toml::de::DeValue;

use crate::kinds::DURATION;
use crate::reader::Reader;
use crate::span::Item;
use crate::table::Need::{Default as Is, Required};
use crate::table::{Kind, Table, key};

pub(crate) const AUTHORIZE: Kind<Authorize> = Kind {
    text: "path, table or false",
    read: authorize,
};

/// A path that routes are asked for, with its query.
const TARGET: Kind<String> = Kind {
    text: "path",
    read: target,
};

#[derive(Default)]
pub(crate) struct Draft {
    path: Option<String>,
    timeout: Option<Duration>,
}

pub(crate) static BY: Table<Draft> = Table {
    heading: "authorize = { ... }",
    label: "`authorize`",
    doc: "`authorize = \"/verify\"` is short for `authorize = { path = \"/verify\" }`; `authorize = false` asks nobody where a group of routes says who is asked.",
    keys: &[
        &key(
            "path",
            TARGET,
            Required,
            "What the routes of the listener are asked for: by a GET without a body, with the fields of the client's request. 2xx lets this one pass; 401, with its `WWW-Authenticate`, and 403 are answered; anything else is a 500. A route with `internal` takes it, and `auth`, `rate`, `authorize` and `deny` of routes let it pass; `{uri}` and `{method}` are there those of the client's request, and of the answer routes know `{authorized:NAME}`.",
            |d: &mut Draft, v| d.path = Some(v.value),
        ),
        &key(
            "timeout",
            DURATION,
            Is("\"60s\""),
            "How long the answer may take in all, whatever its service says; then it is a 500.",
            |d: &mut Draft, v| d.timeout = Some(v.value),
        ),
    ],
};

fn authorize(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Authorize> {
    let draft = match item.get_ref() {
        DeValue::Boolean(false) => return Some(Authorize::Off),
        DeValue::Table(_) => BY.read_item(reader, item)?.draft,
        DeValue::String(_) => Draft {
            path: Some(target(reader, item)?),
            timeout: None,
        },
        _ => {
            reader.expected(item, "a path like \"/verify\", a table or false");
            return None;
        }
    };
    Some(Authorize::By(Authorization {
        path: draft.path?,
        timeout: draft.timeout.unwrap_or(Authorization::TIMEOUT),
    }))
}

fn target(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let text = reader.filled(item, "a path like \"/verify\"")?;
    let is_sound = |b: u8| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b);
    if !text.starts_with('/') {
        reader.wrong(
            &item.span(),
            "a path begins with /: it is one of the listener's own",
        );
        return None;
    }
    if !text.bytes().all(is_sound) {
        let why = "this is no path and query as a request has them: other characters are percent-encoded, and there are no variables";
        reader.wrong(&item.span(), why);
        return None;
    }
    Some(text)
}
