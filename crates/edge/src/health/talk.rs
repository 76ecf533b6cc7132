//! A check that talks: what is sent, and what has to be in what comes then. Bounded in bytes; its caller bounds it in time.

use std::io;

use regex::bytes::Regex;
use tandem_model::{Expected, Turn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most that a server may say in one turn, in bytes.
const MOST: usize = 16 * 1024;

/// What is looked for, ready to be found.
pub(super) enum Sought<'a> {
    Bytes(&'a [u8]),
    Regex(Regex),
}

impl<'a> Sought<'a> {
    /// The error is that of an expression that is none, which has kept the file from being taken.
    pub fn new(expected: &'a Expected) -> Result<Self, String> {
        match expected {
            Expected::Bytes(bytes) => Ok(Self::Bytes(&bytes.0)),
            Expected::Regex(regex) => match Regex::new(regex) {
                Ok(regex) => Ok(Self::Regex(regex)),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    pub fn is_in(&self, said: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => said.windows(bytes.len()).any(|part| part == *bytes),
            Self::Regex(regex) => regex.is_match(said),
        }
    }
}

/// Talks with a server. The error says what was wrong with what it said.
pub(super) async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    turns: &[Turn],
) -> Result<(), String> {
    let broken = |error: io::Error| format!("the connection broke: {error}");
    let mut said = Vec::new();
    for turn in turns {
        if let Some(sent) = &turn.send {
            said.clear();
            stream.write_all(&sent.0).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
        }
        let Some(expected) = &turn.expect else {
            continue;
        };
        let sought = Sought::new(expected)?;
        while !sought.is_in(&said) {
            let start = said.len();
            if start == MOST {
                return Err(format!(
                    "it said {MOST} bytes without {:?}",
                    expected.to_string()
                ));
            }
            said.resize(MOST.min(start + 4096), 0);
            let read = stream.read(&mut said[start..]).await;
            said.truncate(start + *read.as_ref().unwrap_or(&0));
            if read.map_err(broken)? == 0 {
                return Err(format!(
                    "it ended without {:?}, it said {:?}",
                    expected.to_string(),
                    String::from_utf8_lossy(&said[..start.min(80)])
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_model::Sent;

    fn turn(send: &str, expect: &str) -> Turn {
        Turn {
            send: (!send.is_empty()).then(|| Sent::parse(send).unwrap()),
            expect: (!expect.is_empty()).then(|| Expected::parse(expect).unwrap()),
        }
    }

    async fn with(server: &[(&'static str, &'static str)], turns: &[Turn]) -> Result<(), String> {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let script = server.to_vec();
        let server = tokio::spawn(async move {
            for (hears, says) in script {
                let mut heard = vec![0; hears.len()];
                theirs.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, hears.as_bytes());
                theirs.write_all(says.as_bytes()).await.unwrap();
            }
        });
        let result = talk(ours, turns).await;
        server.await.unwrap();
        result
    }

    #[tokio::test]
    async fn a_server_has_to_say_what_is_expected_in_each_turn() {
        let smtp = [("", "220 mail\r\n"), ("HELO x\r\n", "250 ok\r\n")];
        let turns = [turn("", "~^220 "), turn("HELO x\r\n", "~^250 ")];
        assert_eq!(with(&smtp, &turns).await, Ok(()));
        // What came before is forgotten when something is sent.
        let turns = [turn("", "220"), turn("HELO x\r\n", "220")];
        let why = with(&smtp, &turns).await.unwrap_err();
        assert_eq!(why, "it ended without \"220\", it said \"250 ok\\r\\n\"");
        let redis = [("PING", "+PONG\r\n")];
        assert_eq!(
            with(&redis, &[turn("hex:50494e47", "hex:504f4e47")]).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn a_server_does_not_talk_for_ever() {
        let much = "a".repeat(MOST).leak();
        let why = with(&[("", much)], &[turn("", "b")]).await.unwrap_err();
        assert_eq!(why, "it said 16384 bytes without \"b\"");
    }
}
