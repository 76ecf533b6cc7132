//! `use_backend %[req.hdr(host),lower,map(FILE,DEFAULT)]`: a route for each line of a file.

use super::super::logic::Either;
use super::Translator;
use super::acl::{Acls, Connection, Criterion, Refusal};
use super::rules::{self, Step};
use super::words::{Line, Word};

/// A backend that is looked up.
struct Lookup<'l> {
    /// What is looked for: `req.hdr(host),lower`.
    fetch: &'l str,
    /// How it is compared, as `-m` calls it; `None`: as an address.
    how: Option<&'static str>,
    file: &'l str,
    default: Option<&'l str>,
}

impl<'l> Lookup<'l> {
    /// Reads `%[FETCH,map_beg(FILE,DEFAULT)]`.
    fn read(text: &'l str) -> Option<Self> {
        let inner = text.strip_prefix("%[")?.strip_suffix(']')?;
        let (fetch, map) = inner.split_at(inner.rfind(",map")?);
        let (name, arguments) = map[1..].strip_suffix(')')?.split_once('(')?;
        let how = match name {
            "map" | "map_str" => Some("str"),
            "map_beg" => Some("beg"),
            "map_end" => Some("end"),
            "map_sub" => Some("sub"),
            "map_dir" => Some("dir"),
            "map_dom" => Some("dom"),
            "map_reg" => Some("reg"),
            "map_ip" => None,
            _ => return None,
        };
        let (file, default) = match arguments.split_once(',') {
            Some((file, default)) => (file, Some(default.trim())),
            None => (arguments, None),
        };
        Some(Self {
            fetch,
            how,
            file: file.trim(),
            default,
        })
    }

    /// What is looked up in the file.
    fn keys(&self) -> Result<Vec<String>, String> {
        let entries = self.entries()?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    /// Whether a condition asks whether this finds anything: `{ FETCH,map(FILE) -m found }`.
    fn is_found(&self, condition: &[Word]) -> bool {
        let words: Vec<&str> = condition.iter().map(|word| word.text.as_str()).collect();
        let ["{", asked, "-m", "found", "}"] = words[..] else {
            return false;
        };
        let asked = format!("%[{asked}]");
        Lookup::read(&asked)
            .is_some_and(|asked| asked.fetch == self.fetch && asked.file == self.file)
    }

    /// The lines of the file, in the order in which they are tried: of beginnings and networks the longest first.
    fn entries(&self) -> Result<Vec<(String, String)>, String> {
        let text = std::fs::read_to_string(self.file)
            .map_err(|error| format!("cannot read '{}': {error}", self.file))?;
        let mut entries = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once([' ', '\t']) else {
                return Err(format!("'{line}' in {} is no key with a value", self.file));
            };
            entries.push((key.to_owned(), value.trim().to_owned()));
        }
        match self.how {
            Some("beg") => entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.len())),
            None => entries.sort_by_key(|(key, _)| {
                let length = key
                    .split_once('/')
                    .map_or(Some(128), |(_, n)| n.parse().ok());
                std::cmp::Reverse(length.unwrap_or(0))
            }),
            Some(_) => {}
        }
        Ok(entries)
    }
}

/// `FETCH,map(FILE) -m found`, as the question whether the fetch is one of the keys of the file; `None`: these words ask
/// something else.
pub(crate) fn found(words: &[Word]) -> Option<Result<Vec<Word>, Refusal>> {
    let [asked, flag, how] = words else {
        return None;
    };
    if (flag.text.as_str(), how.text.as_str()) != ("-m", "found") {
        return None;
    }
    let text = format!("%[{}]", asked.text);
    let lookup = Lookup::read(&text).filter(|lookup| lookup.default.is_none())?;
    let word = |text: &str| Word {
        text: text.to_owned(),
        spot: asked.spot,
    };
    let keys = lookup
        .keys()
        .map_err(|message| Refusal::new(asked.spot, message));
    Some(keys.map(|keys| {
        let mut words = vec![word(lookup.fetch)];
        if let Some(how) = lookup.how {
            words.extend([word("-m"), word(how), word("--")]);
        }
        words.extend(keys.iter().map(|key| word(key)));
        words
    }))
}

impl Translator<'_> {
    /// The steps of a `use_backend` that looks its backend up; `None` when it does not.
    pub fn mapped(
        &mut self,
        line: &Line,
        backend: &Word,
        condition: Option<(bool, &[Word])>,
        acls: &Acls,
        connection: Connection,
    ) -> Option<Vec<Step>> {
        let lookup = Lookup::read(&backend.text)?;
        self.verdicts.translated(line.spot);
        let found = |words: &[Word]| lookup.is_found(words);
        let condition = condition.filter(|(unless, words)| *unless || !found(words));
        let steps = rules::when(condition, acls, connection, line.spot, &mut self.verdicts)
            .and_then(|when| self.entries(line, backend, &lookup, &when, (acls, connection)));
        Some(steps.unwrap_or_else(|refusal| {
            refusal.tell(line.spot, &mut self.verdicts);
            Vec::new()
        }))
    }

    fn entries(
        &mut self,
        line: &Line,
        backend: &Word,
        lookup: &Lookup<'_>,
        when: &Either,
        (acls, connection): (&Acls, Connection),
    ) -> Result<Vec<Step>, Refusal> {
        let wrong = |message: String| Refusal::new(backend.spot, message);
        let word = |text: &str| Word {
            text: text.to_owned(),
            spot: backend.spot,
        };
        let mut steps = Vec::new();
        for (key, name) in lookup.entries().map_err(wrong)? {
            let mut words = vec![word(lookup.fetch)];
            if let Some(how) = lookup.how {
                words.extend([word("-m"), word(how), word("--")]);
            }
            words.push(word(&key));
            let criterion = Criterion {
                words,
                line: line.spot,
            };
            let note = &mut |text| self.verdicts.note(line.spot, text);
            let one = criterion.alternatives(Some(line.spot), acls, connection, note)?;
            let both = when.clone().and(&one);
            let both =
                both.map_err(|_| wrong("this condition has too many alternatives".into()))?;
            let deed = self.to(&name, line.spot, backend.spot);
            steps.push(Step::new(both, deed, line.spot));
        }
        if let Some(name) = lookup.default {
            let deed = self.to(name, line.spot, backend.spot);
            steps.push(Step::new(when.clone(), deed, line.spot));
        }
        Ok(steps)
    }
}
