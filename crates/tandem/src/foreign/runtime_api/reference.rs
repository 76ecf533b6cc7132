//! The reference page of the commands, from their table.

mod tests {
    use std::fmt::Write as _;

    use super::super::table::{COMMANDS, Does};

    /// `docs/reference/haproxy-commands.md`
    fn reference() -> String {
        let mut out = String::from(
            "# HAProxy's commands\n\n\
             <!-- Made from the table of commands (crates/tandem/src/foreign/runtime_api): change it there. -->\n\n\
             What `tandem haproxy` understands at the sockets of `stats socket` ([what differs](../import.md#commands)).\n\n\
             | command | level | what it does |\n|---|---|---|\n",
        );
        let usage = |text: &str| text.replace('|', "\\|");
        for command in COMMANDS {
            if let Does::Run(_) = command.does {
                let (name, level) = (usage(command.usage), command.level.name());
                let _ = writeln!(out, "| `{name}` | {level} | {} |", command.what);
            }
        }
        out.push_str("\nThese are refused:\n\n| command | what is said |\n|---|---|\n");
        for command in COMMANDS {
            if let Does::Refused(why) = command.does {
                let _ = writeln!(out, "| `{}` | {} |", command.words.join(" "), why.trim());
            }
        }
        out
    }

    #[test]
    fn the_reference_is_made_from_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/haproxy-commands.md"
        );
        let text = reference();
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "write it anew: TANDEM_WRITE_REFERENCE=1 cargo test -p tandem --bin tandem the_reference"
        );
    }
}
