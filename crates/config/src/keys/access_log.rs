//! `log` of a listener: its access log.

use tandem_model::{AccessFormat, AccessTemplate, AccessVariable, TemplateError};
use toml::de::DeValue;

use crate::keys::listener::ACCESS_LOG;
use crate::reader::Reader;
use crate::span::Item;
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

/// What a listener says of its access log.
#[derive(Default)]
pub(crate) struct Draft {
    file: Option<String>,
    pub format: Option<AccessFormat>,
    off: bool,
}

impl Draft {
    /// The file; `None` is no log.
    pub fn file(&self) -> Option<String> {
        let file = || self.file.clone().unwrap_or_else(|| ACCESS_LOG.into());
        (!self.off).then(file)
    }
}

pub(crate) const LOG: Kind<Draft> = Kind {
    text: "true, false, path, or table",
    read: |reader, item| match item.get_ref() {
        DeValue::Boolean(on) => Some(Draft {
            off: !on,
            ..Draft::default()
        }),
        DeValue::String(_) => Some(Draft {
            file: Some(reader.filled(item, "a path")?),
            ..Draft::default()
        }),
        DeValue::Table(_) => Some(KEYS.read_item(reader, item)?.draft),
        _ => {
            reader.expected(item, "true, false, a path, or a table");
            None
        }
    },
};

pub(crate) const FORMAT: Kind<AccessFormat> = Kind {
    text: "\"combined\", \"json\", or text with variables",
    read: format,
};

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "log = { ... }",
    label: "`log`",
    doc: "`log = \"PATH\"` is short for `log = { file = \"PATH\" }`.",
    keys: &[
        &key(
            "file",
            Kind {
                text: "path",
                read: |reader, item| reader.filled(item, "a path"),
            },
            Is("\"access.log\""),
            "The file, relative to the node's state directory; `{node}` is the node's name.",
            |d: &mut Draft, v| d.file = Some(v.value),
        ),
        &key(
            "format",
            FORMAT,
            Else("`[cluster] access-format`"),
            "Its lines: Apache's combined format with more behind it, a JSON object each, or a text with [variables of its own](#access-logs).",
            |d: &mut Draft, v| d.format = Some(v.value),
        ),
    ],
};

fn format(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<AccessFormat> {
    let text = reader.filled(item, "\"combined\", \"json\", or a text with variables")?;
    match text.as_str() {
        "combined" => return Some(AccessFormat::Combined),
        "json" => return Some(AccessFormat::Json),
        // One word without a variable: all lines would be the same.
        _ if !text.contains(['{', ' ']) => {
            let hint = did_you_mean(&text, ["combined", "json"])
                .or_else(|| Some("a text of your own has variables: \"{client} {status}\"".into()));
            let what = format!("there is no format `{text}`");
            reader.wrong_hint(&item.span(), what, hint);
            return None;
        }
        _ => {}
    }
    match AccessTemplate::parse(&text) {
        Ok(template) => Some(AccessFormat::Own(template)),
        Err(error) => {
            unknown(reader, item, &text, error);
            None
        }
    }
}

/// Says what is wrong with a text, and which variables there are.
fn unknown(reader: &mut Reader<'_>, item: &Item<'_>, text: &str, error: TemplateError) {
    let hint = error.unknown.as_deref().and_then(|name| {
        let names = || AccessVariable::all().map(|(name, _)| name);
        did_you_mean(name, names()).or_else(|| {
            let list: Vec<String> = names().map(|name| format!("{{{name}}}")).collect();
            Some(format!("there are {}", list.join(", ")))
        })
    });
    let place = reader.place_in(item, &text[error.at]);
    reader.wrong_hint(&place, error.what, hint);
}
