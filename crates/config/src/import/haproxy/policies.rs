//! What is done to all requests of a section and to their answers: pages of errors, compression, the id of a request.

use super::super::document::{Table, Value};
use super::super::logic::Either;
use super::Translator;
use super::pages::PAGES;
use super::proxy::Proxy;
use super::rules::{Deed, Step};
use super::table::{FRONTEND, LISTEN};
use super::words::Line;

impl Translator<'_> {
    /// What a backend does to all requests that come to it, besides what its rules say.
    pub fn policies(&mut self, proxy: &Proxy<'_>) -> Vec<Step> {
        if proxy.is_tcp() {
            return Vec::new();
        }
        // What a frontend has from the same `defaults` is said there.
        let algo = proxy.get("compression algo");
        let algo = algo.filter(|line| !self.has_front_with("compression algo", line));
        let mut steps: Vec<Step> = self.compression(proxy, algo).into_iter().collect();
        let pages: Vec<&Line> = PAGES.iter().flat_map(|name| proxy.own(name)).collect();
        let name = format!("{}-backend", proxy.name());
        if let Some((table, spot)) = self.error_pages(&name, pages) {
            let table = Table::default().with("errors", Value::Table(table));
            steps.push(Step::new(Either::always(), Deed::Change(table), spot));
        }
        steps
    }

    /// Whether a frontend has this line, of `defaults`, too.
    pub fn has_front_with(&self, name: &str, own: &Line) -> bool {
        let fronts = self.sections.iter();
        fronts
            .filter(|section| section.kind & (FRONTEND | LISTEN) != 0)
            .map(|section| Proxy::new(section, self.sections, self.used))
            .any(|front| {
                let line = front.get(name);
                line.is_some_and(|line| line.spot == own.spot)
            })
    }

    /// `compression algo gzip` and what goes with it.
    pub fn compression(&mut self, proxy: &Proxy<'_>, algo: Option<&Line>) -> Option<Step> {
        let types = proxy.get("compression type");
        let offload = proxy.own("compression offload").last();
        let Some(algo) = algo else {
            if proxy.get("compression algo").is_none() {
                for line in types.into_iter().chain(offload) {
                    self.verdicts
                        .without(line.spot, "there is no `compression algo`");
                }
            }
            return None;
        };
        self.verdicts.translated(algo.spot);
        let mut gzip = false;
        for word in algo.from(2) {
            match word.text.as_str() {
                "identity" => {}
                "gzip" => gzip = true,
                "deflate" | "raw-deflate" => {
                    gzip = true;
                    self.verdicts.note(
                        algo.spot,
                        format!(
                            "`{}` is not spoken: who takes it takes gzip, too",
                            word.text
                        ),
                    );
                }
                other => self.verdicts.refuse(
                    algo.spot,
                    word.spot,
                    format!("'{other}' is no algorithm of compression"),
                ),
            }
        }
        let mut compress = Table::default();
        match types {
            Some(line) => {
                self.verdicts.translated(line.spot);
                let types = line.from(2).iter().map(|word| &word.text);
                compress.put("types", Value::texts(types));
            }
            None => self
                .verdicts
                .note(algo.spot, "of what types is not said: what is text is"),
        }
        self.verdicts
            .note(algo.spot, "answers of 1 KiB or more are compressed");
        compress.put("codings", Value::text("gzip"));
        let mut table = Table::default();
        if gzip {
            table.put("compress", Value::Table(compress));
        }
        if let Some(line) = offload {
            self.verdicts.translated(line.spot);
            table
                .table("headers")
                .table("request")
                .put("remove", Value::texts(["Accept-Encoding"]));
        }
        Some(Step::new(Either::always(), Deed::Change(table), algo.spot))
    }

    /// `option forwardfor header NAME`: another field than X-Forwarded-For, which is always sent.
    pub fn client_field(proxy: &Proxy<'_>) -> Option<Step> {
        let line = proxy.get("option forwardfor")?;
        let at = line.words.iter().position(|word| word.text == "header")?;
        let name = line.word(at + 1);
        if name.is_empty() || name.eq_ignore_ascii_case("x-forwarded-for") {
            return None;
        }
        let mut table = Table::default();
        table
            .table("headers")
            .table("request")
            .table("set")
            .put(name, Value::text("{client}"));
        Some(Step::new(Either::always(), Deed::Change(table), line.spot))
    }

    /// `unique-id-header NAME`.
    pub fn request_id(&mut self, proxy: &Proxy<'_>) -> Option<Step> {
        let format = proxy.get("unique-id-format");
        if let Some(line) = format {
            self.verdicts.note(
                line.spot,
                "the id of a request is Tandem's: 32 hexadecimal digits, also at the end of its line in the access log",
            );
        }
        let line = proxy.get("unique-id-header")?;
        if format.is_none() {
            self.verdicts.without(
                line.spot,
                "HAProxy sends it with `unique-id-format` only, which is not there",
            );
            return None;
        }
        self.verdicts.note(
            line.spot,
            "the field has Tandem's id of the request, and never what a client says",
        );
        let mut table = Table::default();
        table
            .table("headers")
            .table("request")
            .table("set")
            .put(line.word(1), Value::text("{request-id}"));
        Some(Step::new(Either::always(), Deed::Change(table), line.spot))
    }
}
