//! `tandem doctor tomcat DIR`

mod attributes;
mod home;
mod jar;
mod manager;

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Arg::{Long, Value};

use super::agent;
use super::finding::Findings;
use crate::exit::{Failure, Result};

/// Reads what follows `tomcat` and looks. `json` is set where that is asked for.
pub fn main(mut args: lexopt::Parser, json: &mut bool) -> Result<Findings> {
    let (mut base, mut home, mut address) = (None, None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => *json = true,
            Long("home") => home = Some(PathBuf::from(args.value()?)),
            Long("agent") => address = Some(text(args.value()?)?),
            Value(value) if base.is_none() => base = Some(PathBuf::from(value)),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let base = base.ok_or_else(|| {
        Failure::usage("which Tomcat? `tandem doctor tomcat DIR`, where DIR is its CATALINA_BASE")
    })?;
    let mut findings = Findings::default();
    findings.about("tomcat");
    if !base.join("conf/server.xml").is_file() {
        findings.wrong(format!(
            "{} is no CATALINA_BASE: it has no conf/server.xml. Name the directory that has conf, lib and webapps of this \
             Tomcat.",
            base.display()
        ));
        return Ok(findings);
    }
    let home = home::find(&base, home, &mut findings);
    let version = home
        .as_deref()
        .and_then(|home| home::version(home, &mut findings));
    jar::look(&base, home.as_deref(), version, &mut findings);
    let managers = manager::look(&base, &mut findings);
    let addresses = match address {
        Some(address) => vec![address],
        None => manager::addresses(&managers, &mut findings),
    };
    findings.about("agent");
    for address in addresses {
        agent::look(&address, &mut findings);
    }
    Ok(findings)
}

fn text(value: OsString) -> Result<String> {
    value
        .into_string()
        .map_err(|_| Failure::usage("an address is text: HOST:PORT"))
}
