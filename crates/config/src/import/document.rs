//! A cluster file in the making: sections and values in order, each with the place it came from.

use super::sources::{Sources, Spot};
use crate::emit::text::{self, quoted};

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// In quotes.
    Text(String),
    /// A number, or true or false.
    Plain(String),
    /// A list; one element is written as itself.
    List(Vec<Value>),
    /// Always a list.
    Array(Vec<Value>),
    /// An inline table.
    Table(Table),
    /// A list of routes, each on a line.
    Routes(Vec<Route>),
}

/// Keys and values in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table(pub Vec<(String, Value)>);

/// A route, and the line it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub table: Table,
    pub spot: Spot,
}

/// `[heading]` and what is under it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub heading: String,
    pub spot: Option<Spot>,
    /// What stands in the comment besides the place.
    pub comment: String,
    pub table: Table,
    /// Places of single keys.
    pub spots: Vec<(String, Spot)>,
}

/// The file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// Lines at the top.
    pub preface: Vec<String>,
    pub sections: Vec<Section>,
}

/// The file as text, and which line came from where.
pub(crate) struct Written {
    pub text: String,
    /// For each line of the text.
    pub origin: Vec<Option<Spot>>,
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn plain(value: impl ToString) -> Self {
        Self::Plain(value.to_string())
    }

    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(
            texts
                .into_iter()
                .map(|text| Self::Text(text.into()))
                .collect(),
        )
    }
}

impl Table {
    pub fn put(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.into(), value)),
        }
    }

    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.put(key, value);
        self
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The table under a key, made when it is not there.
    pub fn table(&mut self, key: &str) -> &mut Table {
        let at = self.0.iter().position(|(name, _)| name == key);
        let at = at.unwrap_or_else(|| {
            self.0.push((key.into(), Value::Table(Table::default())));
            self.0.len() - 1
        });
        if !matches!(self.0[at].1, Value::Table(_)) {
            self.0[at].1 = Value::Table(Table::default());
        }
        match &mut self.0[at].1 {
            Value::Table(table) => table,
            _ => unreachable!("made a table above"),
        }
    }
}

impl Section {
    pub fn new(heading: impl Into<String>, spot: Option<Spot>) -> Self {
        Self {
            heading: heading.into(),
            spot,
            comment: String::new(),
            table: Table::default(),
            spots: Vec::new(),
        }
    }

    /// A named section: `[site.www]`.
    pub fn named(kind: &str, name: &str, spot: Option<Spot>) -> Self {
        Self::new(format!("{kind}.{}", text::key(name)), spot)
    }

    pub fn put(&mut self, key: &str, value: Value) {
        self.table.put(key, value);
    }

    pub fn put_at(&mut self, key: &str, value: Value, spot: Spot) {
        self.table.put(key, value);
        self.spots.push((key.into(), spot));
    }
}

/// Takes the `stick-id` from a server when one before it, of `known`, has the same; says which it was. A client that shows it goes
/// to the first.
pub(crate) fn own_id(server: &mut Value, known: &mut Vec<String>) -> Option<String> {
    let Value::Table(table) = server else {
        return None;
    };
    let Some(Value::Text(id)) = table.get("stick-id").cloned() else {
        return None;
    };
    if !known.contains(&id) {
        known.push(id);
        return None;
    }
    table.0.retain(|(key, _)| key != "stick-id");
    Some(id)
}

impl Document {
    pub fn write(&self, sources: &Sources) -> Written {
        let mut out = Written {
            text: String::new(),
            origin: Vec::new(),
        };
        for line in &self.preface {
            let mark = if line.is_empty() { "#" } else { "# " };
            out.line(&format!("{mark}{line}"), None);
        }
        for section in &self.sections {
            if !out.text.is_empty() {
                out.line("", None);
            }
            let place = section.spot.map(|spot| sources.short(spot));
            let comment = [place.as_deref(), Some(section.comment.as_str())];
            let comment: Vec<&str> = comment
                .into_iter()
                .flatten()
                .filter(|c| !c.is_empty())
                .collect();
            if !comment.is_empty() {
                out.line(&format!("# {}", comment.join(": ")), section.spot);
            }
            out.line(&format!("[{}]", section.heading), section.spot);
            let keys = section.table.0.iter().map(|(key, _)| text::key(key).len());
            let widest = keys.max().unwrap_or(0);
            for (key, value) in &section.table.0 {
                let spot = section.spots.iter().rev().find(|(name, _)| name == key);
                let spot = spot.map(|(_, spot)| *spot).or(section.spot);
                let key = text::key(key);
                match value {
                    Value::Routes(routes) => {
                        out.line(&format!("{key:widest$} = ["), spot);
                        out.routes(routes, 1, sources);
                        out.line("]", spot);
                    }
                    value => out.line(&format!("{key:widest$} = {}", show(value)), spot),
                }
            }
        }
        out
    }
}

impl Written {
    /// Takes a route out, with those within it: the lines from this one to where its brackets are closed.
    pub fn leave_out(&mut self, line: usize) {
        let mut lines: Vec<&str> = self.text.split_inclusive('\n').collect();
        let Some(first) = lines.get(line) else { return };
        let indent = first.len() - first.trim_start().len();
        let body = first.split("  # ").next().unwrap_or(first).trim_end();
        let end = if body.ends_with("= [") {
            let closes = |text: &&str| {
                text.len() - text.trim_start().len() == indent && text.trim() == "] },"
            };
            lines[line..]
                .iter()
                .position(closes)
                .map_or(line, |at| line + at)
        } else {
            line
        };
        let (mut first, mut last) = (line, end);
        // A group that has no other routes goes with it.
        let opens = |text: &str| {
            let body = text.split("  # ").next().unwrap_or(text).trim();
            body.starts_with('{') && body.ends_with("= [")
        };
        while first > 0
            && opens(lines[first - 1])
            && lines
                .get(last + 1)
                .is_some_and(|text| text.trim() == "] },")
        {
            (first, last) = (first - 1, last + 1);
        }
        lines.drain(first..=last);
        self.origin.drain(first..=last);
        self.text = lines.concat();
    }

    fn line(&mut self, line: &str, spot: Option<Spot>) {
        self.text.push_str(line);
        self.text.push('\n');
        // A value may stand on several lines.
        for _ in line.split('\n') {
            self.origin.push(spot);
        }
    }

    fn routes(&mut self, routes: &[Route], depth: usize, sources: &Sources) {
        let indent = "  ".repeat(depth);
        let mut last = None;
        for route in routes {
            let place = sources.short(route.spot);
            // Several routes of one line name it once.
            let comment = if last.as_ref() == Some(&place) {
                String::new()
            } else {
                format!("  # {place}")
            };
            last = Some(place);
            let nested = route.table.0.iter().find_map(|(key, value)| match value {
                Value::Routes(routes) => Some((key, routes)),
                _ => None,
            });
            let Some((key, nested)) = nested else {
                self.line(
                    &format!("{indent}{},{comment}", show_table(&route.table)),
                    Some(route.spot),
                );
                continue;
            };
            let rest = route.table.0.iter().filter(|(name, _)| name != key);
            let mut head: Vec<String> = rest.map(|(name, value)| pair(name, value)).collect();
            head.push(format!("{key} = ["));
            self.line(
                &format!("{indent}{{ {}{comment}", head.join(", ")),
                Some(route.spot),
            );
            self.routes(nested, depth + 1, sources);
            self.line(&format!("{indent}] }},"), Some(route.spot));
        }
    }
}

fn pair(name: &str, value: &Value) -> String {
    format!("{} = {}", text::key(name), show(value))
}

fn show_table(table: &Table) -> String {
    if table.is_empty() {
        return "{}".into();
    }
    let pairs: Vec<String> = table
        .0
        .iter()
        .map(|(name, value)| pair(name, value))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Plain(value) => value.clone(),
        Value::List(values) => text::list(values.iter().map(show)),
        Value::Array(values) => text::array(values.iter().map(show)),
        Value::Table(table) => show_table(table),
        Value::Routes(routes) => text::array(routes.iter().map(|route| show_table(&route.table))),
    }
}
