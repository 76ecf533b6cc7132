//! A nginx.conf as a tree of directives, with the files it includes.

use std::path::{Path, PathBuf};

use super::super::report::Verdicts;
use super::super::sources::{Sources, Spot};

/// A word as it is meant, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: String,
    pub spot: Spot,
}

/// A directive with its arguments and what is in its braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub name: Word,
    pub args: Vec<Word>,
    pub block: Option<Vec<Directive>>,
    /// From its name to its last argument.
    pub spot: Spot,
}

impl Directive {
    /// An argument, or an empty text.
    pub fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", |word| &word.text)
    }

    /// The place of an argument, or of the directive.
    pub fn at(&self, at: usize) -> Spot {
        self.args.get(at).map_or(self.spot, |word| word.spot)
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.text == name
    }

    /// Whether it hands requests to a program.
    pub fn passes_on(&self) -> bool {
        let all = ["proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass"];
        all.contains(&self.name.text.as_str())
    }

    pub fn inner(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Name and arguments as one text.
    pub fn shown(&self) -> String {
        let mut text = self.name.text.clone();
        for word in &self.args {
            text.push(' ');
            text.push_str(&word.text);
        }
        text
    }
}

/// Includes within includes, at most.
const DEEPEST: usize = 16;
/// Files of one configuration, at most.
const MOST_FILES: usize = 512;
/// Blocks within blocks, at most.
const DEEPEST_BLOCK: usize = 64;

/// Reads a file and what it includes. `directory` is what included files are relative to: that of the main file.
/// `needs_types`: the table of types that nginx brings along has to be there.
pub(crate) fn read(
    sources: &mut Sources,
    file: usize,
    directory: &Path,
    needs_types: bool,
    verdicts: &mut Verdicts,
) -> Vec<Directive> {
    let mut reader = Reader {
        sources,
        directory,
        needs_types,
        verdicts,
    };
    reader.file(file, 0)
}

enum Token {
    Word(Word),
    Open(Spot),
    Close(Spot),
    End(Spot),
}

struct Reader<'a> {
    sources: &'a mut Sources,
    directory: &'a Path,
    needs_types: bool,
    verdicts: &'a mut Verdicts,
}

impl Reader<'_> {
    fn file(&mut self, file: usize, depth: usize) -> Vec<Directive> {
        let text = self.sources.text(file).to_owned();
        let tokens = match tokens(&text, file) {
            Ok(tokens) => tokens,
            Err((spot, message)) => {
                self.verdicts.refuse(spot, spot, message);
                return Vec::new();
            }
        };
        let mut tokens = tokens.into_iter();
        let end = Spot {
            file,
            start: text.len(),
            end: text.len(),
        };
        self.block(&mut tokens, None, end, depth, 0)
    }

    /// Directives up to the brace that closes the block opened at `opened`, or to the end of the file.
    fn block(
        &mut self,
        tokens: &mut std::vec::IntoIter<Token>,
        opened: Option<Spot>,
        end: Spot,
        depth: usize,
        level: usize,
    ) -> Vec<Directive> {
        let mut list = Vec::new();
        let mut words: Vec<Word> = Vec::new();
        loop {
            let Some(token) = tokens.next() else {
                if let Some(first) = words.first() {
                    let message =
                        format!("directive \"{}\" is not terminated by \";\"", first.text);
                    self.verdicts.refuse(first.spot, first.spot, message);
                } else if opened.is_some() {
                    self.verdicts
                        .refuse(end, end, "unexpected end of file, expecting \"}\"");
                }
                return list;
            };
            match token {
                Token::Word(word) => words.push(word),
                Token::End(spot) => match finish(&mut words, None) {
                    None => self.verdicts.refuse(spot, spot, "unexpected \";\""),
                    Some(directive) if directive.is("include") => {
                        list.extend(self.include(&directive, depth));
                    }
                    Some(directive) => list.push(directive),
                },
                Token::Open(spot) => {
                    if level >= DEEPEST_BLOCK {
                        self.verdicts
                            .refuse(spot, spot, "too many blocks within blocks");
                        return list;
                    }
                    let mut head = std::mem::take(&mut words);
                    let inner = self.block(tokens, Some(spot), end, depth, level + 1);
                    match finish(&mut head, Some(inner)) {
                        Some(directive) => list.push(directive),
                        None => self.verdicts.refuse(spot, spot, "unexpected \"{\""),
                    }
                }
                Token::Close(spot) => {
                    if let Some(first) = words.first() {
                        let message =
                            format!("directive \"{}\" is not terminated by \";\"", first.text);
                        self.verdicts.refuse(first.spot, first.spot, message);
                        words.clear();
                    }
                    if opened.is_none() {
                        self.verdicts.refuse(spot, spot, "unexpected \"}\"");
                        continue;
                    }
                    return list;
                }
            }
        }
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> Vec<Directive> {
        let [word] = &directive.args[..] else {
            self.verdicts.refuse(
                directive.spot,
                directive.spot,
                "invalid number of arguments in \"include\" directive",
            );
            return Vec::new();
        };
        if depth >= DEEPEST {
            self.verdicts.refuse(
                directive.spot,
                word.spot,
                "too many files that include one another",
            );
            return Vec::new();
        }
        let path = self.directory.join(&word.text);
        let globbed = word.text.contains(['*', '?', '[']);
        let paths = if globbed {
            super::glob::paths(&path)
        } else {
            vec![path]
        };
        self.verdicts.translated(directive.spot);
        let mut list = Vec::new();
        for path in paths {
            if self.sources.len() >= MOST_FILES {
                self.verdicts
                    .refuse(directive.spot, word.spot, "too many files");
                break;
            }
            match self.open(&path) {
                Ok(file) => list.extend(self.file(file, depth + 1)),
                Err(_) if !self.needs_types && path.ends_with("mime.types") => {
                    self.verdicts.note(
                        directive.spot,
                        "the file is not here: nothing is known of types that you may have added to it",
                    );
                    // A block that says no more than where its entries are.
                    let name = |text: &str| Word {
                        text: text.to_owned(),
                        spot: word.spot,
                    };
                    let entry = Directive {
                        name: name("mime.types"),
                        args: Vec::new(),
                        block: None,
                        spot: word.spot,
                    };
                    list.push(Directive {
                        name: name("types"),
                        args: Vec::new(),
                        block: Some(vec![entry]),
                        spot: directive.spot,
                    });
                }
                Err(error) => {
                    let reason = match error.raw_os_error() {
                        Some(2) => "2: No such file or directory".to_owned(),
                        Some(13) => "13: Permission denied".to_owned(),
                        _ => error.to_string(),
                    };
                    self.verdicts.refuse(
                        directive.spot,
                        word.spot,
                        format!("open() \"{}\" failed ({reason})", path.display()),
                    );
                }
            }
        }
        list
    }

    fn open(&mut self, path: &PathBuf) -> std::io::Result<usize> {
        let text = std::fs::read(path)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(self.sources.add(path.display().to_string(), text))
    }
}

fn finish(words: &mut Vec<Word>, block: Option<Vec<Directive>>) -> Option<Directive> {
    let mut words = std::mem::take(words).into_iter();
    let name = words.next()?;
    let args: Vec<Word> = words.collect();
    let last = args.last().map_or(name.spot, |word| word.spot);
    Some(Directive {
        spot: name.spot.to(last),
        name,
        args,
        block,
    })
}

type Wrong = (Spot, String);

/// Words, braces and semicolons. A backslash takes the meaning from a quote, a blank, `;`, `{` and `}`; `${` opens a
/// variable, not a block.
fn tokens(text: &str, file: usize) -> Result<Vec<Token>, Wrong> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    let spot = |start: usize, end: usize| Spot { file, start, end };
    while let Some(&(start, c)) = chars.peek() {
        match c {
            c if c.is_ascii_whitespace() => {
                chars.next();
            }
            '#' => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            ';' | '{' | '}' => {
                chars.next();
                let at = spot(start, start + 1);
                tokens.push(match c {
                    ';' => Token::End(at),
                    '{' => Token::Open(at),
                    _ => Token::Close(at),
                });
            }
            '"' | '\'' => {
                chars.next();
                let mut word = String::new();
                let end = loop {
                    match chars.next() {
                        None => {
                            return Err((
                                spot(start, start + 1),
                                "unexpected end of file, expecting a quote that closes this one"
                                    .into(),
                            ));
                        }
                        Some((at, q)) if q == c => break at + 1,
                        Some((_, '\\')) => escape(&mut chars, &mut word),
                        Some((_, other)) => word.push(other),
                    }
                };
                // What follows a quoted word has to part it from the next.
                if let Some((at, next)) = chars.peek()
                    && !(next.is_ascii_whitespace() || matches!(next, ';' | '{' | ')'))
                {
                    return Err((
                        spot(*at, at + next.len_utf8()),
                        format!("unexpected \"{next}\""),
                    ));
                }
                tokens.push(Token::Word(Word {
                    text: word,
                    spot: spot(start, end),
                }));
            }
            _ => {
                let mut word = String::new();
                let mut end = start;
                while let Some(&(at, c)) = chars.peek() {
                    if c.is_ascii_whitespace() || c == ';' || (c == '{' && !word.ends_with('$')) {
                        break;
                    }
                    chars.next();
                    end = at + c.len_utf8();
                    if c == '\\' {
                        escape(&mut chars, &mut word);
                        end = chars.peek().map_or(text.len(), |(at, _)| *at);
                    } else {
                        word.push(c);
                    }
                }
                tokens.push(Token::Word(Word {
                    text: word,
                    spot: spot(start, end),
                }));
            }
        }
    }
    Ok(tokens)
}

/// What follows a backslash: quotes and backslashes are themselves, `\t`, `\r`, `\n` what they are elsewhere; what else
/// follows keeps its backslash, as regular expressions need.
fn escape(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>, word: &mut String) {
    match chars.next() {
        None => word.push('\\'),
        Some((_, c @ ('"' | '\'' | '\\'))) => word.push(c),
        Some((_, 't')) => word.push('\t'),
        Some((_, 'r')) => word.push('\r'),
        Some((_, 'n')) => word.push('\n'),
        Some((_, c)) => word.extend(['\\', c]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &[Directive]) -> String {
        let one = |d: &Directive| match &d.block {
            None => format!("{};", d.shown()),
            Some(inner) => format!("{}{{{}}}", d.shown(), shown(inner)),
        };
        list.iter().map(one).collect()
    }

    fn parse(text: &str) -> (String, Vec<String>) {
        let mut sources = Sources::default();
        let file = sources.add("nginx.conf", text);
        let mut verdicts = Verdicts::default();
        let tree = read(
            &mut sources,
            file,
            Path::new("/nowhere"),
            true,
            &mut verdicts,
        );
        let report = verdicts.finish(&sources, &[]);
        let wrong = report.refused().map(|d| d.message.clone()).collect();
        (shown(&tree), wrong)
    }

    #[test]
    fn blocks_quotes_variables_and_comments_are_nginxs() {
        for (text, wanted) in [
            ("user  www; # c\nhttp { a b; }", "user www;http{a b;}"),
            (r#"a "b c" 'd;e' f\ g;"#, "a b c d;e f\\ g;"),
            (
                r"location ~ \.(php|htm)$ { x ${v}y; }",
                r"location ~ \.(php|htm)$ {x ${v}y;}",
            ),
            (r#"x "a\"b" '${q}';"#, "x a\"b ${q};"),
            ("a;b;", "a;b;"),
        ] {
            let (tree, wrong) = parse(text);
            assert!(wrong.is_empty(), "{text}: {wrong:?}");
            assert_eq!(
                tree.replace("$ {", "${"),
                wanted.replace("$ {", "${"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_closed_is_told_in_nginxs_words() {
        for (text, wanted) in [
            ("a b", "directive \"a\" is not terminated by \";\""),
            ("http { a;", "unexpected end of file, expecting \"}\""),
            ("}", "unexpected \"}\""),
            (
                "a 'b",
                "unexpected end of file, expecting a quote that closes this one",
            ),
            ("a 'b'c;", "unexpected \"c\""),
            (";", "unexpected \";\""),
            (
                "include none.conf;",
                "open() \"/nowhere/none.conf\" failed (2: No such file or directory)",
            ),
        ] {
            assert_eq!(parse(text).1, [wanted], "{text}");
        }
        assert!(parse("include none/*.conf;").1.is_empty());
    }
}
