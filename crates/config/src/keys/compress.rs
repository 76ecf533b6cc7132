//! `compress`: which answers of servers are compressed.

use tandem_model::{Coding, Compress, Compression};
use toml::de::DeValue;

use crate::kinds::SIZE;
use crate::reader::Reader;
use crate::span::{Item, values};
use crate::suggest::did_you_mean;
use crate::table::Need::Default as Is;
use crate::table::{Kind, Table, key};

pub(crate) const COMPRESS: Kind<Compress> = Kind {
    text: "true, false or table",
    read: compress,
};

pub(crate) static KEYS: Table<Compression> = Table {
    heading: "compress = { ... }",
    label: "`compress`",
    doc: "`compress = true` is short for `compress = {}`. Answers of servers are compressed as they pass, for clients that take it. Files of a site have a `compress` of their own.",
    keys: &[
        &key(
            "types",
            Kind {
                text: "list of media types",
                read: |reader, item| Some(values(&reader.some(item, media))),
            },
            crate::table::Need::Else("all that are text"),
            "Media types: `\"text/html\"`, `\"text/*\"`.",
            |c: &mut Compression, v| c.types = v.value,
        ),
        &key(
            "min",
            SIZE,
            Is("\"1 KiB\""),
            "The smallest answer that is worth it, where its length is known before.",
            |c: &mut Compression, v| c.min = v.value,
        ),
        &key(
            "codings",
            Kind {
                text: "list of \"br\" and \"gzip\"",
                read: |reader, item| Some(values(&reader.some(item, coding))),
            },
            Is("[\"br\", \"gzip\"]"),
            "The codings, the preferred first: of those that a client likes equally.",
            |c: &mut Compression, v| c.codings = v.value,
        ),
    ],
};

fn compress(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Compress> {
    match item.get_ref() {
        DeValue::Boolean(true) => Some(Compress::On(Compression::default())),
        DeValue::Boolean(false) => Some(Compress::Off),
        DeValue::Table(_) => Some(Compress::On(KEYS.read_item(reader, item)?.draft)),
        _ => {
            reader.expected(item, "true, false or a table");
            None
        }
    }
}

fn media(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    reader.parsed(item, "a media type like \"text/html\"", |text| {
        let token = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match text.split_once('/') {
            Some((kind, "*")) if token(kind) => Ok(text.to_lowercase()),
            Some((kind, rest)) if token(kind) && token(rest) => Ok(text.to_lowercase()),
            _ => Err("a media type is like \"text/html\" or \"text/*\""),
        }
    })
}

fn coding(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Coding> {
    let text = reader.filled(item, "\"br\" or \"gzip\"")?;
    let known = [Coding::Brotli, Coding::Gzip];
    let found = known.into_iter().find(|coding| coding.name() == text);
    if found.is_none() {
        let hint = did_you_mean(&text, known.map(Coding::name));
        reader.wrong_hint(&item.span(), "the codings are \"br\" and \"gzip\"", hint);
    }
    found
}
