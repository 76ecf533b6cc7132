//! Where Tomcat itself is, and which version.

use std::path::{Path, PathBuf};

use super::super::finding::Findings;
use super::super::zip;

/// Where Debian has its Tomcats.
const DEBIAN: [&str; 3] = [
    "/usr/share/tomcat11",
    "/usr/share/tomcat10",
    "/usr/share/tomcat9",
];

/// A version of Tomcat, and which package its servlets are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    /// The session manager's flavour for it.
    pub fn flavour(self) -> &'static str {
        if self.major < 10 { "javax" } else { "jakarta" }
    }
}

/// CATALINA_HOME: what was said, the environment, the base itself, what its scripts say, or Debian's only one.
pub fn find(base: &Path, said: Option<PathBuf>, findings: &mut Findings) -> Option<PathBuf> {
    let is_home = |dir: &Path| dir.join("lib/catalina.jar").exists();
    let environment = std::env::var_os("CATALINA_HOME").map(PathBuf::from);
    for (dir, who) in [(said, "--home"), (environment, "CATALINA_HOME")] {
        if let Some(dir) = dir {
            if is_home(&dir) {
                return Some(dir);
            }
            findings.wrong(format!(
                "{} has no lib/catalina.jar, and {who} says that Tomcat is there: say where it is.",
                dir.display()
            ));
            return None;
        }
    }
    let mut places = vec![base.to_owned()];
    places.extend(from_scripts(base));
    let mut debian: Vec<PathBuf> = DEBIAN.map(PathBuf::from).into();
    debian.retain(|dir| is_home(dir));
    if debian.len() == 1 {
        places.append(&mut debian);
    }
    let found = places.into_iter().find(|dir| is_home(dir));
    if found.is_none() {
        findings.wrong(
            "Tomcat itself (lib/catalina.jar) was not found: say where with --home, or set CATALINA_HOME.",
        );
    }
    found
}

/// A line `CATALINA_HOME=DIR`, with or without `export` and quotes, in one of the base's scripts.
fn from_scripts(base: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in ["setenv.sh", "startup.sh"] {
        let text = std::fs::read_to_string(base.join("bin").join(name)).unwrap_or_default();
        for line in text.lines() {
            let line = line.trim().trim_start_matches("export ").trim_start();
            if let Some(value) = line.strip_prefix("CATALINA_HOME=") {
                let value = value.trim_matches(|c| c == '"' || c == '\'');
                found.push(PathBuf::from(value));
            }
        }
    }
    found
}

/// The version in lib/catalina.jar.
pub fn version(home: &Path, findings: &mut Findings) -> Option<Version> {
    let jar = home.join("lib/catalina.jar");
    let text = match zip::read(&jar, "org/apache/catalina/util/ServerInfo.properties") {
        Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(None) => String::new(),
        Err(error) => {
            findings.wrong(format!(
                "{} cannot be read ({error}): install Tomcat again.",
                jar.display()
            ));
            return None;
        }
    };
    let Some((full, version)) = parse(&text) else {
        findings.wrong(format!(
            "{} does not say which version it is: install Tomcat again.",
            jar.display()
        ));
        return None;
    };
    let where_it_is = home.display();
    match (version.major, version.minor) {
        (9 | 11.., _) | (10, 1..) => {
            findings.good(format!("Tomcat {full} in {where_it_is}."));
        }
        (10, 0) => findings.wrong(format!(
            "Tomcat {full} in {where_it_is} is not supported, and ended in 2022: use 10.1."
        )),
        _ => findings.wrong(format!(
            "Tomcat {full} in {where_it_is} is too old: use 9, 10.1 or 11."
        )),
    }
    Some(version)
}

fn parse(properties: &str) -> Option<(String, Version)> {
    let full = properties
        .lines()
        .find_map(|line| line.strip_prefix("server.number="))?
        .trim();
    let mut numbers = full.split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next()?.ok()?;
    Some((full.to_owned(), Version { major, minor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        let text = "server.info=Apache Tomcat/10.1.60 (Debian)\nserver.number=10.1.60.0\n";
        let (full, version) = parse(text).unwrap();
        assert_eq!(full, "10.1.60.0");
        assert_eq!(
            version,
            Version {
                major: 10,
                minor: 1
            }
        );
        assert_eq!(version.flavour(), "jakarta");
        assert_eq!(parse("server.number=next"), None);
        assert_eq!(parse(""), None);
    }
}
