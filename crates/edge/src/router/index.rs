//! Which rules can match a request at all, found by its host or path.

use std::collections::HashMap;
use std::sync::Arc;

use tandem_model::Pattern;

use super::lookup::{Candidate, Lookup};
use super::term::{Key, Level, Subject};

/// Rules by what they ask of host or path, so that ten thousand of them cost about what ten do.
///
/// Each rule is entered under one of its lists of patterns, the one that it shares with the fewest other rules. The
/// other conditions are asked when it comes up.
pub(super) struct Index {
    host: Lookup,
    path: Lookup,
    folded_path: Lookup,
    /// Rules that name neither host nor path.
    always: Box<[Candidate]>,
    rules: u32,
}

impl Index {
    /// For rules in their order.
    pub(super) fn new<'a>(rules: impl Iterator<Item = &'a [Arc<Level>]> + Clone) -> Self {
        let count = rules.clone().count() as u32;
        let mut users: HashMap<(Key, &Pattern), u32> = HashMap::new();
        for (key, patterns) in rules.clone().flatten().flat_map(|level| level.keys()) {
            for pattern in patterns {
                *users.entry((key, pattern)).or_default() += 1;
            }
        }
        let shared = |key: Key, patterns: &[Pattern]| -> u32 {
            let shared = patterns.iter().map(|pattern| match pattern {
                // These come up for every request.
                Pattern::Regex(_) => count,
                Pattern::Star(prefix, suffix) if prefix.is_empty() && suffix.is_empty() => count,
                pattern => users.get(&(key, pattern)).copied().unwrap_or(0),
            });
            shared.fold(0, u32::saturating_add)
        };
        let mut entries: HashMap<Key, Vec<(u32, &Pattern)>> = HashMap::new();
        let mut always = Vec::new();
        // By their numbers: whether a rule asks for nothing but the one list that it is entered under.
        let mut plain = Vec::new();
        for (number, levels) in (0..).zip(rules) {
            plain.push(matches!(levels, [level] if level.is_one_list()));
            let keys = levels.iter().flat_map(|level| level.keys());
            match keys.min_by_key(|(key, patterns)| shared(*key, patterns)) {
                Some((key, patterns)) => entries
                    .entry(key)
                    .or_default()
                    .extend(patterns.iter().map(|pattern| (number, pattern))),
                None => always.push(Candidate::new(number, false)),
            }
        }
        let lookup = |key: Key| {
            let entries = entries.get(&key).map_or(&[][..], Vec::as_slice);
            let is_all = |number: u32| plain[number as usize];
            Lookup::new(entries.iter().copied(), key != Key::Path, is_all)
        };
        Self {
            host: lookup(Key::Host),
            path: lookup(Key::Path),
            folded_path: lookup(Key::FoldedPath),
            always: always.into(),
            rules: count,
        }
    }

    /// The lowest number of a rule that matches. Asks only rules that can, and no more after the first of a list.
    pub(super) fn first(
        &self,
        subject: &Subject<'_>,
        matches: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut best = self.rules;
        let mut ask = |candidates: &[Candidate]| {
            let mut below = candidates.iter().take_while(|one| one.number() < best);
            if let Some(first) = below.find(|one| one.is_certain() || matches(one.number())) {
                best = first.number();
            }
        };
        if !self.host.is_empty() {
            self.host.candidates(subject.host(), &mut ask);
        }
        if !self.path.is_empty() {
            self.path.candidates(subject.path(), &mut ask);
        }
        if !self.folded_path.is_empty() {
            self.folded_path.candidates(subject.folded_path(), &mut ask);
        }
        ask(&self.always);
        (best < self.rules).then_some(best)
    }
}
