//! Man pages, from the table of commands: `tandem(1)` and one for each command.

use std::fmt::Write as _;

use super::{Command, listed};

/// The pages: file name and text.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("tandem.1".to_owned(), main_page())];
    pages.extend(listed().map(|command| (format!("tandem-{}.1", command.name), page(command))));
    pages
}

fn main_page() -> String {
    let mut out = heading(
        "tandem",
        "a highly available web tier in one program and one file",
    );
    out.push_str(".SH SYNOPSIS\n.B tandem\n[\\fICOMMAND\\fR] [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n");
    out.push_str(
        "Load balancer, static server, application runner and replicated session store. Without a command it is\n\
         .B tandem demo\n\
         : the classic six machines, rehearsed on this one.\n.SH COMMANDS\n",
    );
    for command in listed() {
        let _ = writeln!(
            out,
            ".TP\n.BR tandem-{} (1)\n{}",
            escaped(command.name),
            escaped(command.summary)
        );
    }
    out
}

fn page(command: &Command) -> String {
    let mut out = heading(&format!("tandem-{}", command.name), command.summary);
    out.push_str(".SH SYNOPSIS\n.nf\n");
    for form in command.usage {
        let _ = writeln!(out, "\\fBtandem\\fR {}", escaped(form));
    }
    out.push_str(".fi\n.SH DESCRIPTION\n");
    prose(&mut out, command.about);
    if !command.options.is_empty() {
        out.push_str(".SH OPTIONS\n");
        for option in command.options {
            let _ = writeln!(
                out,
                ".TP\n\\fB{}\\fR\n{}",
                escaped(option.form),
                escaped(option.text)
            );
        }
    }
    if !command.notes.trim().is_empty() {
        out.push_str(".SH NOTES\n");
        prose(&mut out, command.notes);
    }
    out.push_str(".SH SEE ALSO\n.BR tandem (1)\n");
    out
}

fn heading(name: &str, summary: &str) -> String {
    format!(
        ".TH {} 1 \"\" \"Tandem {}\" \"Tandem\"\n.SH NAME\n{} \\- {}\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        escaped(name),
        escaped(summary)
    )
}

/// Paragraphs; indented lines stay as they are.
fn prose(out: &mut String, text: &str) {
    let mut literal = false;
    for line in text.trim_end().lines() {
        let indented = line.starts_with("  ");
        if indented != literal && !line.is_empty() {
            out.push_str(if indented { ".nf\n" } else { ".fi\n" });
            literal = indented;
        }
        match line {
            "" => out.push_str(".PP\n"),
            _ => {
                let _ = writeln!(out, "{}", escaped(line));
            }
        }
    }
    if literal {
        out.push_str(".fi\n");
    }
}

/// roff reads backslashes anywhere, and dots and apostrophes at the start of a line.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_command_has_a_page() {
        let pages = pages();
        assert_eq!(pages.len(), listed().count() + 1);
        for (name, text) in pages {
            assert!(
                text.starts_with(".TH ") && text.contains(".SH NAME"),
                "{name}"
            );
            assert!(!text.contains("\n'"), "{name}");
        }
    }
}
