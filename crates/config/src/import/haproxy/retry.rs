//! How often a request is tried, and after what.

use super::super::document::{Section, Table, Value};
use super::super::sources::Spot;
use super::Translator;
use super::proxy::Proxy;
use crate::suggest::did_you_mean;

impl Translator<'_> {
    /// `retries` and `retry-on`.
    pub fn retry(&mut self, proxy: &Proxy<'_>, out: &mut Section) {
        let tries = match proxy.argument("retries") {
            Some((line, at)) => self.number(line, at).map(|tries| (tries, line.spot)),
            None => None,
        };
        let (none, on) = self.retry_on(proxy);
        let usual = tries.filter(|(tries, _)| *tries != 3);
        // Connections have no answers; and without a try more there is nothing that it could be for.
        let on = on.filter(|_| !proxy.is_tcp() && usual.is_none_or(|(tries, _)| tries != 0));
        if let Some(spot) = none {
            out.put_at("retry", Value::plain(0), spot);
        } else if let Some((statuses, spot)) = on {
            let mut table = Table::default();
            if let Some((tries, _)) = usual {
                table.put("tries", Value::plain(tries));
            }
            table.put("on", Value::List(statuses));
            out.put_at("retry", Value::Table(table), spot);
        } else if let Some((tries, spot)) = usual {
            out.put_at("retry", Value::plain(tries), spot);
        }
    }

    /// Whether nothing is tried again, and statuses that are.
    pub fn retry_on(&mut self, proxy: &Proxy<'_>) -> (Option<Spot>, Option<(Vec<Value>, Spot)>) {
        let Some(line) = proxy.get("retry-on") else {
            return (None, None);
        };
        self.verdicts.translated(line.spot);
        let mut on = Vec::new();
        for word in line.from(1) {
            match word.text.as_str() {
                "none" => return (Some(line.spot), None),
                "conn-failure" | "empty-response" | "response-timeout" | "0rtt-rejected" => {}
                "junk-response" => self.verdicts.note(
                    line.spot,
                    "an answer that cannot be read is not asked for again: it is answered 502",
                ),
                "all-retryable-errors" => on.extend(["500", "502", "503", "504"]),
                status @ ("401" | "403" | "404" | "408" | "425" | "500" | "501" | "502" | "503"
                | "504") => on.push(status),
                other => {
                    let names = [
                        "none",
                        "conn-failure",
                        "empty-response",
                        "junk-response",
                        "response-timeout",
                        "0rtt-rejected",
                        "all-retryable-errors",
                    ];
                    self.verdicts.refuse_hint(
                        line.spot,
                        word.spot,
                        format!("'retry-on' does not know '{other}'"),
                        did_you_mean(other, names),
                    );
                }
            }
        }
        self.verdicts.note(
            line.spot,
            "what was sent is sent again only if its method may be repeated: GET, HEAD, OPTIONS, PUT, DELETE, TRACE",
        );
        on.sort_unstable();
        on.dedup();
        let on: Vec<Value> = on.into_iter().map(Value::plain).collect();
        (None, (!on.is_empty()).then_some((on, line.spot)))
    }
}
