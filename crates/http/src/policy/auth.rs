//! `auth`: users and passwords, by HTTP's basic authentication.
//!
//! Checking a password takes from microseconds to seconds, so it is done by another thread; so many are checked at once,
//! so many wait, for so long. What was right is remembered, so that the next request of the client goes straight on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tandem_model::Users;
use tokio::sync::Semaphore;

use super::basic::{Credentials, credentials};
use super::edits::Edits;
use super::map;
use super::password::Hash;
use crate::Request;
use crate::handler::{Cx, Handler, Plan, Reply, Step};

/// Requests that may wait for their password to be checked.
const WAITING: usize = 256;
/// How long they may wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Right passwords that are remembered: 32 KiB.
const REMEMBERED: usize = 4096;
/// Places among which one is looked for.
const WAYS: usize = 4;
/// The largest file of users, in bytes.
const LARGEST: u64 = 4 << 20;

/// Shared by all routes and kept through reloads: a hash that has changed is another one.
static CHECKS: LazyLock<Checks> = LazyLock::new(Checks::new);

struct Checks {
    /// Half of the cores: the others serve.
    at_once: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// What was right, as the first half of a code of user, hash and password under `secret`. Whoever does not know
    /// the secret can only try: a guess is right once in 2^62.
    right: Box<[AtomicU64]>,
    secret: [u8; 32],
}

/// Stands for a name, a hash and a password.
#[derive(Clone, Copy)]
struct Code(u64, u64);

impl Checks {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut secret = [0; 32];
        // Without randomness nothing is remembered, see `remember`.
        if getrandom::fill(&mut secret).is_err() {
            secret = [0; 32];
        }
        Self {
            at_once: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: AtomicUsize::new(0),
            right: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect(),
            secret,
        }
    }

    fn code(&self, hash: &Hash, stated: &Credentials) -> Code {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else {
            return Code(0, 0);
        };
        // No part can be taken for another: a name has no NUL, and the hash a length of its own.
        for part in [stated.name.as_bytes(), hash.text().as_bytes()] {
            mac.update(part);
            mac.update(&[0]);
        }
        mac.update(&stated.password);
        let bytes = mac.finalize().into_bytes();
        let half = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0, |sum, &b| sum << 8 | u64::from(b))
        };
        Code(half(0), half(8))
    }

    fn places(&self, code: Code) -> &[AtomicU64] {
        let set = (code.1 % (REMEMBERED / WAYS) as u64) as usize * WAYS;
        &self.right[set..set + WAYS]
    }

    fn knows(&self, code: Code) -> bool {
        code.0 != 0
            && self
                .places(code)
                .iter()
                .any(|place| place.load(Relaxed) == code.0)
    }

    fn remember(&self, code: Code) {
        if self.secret == [0; 32] || self.knows(code) {
            return;
        }
        let places = self.places(code);
        let free = places.iter().position(|place| place.load(Relaxed) == 0);
        // Else any: what is forgotten is checked again.
        let at = free.unwrap_or((code.1 >> 32) as usize % WAYS);
        places[at].store(code.0, Relaxed);
    }
}

/// The users of a route.
pub(super) struct Auth {
    users: HashMap<Box<str>, Hash>,
    /// What a password is checked against when there is no such user, so that the answer takes as long.
    nobody: Hash,
    refusal: Reply,
    busy: Reply,
}

impl Auth {
    /// Reads the file of users. `service` is who answers, for the log.
    ///
    /// # Errors
    /// In words: the file cannot be read, or has a line that is no user.
    pub(super) fn new(said: &Users, service: &Arc<str>) -> Result<Self, String> {
        let mut users = HashMap::new();
        if let Some(path) = &said.file {
            read(path, &mut users)?;
        }
        for (name, hash) in &said.users {
            let hash = Hash::new(hash.reveal()).map_err(|why| format!("user {name}: {why}"))?;
            users.insert(name.as_str().into(), hash);
        }
        let nobody = match users.values().next() {
            Some(hash) => hash.clone(),
            None => return Err("`auth` has no users".into()),
        };
        let mut refusal = Reply::text(401, service, "A name and a password are needed\n");
        let realm = &said.realm;
        refusal.fields = format!(
            "Content-Type: text/plain; charset=utf-8\r\nWWW-Authenticate: Basic realm=\"{realm}\", charset=\"UTF-8\"\r\n"
        )
        .into();
        let mut busy = Reply::text(503, service, "Too many passwords are being checked\n");
        busy.fields = "Content-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n".into();
        Ok(Self {
            users,
            nobody,
            refusal,
            busy,
        })
    }
}

/// Lines `name:hash`; empty ones and those that begin with `#` count for nothing.
fn read(path: &Path, users: &mut HashMap<Box<str>, Hash>) -> Result<(), String> {
    let cannot = |why: String| format!("cannot read {}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if size.len() > LARGEST {
        return Err(cannot(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("{}, line {number}: {why}", path.display());
        let (name, hash) = line
            .split_once(':')
            .ok_or_else(|| wrong("a line is `name:hash`"))?;
        // A third part is a remark, as nginx has it.
        let hash = hash.split(':').next().unwrap_or_default();
        let hash = Hash::new(hash).map_err(|why| wrong(&format!("user {name}: {why}")))?;
        users.insert(name.into(), hash);
    }
    Ok(())
}

/// Asks `inner` for those that are let in.
pub(super) struct Authenticated {
    pub auth: Arc<Auth>,
    pub inner: Arc<dyn Handler>,
}

impl Handler for Authenticated {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        if request.only_asks() {
            return self.inner.step(request, cx);
        }
        let Some(stated) = credentials(request) else {
            return Step::Plan(Plan::Bytes(self.auth.refusal.clone()));
        };
        let known = self.auth.users.get(stated.name.as_str());
        if let Some(hash) = known
            && CHECKS.knows(CHECKS.code(hash, &stated))
        {
            return map(self.inner.step(request, cx), |plan| {
                admitted(plan, stated.name)
            });
        }
        let Some(turn) = Turn::take() else {
            return Step::Plan(Plan::Bytes(self.auth.busy.clone()));
        };
        let (auth, inner) = (self.auth.clone(), self.inner.clone());
        let name = stated.name.clone();
        let (exists, hash) = (known.is_some(), known.unwrap_or(&auth.nobody).clone());
        Step::Later(Box::pin(async move {
            let right = check(hash, stated, turn).await;
            match right {
                Some(right) if right && exists => admitted(Plan::Ask(inner), name),
                Some(_) => Plan::Bytes(auth.refusal.clone()),
                None => Plan::Bytes(auth.busy.clone()),
            }
        }))
    }
}

/// The plan for a user that was let in.
fn admitted(plan: Plan, name: String) -> Plan {
    Plan::Edited {
        plan: Box::new(plan),
        edits: Box::new(Edits {
            user: name,
            ..Edits::default()
        }),
    }
}

/// One of the requests that wait.
struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        let waiting = &CHECKS.waiting;
        let before = waiting.fetch_add(1, Relaxed);
        let turn = Self;
        (before < WAITING).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        CHECKS.waiting.fetch_sub(1, Relaxed);
    }
}

/// Whether the password is right; `None` when that could not be found out in time.
async fn check(hash: Hash, stated: Credentials, turn: Turn) -> Option<bool> {
    let permit = CHECKS.at_once.clone().acquire_owned();
    let permit = tokio::time::timeout(PATIENCE, permit).await.ok()?.ok()?;
    let code = CHECKS.code(&hash, &stated);
    // A browser asks for several things at once: the first was enough.
    if CHECKS.knows(code) {
        return Some(true);
    }
    let work = tokio::task::spawn_blocking(move || {
        // Held until the work is over, also when nobody waits for it any more.
        let _held = (permit, turn);
        let right = hash.is_of(&stated.password);
        if right {
            CHECKS.remember(code);
        }
        right
    });
    work.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(name: &str, password: &str) -> Credentials {
        Credentials {
            name: name.into(),
            password: password.into(),
        }
    }

    #[test]
    fn what_is_remembered_is_one_users_one_password_under_one_hash() {
        let checks = Checks::new();
        let hash = Hash::new("$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0").unwrap();
        let other = Hash::new("$apr1$Qk2Pz9aC$vS22i6UwbEMvZMuRyeT8T0").unwrap();
        checks.remember(checks.code(&hash, &stated("alice", "x")));
        assert!(checks.knows(checks.code(&hash, &stated("alice", "x"))));
        for code in [
            checks.code(&hash, &stated("alice", "y")),
            checks.code(&hash, &stated("bob", "x")),
            checks.code(&other, &stated("alice", "x")),
            Checks::new().code(&hash, &stated("alice", "x")),
        ] {
            assert!(!checks.knows(code));
        }
    }

    #[test]
    fn only_so_many_are_remembered() {
        let checks = Checks::new();
        let hash = Hash::new("$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0").unwrap();
        for i in 0..3 * REMEMBERED {
            let code = checks.code(&hash, &stated("a", &i.to_string()));
            checks.remember(code);
            assert!(checks.knows(code));
        }
        assert_eq!(checks.right.len(), REMEMBERED);
    }

    #[test]
    fn a_file_of_users_is_read_and_its_wrong_lines_are_named() {
        let path = std::env::temp_dir().join(format!("tandem-users-{}", std::process::id()));
        let users = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let said = Users {
                realm: "r".into(),
                users: [].into(),
                file: Some(path.clone()),
            };
            Auth::new(&said, &"web".into()).map(|auth| auth.users.len())
        };
        let good = "a:$apr1$Qk2Pz9aB$vS22i6UwbEMvZMuRyeT8T0";
        assert_eq!(
            users(&format!("# staff\n\n{good}\nb{}:remark\r\n", &good[1..])),
            Ok(2)
        );
        for (text, said) in [
            ("x", "line 1: a line is `name:hash`"),
            ("\nx:secret", "line 2: user x: this is no hash"),
            ("# none", "no users"),
        ] {
            let error = users(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let said = Users {
            realm: "r".into(),
            users: [].into(),
            file: Some(path),
        };
        assert!(Auth::new(&said, &"web".into()).is_err());
    }
}
