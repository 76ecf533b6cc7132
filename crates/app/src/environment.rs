//! What a program is told: placeholders in its command and environment, and variables.

use std::collections::BTreeMap;

/// Variables of ours that are no business of a program: the service manager's channel to Tandem, sockets passed to
/// Tandem, the key by which nodes prove themselves, and the token of their admin pages.
pub(crate) const WITHHELD: [&str; 8] = [
    "TANDEM_ADMIN_TOKEN",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "TANDEM_KEY",
];

/// What is filled in for one instance.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) port: u16,
    pub(crate) host: String,
    pub(crate) node: String,
    pub(crate) instance: u16,
    /// Where the agent of the session tier listens; empty when there is none.
    pub(crate) sessions: String,
    /// What applications seal their sessions with; empty when the cluster has no key.
    pub(crate) session_key: String,
}

impl Facts {
    /// Fills in `{port}`, `{host}`, `{node}`, `{instance}` and `{sessions}`. Everything else in braces is left as it
    /// is, and what was filled in is not looked at again.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            let word = rest
                .find('}')
                .and_then(|close| Some((self.word(&rest[1..close])?, close)));
            match word {
                Some((value, close)) => {
                    out.push_str(&value);
                    rest = &rest[close + 1..];
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn word(&self, word: &str) -> Option<String> {
        Some(match word {
            "port" => self.port.to_string(),
            "host" => self.host.clone(),
            "node" => self.node.clone(),
            "instance" => self.instance.to_string(),
            "sessions" => self.sessions.clone(),
            _ => return None,
        })
    }

    /// The variables to set: those every program gets, and over them its own, filled in.
    pub(crate) fn variables(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            ("PORT".into(), self.port.to_string()),
            ("HOST".into(), self.host.clone()),
            ("TANDEM_NODE".into(), self.node.clone()),
            ("TANDEM_INSTANCE".into(), self.instance.to_string()),
        ]);
        if !self.sessions.is_empty() {
            all.insert("TANDEM_SESSIONS".into(), self.sessions.clone());
            if !self.session_key.is_empty() {
                all.insert("TANDEM_SESSION_KEY".into(), self.session_key.clone());
            }
        }
        all.extend(
            own.iter()
                .map(|(name, value)| (name.clone(), self.fill(value))),
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> Facts {
        Facts {
            port: 4711,
            host: "127.0.0.1".into(),
            node: "{port}".into(),
            instance: 2,
            sessions: "127.0.0.1:11211".into(),
            session_key: "0f0f".into(),
        }
    }

    #[test]
    fn our_words_are_filled_in_once_and_others_left_alone() {
        for (text, expected) in [
            ("{host}:{port}", "127.0.0.1:4711"),
            ("--memcached={sessions}", "--memcached=127.0.0.1:11211"),
            ("{node}-{instance}", "{port}-2"),
            ("{\"port\": {port}}", "{\"port\": 4711}"),
            ("{{port}}", "{4711}"),
            ("{other} {} { {port", "{other} {} { {port"),
            ("${HOME} } {", "${HOME} } {"),
            ("", ""),
            ("\u{e9}{port}\u{e9}", "\u{e9}4711\u{e9}"),
        ] {
            assert_eq!(facts().fill(text), expected, "{text}");
        }
    }

    #[test]
    fn a_programs_own_variables_come_over_ours() {
        let own = BTreeMap::from([
            ("HOST".into(), "::".into()),
            ("URL".into(), "http://{host}:{port}/".into()),
        ]);
        let all = facts().variables(&own);
        assert_eq!(all["HOST"], "::");
        assert_eq!(all["URL"], "http://127.0.0.1:4711/");
        assert_eq!(all["PORT"], "4711");
        assert_eq!(all["TANDEM_NODE"], "{port}");
        assert_eq!(all["TANDEM_INSTANCE"], "2");
        assert_eq!(all["TANDEM_SESSIONS"], "127.0.0.1:11211");
        assert_eq!(all["TANDEM_SESSION_KEY"], "0f0f");
        let alone = Facts {
            sessions: String::new(),
            ..facts()
        };
        assert!(!alone.variables(&own).contains_key("TANDEM_SESSIONS"));
        assert!(!alone.variables(&own).contains_key("TANDEM_SESSION_KEY"));
    }

    proptest! {
        #[test]
        fn any_text_is_filled_without_a_panic(text in "[{}a-p\u{e9}]{0,30}") {
            facts().fill(&text);
        }
    }
}
