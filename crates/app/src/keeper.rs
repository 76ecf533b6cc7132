//! The keeper: a small process between Tandem and a program, so that nothing of the program is left when Tandem is gone.
//!
//! Tandem starts `tandem keeper -- PROGRAM ARGUMENTS`, with
//!
//! - descriptor 0: a pipe whose other end only Tandem holds. It carries orders, one to a line: `term`, `kill` (a signal
//!   to the program's process group). Its end means that Tandem is gone, however it went: everything is killed. A
//!   successor of Tandem that is handed the pipe goes on where the other stopped: there is no other state.
//! - descriptor 1: a pipe for reports, one to a line: `started PID`, `failed WHY`, `exited CODE`, `signaled NUMBER`.
//!   Its end means that nothing of the program is left and its port is free.
//! - descriptor 2: where the program prints.
//!
//! The program is the leader of a session of its own, and the keeper adopts what it leaves behind (a subreaper), also
//! what forked twice to be left alone. When the keeper itself is killed, the kernel kills the program. It has one
//! thread, holds no lock, and waits for nothing but its pipe and the program.

mod hold;
mod start;
mod sweep;

use std::ffi::OsString;
use std::process::ExitCode;

use rustix::process::Pid;

use crate::user::Ids;

/// The first argument of a keeper.
pub const COMMAND: &str = "keeper";
/// The step between keeper and program: becomes the user, then the program. Its value is the keeper's pid.
const START: &str = "--start";
/// The user to become, as [`Ids`] shows it.
pub(crate) const AS: &str = "--as";

/// Wrong use; as for every command.
const USAGE: u8 = 2;

/// Runs a keeper with the arguments after `tandem keeper`. Returns when nothing is left of the program, with its exit
/// code, or 128 and the signal that ended it.
pub fn keeper_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(orders) = Orders::read(args) else {
        eprintln!("tandem keeper: only Tandem itself starts it");
        return ExitCode::from(USAGE);
    };
    match orders.start {
        None => hold::hold(&orders),
        Some(keeper) => start::start(&orders, keeper),
    }
}

/// What the arguments say.
struct Orders {
    /// Become the program; the keeper is this.
    start: Option<Pid>,
    /// Become this user first.
    user: Option<Ids>,
    /// The program and its arguments; never empty.
    command: Vec<OsString>,
}

impl Orders {
    fn read(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut args = args.into_iter();
        let (mut start, mut user) = (None, None);
        loop {
            match args.next()?.to_str()? {
                "--" => break,
                START => start = Some(Pid::from_raw(args.next()?.to_str()?.parse().ok()?)?),
                AS => user = Some(Ids::read(args.next()?.to_str()?)?),
                _ => return None,
            }
        }
        let command: Vec<OsString> = args.collect();
        (!command.is_empty()).then_some(Self {
            start,
            user,
            command,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_arguments_are_read_or_refused() {
        let read = |args: &[&str]| Orders::read(args.iter().map(OsString::from));
        let orders = read(&["--start", "7", "--as", "1:2:3", "--", "sh", "--start"]).unwrap();
        assert_eq!(orders.start, Pid::from_raw(7));
        assert_eq!(orders.user.unwrap().uid, 1);
        assert_eq!(orders.command, ["sh", "--start"]);
        assert!(read(&["--", "sh"]).unwrap().start.is_none());
        for wrong in [
            &[][..],
            &["sh"],
            &["--"],
            &["--start", "--", "sh"],
            &["--start", "x", "--", "sh"],
            &["--as", "1", "--", "sh"],
        ] {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }
}
