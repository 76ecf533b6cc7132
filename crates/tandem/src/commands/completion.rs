//! `tandem completion`

use lexopt::Arg::Value;

use crate::cli::completion::{Shell, script};
use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};

/// The command.
pub const COMMAND: Command = Command {
    name: "completion",
    summary: "print completions for bash, zsh or fish",
    usage: &["completion bash|zsh|fish"],
    about: "\
Prints a script that teaches the shell Tandem's commands and options:

    tandem completion bash > /usr/share/bash-completion/completions/tandem
",
    options: &[
        Opt {
            form: "bash",
            text: "for bash",
        },
        Opt {
            form: "zsh",
            text: "for zsh, as a function of fpath: save it as _tandem",
        },
        Opt {
            form: "fish",
            text: "for fish",
        },
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let mut shell = None;
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) if shell.is_none() => {
                shell = Some(match word.to_str() {
                    Some("bash") => Shell::Bash,
                    Some("zsh") => Shell::Zsh,
                    Some("fish") => Shell::Fish,
                    _ => {
                        return Err(Failure::usage(format!(
                            "`{}` is no shell that can be taught: bash, zsh or fish",
                            word.to_string_lossy()
                        )));
                    }
                });
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let shell = shell.ok_or_else(|| Failure::usage("for which shell? bash, zsh or fish"))?;
    cli::say(&script(shell))
}
