//! The configuration in effect as the admin API tells it, and how the file differs.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;
use tandem_telemetry::{NodeStatus, StatusSource, Telemetry};

/// Lines of two texts that are compared one with one at most; beyond it the changed part is shown as a whole.
const MOST: usize = 4_000_000;

/// `{"text", "hash"}`: the hash tells whether two nodes run by the same file.
pub fn told(text: &str) -> Value {
    json!({ "text": text, "hash": hash(text) })
}

/// Has the node's status say by which file it runs from now on.
pub fn publish(text: &str, telemetry: &Telemetry) {
    let shown = InEffect(hash(text));
    telemetry.registry.publish("file", Arc::new(shown));
}

/// The hash of the configuration that is in effect.
struct InEffect(String);

impl StatusSource for InEffect {
    fn fill(&self, status: &mut NodeStatus) {
        status.file = Some(self.0.clone());
    }
}

/// The first 16 hexadecimal digits of SHA-256.
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8].iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// `{"same", "hash", "file_hash", "changes", "next_start"}`: what a reload would take away and add, line by line, and what
/// waits for the next start. Secrets are in no line: that they are others is told by the latter alone.
pub fn difference(now: &str, then: &str, next_start: &[&str]) -> Value {
    json!({
        "same": now == then && next_start.is_empty(),
        "next_start": next_start,
        "hash": hash(now),
        "file_hash": hash(then),
        "changes": changes(now, then),
    })
}

fn changes(now: &str, then: &str) -> Vec<String> {
    let (mut now, mut then): (Vec<&str>, Vec<&str>) =
        (now.lines().collect(), then.lines().collect());
    let same = now.iter().zip(&then).take_while(|(a, b)| a == b).count();
    now.drain(..same);
    then.drain(..same);
    while !now.is_empty() && now.last() == then.last() {
        now.pop();
        then.pop();
    }
    if now.len() * then.len() > MOST {
        let gone = now.iter().map(|line| format!("- {line}"));
        return gone
            .chain(then.iter().map(|line| format!("+ {line}")))
            .collect();
    }
    // The longest common subsequence, from the end.
    let width = then.len() + 1;
    let mut common = vec![0u32; (now.len() + 1) * width];
    for i in (0..now.len()).rev() {
        for j in (0..then.len()).rev() {
            common[i * width + j] = if now[i] == then[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < now.len() || j < then.len() {
        if i < now.len() && j < then.len() && now[i] == then[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == then.len()
            || (i < now.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            out.push(format!("- {}", now[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", then[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_told() {
        assert_eq!(changes("a\nb\nc\nd", "a\nc\nx\nd"), ["- b", "+ x"]);
        assert!(changes("a\nb", "a\nb").is_empty());
        assert_eq!(changes("", "a"), ["+ a"]);
    }
}
