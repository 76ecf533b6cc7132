//! Whether the certificates of this node's listeners can be used, and for how long.

use std::time::{Duration, SystemTime};

use tandem_net::ServerTls;
use tandem_net::tls::expiries;

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
        let usable = ServerTls::load(tls).and_then(|_| expiries(tls));
        let ends = match usable {
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
    }
}

fn days(left: Duration) -> String {
    match left.as_secs() / DAY.as_secs() {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}
