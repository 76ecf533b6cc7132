//! `auth` and `rate`: who may ask, and how often.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tandem_model::auth::{MOST_REQUESTS, REALM, check_hash};
use tandem_model::{Auth, Counts, Rate, Secret, Users};
use toml::de::DeValue;

use crate::kinds::PATH;
use crate::reader::Reader;
use crate::span::Item;
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else, Required};
use crate::table::{Kind, Table, in_order, key};

/// The longest that a used-up burst may take to come back.
const LONGEST: Duration = Duration::from_hours(24);

pub(crate) const AUTH: Kind<Auth> = Kind {
    text: "table, path or false",
    read: auth,
};

pub(crate) const RATE: Kind<Rate> = Kind {
    text: "text or table",
    read: rate,
};

#[derive(Default)]
pub(crate) struct AuthDraft {
    users: BTreeMap<String, Secret>,
    file: Option<PathBuf>,
    realm: Option<String>,
}

pub(crate) static USERS: Table<AuthDraft> = Table {
    heading: "auth = { ... }",
    label: "`auth`",
    doc: "`auth = \"staff.htpasswd\"` is short for `auth = { file = \"staff.htpasswd\" }`; `auth = false` lets everyone in where a group of routes asks for a password. Hashes are those of bcrypt, SHA-crypt (`$5$`, `$6$`) and Apache's MD5 (`$apr1$`).",
    keys: &[
        &key(
            "users",
            Kind {
                text: "table of hashes",
                read: users,
            },
            Else("those of `file`"),
            "Users and the hashes of their passwords: `{ alice = \"$2y$...\" }`. `htpasswd -nB alice` makes one.",
            |d: &mut AuthDraft, v| d.users = v.value,
        ),
        &key(
            "file",
            PATH,
            Else("those of `users`"),
            "A file of lines `name:hash`, as `htpasswd -B` makes it; read at the start and at each reload.",
            |d: &mut AuthDraft, v| d.file = Some(v.value),
        ),
        &key(
            "realm",
            Kind {
                text: "text",
                read: realm,
            },
            Is("\"Restricted\""),
            "What browsers show when they ask for the password.",
            |d: &mut AuthDraft, v| d.realm = Some(v.value),
        ),
    ],
};

#[derive(Default)]
pub(crate) struct RateDraft {
    limit: Option<Rate>,
    burst: Option<u32>,
    counts: Counts,
}

pub(crate) static LIMIT: Table<RateDraft> = Table {
    heading: "rate = { ... }",
    label: "`rate`",
    doc: "`rate = \"10/s\"` is short for `rate = { limit = \"10/s\" }`. A client is an IPv4 address, or the first 64 bits of an IPv6 address. Who asks more often is answered 429 with `Retry-After`.",
    keys: &[
        &key(
            "limit",
            Kind {
                text: "number in a time",
                read: limit,
            },
            Required,
            "Requests of a client in a second (`10/s`), a minute (`100/m`) or an hour (`1000/h`).",
            |d: &mut RateDraft, v| d.limit = Some(v.value),
        ),
        &key(
            "burst",
            Kind {
                text: "number",
                read: |reader, item| {
                    let most = i64::from(MOST_REQUESTS);
                    Some(reader.integer(item, 1..=most, "a number")? as u32)
                },
            },
            Else("the number of `limit`"),
            "Requests that may come at once after a quiet time.",
            |d: &mut RateDraft, v| d.burst = Some(v.value),
        ),
        &key(
            "counts",
            Kind {
                text: "\"requests\" or \"errors\"",
                read: counts,
            },
            Is("\"requests\""),
            "Which requests count: all, or with `errors` those that are answered with a status from 400 to 499, so that who guesses or looks for holes is refused, and nobody else.",
            |d: &mut RateDraft, v| d.counts = v.value,
        ),
    ],
};

fn auth(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Auth> {
    let draft = match item.get_ref() {
        DeValue::Boolean(false) => return Some(Auth::Off),
        DeValue::Table(_) => {
            let section = USERS.read_item(reader, item)?;
            if !section.broken && section.draft.users.is_empty() && section.draft.file.is_none() {
                reader.wrong(
                    &item.span(),
                    "nobody is let in: `users` or `file` is missing",
                );
                return None;
            }
            section.draft
        }
        DeValue::String(_) => AuthDraft {
            file: Some(reader.path(item)?),
            ..AuthDraft::default()
        },
        _ => {
            reader.expected(item, "a table of users, a file or false");
            return None;
        }
    };
    Some(Auth::Basic(Users {
        realm: draft.realm.unwrap_or_else(|| REALM.into()),
        users: draft.users,
        file: draft.file,
    }))
}

fn users(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<BTreeMap<String, Secret>> {
    let DeValue::Table(table) = item.get_ref() else {
        reader.expected(item, "a table like { alice = \"$2y$...\" }");
        return None;
    };
    let mut users = BTreeMap::new();
    for (name, item) in in_order(table) {
        if name.value.is_empty() || name.value.contains(|c: char| c == ':' || c.is_control()) {
            reader.wrong(&name.span, "a user's name has no colon");
            continue;
        }
        if let Some(hash) = reader.parsed(item, "the hash of a password", |text| {
            check_hash(text).map(|()| text.to_owned())
        }) {
            users.insert(name.value.to_owned(), Secret::new(hash));
        }
    }
    Some(users)
}

fn realm(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    reader.parsed(item, "text", |text| {
        if text.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
            Err("a realm has no quotes and no backslashes")
        } else {
            Ok(text.to_owned())
        }
    })
}

fn limit(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Rate> {
    reader.parsed(item, "a rate like \"10/s\"", str::parse)
}

fn counts(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Counts> {
    match &*reader.filled(item, "\"requests\" or \"errors\"")? {
        "requests" => Some(Counts::Requests),
        "errors" => Some(Counts::Errors),
        other => {
            let hint = did_you_mean(other, ["requests", "errors"]);
            let message = "`counts` is \"requests\" or \"errors\"";
            reader.wrong_hint(&item.span(), message, hint);
            None
        }
    }
}

fn rate(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Rate> {
    let DeValue::Table(_) = item.get_ref() else {
        return limit(reader, item);
    };
    let draft = LIMIT.read_item(reader, item)?.draft;
    let mut rate = draft.limit?;
    rate.burst = draft.burst.unwrap_or(rate.burst);
    rate.counts = draft.counts;
    if rate.refill() > LONGEST {
        let message = "this burst would take longer than a day to come back";
        reader.wrong(&item.span(), message);
        return None;
    }
    Some(rate)
}
