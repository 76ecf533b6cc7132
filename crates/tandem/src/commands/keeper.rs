//! `tandem keeper`, used by Tandem itself: the process that holds an application.

use crate::cli::Command;
use crate::exit::Result;

/// The command. It is not in the list: only Tandem starts it.
pub const COMMAND: Command = Command {
    name: "keeper",
    summary: "",
    usage: &["keeper -- PROGRAM [ARGUMENTS]"],
    about: "\
Started by Tandem for each application it runs. It holds the program, and kills its whole process group when Tandem is
gone, however Tandem went.
",
    options: &[],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let rest: Vec<_> = args.raw_args()?.collect();
    Ok(tandem_app::keeper_main(rest))
}
