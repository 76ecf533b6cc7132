//! A cluster file as those may see it who may not see its secrets.
//!
//! What came from the environment is shown as it is written, `${NAME}`: it is there because it is nobody's business. For
//! that the file is read once more, with a mark in the place of each variable that may be any text.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tandem_model::{Action, Auth, Cluster, Route, Secret};

use crate::{Diagnostics, Loaded, emit};

/// Around the name of a variable. No text that it may stand in forbids one of these characters.
const MARK: [&str; 2] = ["variable-", "-of-the-environment"];

/// `${VAR}` of the environment.
type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads a file, and says which variables it asked for.
pub(crate) fn recorded<T>(
    env: &Env<'_>,
    read: impl FnOnce(&Env<'_>) -> T,
) -> (T, BTreeSet<String>) {
    let asked = RefCell::new(BTreeSet::new());
    let done = read(&|name| {
        asked.borrow_mut().insert(name.to_owned());
        env(name)
    });
    (done, asked.into_inner())
}

/// The cluster with marks in the place of variables; those that are no free text, numbers and addresses, are themselves.
pub(crate) fn marked(
    variables: &BTreeSet<String>,
    env: &Env<'_>,
    read: impl Fn(&Env<'_>) -> Result<Cluster, Diagnostics>,
) -> Option<Cluster> {
    let (mut hidden, mut found) = (BTreeSet::new(), None);
    for name in variables {
        hidden.insert(name);
        let with_marks = |name: &str| {
            let is_hidden = hidden.iter().any(|hidden| *hidden == name);
            if is_hidden {
                Some(MARK.join(name))
            } else {
                env(name)
            }
        };
        match read(&with_marks) {
            Ok(cluster) => found = Some(cluster),
            Err(_) => {
                hidden.remove(name);
            }
        }
    }
    found
}

impl Loaded {
    /// The file as checked, in the words of a cluster file, without secrets: no key, no token, no hash of a password, and
    /// what came from the environment as `${NAME}`. It differs where the file does, also in a password.
    pub fn shown(&self) -> String {
        let mut cluster = self.marked.as_ref().unwrap_or(&self.cluster).clone();
        (cluster.key, cluster.admin_token) = (None, None);
        for listener in &mut cluster.listeners {
            listener.routes.iter_mut().for_each(hide_passwords);
        }
        let text = emit(&cluster);
        let mut out = String::with_capacity(text.len());
        let mut parts = text.split(MARK[0]);
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            match part.split_once(MARK[1]) {
                Some((name, rest)) => {
                    out.push_str("${");
                    out.push_str(name);
                    out.push('}');
                    out.push_str(rest);
                }
                None => {
                    out.push_str(MARK[0]);
                    out.push_str(part);
                }
            }
        }
        out
    }
}

fn hide_passwords(route: &mut Route) {
    if let Some(Auth::Basic(users)) = &mut route.policies.auth {
        for password in users.users.values_mut() {
            let mut hasher = DefaultHasher::new();
            password.reveal().hash(&mut hasher);
            // Enough to tell another one, and too little to try passwords with.
            let digest = hasher.finish() & 0xffff;
            *password = Secret::new(format!("(not shown, {digest:04x})"));
        }
    }
    if let Action::Routes(routes) = &mut route.action {
        routes.iter_mut().for_each(hide_passwords);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    const HASH: &str = "$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0";

    fn shown(token: &str, hash: &str) -> String {
        let text = "[cluster]\nkey = \"${KEY}\"\nport = 7412\n[listener.web]\nbind = \":${WEB}\"\nroute = [\n\
                    { path = \"/a\", to = \"shop\", auth = { users = { ann = \"HASH\" } } },\n\
                    { path = \"/b\", route = [{ to = \"shop\", auth = { users = { ann = \"HASH\" } } }] },\n\
                    { to = \"shop\", headers = { request = { set = { Authorization = \"Bearer ${TOKEN}\" } } } },\n]\n\
                    [app.shop]\nrun = [\"shop\", \"--pass=${TOKEN}\"]\nenv = { PASS = \"${TOKEN}\", PLAIN = \"yes\" }\n";
        let text = text.replace("HASH", hash);
        let env = |name: &str| {
            Some(match name {
                "KEY" => "a key of the nodes".into(),
                "WEB" => "8080".into(),
                "TOKEN" => token.to_owned(),
                _ => return None,
            })
        };
        let loaded = crate::parse(&text, "test", Path::new("/"), &env);
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(
            loaded.cluster.key.as_ref().unwrap().reveal(),
            "a key of the nodes"
        );
        loaded.shown()
    }

    #[test]
    fn no_secret_is_shown_and_all_else_is() {
        let text = shown("t0ken", HASH);
        for secret in ["t0ken", HASH, "a key of the nodes"] {
            assert!(!text.contains(secret), "{text}");
        }
        for part in [
            "\"Bearer ${TOKEN}\"",
            "\"--pass=${TOKEN}\"",
            "PASS = \"${TOKEN}\"",
            "PLAIN = \"yes\"",
            "\":8080\"",
            "7412",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("(not shown, ").count(), 2, "{text}");
    }

    #[test]
    fn what_differs_in_the_file_differs_in_what_is_shown() {
        let text = shown("t0ken", HASH);
        assert_eq!(
            shown("another", HASH),
            text,
            "the environment is not the file's"
        );
        let other = HASH.replace("T0", "T1");
        assert_ne!(shown("t0ken", &other), text);
    }
}
