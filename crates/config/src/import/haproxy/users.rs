//! `userlist`, and `http-request auth unless { http_auth(LIST) }`: routes that ask for a password.

use sha_crypt::{PasswordHasher as _, ShaCrypt};

use super::super::document::{Table, Value};
use super::super::logic::{Either, Literal, Subject, Together};
use super::Translator;
use super::acl::Refusal;
use super::proxy::Proxy;
use super::rules::{Deed, Step};
use super::table::USERLIST;

/// The hash of a password (SHA-crypt, with SHA-512), each time with another salt.
fn hashed(password: &str) -> Result<String, &'static str> {
    let mut salt = [0; 12];
    getrandom::fill(&mut salt).map_err(|_| "the system has no random numbers for a salt")?;
    let hash = ShaCrypt::default().hash_password_with_salt(password.as_bytes(), &salt);
    let hash = hash
        .map_err(|_| "this password cannot be hashed: `mkpasswd -m sha-512` makes a `password`")?;
    Ok(hash.to_string())
}

/// The list that one of these asks about.
fn list(together: &Together) -> Option<(&str, bool)> {
    together.iter().find_map(|literal| match &literal.subject {
        Subject::Users(list) => Some((list.as_str(), literal.not)),
        _ => None,
    })
}

/// Whether a condition asks who the client is.
pub(crate) fn asks(when: &Either) -> bool {
    when.0.iter().any(|together| list(together).is_some())
}

impl Translator<'_> {
    /// The rule `auth`, with the users it asks for; others as they are.
    pub fn authenticated(&mut self, proxy: &Proxy<'_>, step: Step) -> Vec<Step> {
        let realm = match &step.deed {
            Deed::Auth(realm) => realm.clone().unwrap_or_else(|| proxy.name().to_owned()),
            _ if !asks(&step.when) => return vec![step],
            _ => {
                let message = "who is not in a list is asked for a password, and nothing else is done to: http-request auth unless { http_auth(LIST) }";
                self.verdicts.refuse(step.spot, step.spot, message);
                return Vec::new();
            }
        };
        let mut steps = Vec::new();
        for together in &step.when.0 {
            match self.users(together, &realm) {
                Ok((when, auth)) => steps.push(Step {
                    when,
                    deed: Deed::Change(Table::default().with("auth", Value::Table(auth))),
                    ..step.clone()
                }),
                Err(message) => {
                    Refusal::new(step.spot, message).tell(step.spot, &mut self.verdicts);
                    return Vec::new();
                }
            }
        }
        steps
    }

    /// The users that one alternative of a condition asks for, and the rest of it.
    fn users(&mut self, together: &Together, realm: &str) -> Result<(Either, Table), String> {
        let is_list = |literal: &&Literal| matches!(literal.subject, Subject::Users(_));
        let one = together.iter().filter(is_list).count() == 1;
        let Some((name, true)) = list(together).filter(|_| one) else {
            return Err("it is asked for a password who is not in a list: http-request auth unless { http_auth(LIST) }".into());
        };
        let sections = self.sections;
        let section = sections
            .iter()
            .find(|section| section.kind == USERLIST && section.name == name)
            .ok_or_else(|| format!("there is no userlist '{name}'"))?;
        let mut users = Table::default();
        for line in &section.lines {
            if line.word(0) != "user" {
                continue;
            }
            self.verdicts.translated(line.spot);
            let known = match (line.word(2), line.word(3)) {
                ("password", hash) => {
                    tandem_model::auth::check_hash(hash).map(|()| hash.to_owned())
                }
                ("insecure-password", password) if !password.is_empty() => {
                    let what = "the password is hashed: the cluster file does not have it";
                    self.verdicts.note(line.spot, what);
                    hashed(password)
                }
                _ => Err(
                    "a user has a `password`, which `mkpasswd -m sha-512` makes, or an `insecure-password`",
                ),
            };
            match known {
                Ok(hash) => users.put(line.word(1), Value::text(hash)),
                Err(message) => self.verdicts.refuse(line.spot, line.at(3), message),
            }
        }
        let rest = together.iter().filter(|literal| !is_list(literal)).cloned();
        let auth = Table::default().with("realm", Value::text(realm));
        Ok((
            Either(vec![rest.collect()]),
            auth.with("users", Value::Table(users)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha_crypt::PasswordVerifier as _;

    #[test]
    fn a_password_is_hashed_as_routes_take_it() {
        let hash = hashed("secret").unwrap();
        assert_eq!(tandem_model::auth::check_hash(&hash), Ok(()), "{hash}");
        let verify = |password: &[u8]| ShaCrypt::default().verify_password(password, &*hash);
        assert!(verify(b"secret").is_ok() && verify(b"other").is_err());
        assert_ne!(hashed("secret").unwrap(), hash);
    }
}
