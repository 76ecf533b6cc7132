//! `tandem import`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};
use tandem_config::import::{self, Input, Part, Translation};

use super::environment;
use crate::cli::{self, Command, Opt};
use crate::exit::{FAILED, Failure, Result};

/// Longer files are something else.
const LONGEST: u64 = 4 << 20;

/// The command.
pub const COMMAND: Command = Command {
    name: "import",
    summary: "make a cluster file of haproxy.cfg, nginx.conf and Tomcat's context.xml",
    usage: &["import FILES... [-o cluster.toml] [--edge ADDRESS]"],
    about: "\
Translates the files of a set-up into one cluster file, and reports what became of each directive: translated; without
effect here, and why; refused, with line and column. Nothing is dropped silently.

With a haproxy.cfg, a nginx.conf or a context.xml says what is behind one of its backends; NAME=FILE says behind which.
",
    options: &[
        Opt { form: "-o, --output FILE", text: "write the cluster file there; without it, it goes to standard output" },
        Opt { form: "--edge ADDRESS", text: "the address of the machine that HAProxy is on, which its file does not say" },
        Opt { form: "--force", text: "write over a file that is there" },
        Opt { form: "--report", text: "the report alone, on standard output" },
    ],
    notes: "\
The report goes to standard error. The exit code is 1 when something was refused; then nothing is written.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut files, mut output, mut edge, mut force, mut only_report) =
        (Vec::new(), None, None, false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('o') | Long("output") => output = Some(PathBuf::from(args.value()?)),
            Long("edge") => edge = Some(args.value()?.to_string_lossy().into_owned()),
            Long("force") => force = true,
            Long("report") => only_report = true,
            Value(value) => files.push(value),
            _ => return Err(arg.unexpected().into()),
        }
    }
    if files.is_empty() {
        return Err(Failure::usage(
            "which files? `tandem import haproxy.cfg nginx.conf context.xml -o cluster.toml`",
        ));
    }
    let mut parts = Vec::new();
    for file in files {
        parts.push(part(&file.to_string_lossy())?);
    }
    let translation = import::set_up(&parts, edge.as_deref(), &environment);
    if only_report {
        cli::say(&translation.report.to_string())?;
    } else {
        eprint!("{}", translation.report);
    }
    if translation.loaded.is_none() {
        return Ok(ExitCode::from(FAILED));
    }
    match output {
        Some(path) => write(&translation, &path, force),
        None if only_report => Ok(ExitCode::SUCCESS),
        None => {
            if !translation.files.is_empty() {
                eprintln!("\nIt names files that are written beside it with -o.");
            }
            cli::say(&translation.text)
        }
    }
}

/// `FILE`, or `NAME=FILE`.
fn part(word: &str) -> Result<Part> {
    let (of, path) = match word.split_once('=') {
        Some((name, path)) if !name.contains('/') && !Path::new(word).exists() => {
            (Some(name.to_owned()), path)
        }
        _ => (None, word),
    };
    let cannot = |what: String| Failure::usage(format!("cannot read {path}: {what}"));
    let size = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if size.len() > LONGEST {
        return Err(cannot("it is longer than 4 MiB".into()));
    }
    let bytes = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    Ok(Part {
        input: Input {
            name: path.to_owned(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        },
        of,
    })
}

/// Writes the cluster file and what belongs beside it.
fn write(translation: &Translation, path: &Path, force: bool) -> Result {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut all = vec![(path.to_owned(), translation.text.as_bytes())];
    for (name, content) in &translation.files {
        all.push((directory.join(name), content));
    }
    if !force && let Some((there, _)) = all.iter().find(|(path, _)| path.exists()) {
        return Err(Failure::usage(format!(
            "{} is there already; --force writes over it",
            there.display()
        )));
    }
    for (path, content) in all {
        let cannot = |error: std::io::Error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        };
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory).map_err(cannot)?;
        }
        std::fs::write(&path, content).map_err(cannot)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
