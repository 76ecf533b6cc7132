//! `tandem man`

use std::path::PathBuf;

use lexopt::Arg::Value;

use crate::cli::man::pages;
use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};

/// The command.
pub const COMMAND: Command = Command {
    name: "man",
    summary: "write the man pages into a directory",
    usage: &["man DIRECTORY"],
    about: "\
Writes tandem.1 and a page for each command, made from the same table as --help:

    tandem man /usr/local/share/man/man1
",
    options: &[Opt {
        form: "DIRECTORY",
        text: "where they go; it is made when it does not exist",
    }],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let mut directory: Option<PathBuf> = None;
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) if directory.is_none() => directory = Some(word.into()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let directory =
        directory.ok_or_else(|| Failure::usage("into which directory? `tandem man DIRECTORY`"))?;
    let failed = |error: std::io::Error| {
        Failure::failed(format!("cannot write to {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let pages = pages();
    for (name, text) in &pages {
        std::fs::write(directory.join(name), text).map_err(failed)?;
    }
    cli::say(&format!(
        "{} pages in {}\n",
        pages.len(),
        directory.display()
    ))
}
