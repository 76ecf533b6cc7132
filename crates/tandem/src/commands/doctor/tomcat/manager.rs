//! What the configuration says about the session manager.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::finding::Findings;
use super::super::xml::{self, Tag};
use super::attributes::{MEANINGLESS, OWN, TOMCATS, nearest};

const CLASS: &str = "io.tandem.tomcat.SessionManager";
const MSM: &str = "de.javakaffee.web.msm.";
const DEFAULT_AGENT: &str = "127.0.0.1:11211";

/// A `<Manager>` of ours, and the file it is in.
pub struct Manager {
    file: PathBuf,
    tag: Tag,
}

/// Looks at every file that can have a `<Manager>`.
pub fn look(base: &Path, findings: &mut Findings) -> Vec<Manager> {
    let mut managers = Vec::new();
    for file in files(base) {
        let Ok(text) = fs::read_to_string(&file) else {
            findings.wrong(format!(
                "{} cannot be read: look at its permissions.",
                file.display()
            ));
            continue;
        };
        let tags = match xml::tags(&text) {
            Ok(tags) => tags,
            Err(line) => {
                findings.wrong(format!(
                    "{}:{line}: this is no XML: mend it.",
                    file.display()
                ));
                continue;
            }
        };
        for tag in tags.into_iter().filter(|tag| tag.name == "Manager") {
            let class = tag.get("className").unwrap_or_default();
            if class == CLASS {
                managers.push(Manager {
                    file: file.clone(),
                    tag,
                });
            } else if class.starts_with(MSM) {
                findings.wrong(format!(
                    "{}:{}: this is memcached-session-manager's manager: change className to \"{CLASS}\"; the other \
                     attributes may stay.",
                    file.display(),
                    tag.line
                ));
            }
        }
    }
    if managers.is_empty() {
        findings.wrong(format!(
            "No application uses the session manager: add <Manager className=\"{CLASS}\"/> to {} (for all applications) \
             or to an application's META-INF/context.xml.",
            base.join("conf/context.xml").display()
        ));
    }
    for manager in &managers {
        attributes(manager, findings);
    }
    managers
}

/// conf/context.xml, the contexts of conf/ENGINE/HOST, those of unpacked applications, and server.xml.
fn files(base: &Path) -> Vec<PathBuf> {
    let inside = |dir: PathBuf| -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    };
    let mut files = vec![base.join("conf/context.xml"), base.join("conf/server.xml")];
    for engine in inside(base.join("conf"))
        .into_iter()
        .filter(|path| path.is_dir())
    {
        for host in inside(engine).into_iter().filter(|path| path.is_dir()) {
            let contexts = inside(host);
            files.extend(
                contexts
                    .into_iter()
                    .filter(|path| path.extension().is_some_and(|end| end == "xml")),
            );
        }
    }
    for application in inside(base.join("webapps")) {
        files.push(application.join("META-INF/context.xml"));
    }
    files.retain(|file| file.is_file());
    files
}

fn attributes(manager: &Manager, findings: &mut Findings) {
    let place = format!("{}:{}", manager.file.display(), manager.tag.line);
    let mut wrong = 0;
    for (name, value) in &manager.tag.attributes {
        let name = name.as_str();
        if MEANINGLESS.contains(&name) || name == "sticky" || name.starts_with("sessionBackup") {
            findings.note(format!(
                "{place}: {name} has no meaning any more and may be left out."
            ));
        } else if !OWN.contains(&name) && !TOMCATS.contains(&name) {
            wrong += 1;
            let meant = nearest(name).map_or_else(
                || "remove it".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            findings.wrong(format!(
                "{place}: unknown attribute {name}, with which the application does not start: {meant}"
            ));
        } else if let Some(good) = expected(name, value) {
            wrong += 1;
            findings.wrong(format!(
                "{place}: {name}=\"{value}\" makes no sense, and the application does not start with it: write {good}."
            ));
        }
    }
    if wrong == 0 {
        findings.good(format!(
            "{place}: the session manager is in use, and its attributes are good."
        ));
    }
    let has = |name| manager.tag.get(name).is_some();
    if !has("key") && !has("keyFile") && std::env::var_os("TANDEM_SESSION_KEY").is_none() {
        findings.note(format!(
            "{place}: sessions are not sealed unless Tomcat is started by Tandem: give all Tomcats the same keyFile \
             (`tandem key` makes one), or whoever can write to the session tier can make sessions."
        ));
    }
}

/// What a value should be, when it is something else. A value with `${...}` is Tomcat's to fill in.
fn expected(name: &str, value: &str) -> Option<&'static str> {
    let number = |least: u32, most: u32| {
        value
            .parse::<u32>()
            .is_ok_and(|number| (least..=most).contains(&number))
    };
    let (good, what) = match name {
        _ if value.contains("${") => return None,
        "whenAway" => (
            ["local", "fail"].contains(&value.to_lowercase().as_str()),
            "local or fail",
        ),
        "conflicts" => (
            ["last", "first"].contains(&value.to_lowercase().as_str()),
            "last or first",
        ),
        "lockingMode" => (
            ["none", "all", "auto"].contains(&value) || value.starts_with("uriPattern:"),
            "none, all, auto or uriPattern:REGEX",
        ),
        "rotationGrace" => (number(0, 3600), "seconds from 0 to 3600"),
        "localCopies" => (number(0, 2_592_000), "seconds from 0 to 2592000"),
        "lockExpiration" => (number(1, 3600), "seconds from 1 to 3600"),
        "operationTimeout" => (number(1, 600_000), "milliseconds from 1 to 600000"),
        "key" => (
            value
                .split([',', ' '])
                .all(|key| key.is_empty() || key.len() >= 16),
            "keys of 16 characters or more",
        ),
        _ => return None,
    };
    (!good).then_some(what)
}

/// Where the agent is, as the managers decide it: `sessions`, TANDEM_SESSIONS, `memcachedNodes`, the default.
pub fn addresses(managers: &[Manager], findings: &mut Findings) -> Vec<String> {
    let environment = std::env::var("TANDEM_SESSIONS")
        .ok()
        .filter(|text| !text.is_empty());
    let mut found: Vec<String> = Vec::new();
    for manager in managers {
        let text = manager
            .tag
            .get("sessions")
            .or(environment.as_deref())
            .or_else(|| manager.tag.get("memcachedNodes"))
            .unwrap_or(DEFAULT_AGENT);
        if text.contains("${") {
            findings.note(format!(
                "{}: Tomcat fills in where the agent is ({text}): look at it with --agent.",
                manager.file.display()
            ));
            continue;
        }
        for address in text
            .split([',', ' ', '\t', '\n'])
            .filter(|part| !part.is_empty())
        {
            let address = without_id(address);
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    if managers.is_empty() {
        found.push(environment.unwrap_or_else(|| DEFAULT_AGENT.into()));
    }
    found
}

/// `n1:host:port` is `host:port`, and a host alone has memcached's port.
fn without_id(address: &str) -> String {
    let parts: Vec<&str> = address.split(':').collect();
    match parts[..] {
        [_, host, port] => format!("{host}:{port}"),
        [host] => format!("{host}:11211"),
        _ => address.to_owned(),
    }
}
