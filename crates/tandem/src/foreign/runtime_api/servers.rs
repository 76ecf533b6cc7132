//! Orders to servers, as calls of the admin API.

use tandem_admin::{Answer, Call};
use tandem_config::import::{Commands, ProxyNames, ServerNames};
use tandem_telemetry::ServerStatus;

use super::counts;
use super::session::Session;
use super::table::Outcome;

/// The most that a weight can be.
const MOST: i64 = 256;

/// The admin API's answer where there is no such server.
const NOT_FOUND: u16 = 404;

/// A server is to be told something.
pub struct ServerOrder {
    /// `service/server`
    place: (String, String),
    /// The parameter of the admin API, and its value.
    what: (&'static str, String),
}

/// A server by `backend/server`.
pub fn find<'c>(
    commands: &'c Commands,
    name: Option<&&str>,
) -> Result<(&'c ProxyNames, &'c ServerNames), String> {
    let name = name.copied().unwrap_or_default();
    let (backend, server) = name.split_once('/').ok_or("Require 'backend/server'.\n")?;
    let backends = commands.proxies.iter().filter(|proxy| proxy.is_back);
    let backend = backends.into_iter().find(|proxy| proxy.name == backend);
    let backend = backend.ok_or("No such backend.\n")?;
    let server = backend.servers.iter().find(|one| one.name == server);
    Ok((backend, server.ok_or("No such server.\n")?))
}

/// `enable server B/S`, `disable server B/S`, `set server B/S state S`
pub fn state(session: &Session, name: Option<&&str>, state: &str) -> Outcome {
    order(session, name, |_| Ok(("state", state.to_owned())))
}

/// `shutdown sessions server B/S`
pub fn shut_down(session: &Session, name: Option<&&str>) -> Outcome {
    order(session, name, |_| Ok(("cut", "true".into())))
}

/// `set weight B/S W`
pub fn weight(session: &Session, name: Option<&&str>, weight: Option<&&str>) -> Outcome {
    order(session, name, |server| {
        let text = weight.copied().unwrap_or_default();
        if text.is_empty() {
            return Err("Require <weight> or <weight%>.\n".into());
        }
        Ok(("weight", read_weight(text, server.weight)?.to_string()))
    })
}

/// `get weight B/S`
pub fn get_weight(session: &Session, name: Option<&&str>) -> Outcome {
    let commands = session.runtime.commands();
    let (_, server) = match find(&commands, name) {
        Ok(found) => found,
        Err(why) => return Outcome::Text(why),
    };
    let now = now(session, server).map_or(server.weight, |status| status.weight);
    Outcome::Text(format!("{now} (initial {})\n", server.weight))
}

/// `set server B/S WHAT ...`
pub fn set(session: &Session, words: &[&str]) -> Outcome {
    let commands = session.runtime.commands();
    let name = words.first();
    if let Err(why) = find(&commands, name) {
        return Outcome::Text(why);
    }
    let argument = words.get(2);
    let text = match words.get(1).copied().unwrap_or_default() {
        "state" => {
            let state = match argument.copied() {
                Some("ready") => "ready",
                Some("drain") => "drain",
                Some("maint") => "maintenance",
                _ => {
                    let what = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n";
                    return Outcome::Text(what.into());
                }
            };
            return self::state(session, name, state);
        }
        "weight" => return weight(session, name, argument),
        "health" => {
            "Health is what checks and requests say: 'set server <srv> state' takes a server out.\n"
        }
        "addr" => "The address of a server is the file's: change it there, and reload (SIGHUP).\n",
        "agent" | "agent-addr" | "agent-port" | "agent-send" => {
            "agent checks are not enabled on this server.\n"
        }
        "check-addr" | "check-port" | "ssl" => {
            "This is the file's to say: change it there, and reload (SIGHUP).\n"
        }
        "fqdn" => "set server <b>/<s> fqdn failed because no resolution is configured.\n",
        _ => {
            "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port | fqdn | health | ssl | state | weight\n"
        }
    };
    Outcome::Text(text.into())
}

/// `enable|disable health|agent B/S`
pub fn checks(session: &Session, words: &[&str]) -> Outcome {
    let commands = session.runtime.commands();
    let server = match find(&commands, words.get(2)) {
        Ok((_, server)) => server,
        Err(why) => return Outcome::Text(why),
    };
    let text = match (words[0], words[1]) {
        ("enable", "agent") => "Agent was not configured on this server, cannot enable.\n",
        (_, "agent") => "",
        ("enable", _) if !server.is_checked => {
            "Health check was not configured on this server, cannot enable.\n"
        }
        // They are never off.
        ("enable", _) => "",
        _ if !server.is_checked => "",
        _ => {
            "Checks are not switched off for a server that serves: 'set server <srv> state maint' takes it out, and it is not checked then.\n"
        }
    };
    Outcome::Text(text.into())
}

fn order(
    session: &Session,
    name: Option<&&str>,
    what: impl Fn(&ServerNames) -> Result<(&'static str, String), String>,
) -> Outcome {
    let commands = session.runtime.commands();
    let found = find(&commands, name).and_then(|(_, server)| Ok((server, what(server)?)));
    match found {
        Ok((server, what)) => Outcome::Orders(
            server
                .places
                .iter()
                .map(|place| ServerOrder {
                    place: place.clone(),
                    what: what.clone(),
                })
                .collect(),
        ),
        Err(why) => Outcome::Text(why),
    }
}

/// A weight, or how many percent of the `initial` one.
fn read_weight(text: &str, initial: u16) -> Result<u16, &'static str> {
    let (number, relative) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let end = number
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *at == 0 && "+-".contains(*c)));
    let digits = &number[..end.map_or(number.len(), |(at, _)| at)];
    let Ok(value) = digits.parse::<i64>() else {
        return Err("Empty weight string empty or preceded by garbage");
    };
    if end.is_some() {
        return Err("Trailing garbage in weight string");
    }
    if relative {
        if value < 0 {
            return Err("Relative weight must be positive.\n");
        }
        let part = i64::from(initial).saturating_mul(value) / 100;
        // What is not nothing gets something.
        let least = i64::from(value > 0 && initial > 0);
        return Ok(part.clamp(least, MOST) as u16);
    }
    if !(0..=MOST).contains(&value) {
        return Err("Absolute weight can only be between 0 and 256 inclusive.\n");
    }
    Ok(value as u16)
}

/// How a server is now.
fn now(session: &Session, server: &ServerNames) -> Option<ServerStatus> {
    let node = session.runtime.node()?;
    let (service, name) = server.places.first()?;
    let status = node.telemetry.registry.status();
    let service = status.services.into_iter().find(|s| s.name == *service)?;
    let mut servers = service.servers.into_iter();
    servers.find(|one| counts::is_of(&one.name, name))
}

/// Gives orders. What is said is empty when all were obeyed.
pub async fn carry_out(session: &Session, orders: Vec<ServerOrder>) -> String {
    let Some(node) = session.runtime.node() else {
        return "The process is starting.\n".into();
    };
    let mut outcomes = Vec::new();
    for ServerOrder { place, what } in orders {
        let call = Call {
            changes: true,
            path: format!("/api/v1/servers/{}/{}", place.0, place.1),
            parameters: vec![(what.0.to_owned(), what.1)],
            by: session.by.clone(),
            by_owner: false,
        };
        let Answer { status, body } = node.api.answer(&call).await;
        let why = body["error"].as_str().unwrap_or("it was not done");
        outcomes.push((status, format!("{why}\n")));
    }
    summary(outcomes)
}

/// What is said of what came of the orders to a server's places.
fn summary(outcomes: Vec<(u16, String)>) -> String {
    let obeyed = outcomes.iter().any(|(status, _)| *status < 400);
    // Nothing may lead to one of its places: that it obeys at another is enough.
    let failed = |(status, _): &&(u16, String)| *status >= 400 && !(*status == NOT_FOUND && obeyed);
    match outcomes.iter().rev().find(failed) {
        Some((_, why)) => why.clone(),
        None if obeyed => String::new(),
        None => "Nothing leads to this server.\n".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{read_weight, summary};

    #[test]
    fn a_server_that_obeys_at_one_place_has_obeyed_when_there_is_no_other() {
        let of = |all: &[(u16, &str)]| {
            summary(
                all.iter()
                    .map(|(code, why)| (*code, (*why).into()))
                    .collect(),
            )
        };
        assert_eq!(of(&[(200, ""), (404, "no such")]), "");
        assert_eq!(of(&[(404, "no such")]), "no such");
        assert_eq!(of(&[(409, "why"), (200, ""), (404, "no such")]), "why");
        assert!(of(&[]).contains("Nothing leads"));
    }

    #[test]
    fn a_weight_is_a_number_or_a_part_of_the_initial_one() {
        for (text, weight) in [
            ("0", 0),
            ("256", 256),
            ("50%", 10),
            ("0%", 0),
            ("1%", 1),
            ("100000%", 256),
        ] {
            assert_eq!(read_weight(text, 20), Ok(weight), "{text}");
        }
        for (text, begins) in [
            ("x", "Empty"),
            ("", "Empty"),
            ("-", "Empty"),
            ("5x", "Trailing"),
            ("10x%", "Trailing"),
            ("-5", "Absolute"),
            ("257", "Absolute"),
            ("-5%", "Relative"),
        ] {
            assert!(
                read_weight(text, 20).unwrap_err().starts_with(begins),
                "{text}"
            );
        }
    }
}
