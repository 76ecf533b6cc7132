//! Whether a process is past saving, though it still holds what it had.

/// Whether a process has been killed, or ends: a SIGKILL that it has not taken yet, the mark of those that end, or nothing
/// but its number left (proc(5)).
pub fn is_dying(pid: u32) -> bool {
    /// `PF_EXITING` of linux/sched.h.
    const EXITING: u64 = 0x4;
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else {
        return true;
    };
    // The second field is a name in parentheses that may hold anything.
    let mut fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_ascii_whitespace();
    let state = fields.next().unwrap_or("X");
    let flags = fields
        .nth(5)
        .and_then(|flags| flags.parse().ok())
        .unwrap_or(0);
    let kill = 1 << (rustix::process::Signal::KILL.as_raw() - 1);
    let mut pending = status.lines().filter_map(|line| {
        let set = line
            .strip_prefix("SigPnd:")
            .or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    matches!(state, "Z" | "X") || flags & EXITING != 0 || pending.any(|set| set & kill != 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_that_was_killed_is_told_from_one_that_lives() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_dying(child.id()));
        child.kill().unwrap();
        // It is not waited for: its number stays until then.
        let begun = Instant::now();
        while !is_dying(child.id()) {
            assert!(begun.elapsed() < Duration::from_secs(90));
        }
        child.wait().unwrap();
        assert!(is_dying(child.id()), "it is gone");
    }
}
