//! The one thing that has no safe interface: which signals this process heeds.

#![allow(unsafe_code)]

/// What would end a process and is sent to every process of a service at once (`systemctl kill -s USR1`, to have logs opened
/// anew), or of a terminal.
const ENDING: [libc::c_int; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
];

/// Ignores them. A program started afterwards ignores them too, unless it calls [`heed_signals`] first.
pub(crate) fn ignore_signals() {
    set(libc::SIG_IGN);
}

/// Lets them do what they usually do.
pub(crate) fn heed_signals() {
    set(libc::SIG_DFL);
}

fn set(disposition: libc::sighandler_t) {
    for signal in ENDING {
        // SAFETY: `signal` is a valid signal number and the disposition is SIG_IGN or SIG_DFL, so no handler of ours
        // can ever run; nothing else is touched.
        unsafe { libc::signal(signal, disposition) };
    }
}
