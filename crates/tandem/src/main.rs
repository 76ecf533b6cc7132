//! Tandem: load balancer, static server, application runner and replicated session store in one program.
//!
//! The binary puts the parts together: a front end makes a checked model of the cluster file, the model says what
//! this node does, the roles do it. It decides nothing a role should decide, and no role knows another.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit;
mod foreign;
mod node;
mod operator;
mod process;
mod rehearsal;
mod service;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    match cli::dispatch(&name, args.collect()) {
        Ok(code) => code,
        Err(failure) => {
            // A command that speaks as another program has said it already.
            if !failure.to_string().is_empty() {
                eprintln!("tandem: {failure}");
            }
            ExitCode::from(failure.code)
        }
    }
}
