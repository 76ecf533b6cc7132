//! Clients that stay with a server by what HAProxy learns of them: `stick on`, `stick match`, `stick store-request`,
//! `stick store-response`, and `appsession` of old.

use super::super::document::{Table, Value};
use super::Translator;
use super::proxy::Proxy;
use super::units;
use super::words::Line;

const LEARNING: [&str; 5] = [
    "stick on",
    "stick match",
    "stick store-request",
    "stick store-response",
    "appsession",
];

/// By what a client is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    Address,
    /// A cookie of the application.
    Cookie(String),
}

impl By {
    /// `src`, `req.cook(NAME)`, `res.cook(NAME)`.
    fn read(sample: &str) -> Option<Self> {
        if sample == "src" {
            return Some(Self::Address);
        }
        let (fetch, rest) = sample.split_once('(')?;
        let is_cookie = matches!(
            fetch,
            "cookie" | "cook" | "req.cook" | "res.cook" | "scook" | "set-cookie"
        );
        let name = rest.strip_suffix(')').filter(|name| !name.is_empty())?;
        is_cookie.then(|| Self::Cookie(name.to_owned()))
    }
}

impl Translator<'_> {
    /// Whether something is learned of the clients of a section.
    pub fn learns(proxy: &Proxy<'_>) -> bool {
        LEARNING.iter().any(|name| proxy.own(name).next().is_some())
    }

    /// What is learned, as `stick` of the backend.
    pub fn learned(&mut self, proxy: &Proxy<'_>) -> Option<Value> {
        let lines: Vec<&Line> = LEARNING.iter().flat_map(|name| proxy.own(name)).collect();
        let mut known: Vec<(By, &str, &Line)> = Vec::new();
        let mut table = None;
        for line in &lines {
            let read = if line.word(0) == "appsession" {
                self.verdicts.note(
                    line.spot,
                    "HAProxy knows no `appsession` since 1.6: clients stay by this cookie of the application",
                );
                Some((By::Cookie(line.word(1).to_owned()), "on"))
            } else {
                let words: Vec<&str> = line.from(2).iter().map(|word| word.text.as_str()).collect();
                let by = match words[..] {
                    [sample] => By::read(sample),
                    [sample, "table", name] => {
                        table = Some(name);
                        By::read(sample)
                    }
                    _ => None,
                };
                by.map(|by| (by, line.word(1)))
            };
            let Some((by, how)) = read else {
                self.verdicts.refuse(
                    line.spot,
                    line.at(2),
                    "a client is known by its address, `stick on src`, by a cookie of the application, `stick on req.cook(NAME)`, or by a `cookie`",
                );
                return None;
            };
            known.push((by, how, line));
        }
        let (by, _, first) = known.first().cloned()?;
        if known.iter().any(|(other, ..)| *other != by) || proxy.get("cookie").is_some() {
            self.verdicts.refuse(
                first.spot,
                first.spot,
                "a client stays with its server for one reason: one `stick on`, or a `cookie`",
            );
            return None;
        }
        let does = |wanted: &str| known.iter().any(|(_, how, _)| *how == wanted);
        let stores = does("on") || does("store-request") || does("store-response");
        if !stores || !(does("on") || does("match")) {
            self.verdicts.refuse(
                first.spot,
                first.spot,
                "a client stays where something both stores and looks for what it is known by: `stick on`",
            );
            return None;
        }
        for line in &lines {
            self.verdicts.translated(line.spot);
        }
        let table = self.stick_table(proxy, table);
        match by {
            By::Address => {
                let Some(table) = table.filter(|table| table.by_address) else {
                    self.verdicts.refuse(
                        first.spot,
                        first.spot,
                        "there is no `stick-table type ip` for it",
                    );
                    return None;
                };
                let mut stick = Table::default().with("by", Value::text("source"));
                if let Some(time) = table.expire.and_then(units::shown) {
                    stick.put("expires", Value::text(time));
                }
                Some(Value::Table(stick))
            }
            By::Cookie(name) => {
                self.verdicts.note(
                    first.spot,
                    format!("the server that sets {name} is named before its value, and servers do not see that: nothing has to be stored, and every node knows it"),
                );
                let stick = Table::default()
                    .with("by", Value::text("prefix"))
                    .with("name", Value::text(name));
                Some(Value::Table(stick))
            }
        }
    }
}
