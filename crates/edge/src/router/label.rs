//! What metrics and logs call a route: its name in the file, else its conditions in short.

use std::fmt::{self, Write as _};

use tandem_model::{Conditions, Field, Pattern, Presence, Route};

/// A longer label is cut: it is for people, and every series repeats it.
const LONGEST: usize = 120;
/// What stands for what was cut off.
const MORE: char = '…';
/// A route without conditions.
const ALL: &str = "*";

/// The label of a route within those around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Label {
    name: Option<String>,
    conditions: String,
}

impl Label {
    /// Of a route within this one. A name says it all; a group's name stands before its routes' conditions.
    pub(crate) fn and(&self, route: &Route) -> Self {
        let mut conditions = self.conditions.clone();
        if route.name.is_some() {
            conditions.clear();
        }
        let own = said(&route.when);
        if route.name.is_none() && !own.is_empty() {
            if !conditions.is_empty() {
                conditions.push(' ');
            }
            conditions.push_str(&own);
        }
        Self {
            name: route.name.clone().or_else(|| self.name.clone()),
            conditions,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (&self.name, self.conditions.as_str()) {
            (None, "") => ALL.to_owned(),
            (None, conditions) => conditions.to_owned(),
            (Some(name), "") => name.clone(),
            (Some(name), conditions) => format!("{name} {conditions}"),
        };
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{}{MORE}", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// Conditions in short: what a path is compared with stands for itself, everything else has its key before it.
fn said(when: &Conditions) -> String {
    let mut parts = Vec::new();
    let list = |key: &str, values: &mut dyn Iterator<Item = String>| {
        let values: Vec<String> = values.collect();
        (!values.is_empty()).then(|| format!("{key}={}", values.join("|")))
    };
    let shown = |patterns: &[Pattern]| -> Vec<String> {
        patterns.iter().map(ToString::to_string).collect()
    };
    parts.extend(list("host", &mut shown(&when.host).into_iter()));
    parts.extend(list("sni", &mut shown(&when.sni).into_iter()));
    parts.extend(shown(&when.path));
    parts.extend(list("method", &mut when.method.iter().cloned()));
    for (key, field) in [
        ("header", &when.header),
        ("query", &when.query),
        ("cookie", &when.cookie),
    ] {
        parts.extend(fields(key, field));
    }
    let nets = when.source.iter().map(ToString::to_string);
    parts.extend(list("source", &mut { nets }));
    parts.extend(when.internal.then(|| "internal".to_owned()));
    match &when.client_cert {
        Some(Presence::Present) => parts.push("client-cert".to_owned()),
        Some(Presence::OneOf(names)) => {
            parts.extend(list("client-cert", &mut shown(names).into_iter()));
        }
        None => {}
    }
    let mut text = parts.join(" ");
    if let Some(not) = &when.not {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}not({})", said(not));
    }
    text
}

fn fields(key: &str, field: &Field) -> Vec<String> {
    let one = |(name, presence): (&String, &Presence)| match presence {
        Presence::Present => format!("{key}:{name}"),
        Presence::OneOf(patterns) => {
            let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            format!("{key}:{name}={}", patterns.join("|"))
        }
    };
    field.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{field, path, patterns, to};
    use super::*;

    #[test]
    fn a_route_is_called_by_its_conditions_unless_it_has_a_name() {
        let mut when = path(&["/api/*", "*.do"]);
        when.host = patterns(&["shop.example", "*.shop.example"]);
        when.method = vec!["GET".into()];
        when.header = field("X-Canary", &["*"]);
        when.source = vec!["10.0.0.0/8".parse().unwrap()];
        when.not = Some(Box::new(path(&["/api/old*"])));
        let group = Label::default().and(&to(when, "a"));
        assert_eq!(
            group.to_string(),
            "host=shop.example|*.shop.example /api/* *.do method=GET header:X-Canary source=10.0.0.0/8 not(/api/old*)"
        );
        let when = Conditions {
            client_cert: Some(Presence::OneOf(patterns(&["ann", "*.ops"]))),
            not: Some(Box::new(Conditions {
                client_cert: Some(Presence::Present),
                ..path(&["/x"])
            })),
            ..Conditions::default()
        };
        assert_eq!(
            Label::default().and(&to(when, "a")).to_string(),
            "client-cert=ann|*.ops not(/x client-cert)"
        );
        let named = Route {
            name: Some("shop".into()),
            ..to(path(&["/x"]), "a")
        };
        assert_eq!(group.and(&named).to_string(), "shop");
        let below = Label::default().and(&named).and(&to(path(&["/y"]), "a"));
        assert_eq!(below.to_string(), "shop /y");
        assert_eq!(
            Label::default()
                .and(&to(Conditions::default(), "a"))
                .to_string(),
            "*"
        );
    }

    #[test]
    fn a_long_label_is_cut() {
        let long = "/ä".repeat(100);
        let label = Label::default().and(&to(path(&[&long]), "a")).to_string();
        assert_eq!(label.chars().count(), LONGEST + 1);
        assert!(label.ends_with(MORE));
    }
}
