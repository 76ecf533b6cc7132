//! The session manager's jar: there, the right one, and where Tomcat looks for it.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::finding::Findings;
use super::super::zip;
use super::home::Version;

/// A class that names the servlet API.
const CLASS: &str = "io/tandem/tomcat/SessionValve.class";

/// Looks for it.
pub fn look(base: &Path, home: Option<&Path>, version: Option<Version>, findings: &mut Findings) {
    let mut found: Vec<(PathBuf, &'static str)> = Vec::new();
    let mut places = vec![base.join("lib")];
    places.extend(
        home.filter(|home| *home != base)
            .map(|home| home.join("lib")),
    );
    for path in places.iter().flat_map(|dir| jars(dir)) {
        if let Some(flavour) = flavour(&path) {
            found.push((path, flavour));
        }
    }
    let wanted = version.map(Version::flavour);
    match &found[..] {
        [] => findings.wrong(format!(
            "The session manager is not there: copy tandem-tomcat-{}-*.jar into {} and restart Tomcat.",
            wanted.unwrap_or("jakarta"),
            base.join("lib").display()
        )),
        [(path, flavour)] => {
            if wanted.is_none_or(|wanted| wanted == *flavour) {
                findings.good(format!("The session manager ({flavour}) is {}.", path.display()));
            } else {
                findings.wrong(format!(
                    "{} is for {flavour}.servlet, and this Tomcat has {}.servlet: put tandem-tomcat-{}-*.jar in its place.",
                    path.display(),
                    wanted.unwrap_or_default(),
                    wanted.unwrap_or_default()
                ));
            }
            if path.starts_with(base.join("lib")) && home != Some(base) {
                common_loader(base, findings);
            }
        }
        several => {
            let names: Vec<_> = several.iter().map(|(path, _)| path.display().to_string()).collect();
            findings.wrong(format!(
                "The session manager is there {} times ({}): leave one of them.",
                several.len(),
                names.join(", ")
            ));
        }
    }
    in_applications(base, findings);
    leftovers(&places, findings);
}

fn jars(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "jar"))
        .collect();
    found.sort();
    found
}

/// Which servlet API the jar's manager is for; `None` when it has no manager of ours.
fn flavour(jar: &Path) -> Option<&'static str> {
    let class = zip::read(jar, CLASS).ok()??;
    let names = |text: &[u8]| class.windows(text.len()).any(|window| window == text);
    if names(b"jakarta/servlet/") {
        Some("jakarta")
    } else if names(b"javax/servlet/") {
        Some("javax")
    } else {
        None
    }
}

/// Tomcat looks into CATALINA_BASE/lib only if catalina.properties says so.
fn common_loader(base: &Path, findings: &mut Findings) {
    let path = base.join("conf/catalina.properties");
    let text = fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\\\n", "");
    let loader = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("common.loader"));
    if loader.is_some_and(|value| !value.contains("${catalina.base}/lib")) {
        findings.wrong(format!(
            "Tomcat does not look into {}: add \"${{catalina.base}}/lib/*.jar\" to common.loader in {}.",
            base.join("lib").display(),
            path.display()
        ));
    }
}

/// In an application's own libraries Tomcat does not find it.
fn in_applications(base: &Path, findings: &mut Findings) {
    for application in fs::read_dir(base.join("webapps"))
        .into_iter()
        .flatten()
        .flatten()
    {
        for jar in jars(&application.path().join("WEB-INF/lib")) {
            if flavour(&jar).is_some() {
                findings.wrong(format!(
                    "{} is in an application, where Tomcat's own managers are not looked for: move it to {}.",
                    jar.display(),
                    base.join("lib").display()
                ));
            }
        }
    }
}

/// Jars of memcached-session-manager and of what it needed.
fn leftovers(places: &[PathBuf], findings: &mut Findings) {
    for path in places.iter().flat_map(|dir| jars(dir)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if ["memcached-session-manager", "msm-", "spymemcached"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            findings.note(format!("{} is not needed any more.", path.display()));
        }
    }
}
