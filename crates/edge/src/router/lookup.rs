//! From a text to the patterns that can match it, without asking each.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use tandem_model::Pattern;

type Numbers = Box<[u32]>;

/// Numbers by pattern. Texts without a star are found by hash; beginnings and endings by one binary search each;
/// regular expressions always come up.
pub(super) struct Lookup {
    exact: HashMap<Box<[u8]>, Numbers, foldhash::fast::RandomState>,
    beginnings: Affixes,
    endings: Affixes,
    rest: Numbers,
}

impl Lookup {
    /// For numbered patterns; a number may have several. With `fold` all texts are in lower case.
    pub(super) fn new<'a>(entries: impl Iterator<Item = (u32, &'a Pattern)>, fold: bool) -> Self {
        let text = |text: &str| -> Box<[u8]> {
            if fold {
                text.to_ascii_lowercase().into_bytes().into()
            } else {
                text.as_bytes().into()
            }
        };
        let mut exact: BTreeMap<Box<[u8]>, Vec<u32>> = BTreeMap::new();
        let (mut beginnings, mut endings) = (BTreeMap::new(), BTreeMap::new());
        let mut rest = Vec::new();
        for (number, pattern) in entries {
            match pattern {
                Pattern::Exact(whole) => exact.entry(text(whole)).or_default(),
                // Of both, the longer says more.
                Pattern::Star(prefix, suffix) if prefix.len() >= suffix.len() => {
                    beginnings.entry(text(prefix)).or_default()
                }
                Pattern::Star(_, suffix) => endings.entry(text(suffix)).or_default(),
                Pattern::Regex(_) => &mut rest,
            }
            .push(number);
        }
        Self {
            exact: exact
                .into_iter()
                .map(|(text, numbers)| (text, in_order(numbers)))
                .collect(),
            beginnings: Affixes::new(beginnings, false),
            endings: Affixes::new(endings, true),
            rest: in_order(rest),
        }
    }

    /// Calls `visit` with lists of numbers, each in ascending order. Every number with a pattern that matches `text` is
    /// in one of them; so are some whose patterns do not.
    pub(super) fn candidates(&self, text: &[u8], mut visit: impl FnMut(&[u32])) {
        if let Some(numbers) = self.exact.get(text) {
            visit(numbers);
        }
        self.beginnings.of(text, &mut visit);
        self.endings.of(text, &mut visit);
        visit(&self.rest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.beginnings.entries.is_empty()
            && self.endings.entries.is_empty()
            && self.rest.is_empty()
    }
}

fn in_order(mut numbers: Vec<u32>) -> Numbers {
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into()
}

/// Beginnings (or endings) of texts, in order, each knowing the longest other that it begins with.
///
/// Let `q` be the last entry that is not after a text. An entry that the text begins with is not after the text, so
/// not after `q`; and what lies between such an entry and the text in this order begins with it too. So it is `q`
/// or one that `q` begins with: one search and the way up from `q` find them all.
struct Affixes {
    entries: Vec<Affix>,
    /// The [`head`] of each: a search looks at nothing else, most of the time, and these lie close together.
    heads: Box<[u128]>,
    /// They are endings: everything is compared from behind.
    backward: bool,
}

struct Affix {
    text: Box<[u8]>,
    /// The longest other entry that this one begins with.
    within: Option<u32>,
    numbers: Numbers,
}

/// So many are each asked sooner than searched.
const FEW: usize = 8;

impl Affix {
    /// Whether `text` begins (or ends) with it.
    fn is_in(&self, text: &[u8], backward: bool) -> bool {
        if backward {
            text.ends_with(&self.text)
        } else {
            text.starts_with(&self.text)
        }
    }
}

impl Affixes {
    fn new(texts: BTreeMap<Box<[u8]>, Vec<u32>>, backward: bool) -> Self {
        let mut entries: Vec<Affix> = texts
            .into_iter()
            .map(|(text, numbers)| Affix {
                text,
                within: None,
                numbers: in_order(numbers),
            })
            .collect();
        entries.sort_by(|a, b| order(&a.text, &b.text, backward));
        // Those that the entry at hand may begin with, shortest first.
        let mut open: Vec<u32> = Vec::new();
        for i in 0..entries.len() {
            while let Some(&last) = open.last() {
                let last = &entries[last as usize].text;
                if common(last, &entries[i].text, backward) == last.len() {
                    break;
                }
                open.pop();
            }
            entries[i].within = open.last().copied();
            open.push(i as u32);
        }
        let heads = entries.iter().map(|entry| head(&entry.text, backward));
        Self {
            heads: heads.collect(),
            entries,
            backward,
        }
    }

    /// How many entries are not after `text`.
    fn not_after(&self, text: &[u8]) -> usize {
        let sought = head(text, self.backward);
        let end = self.heads.partition_point(|head| *head <= sought);
        if end == 0 || self.heads[end - 1] != sought {
            return end;
        }
        let begin = self.heads[..end].partition_point(|head| *head < sought);
        let alike = &self.entries[begin..end];
        begin
            + alike.partition_point(|entry| {
                order(&entry.text, text, self.backward) != Ordering::Greater
            })
    }

    /// Visits the numbers of all entries that `text` begins (or ends) with.
    fn of(&self, text: &[u8], visit: &mut impl FnMut(&[u32])) {
        if self.entries.len() <= FEW {
            for entry in &self.entries {
                if entry.is_in(text, self.backward) {
                    visit(&entry.numbers);
                }
            }
            return;
        }
        let last = self.not_after(text).checked_sub(1);
        let Some(mut entry) = last.map(|last| &self.entries[last]) else {
            return;
        };
        let shared = common(&entry.text, text, self.backward);
        loop {
            if entry.text.len() <= shared {
                visit(&entry.numbers);
            }
            match entry.within {
                Some(within) => entry = &self.entries[within as usize],
                None => return,
            }
        }
    }
}

/// The first (or last) bytes of a text as a number: of two texts whose numbers differ, the one with the smaller number is
/// before the other in [`order`].
fn head(text: &[u8], backward: bool) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(bytes.len());
    if backward {
        for (byte, from) in bytes.iter_mut().zip(text.iter().rev()) {
            *byte = *from;
        }
    } else {
        bytes[..length].copy_from_slice(&text[..length]);
    }
    u128::from_be_bytes(bytes)
}

fn order(a: &[u8], b: &[u8], backward: bool) -> Ordering {
    if backward {
        a.iter().rev().cmp(b.iter().rev())
    } else {
        a.cmp(b)
    }
}

/// How many bytes both begin (or end) with.
fn common(a: &[u8], b: &[u8], backward: bool) -> usize {
    let same = |(a, b): &(&u8, &u8)| a == b;
    if backward {
        let pairs = a.iter().rev().zip(b.iter().rev());
        pairs.take_while(same).count()
    } else {
        a.iter().zip(b).take_while(same).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn found(patterns: &[Pattern], text: &str) -> BTreeSet<u32> {
        let lookup = Lookup::new((0..).zip(patterns), false);
        let mut found = BTreeSet::new();
        lookup.candidates(text.as_bytes(), |numbers| {
            assert!(numbers.is_sorted(), "{numbers:?}");
            found.extend(numbers);
        });
        found
    }

    #[test]
    fn all_beginnings_and_endings_of_a_text_are_found() {
        let patterns: Vec<Pattern> = [
            "/a*",
            "/a/b*",
            "/a/c*",
            "*",
            "*.js",
            "*.min.js",
            "/a/b/x.min.js",
            "/b*",
        ]
        .map(|text| Pattern::parse(text).expect("a pattern"))
        .into();
        let expected: &[(&str, &[u32])] = &[
            ("/a/b/x.min.js", &[0, 1, 3, 4, 5, 6]),
            ("/a/bb", &[0, 1, 3]),
            ("/a/d", &[0, 3]),
            ("/a", &[0, 3]),
            ("/", &[3]),
            ("", &[3]),
            ("/c.js", &[3, 4]),
            ("/bz", &[3, 7]),
        ];
        for (text, numbers) in expected {
            assert_eq!(
                found(&patterns, text),
                numbers.iter().copied().collect(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn heads_are_in_the_order_of_their_texts(a in "[\u{0}ab]{0,20}", b in "[\u{0}ab]{0,20}", backward: bool) {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let heads = head(a, backward).cmp(&head(b, backward));
            prop_assert!(heads == Ordering::Equal || heads == order(a, b, backward));
        }

        #[test]
        fn long_texts_that_begin_alike_are_told_apart(
            tails in proptest::collection::btree_set("[ab]{0,4}", 1..3 * FEW),
            text in "[ab]{0,6}",
        ) {
            let common = "/a/path/longer/than/a/head/";
            let patterns: Vec<Pattern> = tails
                .iter()
                .filter_map(|tail| Pattern::parse(&format!("{common}{tail}*")).ok())
                .collect();
            let found = found(&patterns, &format!("{common}{text}"));
            for (number, tail) in (0..).zip(&tails) {
                prop_assert_eq!(found.contains(&number), text.starts_with(tail.as_str()), "{}", tail);
            }
        }

        #[test]
        fn no_match_is_missed(
            patterns in proptest::collection::vec("[ab/]{0,4}\\*?[ab/]{0,3}", 0..40),
            text in "[ab/]{0,8}",
        ) {
            let patterns: Vec<Pattern> = patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let found = found(&patterns, &text);
            for (number, pattern) in (0..).zip(&patterns) {
                if pattern.covers(&Pattern::Exact(text.clone())) {
                    prop_assert!(found.contains(&number), "{} matches {}", pattern, text);
                }
            }
        }
    }
}
