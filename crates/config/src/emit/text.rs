//! TOML as text.

use std::fmt::Write;

use crate::expand;

/// A text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in expand::escape(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A key, in quotes when it needs them. Keys have no variables.
pub(crate) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        name.into()
    } else {
        quoted(name).replace("$${", "${")
    }
}

/// A list of values, or its single element.
pub(crate) fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().collect();
    match &values[..] {
        [one] => one.clone(),
        _ => array(values),
    }
}

/// A list of values.
pub(crate) fn array(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().collect();
    format!("[{}]", values.join(", "))
}

/// Keys and their values, in order.
#[derive(Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub fn put(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((key(name), value.into()));
    }

    /// Puts what differs from the default.
    pub fn put_unless<T: PartialEq>(
        &mut self,
        name: &str,
        value: &T,
        default: &T,
        show: impl FnOnce(&T) -> String,
    ) {
        if value != default {
            self.put(name, show(value));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `{ a = 1, b = 2 }`.
    pub fn inline(&self) -> String {
        if self.0.is_empty() {
            return "{}".into();
        }
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// A line for each, under a heading.
    pub fn section(&self, heading: &str) -> String {
        let widest = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        let mut out = format!("[{heading}]\n");
        for (key, value) in &self.0 {
            let _ = writeln!(out, "{key:widest$} = {value}");
        }
        out
    }
}
