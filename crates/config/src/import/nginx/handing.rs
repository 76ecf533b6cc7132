//! Whether applications may hand requests over (`X-Accel-Redirect`), and where to.
//!
//! nginx takes that field of every program that it passes requests to. The cluster file takes it where a route is `internal`,
//! which is what a location that is `internal` becomes: a file without one has nothing that only they could give out.

use super::super::report::Verdicts;
use super::tree::{Directive, Word};

/// What a file says of it.
#[derive(Default)]
pub(super) struct Handing {
    /// How many places pass requests to programs.
    passing: usize,
    /// The pages of errors.
    pages: Vec<String>,
}

impl Handing {
    /// Looks at a whole file.
    pub fn of(tree: &[Directive], verdicts: &mut Verdicts) -> Self {
        let all = all(tree);
        let passing = passing(&all);
        let is_on = passing > 0 && all.iter().any(|directive| directive.is("internal"));
        let ignores = |directive: &&&Directive| {
            let name = directive.name.text.strip_suffix("_ignore_headers");
            name.is_some_and(|of| ["proxy", "fastcgi", "uwsgi", "scgi"].contains(&of))
        };
        for directive in all.iter().filter(ignores) {
            let is_it = |word: &&Word| word.text.eq_ignore_ascii_case("X-Accel-Redirect");
            match directive.args.iter().find(is_it) {
                Some(word) if is_on => {
                    let message = "a listener takes it of all that it asks, or, where no location is `internal`, of none";
                    verdicts.refuse(directive.spot, word.spot, message);
                }
                _ => verdicts.without(directive.spot, "answers are not cached"),
            }
        }
        let pages = all.iter().filter(|directive| directive.is("error_page"));
        let pages = pages.filter_map(|directive| directive.args.last());
        Self {
            passing,
            pages: pages.map(|word| word.text.clone()).collect(),
        }
    }

    /// Whether a program elsewhere may lead to this place. The page of an error is that.
    pub fn leads_to(&self, place: &str, list: &[Directive]) -> bool {
        self.passing > passing(&all(list)) && !self.pages.iter().any(|page| page == place)
    }
}

fn passing(all: &[&Directive]) -> usize {
    let passing = all.iter().filter(|directive| directive.passes_on());
    passing.count()
}

/// These, and all that is within them.
fn all(list: &[Directive]) -> Vec<&Directive> {
    let within = list.iter().flat_map(|directive| all(directive.inner()));
    list.iter().chain(within.collect::<Vec<_>>()).collect()
}
