//! What becomes of the path: segments taken off its beginning, prefixes and expressions replaced.
//!
//! All of it works on the normal form of the path; what comes out of it is brought into the normal form again, and
//! encoded on its way to a server. The query stays.

use std::sync::Arc;

use regex::bytes::Regex;
use tandem_model::{PathChange, Replaced};

use super::edits::Edits;
use super::expression::regex;
use super::map;
use super::values::{Ready, Values, escape};
use crate::handler::{Cx, Handler, Plan, Reply, Step};
use crate::path::without_dots;
use crate::{Request, path::PathError};

/// A change of paths, compiled.
#[derive(Debug)]
pub(super) struct PathRule {
    rules: Vec<(From, Ready)>,
    /// It takes something off and changes nothing else.
    strips: bool,
}

#[derive(Debug)]
enum From {
    All,
    /// Without a slash at its end; `/` itself is empty.
    Prefix(Box<[u8]>),
    Regex(Regex),
}

/// A target, and the normal form of its path.
struct Moved {
    target: Vec<u8>,
    path: Vec<u8>,
    /// What was taken off, if that is all.
    stripped: Vec<u8>,
}

impl PathRule {
    pub(super) fn new(change: &PathChange) -> Result<Self, String> {
        let prefix = |text: &str| From::Prefix(text.trim_end_matches('/').as_bytes().into());
        let rules = match change {
            PathChange::Strip(text) => vec![(prefix(text), Ready::default())],
            PathChange::Rewrite(list) => {
                let rules = list.iter().map(|one| {
                    let from = match &one.from {
                        Replaced::All => From::All,
                        Replaced::Prefix(text) => prefix(text),
                        Replaced::Regex(text) => From::Regex(regex(text, false)?),
                    };
                    Ok::<_, String>((from, Ready::new(&one.to)))
                });
                rules.collect::<Result<_, _>>()?
            }
        };
        let strips = matches!(change, PathChange::Strip(_));
        Ok(Self { rules, strips })
    }

    /// `None` when the path stays as it is.
    fn apply(&self, request: &Request<'_>, cx: &Cx) -> Result<Option<Moved>, PathError> {
        let old = request.path();
        // `OPTIONS *` asks of the whole server.
        if old.first() != Some(&b'/') {
            return Ok(None);
        }
        let values = Values::new(request, cx);
        let (mut path, mut query) = (Vec::with_capacity(old.len() + 16), None);
        let fits = self.rules.iter().any(|(from, to)| match from {
            From::All => {
                to.path(&values, &|_| None, &mut path, &mut query);
                true
            }
            From::Prefix(prefix) => {
                let Some(rest) = old.strip_prefix(&**prefix) else {
                    return false;
                };
                if !rest.is_empty() && rest[0] != b'/' {
                    return false;
                }
                to.path(&values, &|_| None, &mut path, &mut query);
                if path.ends_with(b"/") && rest.starts_with(b"/") {
                    path.pop();
                }
                path.extend_from_slice(rest);
                true
            }
            From::Regex(expression) => {
                let Some(found) = expression.captures(old) else {
                    return false;
                };
                let whole = found.get_match();
                let capture = |number: u8| {
                    let group = found.get(usize::from(number))?;
                    Some(group.as_bytes().to_vec())
                };
                path.extend_from_slice(&old[..whole.start()]);
                to.path(&values, &capture, &mut path, &mut query);
                // What follows the match belongs to the path, also when the template begins a query.
                path.extend_from_slice(&old[whole.end()..]);
                true
            }
        });
        if !fits {
            return Ok(None);
        }
        if path.first() != Some(&b'/') {
            path.insert(0, b'/');
        }
        if path.contains(&0) {
            return Err(PathError::Nul);
        }
        let path = without_dots(&path)?;
        let mut target = Vec::with_capacity(path.len() + 16);
        escape(&mut target, &path, is_path);
        let came = request.query();
        let query = query.unwrap_or_default();
        if !query.is_empty() || !came.is_empty() {
            target.push(b'?');
            target.extend_from_slice(&query);
            if !query.is_empty() && !came.is_empty() {
                target.push(b'&');
            }
            target.extend_from_slice(came);
        }
        let stripped = match old.strip_suffix(&*path) {
            Some(taken) if self.strips => [request.stripped(), taken].concat(),
            // The whole path was taken off.
            None if self.strips => [request.stripped(), old].concat(),
            _ => Vec::new(),
        };
        Ok(Some(Moved {
            target,
            path,
            stripped,
        }))
    }
}

/// What may stand in a path as it is (RFC 3986 section 3.3).
fn is_path(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b)
}

/// Changes the path before `inner` sees the request.
pub(super) struct ChangedPath {
    pub rule: Arc<PathRule>,
    pub inner: Arc<dyn Handler>,
    /// Who answers what cannot be changed, for the log.
    pub name: Arc<str>,
}

impl Handler for ChangedPath {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let Moved {
            target,
            path,
            stripped,
        } = match self.rule.apply(request, cx) {
            Ok(None) => return self.inner.step(request, cx),
            Ok(Some(changed)) => changed,
            Err(_) => {
                let words = "The path leads nowhere\n";
                return Step::Plan(Plan::Bytes(Reply::text(400, &self.name, words)));
            }
        };
        let head = request.head.moved(target.clone(), path, stripped);
        let moved = Request {
            head: &head,
            ..*request
        };
        map(self.inner.step(&moved, cx), |plan| Plan::Edited {
            plan: Box::new(plan),
            edits: Box::new(Edits {
                target: Some(target),
                ..Edits::default()
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tandem_model::{Substitution, Template};

    use super::*;
    use crate::policy::testing::{cx, with_request};

    fn rewrite(list: &[(&str, &str)]) -> PathRule {
        let list = list.iter().map(|(from, to)| Substitution {
            from: match from.strip_prefix('~') {
                Some(regex) => Replaced::Regex(regex.into()),
                None if from.is_empty() => Replaced::All,
                None => Replaced::Prefix((*from).into()),
            },
            to: Template::parse(to).unwrap(),
        });
        PathRule::new(&PathChange::Rewrite(list.collect())).unwrap()
    }

    fn strip(prefix: &str) -> PathRule {
        PathRule::new(&PathChange::Strip(prefix.into())).unwrap()
    }

    fn applied(rule: &PathRule, target: &str) -> Option<String> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        with_request(&head, |request| match rule.apply(request, &cx()) {
            Ok(None) => Some("stays".into()),
            Ok(Some(Moved { target, .. })) => Some(String::from_utf8(target).unwrap()),
            Err(_) => None,
        })
    }

    #[test]
    fn segments_are_taken_off_the_beginning() {
        for (prefix, target, expected) in [
            ("/api", "/api/v1/x?y=1", "/v1/x?y=1"),
            ("/api/", "/api/v1", "/v1"),
            ("/api", "/api", "/"),
            ("/api", "/api?x", "/?x"),
            ("/api", "/api/", "/"),
            ("/api", "/apix", "stays"),
            ("/api", "/x/api", "stays"),
            ("/api", "/API/x", "stays"),
            ("/api", "//api//x", "/x"),
            ("/api", "/%61pi/a%2520b%3f", "/a%2520b%3F"),
            ("/", "/a", "/a"),
        ] {
            assert_eq!(
                applied(&strip(prefix), target).as_deref(),
                Some(expected),
                "{prefix} {target}"
            );
        }
    }

    #[test]
    fn the_first_that_fits_rewrites() {
        let rule = rewrite(&[
            ("/old", "/new"),
            ("~^/user/(\\d+)(?:/(\\w+))?$", "/profile?id={1}&tab={2}"),
            ("~^/([^/]+)/(.*)\\.php$", "/{2}/{1}.do"),
            ("~^/all/", "/{host}{path}"),
        ]);
        for (target, expected) in [
            ("/old/a?b", "/new/a?b"),
            ("/old", "/new"),
            ("/older", "stays"),
            ("/user/17", "/profile?id=17&tab="),
            ("/user/17/a?x=1", "/profile?id=17&tab=a&x=1"),
            ("/a/b/c.php", "/b/c/a.do"),
            ("/all/x", "/h/all/xx"),
        ] {
            assert_eq!(
                applied(&rule, target).as_deref(),
                Some(expected),
                "{target}"
            );
        }
        let all = rewrite(&[("", "/index.php{path}")]);
        assert_eq!(
            applied(&all, "/a%20b?c").as_deref(),
            Some("/index.php/a%20b?c")
        );
    }

    #[test]
    fn what_comes_out_is_in_the_normal_form_and_encoded() {
        let rule = rewrite(&[("~^/(.)x(.*)$", "/a/{1}.{2}"), ("~^/q(.*)$", "/?q={1}")]);
        for (target, expected) in [
            ("/.x//b", Some("/b")),
            ("/.x/b", Some("/b")),
            ("/%3fx", Some("/a/%3F.")),
            ("/q%26a=b%0d%0a", Some("/?q=%26a%3Db%0D%0A")),
        ] {
            assert_eq!(applied(&rule, target).as_deref(), expected, "{target}");
        }
        let climbs = rewrite(&[("~^/(.)x", "/{1}.")]);
        assert_eq!(applied(&climbs, "/.x/b"), None);
    }

    proptest! {
        #[test]
        fn any_path_stays_one(target in "/[ -~]{0,30}", prefix in "/[a-z/.%]{0,5}") {
            prop_assume!(!target.contains([' ', '#']));
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            prop_assume!(crate::Head::default().parse(head.as_bytes()).is_ok());
            let rule = rewrite(&[(&prefix, "/x"), ("~(.)(.)", "{2}/{1}")]);
            let out = applied(&rule, &target);
            if let Some(out) = out.filter(|out| out != "stays") {
                let head = format!("GET {out} HTTP/1.1\r\nHost: h\r\n\r\n");
                let mut parsed = crate::Head::default();
                prop_assert_eq!(parsed.parse(head.as_bytes()), Ok(true), "{}", out);
                // What a server decodes is what we took it for.
                let path = parsed.path(head.as_bytes()).to_vec();
                let again = out.split('?').next().unwrap_or_default();
                prop_assert_eq!(crate::path::normal(again.as_bytes()).unwrap().to_vec(), path);
            }
        }
    }
}
