//! Changes to heads as routes say them, made ready for requests.

use std::sync::Arc;

use tandem_model::{FieldChanges, Side, policy::untouchable};

use super::edits::FieldEdits;
use super::replace::Replace;
use super::values::{Ready, Values};

/// The changes of one route to one kind of head.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    remove: Vec<Box<str>>,
    replace: Vec<Arc<Replace>>,
    add: Vec<(Box<str>, Ready)>,
    default: Vec<(Box<str>, Ready)>,
    /// What becomes of the Host field of a request.
    host: Option<Ready>,
}

impl Changes {
    /// Compiles what a route says.
    pub(super) fn new(changes: &FieldChanges, side: Side) -> Result<Self, String> {
        let mut ready = Self::default();
        let names = changes.remove.iter().chain(changes.replace.keys());
        let names = names.chain(changes.set.keys()).chain(changes.add.keys());
        for name in names.chain(changes.default.keys()) {
            if let Some(why) = untouchable(name, side) {
                return Err(format!("{name}: {why}"));
            }
        }
        ready
            .remove
            .extend(changes.remove.iter().map(|name| name.as_str().into()));
        for (name, steps) in &changes.replace {
            for rules in steps {
                ready.replace.push(Arc::new(Replace::new(name, rules)?));
            }
        }
        for (name, template) in &changes.set {
            let value = Ready::new(template);
            if side == Side::Request && name.eq_ignore_ascii_case("host") {
                ready.host = Some(value);
                continue;
            }
            ready.remove.push(name.as_str().into());
            ready.add.push((name.as_str().into(), value));
        }
        for (name, templates) in &changes.add {
            let each = templates
                .iter()
                .map(|t| (name.as_str().into(), Ready::new(t)));
            ready.add.extend(each);
        }
        let defaults = changes.default.iter();
        ready
            .default
            .extend(defaults.map(|(name, value)| (name.as_str().into(), Ready::new(value))));
        Ok(ready)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.default.is_empty()
            && self.host.is_none()
    }

    /// What they are for one request.
    pub(super) fn edits(&self, values: &Values<'_>) -> FieldEdits {
        let mut edits = FieldEdits::default();
        for name in &self.remove {
            edits.remove(name);
        }
        for rule in &self.replace {
            edits.replace(rule.filled(values));
        }
        let mut text = Vec::new();
        for (name, value) in &self.add {
            if let Some((heard, of)) = value.cookies(values) {
                // Each has a line of its own (RFC 6265 section 3).
                for cookie in heard.values(of) {
                    edits.add(name, cookie);
                }
                continue;
            }
            text.clear();
            value.plain(values, &mut text);
            edits.add(name, &text);
        }
        for (name, value) in &self.default {
            text.clear();
            value.plain(values, &mut text);
            edits.require(name, &text);
        }
        edits
    }

    /// The host that a server gets; none when what it would be is no host.
    pub(super) fn host(&self, values: &Values<'_>) -> Option<Vec<u8>> {
        let mut host = Vec::new();
        self.host.as_ref()?.plain(values, &mut host);
        (!host.is_empty() && crate::head::is_host(&host)).then_some(host)
    }
}
