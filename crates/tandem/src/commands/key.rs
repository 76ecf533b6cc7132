//! `tandem key`

use std::fmt::Write as _;

use crate::cli::{self, Command};
use crate::exit::{Failure, Result};

/// The command.
pub const COMMAND: Command = Command {
    name: "key",
    summary: "make a key by which the nodes of a cluster know one another",
    usage: &["key"],
    about: "\
Prints a new random key of 256 bits. Give every node the same one, in its environment
(`key = \"${TANDEM_KEY}\"` in the file) or in a file only root can read (`key-file = \"/etc/tandem/key\"`):

    TANDEM_KEY=$(tandem key)
",
    options: &[],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
    cli::say(&format!("{}\n", random()?))
}

/// 256 random bits in hexadecimal.
pub fn random() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("the system gave no random bytes: {error}")))?;
    Ok(bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
}
