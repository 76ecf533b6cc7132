//! `--help`, from the table of commands.

use std::fmt::Write as _;

use super::{Command, Opt};

/// Columns of the text.
const WIDTH: usize = 118;
/// Forms that are longer get a line of their own.
const LONG: usize = 28;

impl Command {
    /// All of `--help`.
    pub fn help(&self) -> String {
        let mut out = String::new();
        for (i, form) in self.usage.iter().enumerate() {
            let lead = if i == 0 { "usage:" } else { "      " };
            let _ = writeln!(out, "{lead} tandem {form}");
        }
        paragraph(&mut out, self.about);
        if !self.options.is_empty() {
            out.push('\n');
            let widths = self.options.iter().map(|option| option.form.len());
            let column = widths.filter(|width| *width <= LONG).max().unwrap_or(0) + 4;
            for option in self.options {
                describe(&mut out, option, column);
            }
        }
        paragraph(&mut out, self.notes);
        out
    }
}

/// The list of all commands.
pub fn overview(commands: impl Iterator<Item = &'static Command>) -> String {
    let mut out = String::from(
        "Tandem: load balancer, static server, application runner and replicated session store.\n\n\
         usage: tandem [COMMAND] [OPTIONS]\n\n\
         Without a command it is `tandem demo`: the classic six machines, rehearsed on this one.\n\n",
    );
    for command in commands {
        let _ = writeln!(out, "  {:<13} {}", command.name, command.summary);
    }
    out.push_str(
        "\n`tandem COMMAND --help` says more. `tandem --version` says which version this is.\n",
    );
    out
}

fn paragraph(out: &mut String, text: &str) {
    let text = text.trim_end();
    if !text.is_empty() {
        let _ = writeln!(out, "\n{text}");
    }
}

/// One option: its form, and its text beside it, wrapped.
fn describe(out: &mut String, option: &Opt, column: usize) {
    let mut line = format!("  {}", option.form);
    if line.len() + 2 > column {
        out.push_str(&line);
        out.push('\n');
        line.clear();
    }
    let mut empty = true;
    for word in option.text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.clear();
            empty = true;
        }
        if empty {
            line = format!("{line:<column$}{word}");
            empty = false;
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    out.push_str(&line);
    out.push('\n');
}
