//! Earlier routes, found by the patterns of a later one: asking each about each takes too long for ten thousand.

use std::collections::{BTreeSet, HashMap};

use tandem_model::{Conditions, Pattern};

use super::covers::lowered;

/// Routes by one list of their patterns, the one that they share with the fewest others.
///
/// A route takes all of a later one only if one of the patterns in that list covers the first one in such a list of the
/// later route. Case is left out, so that what is found may differ in it.
#[derive(Default)]
pub(super) struct Index {
    listed: HashMap<(List, Pattern), Vec<usize>>,
    /// The lengths of what stands before and behind the stars.
    shapes: BTreeSet<(usize, usize)>,
    /// Routes without such a list.
    rest: Vec<usize>,
}

/// A list of patterns by which routes are found.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum List {
    Host,
    Sni,
    Path,
}

impl List {
    fn all(when: &Conditions) -> impl Iterator<Item = (Self, &[Pattern])> {
        let lists = [
            (Self::Host, &when.host[..]),
            (Self::Sni, &when.sni),
            (Self::Path, &when.path),
        ];
        lists.into_iter().filter(|(_, list)| !list.is_empty())
    }
}

impl Index {
    /// Adds a route with the conditions of all its levels. Numbers ascend.
    pub(super) fn add(&mut self, number: usize, when: &[&Conditions]) {
        let lists = when.iter().flat_map(|when| List::all(when));
        let shared = |(list, patterns): &(List, &[Pattern])| -> usize {
            let users = patterns.iter().map(|pattern| {
                let users = self.listed.get(&(*list, lowered(pattern)));
                users.map_or(0, Vec::len)
            });
            users.sum()
        };
        let Some((list, patterns)) = lists.min_by_key(shared) else {
            self.rest.push(number);
            return;
        };
        for pattern in patterns {
            if let Pattern::Star(before, behind) = pattern {
                self.shapes.insert((before.len(), behind.len()));
            }
            let key = (list, lowered(pattern));
            self.listed.entry(key).or_default().push(number);
        }
    }

    /// The routes that may take all of one with these conditions, in order.
    pub(super) fn candidates(&self, when: &[&Conditions]) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = self.rest.iter().copied().collect();
        for (list, patterns) in when.iter().flat_map(|when| List::all(when)) {
            let Some(first) = patterns.first() else {
                continue;
            };
            let first = lowered(first);
            let mut look = |pattern| {
                if let Some(numbers) = self.listed.get(&(list, pattern)) {
                    found.extend(numbers);
                }
            };
            let (before, behind) = match &first {
                Pattern::Exact(text) => (text.as_str(), text.as_str()),
                Pattern::Star(before, behind) => (before.as_str(), behind.as_str()),
                Pattern::Regex(_) => ("", ""),
            };
            for &(beginning, ending) in &self.shapes {
                let ending = behind.len().checked_sub(ending);
                if let Some(beginning) = before.get(..beginning)
                    && let Some(ending) = ending.and_then(|at| behind.get(at..))
                {
                    look(Pattern::Star(beginning.into(), ending.into()));
                }
            }
            look(first);
        }
        found
    }
}
