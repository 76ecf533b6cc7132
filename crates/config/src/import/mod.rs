//! Front ends for the languages of other programs: haproxy.cfg, nginx.conf and Tomcat's context.xml.
//!
//! A front end only translates. It writes a cluster file, whose lines know where they came from, and that file is read
//! as any other: nothing downstream knows the language. What became of each directive is in the [`Report`]; nothing is
//! dropped silently.

mod commands;
pub(crate) mod directives;
pub(crate) mod document;
mod haproxy;
pub(crate) mod logic;
pub(crate) mod names;
mod nginx;
mod report;
pub(crate) mod sources;
mod together;
mod tomcat;
mod unavailable;
mod xml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostics::Diagnostic;
use crate::{Loaded, parse};
use document::{Document, Written};
use report::Verdicts;
use sources::{Sources, Spot};
use together::{Behind, Machines, What};

pub use commands::{CommandPlace, CommandSocket, Commands, Level, ProxyNames, ServerNames};
pub use report::{Entry, Report, Verdict};

/// The reference pages, by their names: what is understood of each language.
pub fn references() -> [(&'static str, String); 2] {
    [
        ("haproxy.md", haproxy::table::LANGUAGE.reference()),
        ("nginx.md", nginx::table::LANGUAGE.reference()),
    ]
}

/// A file to translate: its name in messages, and its text.
#[derive(Clone, Debug)]
pub struct Input {
    /// As it was named.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// How files are translated.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// To be run at once, as the other program would: what that does not do (logs, pages) is not done either, and paths
    /// become absolute.
    pub direct: bool,
    /// The directory that relative paths in the files are relative to; empty leaves them as they are.
    pub directory: String,
    /// The directory of files that are made with the cluster file; empty is beside it.
    pub beside: String,
    /// Sockets of this process that files may name by their numbers, and what they are bound to.
    pub sockets: BTreeMap<u32, String>,
    /// Where access logs go when the file does not say; empty is nowhere.
    pub access_log: String,
}

impl Options {
    fn beside(&self, name: &str) -> String {
        if self.beside.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.beside.trim_end_matches('/'))
        }
    }
}

/// What became of some files.
#[derive(Clone, Debug)]
pub struct Translation {
    /// The cluster file.
    pub text: String,
    /// What was read of it; `None` when something was refused.
    pub loaded: Option<Loaded>,
    /// What became of each directive.
    pub report: Report,
    /// Files that the cluster file names and that have to stand beside it.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How the process runs.
    pub process: Process,
    /// The files that were read, by name, with what is in them.
    pub sources: Vec<(String, String)>,
}

/// Translates one or several haproxy.cfg, to be run as they are. `env` is the environment for `${VAR}`.
pub fn haproxy(
    inputs: &[Input],
    options: &Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Translation {
    let mut sources = Sources::default();
    let files: Vec<usize> = inputs
        .iter()
        .map(|input| sources.add(&input.name, &input.text))
        .collect();
    let outcome = haproxy::translate(&sources, &files, env, options);
    finish(sources, outcome, &base_of(options), env)
}

/// Translates a nginx.conf, with what it includes, to be run as it is. `directives` are those of the command line, which
/// stand before the file.
pub fn nginx(
    input: &Input,
    directives: Option<&str>,
    options: &Options,
    env: &dyn Fn(&str) -> Option<String>,
) -> Translation {
    let mut sources = Sources::default();
    let main = sources.add(&input.name, &input.text);
    let extra = directives.map(|text| sources.add("command line", text));
    let outcome = nginx::translate(&mut sources, main, extra, options);
    finish(sources, outcome, &base_of(options), env)
}

/// A file of a set-up.
#[derive(Clone, Debug)]
pub struct Part {
    /// The file.
    pub input: Input,
    /// The backend of the load balancer that it is behind, when it is said.
    pub of: Option<String>,
}

/// Translates the files of a set-up into one cluster file: those of HAProxy, and what is behind its backends. `edge` is
/// the address of the machine that HAProxy is on. `env` is the environment for `${VAR}`.
pub fn set_up(
    parts: &[Part],
    edge: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Translation {
    let options = Options::default();
    let mut sources = Sources::default();
    let (mut haproxy_files, mut nginx_files, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let file = sources.add(&part.input.name, &part.input.text);
        match kind(&part.input) {
            Kind::Haproxy => haproxy_files.push(file),
            Kind::Nginx => nginx_files.push((file, part.of.clone())),
            Kind::Tomcat => contexts.push((file, part.of.clone())),
        }
    }
    let mut outcome = Outcome {
        document: Document::default(),
        verdicts: Verdicts::default(),
        seen: Vec::new(),
        process: Process::default(),
        files: BTreeMap::new(),
    };
    let has_front = !haproxy_files.is_empty();
    if has_front {
        outcome = haproxy::translate(&sources, &haproxy_files, env, &options);
    }
    let mut behind = Vec::new();
    for (file, of) in nginx_files {
        let inner = nginx::translate(&mut sources, file, None, &options);
        outcome.verdicts.join(inner.verdicts);
        outcome.seen.extend(inner.seen);
        outcome.files.extend(inner.files);
        if has_front {
            let spot = sources.beginning(file);
            behind.push(Behind {
                of,
                what: What::Nginx(inner.document),
                spot,
            });
        } else {
            outcome.document.sections.extend(inner.document.sections);
        }
    }
    // A server.xml and a context.xml are of one Tomcat, unless they are said to be behind two backends.
    let mut tomcats: Vec<(Option<String>, tomcat::Context, Spot)> = Vec::new();
    for (file, of) in contexts {
        let mut seen = Vec::new();
        let context = tomcat::read(&sources, file, &mut outcome.verdicts, &mut seen);
        outcome.seen.extend(seen);
        let same = tomcats
            .iter_mut()
            .find(|(other, known, _)| *other == of && known.is_server != context.is_server);
        match same {
            Some((_, known, _)) => known.join(context),
            None => tomcats.push((of, context, sources.beginning(file))),
        }
    }
    behind.extend(tomcats.into_iter().map(|(of, context, spot)| Behind {
        of,
        what: What::Tomcat(context),
        spot,
    }));
    if !behind.is_empty() && has_front {
        let machines = Machines {
            edge: edge.map(str::to_owned),
        };
        outcome.document =
            together::together(outcome.document, behind, &machines, &mut outcome.verdicts);
    } else if let Some(file) = behind.first() {
        outcome.verdicts.refuse(
            file.spot,
            file.spot,
            "a context.xml alone says only where sessions are: give the load balancer's file too",
        );
    }
    let names: Vec<&str> = parts.iter().map(|part| part.input.name.as_str()).collect();
    outcome.document.preface = vec![
        format!("Made from {} by `tandem import`.", names.join(", ")),
        "Comments name the lines that things come from.".into(),
    ];
    // The key is the operator's to set: what is checked here is the rest.
    let with_key =
        |name: &str| env(name).or_else(|| (name == "TANDEM_KEY").then(|| "to be set".to_owned()));
    finish(sources, outcome, Path::new("/"), &with_key)
}

enum Kind {
    Haproxy,
    Nginx,
    Tomcat,
}

/// What a file is, by its name and by what is in it.
fn kind(input: &Input) -> Kind {
    let text = input.text.trim_start();
    let ends = |ending: &str| {
        Path::new(&input.name)
            .extension()
            .is_some_and(|end| end == ending)
    };
    if ends("xml")
        || text.starts_with("<?xml")
        || text.starts_with("<Context")
        || text.starts_with("<Server")
    {
        return Kind::Tomcat;
    }
    if ends("cfg") {
        return Kind::Haproxy;
    }
    let sections = ["global", "defaults", "frontend", "backend", "listen"];
    let opens = |line: &str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        sections.contains(&first) && !line.trim_end().ends_with([';', '{'])
    };
    if (!ends("conf") || !text.contains('{')) && text.lines().any(opens) {
        return Kind::Haproxy;
    }
    Kind::Nginx
}

/// What was made of some files, before it is a text.
pub(crate) struct Outcome {
    pub document: Document,
    pub verdicts: Verdicts,
    /// Every directive there is: the spot and the words.
    pub seen: Vec<(Spot, String)>,
    pub process: Process,
    /// Files that the cluster file names and that are made with it.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// How a process is to run, apart from what it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// In the background.
    pub daemon: bool,
    /// Where its number is written.
    pub pid_file: Option<PathBuf>,
    /// Where it writes what it has to say; `None` is standard error.
    pub error_log: Option<PathBuf>,
    /// Where HAProxy's commands are taken, and what they call things.
    pub commands: Commands,
}

/// What the cluster file's relative paths are relative to.
fn base_of(options: &Options) -> PathBuf {
    PathBuf::from(if options.directory.is_empty() {
        "/"
    } else {
        &options.directory
    })
}

/// Writes the cluster file and reads it; what is wrong with it is told at the line it came from.
fn finish(
    sources: Sources,
    outcome: Outcome,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Translation {
    let mut outcome = outcome;
    unavailable::leave_out(&mut outcome.document, &mut outcome.verdicts);
    let mut written = outcome.document.write(&sources);
    let mut report = outcome.verdicts.finish(&sources, &outcome.seen);
    let mut loaded = None;
    // Routes that are never reached are no mistake in the other languages: they are left out, a few at a time.
    let mut left = 64;
    while report.refused().next().is_none() && loaded.is_none() {
        match parse(&written.text, "the translation", base, env) {
            Ok(read) => loaded = Some(read),
            Err(mistakes) => {
                let unreached = mistakes
                    .iter()
                    .find(|m| m.message.contains("never matches"));
                let line = unreached
                    .and_then(|m| m.place.as_ref())
                    .map(|place| place.line);
                let verdict = match line {
                    Some(_) if left > 0 => Verdict::Noted,
                    _ => Verdict::Refused,
                };
                left -= 1;
                for mistake in &mistakes {
                    if verdict == Verdict::Noted && Some(mistake) != unreached {
                        continue;
                    }
                    report.push(verdict, told(mistake, &written, &sources));
                }
                if let (Verdict::Noted, Some(line)) = (verdict, line) {
                    written.leave_out(line - 1);
                }
            }
        }
    }
    let text = written.text;
    Translation {
        text,
        loaded,
        report,
        files: outcome.files,
        process: outcome.process,
        sources: sources.into_files(),
    }
}

/// A mistake of the cluster file, at the place it came from.
fn told(mistake: &Diagnostic, written: &Written, sources: &Sources) -> Diagnostic {
    let line = mistake.place.as_ref().map(|place| place.line);
    let spot = line.and_then(|line| written.origin.get(line - 1).copied().flatten());
    match spot {
        Some(spot) => Diagnostic {
            file: sources.name(spot.file).into(),
            place: Some(sources.place(spot)),
            ..mistake.clone()
        },
        None => mistake.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-config` writes the pages.
    #[test]
    fn the_pages_in_the_repository_are_made_from_the_tables() {
        for (name, page) in references() {
            let path = format!("{}/../../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
                std::fs::write(&path, &page).unwrap();
            }
            assert!(
                std::fs::read_to_string(&path).unwrap_or_default() == page,
                "docs/reference/{name} is out of date: run TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-config"
            );
        }
    }

    fn behind_a_balancer(files: &[(&str, &str)]) -> Translation {
        let balancer = "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nlisten stats\n bind *:9000\n stats enable\nfrontend main\n bind :80\n default_backend app\nbackend app\n server t1 10.0.0.1:8080 check\n server t2 10.0.0.2:8080 check\n";
        let part = |name: &str, text: &str| Part {
            input: Input {
                name: name.into(),
                text: text.into(),
            },
            of: None,
        };
        let mut parts = vec![part("haproxy.cfg", balancer)];
        parts.extend(files.iter().map(|(name, text)| part(name, text)));
        set_up(&parts, Some("10.0.0.9"), &|_| None)
    }

    #[test]
    fn a_server_xml_beside_a_context_xml_says_where_the_same_tomcat_listens() {
        let server = "<Server><Service><Connector port='8180'/></Service></Server>";
        let context = "<Context><Manager memcachedNodes='n1:10.0.0.3:11211 n2:10.0.0.3:11311 n3:10.0.0.4:11211'/></Context>";
        let made = behind_a_balancer(&[("context.xml", context), ("server.xml", server)]);
        let told = made.report.to_string();
        assert!(made.loaded.is_some(), "{told}");
        let text: String = made
            .text
            .split_inclusive(' ')
            .filter(|part| *part != " ")
            .collect();
        for wanted in [
            "proxy = \"127.0.0.1:8180\"",
            // Two of the three are on one machine.
            "cache1 = \"10.0.0.3\"",
            "cache2 = \"10.0.0.4\"",
            "on = [\"cache1\", \"cache2\"]",
            "admin = \"127.0.0.1:9000\"",
        ] {
            assert!(text.contains(wanted), "{wanted}: {}", made.text);
        }
        assert!(
            told.contains("two memcacheds at 10.0.0.3 are one session node"),
            "{told}"
        );
        assert!(!told.contains("taken to listen on"), "{told}");
        // What is guessed of a file is told at that file.
        let told = behind_a_balancer(&[("context.xml", "<Context/>")])
            .report
            .to_string();
        assert!(
            told.contains("context.xml:1: Tomcat is taken to listen on 127.0.0.1:8080"),
            "{told}"
        );
    }

    /// `TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-config` writes the file.
    #[test]
    fn the_classic_set_up_becomes_the_cluster_file_beside_it() {
        let classic = format!("{}/../../examples/classic", env!("CARGO_MANIFEST_DIR"));
        let part = |name: &str| Part {
            input: Input {
                name: name.into(),
                text: std::fs::read_to_string(format!("{classic}/{name}")).unwrap(),
            },
            of: None,
        };
        let parts = ["haproxy.cfg", "nginx.conf", "context.xml"].map(part);
        let made = set_up(&parts, Some("192.168.0.168"), &|_| None);
        let refused: Vec<_> = made.report.refused().collect();
        assert!(refused.is_empty(), "{refused:?}");
        let cluster = made.loaded.expect("it is checked").cluster;
        assert_eq!(cluster.nodes.len(), 6);
        let path = format!("{classic}/cluster.toml");
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, &made.text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == made.text,
            "examples/classic/cluster.toml is out of date: run TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-config"
        );
        let said: Vec<&str> = made
            .text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .collect();
        assert!(said.len() <= 45, "{} lines", said.len());
    }

    #[test]
    fn the_largest_body_is_said_where_it_differs_from_that_of_the_listener() {
        let nginx = |server: &str| {
            let part = Part {
                input: Input {
                    name: "nginx.conf".into(),
                    text: format!("events {{ }}\nhttp {{ server {{ listen 80;\n{server}\n}} }}\n"),
                },
                of: None,
            };
            let made = set_up(&[part], None, &|_| None);
            let loaded = made.loaded.expect("it is checked");
            let limits = made.text.split("limits = { body = ").skip(1);
            let limits = limits.map(|rest| rest.split(" }").next().unwrap_or_default().to_owned());
            let listener = &loaded.cluster.listeners[0];
            let body = listener.limits.body.map(|body| body.0);
            (body, limits.collect::<Vec<_>>().join(" "))
        };
        let up = "location /up { client_max_body_size 8m; }";
        let said = |body, limits: &str| (body, limits.to_owned());
        assert_eq!(nginx("location / { }"), said(Some(1 << 20), "\"1 MiB\""));
        let expected = "\"1 MiB\" \"8 MiB\"";
        assert_eq!(nginx(up), said(Some(1 << 20), expected));
        assert_eq!(
            nginx(&format!("client_max_body_size 8m; {up}")),
            said(Some(8 << 20), "\"8 MiB\"")
        );
        let small = "client_max_body_size 0; location / { client_max_body_size 10; }";
        let expected = "\"8 MiB\" \"10 B\"";
        assert_eq!(nginx(&format!("{small}{up}")), said(None, expected));
        assert_eq!(
            nginx("location /a { location /a/b { client_max_body_size 0; } }"),
            said(Some(1 << 20), "\"1 MiB\" false")
        );
    }

    #[test]
    fn no_directive_is_twice_in_a_table() {
        for language in [haproxy::table::LANGUAGE, nginx::table::LANGUAGE] {
            let rows: Vec<_> = language.rows().collect();
            for (at, row) in rows.iter().enumerate() {
                let twice = rows[at + 1..]
                    .iter()
                    .any(|other| other.name == row.name && other.places & row.places != 0);
                assert!(!twice, "{}", row.name);
            }
        }
    }
}
