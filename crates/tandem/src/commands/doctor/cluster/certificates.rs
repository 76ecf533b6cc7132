//! Whether the certificates of this node's listeners can be used, and for how long.

use std::time::{Duration, SystemTime};

use tandem_net::ServerTls;
use tandem_net::tls::{Expiry, expiries, revocations};

use super::Patient;
use crate::commands::doctor::finding::Findings;

const DAY: Duration = Duration::from_hours(24);
/// Whoever renews by a timer has done so by then.
const SOON: Duration = Duration::from_hours(14 * 24);

pub fn look(patient: &Patient, findings: &mut Findings) {
    let now = SystemTime::now();
    for listener in &patient.plan.listeners {
        let Some(tls) = &listener.tls else { continue };
        let name = &listener.name;
        let usable = ServerTls::load(tls).and_then(|_| Ok((expiries(tls)?, revocations(tls)?)));
        let (ends, lists) = match usable {
            Ok(ends) => ends,
            Err(error) => {
                findings.wrong(format!("Listener {name} cannot speak TLS: {error}."));
                continue;
            }
        };
        for end in ends {
            let file = end.file.display();
            match end.at.duration_since(now) {
                Err(_) => findings.wrong(format!(
                    "{file} of listener {name} has expired: renew it, then `tandem reload`."
                )),
                Ok(left) if left < SOON => findings.wrong(format!(
                    "{file} of listener {name} expires in {}: renew it, then `tandem reload`.",
                    days(left)
                )),
                Ok(left) => findings.good(format!(
                    "{file} of listener {name} is valid for {} more.",
                    days(left)
                )),
            }
        }
        for list in lists {
            revoked(name, &list, now, findings);
        }
    }
}

/// Lists are made anew every few days: one is late only in its last.
fn revoked(name: &str, list: &Expiry, now: SystemTime, findings: &mut Findings) {
    let file = list.file.display();
    match list.at.duration_since(now) {
        Err(_) => findings.wrong(format!(
            "{file} of listener {name}, a list of revoked certificates, has ended, so that no client's certificate is taken: \
             fetch a new one, then `tandem reload`."
        )),
        Ok(left) if left < DAY => findings.wrong(format!(
            "{file} of listener {name}, a list of revoked certificates, ends in less than a day; then no client's certificate \
             is taken: fetch a new one, then `tandem reload`."
        )),
        Ok(left) => findings.good(format!(
            "{file} of listener {name} is good for {} more.",
            days(left)
        )),
    }
}

fn days(left: Duration) -> String {
    match left.as_secs() / DAY.as_secs() {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}
