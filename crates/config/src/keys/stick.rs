//! `stick`: what keeps a client with its server.

use std::time::Duration;

use tandem_model::{Gone, SameSite, Stick, StickBy, StickCookie};
use toml::de::DeValue;

use crate::keys::spread::token;
use crate::kinds::{BOOL, DURATION};
use crate::reader::Reader;
use crate::span::Item;
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Section, Table, key};

/// The cookie of a servlet container.
const SESSION: &str = "JSESSIONID";
/// A client without requests is remembered for so long.
const EXPIRES: Duration = Duration::from_mins(30);

/// How the server of a client is known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum By {
    #[default]
    Cookie,
    Prefix,
    JvmRoute,
    Source,
}

const BY: [(&str, By); 4] = [
    ("cookie", By::Cookie),
    ("prefix", By::Prefix),
    ("jvm-route", By::JvmRoute),
    ("source", By::Source),
];

/// Keys that go with a cookie of ours.
const OF_COOKIE: [&str; 7] = [
    "signed",
    "path",
    "domain",
    "secure",
    "http-only",
    "same-site",
    "max-age",
];

#[derive(Default)]
pub(crate) struct Draft {
    by: By,
    name: Option<String>,
    cookie: StickCookie,
    expires: Option<Duration>,
    gone: Gone,
}

pub(crate) const STICK: Kind<Stick> = Kind {
    text: "\"cookie\", \"prefix\", \"jvm-route\", \"source\" or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Table(_) => {
            let section = KEYS.read_item(reader, item)?;
            fitting(reader, &section);
            Some(stick(section.draft))
        }
        _ => Some(stick(Draft {
            by: by(reader, item)?,
            ..Draft::default()
        })),
    },
};

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "stick = { ... }",
    label: "`stick`",
    doc: "Keeps a client with the server that it had, as long as that can be used, also while it is drained. `stick = \"cookie\"` is short for `stick = { by = \"cookie\" }`.",
    keys: &[
        &key(
            "by",
            Kind {
                text: "\"cookie\", \"prefix\", \"jvm-route\" or \"source\"",
                read: by,
            },
            Is("\"cookie\""),
            "How its server is known: by a cookie of Tandem's, which servers do not see; by the server's id and a `~` before the value of the application's own cookie, which servers do not see; by what the application itself writes behind the last dot of that cookie (Tomcat's `jvmRoute`), also of the path parameter of its name (`;jsessionid=`); by its address.",
            |d: &mut Draft, v| d.by = v.value,
        ),
        &key(
            "name",
            Kind {
                text: "name of a cookie",
                read: |reader, item| {
                    reader.parsed(item, "the name of a cookie", |text| {
                        token(text).ok_or("this is no name of a cookie")
                    })
                },
            },
            Else("`\"tandem\"`; `\"JSESSIONID\"` for the application's own"),
            "The cookie.",
            |d: &mut Draft, v| d.name = Some(v.value),
        ),
        &key(
            "signed",
            BOOL,
            Is("false"),
            "The cookie proves that it is Tandem's, by the key of the cluster, so that no client chooses its server.",
            |d: &mut Draft, v| d.cookie.signed = v.value,
        ),
        &key(
            "path",
            ATTRIBUTE,
            Is("\"/\""),
            "The cookie's `Path`.",
            |d: &mut Draft, v| d.cookie.path = v.value,
        ),
        &key(
            "domain",
            ATTRIBUTE,
            Else("the host that was asked"),
            "The cookie's `Domain`.",
            |d: &mut Draft, v| d.cookie.domain = Some(v.value),
        ),
        &key(
            "secure",
            BOOL,
            Else("for clients that came by TLS"),
            "Whether the cookie is `Secure`.",
            |d: &mut Draft, v| d.cookie.secure = Some(v.value),
        ),
        &key(
            "http-only",
            BOOL,
            Is("true"),
            "Whether the cookie is `HttpOnly`: not shown to scripts.",
            |d: &mut Draft, v| d.cookie.http_only = v.value,
        ),
        &key(
            "same-site",
            Kind {
                text: "\"strict\", \"lax\", \"none\" or false",
                read: same_site,
            },
            Is("\"lax\""),
            "The cookie's `SameSite`; false leaves it out.",
            |d: &mut Draft, v| d.cookie.same_site = v.value,
        ),
        &key(
            "max-age",
            DURATION,
            Else("the cookie ends with the browser"),
            "How long the browser keeps the cookie after it was set.",
            |d: &mut Draft, v| d.cookie.max_age = Some(v.value),
        ),
        &key(
            "expires",
            DURATION,
            Else("30m"),
            "How long a client without requests is remembered, by its address; each node remembers the last 65,536.",
            |d: &mut Draft, v| d.expires = Some(v.value),
        ),
        &key(
            "gone",
            Kind {
                text: "\"rebalance\" or \"fail\"",
                read: gone,
            },
            Is("\"rebalance\""),
            "What happens when its server cannot be used: it gets another and stays with that, or the answer is 503.",
            |d: &mut Draft, v| d.gone = v.value,
        ),
    ],
};

/// The value of an attribute: nothing that could end it.
const ATTRIBUTE: Kind<String> = Kind {
    text: "text",
    read: |reader, item| {
        reader.parsed(item, "text", |text| {
            if text.bytes().all(|b| b.is_ascii_graphic() && b != b';') {
                Ok(text.to_owned())
            } else {
                Err("an attribute of a cookie has no spaces and no `;`")
            }
        })
    },
};

fn stick(draft: Draft) -> Stick {
    let name = |usual: &str| draft.name.clone().unwrap_or_else(|| usual.into());
    let by = match draft.by {
        By::Cookie => StickBy::Cookie(StickCookie {
            name: name(&StickCookie::default().name),
            ..draft.cookie
        }),
        By::Prefix => StickBy::Prefix {
            name: name(SESSION),
        },
        By::JvmRoute => StickBy::JvmRoute {
            name: name(SESSION),
        },
        By::Source => StickBy::Source {
            expires: draft.expires.unwrap_or(EXPIRES),
        },
    };
    Stick {
        by,
        gone: draft.gone,
    }
}

/// Says which keys go with another `by`.
fn fitting(reader: &mut Reader<'_>, section: &Section<Draft>) {
    let mut stray = |keys: &[&str], with: &str| {
        for key in keys.iter().filter(|key| section.has(key)) {
            let message = format!("`{key}` of `stick` goes with `by = \"{with}\"`");
            reader.wrong(&section.place(key), message);
        }
    };
    if section.draft.by != By::Cookie {
        stray(&OF_COOKIE, "cookie");
    }
    if section.draft.by != By::Source {
        stray(&["expires"], "source");
    }
    if section.draft.by == By::Source && section.has("name") {
        let message = "`name` of `stick` is that of a cookie, and `by` is \"source\"";
        reader.wrong(&section.place("name"), message);
    }
}

fn by(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<By> {
    const WORDS: &str = "`stick` is by \"cookie\", \"prefix\", \"jvm-route\" or \"source\"";
    let text = reader.filled(item, "a text like \"cookie\"")?;
    if let Some((_, by)) = BY.iter().find(|(name, _)| *name == text) {
        return Some(*by);
    }
    // What it is called in HAProxy, nginx and Apache.
    let elsewhere = match &*text.to_lowercase() {
        "insert" | "sticky" => Some("cookie"),
        "jsessionid" | "jvmroute" | "route" | "appsession" | "session" => Some("jvm-route"),
        "ip" | "src" | "ip_hash" | "ip-hash" => Some("source"),
        _ => None,
    };
    let hint = match elsewhere {
        Some(here) => Some(format!("write \"{here}\"")),
        None => did_you_mean(&text, BY.iter().map(|(name, _)| *name)),
    };
    reader.wrong_hint(&item.span(), WORDS, hint);
    None
}

#[expect(
    clippy::option_option,
    reason = "the outer one is that of every kind: it could be read; the inner one is the value"
)]
fn same_site(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Option<SameSite>> {
    if let DeValue::Boolean(false) = item.get_ref() {
        return Some(None);
    }
    let text = reader.filled(item, "\"strict\", \"lax\", \"none\" or false")?;
    let found = SameSite::ALL
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(&text));
    if found.is_none() {
        let hint = did_you_mean(&text, ["strict", "lax", "none"]);
        let words = "`same-site` is \"strict\", \"lax\", \"none\" or false";
        reader.wrong_hint(&item.span(), words, hint);
    }
    found.map(Some)
}

fn gone(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Gone> {
    match &*reader.filled(item, "\"rebalance\" or \"fail\"")? {
        "rebalance" => Some(Gone::Rebalance),
        "fail" => Some(Gone::Fail),
        other => {
            let hint = did_you_mean(other, ["rebalance", "fail"]);
            reader.wrong_hint(&item.span(), "`gone` is \"rebalance\" or \"fail\"", hint);
            None
        }
    }
}
