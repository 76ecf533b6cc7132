//! Sections that show HAProxy's statistics and do nothing else: the admin pages, and where they are served.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::document::Value;
use super::super::sources::Spot;
use super::Translator;
use super::bind::Door;
use super::proxy::Proxy;
use super::words::Line;

/// Where the environment of `tandem haproxy` has what callers of the pages must know.
pub(crate) const TOKEN: &str = "TANDEM_ADMIN_TOKEN";
/// Where the admin pages are unless a file says otherwise.
const USUAL: u16 = 8404;

/// Where the admin pages are served, and whether callers need the token.
pub(crate) struct Shown {
    address: String,
    needs_token: bool,
    spot: Spot,
}

impl Translator<'_> {
    /// Shows what a section of statistics shows; `false`: the section does something else, too.
    pub fn statistics(&mut self, proxy: &Proxy<'_>, doors: &[Door]) -> bool {
        if !shows_statistics_alone(proxy) {
            return false;
        }
        for line in &proxy.section.lines {
            if matches!(line.word(0), "acl" | "http-request" | "tcp-request") {
                let what = format!(
                    "`{}`: the admin pages are served apart, with `/metrics` for Prometheus",
                    line.shown()
                );
                self.verdicts.without(line.spot, what);
            }
        }
        let secret = proxy.section.settled.iter().any(asks_for_password);
        let found = doors.iter().find_map(|door| {
            let (address, _) = door.addresses.first()?;
            Some((door, address.as_str()))
        });
        let Some((door, address)) = found else {
            return true;
        };
        if let Some(shown) = &self.admin {
            let what = format!("the admin pages are at {} already", shown.address);
            self.verdicts.note(door.spot, what);
            return true;
        }
        let token = self.options.direct && self.admin_token;
        let here = on_this_machine(address);
        let (at, what) = if token {
            // Whoever has the token is let in wherever the pages are; they do not speak TLS.
            let at = door.tls.as_ref().map_or(address, |_| &here);
            (
                at,
                format!(
                    "the admin pages are shown at {at}, to callers with the token of {TOKEN}: counters, health, and /metrics"
                ),
            )
        } else if secret {
            let what = "counters are on the admin pages, which take no password of `stats auth` but a token";
            let what = if self.options.direct {
                format!("{what}: they are shown where {TOKEN} is set in the environment")
            } else {
                format!("{what}: see `[cluster] admin` and `admin-token`")
            };
            self.verdicts.without(proxy.section.head.spot, what);
            return true;
        } else {
            (
                here.as_str(),
                self.shown_here(address, &here, door.tls.is_some()),
            )
        };
        self.verdicts.note(door.spot, what);
        if door.addresses.len() > 1 || doors.len() > 1 {
            let what = format!("the admin pages are at one address: {at}");
            self.verdicts.note(door.spot, what);
        }
        self.admin = Some(Shown {
            address: at.to_owned(),
            needs_token: token,
            spot: door.spot,
        });
        true
    }

    /// What is told of pages that need no token, and so are for this machine alone.
    fn shown_here(&self, address: &str, here: &str, is_tls: bool) -> String {
        let what = format!("the admin pages are shown at {here}: counters, health, and /metrics");
        if address == here && !is_tls {
            return what;
        }
        let remedy = match (is_tls, self.options.direct) {
            (true, _) => "they do not speak TLS".to_owned(),
            (_, true) => format!(
                "to show them to others as HAProxy does, who need a token then, set {TOKEN} in the environment"
            ),
            (_, false) => format!(
                "to show them to others as HAProxy does: `admin = \"{address}\"` and `admin-token = \"${{{TOKEN}}}\"` in [cluster]"
            ),
        };
        format!("{what}, to this machine alone; {remedy}")
    }

    /// Says in `[cluster]` where the admin pages are. What HAProxy does not serve is not served.
    pub fn put_admin(&mut self) {
        let cluster = &mut self.document.sections[0];
        match self.admin.take() {
            Some(shown) => {
                cluster.put_at("admin", Value::Text(shown.address), shown.spot);
                if shown.needs_token {
                    let token = Value::plain(format!("\"${{{TOKEN}}}\""));
                    cluster.put_at("admin-token", token, shown.spot);
                }
            }
            None if self.options.direct => cluster.put("admin", Value::plain(false)),
            None => {
                let Some(&(_, spot)) = self.taken.iter().find(|(port, _)| *port == USUAL) else {
                    return;
                };
                let taken: BTreeSet<u16> = self.taken.iter().map(|(port, _)| *port).collect();
                let free = (USUAL..=u16::MAX)
                    .find(|port| !taken.contains(port))
                    .unwrap_or(USUAL);
                let address = format!("127.0.0.1:{free}");
                let what = format!(
                    "the admin pages are at {address}: their usual port is this listener's"
                );
                self.verdicts.note(spot, what);
                cluster.put_at("admin", Value::Text(address), spot);
            }
        }
    }
}

/// Whether a section has statistics and leads nowhere. Rules that keep others away or count for Prometheus are of these
/// pages.
fn shows_statistics_alone(proxy: &Proxy<'_>) -> bool {
    let section = proxy.section;
    let leads_on = |line: &Line| match line.word(0) {
        "server" | "server-template" | "use_backend" | "redirect" | "monitor-uri" => true,
        "http-request" => matches!(line.word(1), "redirect" | "return"),
        _ => false,
    };
    let counts = |line: &Line| line.word(0) == "http-request" && line.word(1) == "use-service";
    (section.settled.iter().any(|line| line.word(0) == "stats") || section.lines.iter().any(counts))
        && !section.lines.iter().any(leads_on)
        && proxy.get("default_backend").is_none()
}

/// `stats auth USER:PASSWORD`, `stats http-request auth`.
fn asks_for_password(line: &Line) -> bool {
    line.word(0) == "stats"
        && (line.word(1) == "auth" || line.word(1) == "http-request" && line.word(2) == "auth")
}

/// The address, if it is of this machine alone; else its port there.
fn on_this_machine(address: &str) -> String {
    let Some((host, port)) = address
        .rsplit_once(':')
        .filter(|_| !address.starts_with("unix:"))
    else {
        return address.to_owned();
    };
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    if host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback()) {
        return address.to_owned();
    }
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::super::super::{Input, Options, Part, Translation, haproxy, set_up};

    fn input(sections: &str) -> Input {
        Input {
            name: "h.cfg".into(),
            text: format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n{sections}\nfrontend main\n bind :8080\n default_backend b1\nbackend b1\n server s1 127.0.0.1:81\n"
            ),
        }
    }

    fn imported(sections: &str) -> Translation {
        let input = input(sections);
        set_up(&[Part { input, of: None }], None, &|_| None)
    }

    fn run(sections: &str, token: Option<&str>) -> Translation {
        let options = Options {
            direct: true,
            ..Options::default()
        };
        let env = |name: &str| token.filter(|_| name == super::TOKEN).map(str::to_owned);
        haproxy(&[input(sections)], &options, &env)
    }

    /// The report and the file, without the spaces that align its keys.
    fn taken(made: &Translation) -> (String, String) {
        assert!(made.loaded.is_some(), "{}", made.report);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = made.text.lines().map(words).collect();
        (made.report.to_string(), lines.join("\n"))
    }

    const OPEN: &str = "listen stats\n bind *:8404\n stats enable\n stats uri /\n";

    #[test]
    fn statistics_for_everybody_are_shown_to_this_machine_and_it_is_told() {
        let made = imported(OPEN);
        let (told, text) = taken(&made);
        assert!(text.contains("admin = \"127.0.0.1:8404\""), "{}", text);
        assert!(
            told.contains("h.cfg:7: the admin pages are shown at 127.0.0.1:8404"),
            "{told}"
        );
        assert!(
            told.contains("`admin = \":8404\"` and `admin-token = \"${TANDEM_ADMIN_TOKEN}\"`"),
            "{told}"
        );

        let made = run(OPEN, None);
        let (told, text) = taken(&made);
        assert!(text.contains("admin = \"127.0.0.1:8404\""), "{}", text);
        assert!(
            told.contains("set TANDEM_ADMIN_TOKEN in the environment"),
            "{told}"
        );
    }

    #[test]
    fn statistics_are_where_the_file_has_them_for_callers_with_a_token() {
        for sections in [OPEN.to_owned(), format!("{OPEN} stats auth a:b\n")] {
            let made = run(&sections, Some("secret"));
            let (_, text) = taken(&made);
            assert!(text.contains("admin = \":8404\""), "{}", text);
            assert!(
                text.contains("admin-token = \"${TANDEM_ADMIN_TOKEN}\""),
                "{}",
                text
            );
        }
    }

    #[test]
    fn statistics_with_a_password_are_not_shown_without_one() {
        let made = run(&format!("{OPEN} stats auth a:b\n"), None);
        let (told, text) = taken(&made);
        assert!(text.contains("admin = false"), "{}", text);
        assert!(told.contains("where TANDEM_ADMIN_TOKEN is set"), "{told}");
    }

    #[test]
    fn a_section_of_statistics_and_metrics_is_the_admin_pages() {
        let made = imported(
            "frontend stats\n bind *:8404\n http-request use-service prometheus-exporter if { path /metrics }\n stats enable\n stats uri /stats\n",
        );
        let (_, text) = taken(&made);
        assert!(text.contains("admin = \"127.0.0.1:8404\""), "{}", text);
        assert!(!text.contains("[listener.stats]"), "{}", text);
    }

    #[test]
    fn a_section_that_also_leads_somewhere_is_a_listener() {
        let made = imported("frontend x\n bind *:8081\n stats enable\n default_backend b1\n");
        let (_, text) = taken(&made);
        assert!(text.contains("[listener.x]"), "{}", text);
    }

    #[test]
    fn the_admin_pages_leave_their_usual_port_to_a_listener() {
        let sections = "frontend x\n bind *:8404\n bind :8405\n default_backend b1\n";
        let made = imported(sections);
        let (told, text) = taken(&made);
        assert!(text.contains("admin = \"127.0.0.1:8406\""), "{}", text);
        assert!(
            told.contains("their usual port is this listener's"),
            "{told}"
        );
        let made = run(sections, None);
        let (_, text) = taken(&made);
        assert!(text.contains("admin = false"), "{}", text);
    }
}
