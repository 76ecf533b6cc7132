//! Completions for shells, from the table of commands.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Command, listed};

/// A shell that can be taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// `bash`
    Bash,
    /// `zsh`
    Zsh,
    /// `fish`
    Fish,
}

/// What may follow a command: its words (`list`, `kill`) and its long options.
struct Follows {
    words: BTreeSet<&'static str>,
    options: BTreeSet<&'static str>,
}

impl Follows {
    fn of(command: &'static Command) -> Self {
        let mut follows = Self {
            words: BTreeSet::new(),
            options: BTreeSet::from(["--help"]),
        };
        for option in command.options {
            let first = option.form.split(' ').next().unwrap_or_default();
            if !first.starts_with('-') && first.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            {
                follows.words.insert(first);
            }
            let long = option
                .form
                .split([' ', ',', '['])
                .filter(|part| part.starts_with("--"));
            follows.options.extend(long);
        }
        follows
    }

    fn all(&self) -> String {
        let all: Vec<&str> = self.words.iter().chain(&self.options).copied().collect();
        all.join(" ")
    }
}

/// The script that teaches a shell.
pub fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        // zsh reads bash's by its own compatibility layer.
        Shell::Zsh => format!(
            "#compdef tandem\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash()
        ),
        Shell::Fish => fish(),
    }
}

fn bash() -> String {
    let names: Vec<&str> = listed().map(|command| command.name).collect();
    let mut out = format!(
        "# Completions of tandem for bash: source this file, or put it into\n\
         # /usr/share/bash-completion/completions/tandem\n\
         _tandem() {{\n    \
             local word=${{COMP_WORDS[COMP_CWORD]}}\n    \
             if [ \"$COMP_CWORD\" -eq 1 ]; then\n        \
                 COMPREPLY=($(compgen -W '{} --help --version' -- \"$word\"))\n        \
                 return\n    \
             fi\n    \
             case ${{COMP_WORDS[1]}} in\n",
        names.join(" ")
    );
    for command in listed() {
        let _ = writeln!(
            out,
            "    {}) COMPREPLY=($(compgen -f -W '{}' -- \"$word\")) ;;",
            command.name,
            Follows::of(command).all()
        );
    }
    out.push_str("    esac\n}\ncomplete -o filenames -F _tandem tandem\n");
    out
}

fn fish() -> String {
    let mut out = String::from(
        "# Completions of tandem for fish: put this into ~/.config/fish/completions/tandem.fish\n",
    );
    for command in listed() {
        let summary = quoted(command.summary);
        let _ = writeln!(
            out,
            "complete -c tandem -n __fish_use_subcommand -f -a {} -d {summary}",
            command.name
        );
        let within = format!("'__fish_seen_subcommand_from {}'", command.name);
        let follows = Follows::of(command);
        for word in &follows.words {
            let _ = writeln!(out, "complete -c tandem -n {within} -a {word}");
        }
        for option in &follows.options {
            let long = option.trim_start_matches('-');
            let _ = writeln!(out, "complete -c tandem -n {within} -l {long}");
        }
    }
    out
}

/// A text in fish's single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_options_come_from_the_table() {
        let node = listed().find(|command| command.name == "node").unwrap();
        assert_eq!(
            Follows::of(node).all(),
            "kill list start --app --help --json --rehearsal"
        );
    }

    #[test]
    fn every_listed_command_is_in_every_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = script(shell);
            for command in listed() {
                assert!(text.contains(command.name), "{shell:?} {}", command.name);
            }
        }
    }
}
