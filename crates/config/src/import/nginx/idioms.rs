//! Files that are looked for by `if (-f $request_filename)`, as people wrote it before there was `try_files`: these lines become
//! that directive, and a named location for what an `if` passes on.

use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::tree::{Directive, Word};

/// Expressions that every path fits.
const ALL: [&str; 12] = [
    "^", ".", ".*", "(.*)", "(.+)", "^(.*)$", "^(.+)$", "^(.*)", "^.*$", "^/(.*)$", "^/.*$",
    "^/?(.*)$",
];

/// What rewrites and answers.
const RULES: [&str; 5] = ["return", "rewrite", "if", "break", "set"];

/// What of a location is said of its own files alone.
const OF_FILES: [&str; 9] = [
    "root",
    "alias",
    "index",
    "try_files",
    "location",
    "internal",
    "autoindex",
    "expires",
    "limit_except",
];

/// What is done where there is no file.
pub(crate) enum Last {
    /// As the last word of `try_files`.
    Word(String),
    /// `proxy_pass`.
    Pass(Directive),
    /// What `location /` does with the path that came.
    Root,
}

/// Lines that look for files, read.
struct Read {
    before: Vec<String>,
    last: Last,
    /// Where the lines begin.
    spot: Spot,
    /// What is said in them.
    spots: Vec<Spot>,
}

/// Writes the lines of all locations as `try_files`.
pub(crate) fn translate(tree: &mut [Directive], verdicts: &mut Verdicts) {
    for http in tree.iter_mut().filter(|d| d.is("http")) {
        let servers = http.block.iter_mut().flatten();
        for server in servers.filter(|d| d.is("server")) {
            let Some(list) = &mut server.block else {
                continue;
            };
            let root = list
                .iter()
                .find(|d| d.is("location") && d.args.len() == 1 && d.arg(0) == "/");
            let root = root.filter(|d| has(d.inner(), "proxy_pass")).cloned();
            let mut made = Vec::new();
            within(list, root.as_ref(), &mut made, verdicts);
            list.extend(made);
        }
    }
}

fn within(
    list: &mut [Directive],
    root: Option<&Directive>,
    made: &mut Vec<Directive>,
    verdicts: &mut Verdicts,
) {
    for location in list.iter_mut().filter(|d| d.is("location")) {
        let Some(block) = &mut location.block else {
            continue;
        };
        within(block, root, made, verdicts);
        if has(block, "fastcgi_pass") {
            // What is done with a script that is not there anyway.
            block.retain(|inner| {
                let asked = asked(inner);
                let is_script = asked
                    .is_some_and(|(not, kind, suffix)| not && kind != 'd' && suffix.is_empty());
                let is_said = is_script && matches!(inner.inner(), [only] if is_not_found(only));
                if is_said {
                    for spot in [inner.spot, inner.inner()[0].spot] {
                        verdicts.translated(spot);
                    }
                }
                !is_said
            });
        }
        let answers = ["try_files", "proxy_pass", "fastcgi_pass", "alias"];
        if answers.iter().any(|name| has(block, name)) {
            continue;
        }
        let Some(read) = read(block) else {
            continue;
        };
        let spot = read.spot;
        let word = |text: String| Word { text, spot };
        let named = word(format!("@instead-{}", made.len() + 1));
        let last = match read.last {
            Last::Word(text) => word(text),
            Last::Pass(pass) => {
                let kept = block.iter().filter(|inner| {
                    let name = inner.name.text.as_str();
                    !RULES.contains(&name) && !OF_FILES.contains(&name)
                });
                let inner = kept.cloned().chain([pass]).collect();
                made.push(directive(
                    "location",
                    vec![named.clone()],
                    Some(inner),
                    spot,
                ));
                named
            }
            Last::Root => {
                let Some(root) = root else {
                    continue;
                };
                let inner = root.block.clone();
                made.push(directive("location", vec![named.clone()], inner, spot));
                named
            }
        };
        for spot in read.spots {
            verdicts.translated(spot);
        }
        block.retain(|inner| !RULES.contains(&&*inner.name.text));
        let words = read.before.into_iter().map(word).chain([last]);
        block.push(directive("try_files", words.collect(), None, spot));
    }
}

fn directive(name: &str, args: Vec<Word>, block: Option<Vec<Directive>>, spot: Spot) -> Directive {
    let name = Word {
        text: name.to_owned(),
        spot,
    };
    Directive {
        name,
        args,
        block,
        spot,
    }
}

/// `return 404;`
fn is_not_found(directive: &Directive) -> bool {
    directive.is("return") && directive.args.len() == 1 && directive.arg(0) == "404"
}

fn has(list: &[Directive], name: &str) -> bool {
    list.iter().any(|directive| directive.is(name))
}

/// Reads all rules of a location, if they look for files and do nothing else.
fn read(list: &[Directive]) -> Option<Read> {
    let rules: Vec<&Directive> = list
        .iter()
        .filter(|d| RULES.contains(&&*d.name.text))
        .collect();
    let mut before: Vec<String> = Vec::new();
    let add = |before: &mut Vec<String>, words: &[&str]| {
        for word in words {
            if !before.iter().any(|known| known == word) {
                before.push((*word).to_owned());
            }
        }
    };
    let mut spots = Vec::new();
    let mut last = None;
    for (at, rule) in rules.iter().enumerate() {
        if last.is_some() {
            // A `break` behind it is for whom the file was found.
            if rule.is("break") && at + 1 == rules.len() {
                spots.push(rule.spot);
                continue;
            }
            return None;
        }
        spots.push(rule.spot);
        spots.extend(rule.inner().iter().map(|inner| inner.spot));
        if rule.is("rewrite") {
            // Whose file was found has left by now.
            if before.is_empty() {
                return None;
            }
            last = Some(rewritten(rule)?);
            continue;
        }
        let (not, kind, suffix) = asked(rule)?;
        let found: &[&str] = match kind {
            'f' => &["$uri"],
            'd' => &["$uri/"],
            _ => &["$uri", "$uri/"],
        };
        let inner: Vec<&Directive> = rule.inner().iter().collect();
        match (not, &suffix[..], &inner[..]) {
            (false, "", [only]) if only.is("break") => add(&mut before, found),
            (false, suffix, [rewrite, rest @ ..]) if kind == 'f' && !suffix.is_empty() => {
                let is_same = matches!(rewrite.arg(0), "(.*)" | "^(.*)$" | "(.+)" | "^(.+)$")
                    && rewrite.arg(1).strip_prefix("$1") == Some(suffix)
                    && (rewrite.arg(2) == "break" || matches!(rest, [only] if only.is("break")));
                if !rewrite.is("rewrite") || !is_same || rest.len() > 1 {
                    return None;
                }
                add(&mut before, &[&format!("$uri{suffix}")]);
            }
            (true, "", [first, rest @ ..]) if kind != 'd' && rest.iter().all(|d| d.is("break")) => {
                add(&mut before, found);
                last = Some(if is_not_found(first) {
                    Last::Word("=404".to_owned())
                } else if first.is("proxy_pass") {
                    Last::Pass((*first).clone())
                } else {
                    rewritten(first)?
                });
            }
            _ => return None,
        }
    }
    Some(Read {
        before,
        last: last?,
        spot: rules.first()?.spot,
        spots,
    })
}

/// `if (!-f $request_filename.html)`: whether it asks for none, what for, and what is behind the path.
fn asked(rule: &Directive) -> Option<(bool, char, String)> {
    if !rule.is("if") {
        return None;
    }
    let words: Vec<&str> = rule.args.iter().map(|word| word.text.as_str()).collect();
    let text = words.join(" ");
    let inner = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    let (operator, name) = inner.split_once(' ')?;
    let (not, kind) = match operator {
        "-f" | "-d" | "-e" => (false, operator),
        "!-f" | "!-d" | "!-e" => (true, &operator[1..]),
        _ => return None,
    };
    let name = name.trim().trim_matches(['"', '\'']);
    let suffix = name
        .strip_prefix("$request_filename")
        .or(name.strip_prefix("$document_root$fastcgi_script_name"))
        .or(name.strip_prefix("$document_root$uri"))
        .or(name.strip_prefix("${document_root}${uri}"))?;
    let is_plain = suffix.is_empty() || suffix.starts_with(['.', '/']) && !suffix.contains('$');
    is_plain.then(|| (not, kind.chars().nth(1).unwrap_or('e'), suffix.to_owned()))
}

/// The file that all paths of a place become: `rewrite ^(.*)$ /maintenance.html break`.
pub(crate) fn one_file(rule: &Directive) -> Option<&str> {
    let path = rule.arg(1);
    let is_file = path.starts_with('/') && !path.ends_with('/') && !path.contains(['$', '?']);
    let is_all = rule.is("rewrite") && ALL.contains(&rule.arg(0)) && rule.arg(2) == "break";
    (is_all && is_file).then_some(path)
}

/// Where a `rewrite` of every path leads to.
pub(crate) fn rewritten(rule: &Directive) -> Option<Last> {
    if !rule.is("rewrite") || !ALL.contains(&rule.arg(0)) || !matches!(rule.arg(2), "" | "last") {
        return None;
    }
    let to = rule.arg(1);
    if matches!(to, "/$1" | "$1") {
        return Some(Last::Root);
    }
    let (path, query) = to.split_once('?').unwrap_or((to, ""));
    if !path.starts_with('/') || path.contains('$') {
        return None;
    }
    match query {
        "" if to.ends_with('?') => None,
        // The query of the request goes on.
        "" => Some(Last::Word(format!("{path}?$args"))),
        "q=$1" | "q=$uri" | "q=$request_uri" => Some(Last::Word(format!("{path}?q=$uri&$args"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, direct, said};

    fn text(location: &str) -> String {
        let made = direct(&format!(
            "server {{ listen 81; root /srv; location / {{ {location} }} location ~ \\.php$ {{ fastcgi_param SCRIPT_FILENAME \
             $document_root$fastcgi_script_name; fastcgi_pass unix:/run/php.sock; }} }}"
        ));
        assert_eq!(
            said(&made, Verdict::Refused),
            Vec::<String>::new(),
            "{location}"
        );
        made.text
    }

    #[test]
    fn files_that_an_if_looks_for_are_those_of_try_files() {
        let same = text("try_files $uri $uri/ /index.php?$args;");
        for lines in [
            "if (!-e $request_filename) { rewrite ^ /index.php last; }",
            "if (!-e $request_filename) { rewrite ^(.*)$ /index.php last; break; }",
            "if (-f $request_filename) { break; } if (-d $request_filename) { break; } rewrite ^(.+)$ /index.php last;",
        ] {
            assert_eq!(text(lines), same, "{lines}");
        }
        assert_eq!(
            text("if (!-e $request_filename) { return 404; }"),
            text("try_files $uri $uri/ =404;")
        );
        assert_eq!(
            text("if (!-f $request_filename) { rewrite ^/(.*)$ /index.php?q=$1 last; }"),
            text("try_files $uri /index.php?q=$uri&$args;")
        );
    }

    #[test]
    fn what_an_if_passes_on_is_a_named_location() {
        let with = |rules: &str| text(&format!("proxy_set_header X-A b; {rules}"));
        let made = with("if (!-f $request_filename) { proxy_pass http://127.0.0.1:82; break; }");
        assert!(
            made.contains("missing = \"127-0-0-1-82\"") && made.contains("X-A = \"b\""),
            "{made}"
        );
        let made = with(
            "if (-f $request_filename/index.html) { rewrite (.*) $1/index.html break; } if (-f $request_filename.html) { rewrite (.*) \
             $1.html break; } if (!-f $request_filename) { proxy_pass http://127.0.0.1:82; break; }",
        );
        assert!(
            made.contains("suffixes    = [\"/index.html\", \".html\"]"),
            "{made}"
        );
    }

    #[test]
    fn what_location_root_answers_is_asked_for_the_path_that_came() {
        let made = direct(
            "server { listen 81; location / { proxy_pass http://127.0.0.1:82; } location /user { root /srv; if (!-f $request_filename) { \
             rewrite (.*) /$1 last; break; } } }",
        );
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        assert!(
            made.text.contains("missing = \"127-0-0-1-82\""),
            "{}",
            made.text
        );
    }

    #[test]
    fn other_rules_beside_it_are_refused() {
        let server =
            |rules: &str| format!("server {{ listen 81; root /srv; location / {{ {rules} }} }}");
        for rules in [
            "if (-f $document_root/off) { return 503; }",
            "if (!-e $request_filename) { rewrite ^/a/(.*)$ /index.php last; }",
            "if (!-e $request_filename) { rewrite ^ /index.php last; } return 404;",
        ] {
            are_refused(&[(&server(rules), "files are looked for by `try_files`")]);
        }
    }
}
