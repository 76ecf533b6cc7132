//! `stats socket` and its kin: where HAProxy's commands are taken, and what they call things.

use std::time::Duration;

use super::super::commands::{CommandPlace, CommandSocket, Level, ProxyNames, ServerNames};
use super::Translator;
use super::acl::Refusal;
use super::proxy::Proxy;
use super::server::Server;
use super::table::{BACKEND, FRONTEND, LISTEN};
use super::units::{self, MILLISECONDS};
use super::words::Line;
use crate::suggest::did_you_mean;

/// What is told where a cluster file is made.
const IMPORTED: &str = "a cluster file does not speak HAProxy's commands, `tandem haproxy` does; servers are drained and weighed by `tandem server` and the admin API";
/// The first section's number: 1 is that of the sockets themselves.
const FIRST: u32 = 2;

const WORDS: [&str; 12] = [
    "mode",
    "user",
    "uid",
    "group",
    "gid",
    "level",
    "expose-fd",
    "process",
    "thread",
    "name",
    "severity-output",
    "backlog",
];

impl Translator<'_> {
    /// `stats socket`, `stats timeout` and `stats maxconn` of `global`.
    pub fn command_line(&mut self, line: &Line) {
        if !self.options.direct {
            let what = format!("`{}`: {IMPORTED}", line.shown());
            return self.verdicts.without(line.spot, what);
        }
        match line.word(1) {
            "timeout" => {
                if let Some(time) = self.command_time(line) {
                    self.process.commands.timeout = time;
                }
            }
            "maxconn" => {
                let number = self.number(line, 2).filter(|number| *number > 0);
                if let Some(most) = number.and_then(|number| usize::try_from(number).ok()) {
                    self.process.commands.connections = most;
                }
            }
            _ => match socket(line) {
                Ok(socket) => {
                    if let CommandPlace::Tcp(address) = &socket.place
                        && !is_of_this_machine(address)
                    {
                        let what = format!(
                            "whoever reaches {address} may order what level {} may, without a password",
                            socket.level.name()
                        );
                        self.verdicts.note(line.spot, what);
                    }
                    self.process.commands.sockets.push(socket);
                    if line.words.iter().any(|word| word.text == "expose-fd") {
                        let what = "`expose-fd`: a process that follows (-sf) binds beside this one, and needs no descriptors of it";
                        self.verdicts.note(line.spot, what);
                    }
                }
                Err(refusal) => refusal.tell(line.spot, &mut self.verdicts),
            },
        }
    }

    fn command_time(&mut self, line: &Line) -> Option<Duration> {
        let time = units::time(line.word(2), MILLISECONDS).filter(|time| !time.is_zero());
        if time.is_none() {
            let message = format!(
                "'{}' is no time: a number and us, ms, s, m, h or d",
                line.word(2)
            );
            self.verdicts.refuse(line.spot, line.at(2), message);
        }
        time
    }

    /// Notes what the sections are called, once everything is translated.
    pub fn command_names(&mut self) {
        if self.process.commands.sockets.is_empty() {
            return;
        }
        self.process.commands.process_connections = self.maxconn.map(|(_, most)| most);
        let sections = self.sections;
        let mut ids = FIRST..;
        for section in sections {
            if section.kind & (FRONTEND | LISTEN | BACKEND) == 0 {
                continue;
            }
            let proxy = Proxy::new(section, sections, self.used);
            let own = proxy.own("id").last();
            let own = own.and_then(|line| line.word(1).parse().ok());
            let Some(next) = ids.next() else { return };
            if proxy.get("disabled").is_some() {
                continue;
            }
            let names = self.proxy_names(&proxy, own.unwrap_or(next));
            self.process.commands.proxies.push(names);
        }
    }

    fn proxy_names(&self, proxy: &Proxy<'_>, id: u32) -> ProxyNames {
        let is_front = proxy.section.kind & (FRONTEND | LISTEN) != 0;
        let is_back = proxy.section.kind & (BACKEND | LISTEN) != 0;
        let own = proxy.get("maxconn");
        let own = own.and_then(|line| line.word(1).parse().ok());
        let balance = proxy.get("balance").map(|line| line.word(1));
        let mut servers = self.known_servers.iter();
        let servers = servers.find(|(name, _)| is_back && name == proxy.name());
        let servers = servers.map_or(&[][..], |(_, servers)| servers);
        let service = self.services.known(proxy.name());
        ProxyNames {
            name: proxy.name().to_owned(),
            id,
            is_front,
            is_back,
            is_http: !proxy.is_tcp(),
            balance: balance.unwrap_or("roundrobin").to_owned(),
            connections: own.or(self.maxconn.map(|(_, most)| most)),
            listeners: self.listeners.known_under(&format!("{}/", proxy.name())),
            servers: (1..)
                .zip(servers)
                .map(|(id, server)| self.server_names(proxy.name(), id, server))
                .collect(),
            service: service.filter(|_| is_back && !servers.is_empty()),
        }
    }

    fn server_names(&self, section: &str, id: u32, server: &Server) -> ServerNames {
        let settings = &server.settings;
        let name = super::super::names::normal(&server.name);
        let alone = format!("{section}/{}", server.name);
        let services = [section, &alone];
        let services = services.iter().filter_map(|key| self.services.known(key));
        ServerNames {
            name: server.name.clone(),
            id: settings.id.unwrap_or(id),
            places: services.map(|service| (service, name.clone())).collect(),
            address: server.address.clone(),
            weight: settings.weight.unwrap_or(1),
            is_backup: settings.backup,
            is_checked: settings.check,
            is_tls: settings.tls.is_some(),
            rise: settings.rise.unwrap_or(2),
            fall: settings.fall.unwrap_or(3),
            cookie: settings.cookie.clone(),
            connections: settings.max_connections,
            is_disabled: settings.disabled,
        }
    }
}

/// `stats socket PATH|ADDRESS:PORT [mode MODE] [user NAME] [group NAME] [level LEVEL]`
fn socket(line: &Line) -> Result<CommandSocket, Refusal> {
    let place = place(line.word(2)).map_err(|message| Refusal::new(line.at(2), message))?;
    let mut socket = CommandSocket {
        place,
        mode: None,
        user: None,
        group: None,
        level: Level::default(),
    };
    let mut words = line.from(3).iter();
    while let Some(word) = words.next() {
        let mut argument = || {
            let wanted = || Refusal::new(word.spot, format!("'{}' wants an argument", word.text));
            words.next().ok_or_else(wanted)
        };
        match word.text.as_str() {
            "mode" => {
                let given = argument()?;
                let mode = u32::from_str_radix(&given.text, 8).ok();
                let mode = mode.filter(|mode| *mode <= 0o777);
                let wrong = || {
                    let message = format!("'{}' is no mode: 600 or 660, in octal", given.text);
                    Refusal::new(given.spot, message)
                };
                socket.mode = Some(mode.ok_or_else(wrong)?);
            }
            "user" | "uid" => socket.user = Some(argument()?.text.clone()),
            "group" | "gid" => socket.group = Some(argument()?.text.clone()),
            "level" => {
                let given = argument()?;
                let levels = [Level::User, Level::Operator, Level::Admin];
                let level = levels.into_iter().find(|level| level.name() == given.text);
                let wrong = || {
                    let message = format!(
                        "'level' only supports 'user', 'operator', and 'admin', not '{}'",
                        given.text
                    );
                    Refusal::new(given.spot, message)
                };
                socket.level = level.ok_or_else(wrong)?;
            }
            // Which of HAProxy's processes and threads serve it, and what it is called.
            "process" | "thread" | "name" | "severity-output" | "expose-fd" | "backlog" => {
                argument()?;
            }
            other => {
                let message = format!("'stats socket' does not know '{other}'");
                let mut refusal = Refusal::new(word.spot, message);
                refusal.hint = did_you_mean(other, WORDS);
                return Err(refusal);
            }
        }
    }
    Ok(socket)
}

/// Whether nobody else can come there.
fn is_of_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

fn place(text: &str) -> Result<CommandPlace, String> {
    if let Some(path) = text
        .strip_prefix("unix@")
        .or_else(|| text.starts_with('/').then_some(text))
    {
        if path.starts_with('/') {
            return Ok(CommandPlace::Unix(path.to_owned()));
        }
        return Err(format!("'{path}' is no path: it begins with /"));
    }
    let bare = ["ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    let wrong = || {
        format!(
            "'{text}' is no place for commands: a path, or an address with a port (127.0.0.1:9999)"
        )
    };
    if bare.contains('@') {
        return Err(wrong());
    }
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    let host = if host == "*" { "" } else { host };
    Ok(CommandPlace::Tcp(format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Input, Options, Part, Translation, haproxy, set_up};
    use super::*;

    fn input(global: &str) -> Input {
        Input {
            name: "h.cfg".into(),
            text: format!(
                "global\n maxconn 100\n{global}\ndefaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
                 frontend Web.Main\n bind :8080\n bind :8081\n default_backend App\n\
                 backend App\n use-server B if {{ path /b }}\n server A 127.0.0.1:81 weight 20 check rise 4 disabled\n \
                 server B 127.0.0.1:82 id 7\nbackend Empty\n"
            ),
        }
    }

    fn run(global: &str) -> Translation {
        let options = Options {
            direct: true,
            ..Options::default()
        };
        haproxy(&[input(global)], &options, &|_| None)
    }

    #[test]
    fn sockets_and_names_are_those_of_the_file() {
        let made = run(
            " stats socket /run/h.sock mode 660 user root group 33 level admin expose-fd listeners\n stats socket ipv4@127.0.0.1:9999\n stats timeout 30s\n stats maxconn 20",
        );
        assert!(made.loaded.is_some(), "{}", made.report);
        let commands = &made.process.commands;
        let [file, port] = &commands.sockets[..] else {
            panic!("two sockets: {commands:?}")
        };
        assert_eq!(file.place, CommandPlace::Unix("/run/h.sock".into()));
        assert_eq!((file.mode, file.level), (Some(0o660), Level::Admin));
        assert_eq!(file.group.as_deref(), Some("33"));
        assert_eq!(port.place, CommandPlace::Tcp("127.0.0.1:9999".into()));
        assert_eq!(port.level, Level::Operator, "HAProxy's own");
        assert_eq!(
            (commands.timeout, commands.connections),
            (Duration::from_secs(30), 20)
        );
        let [web, app, empty] = &commands.proxies[..] else {
            panic!("three sections: {commands:?}")
        };
        assert_eq!((web.name.as_str(), web.id), ("Web.Main", 2));
        assert_eq!(web.listeners, ["web-main"]);
        assert_eq!(web.connections, Some(100));
        assert_eq!(app.service.as_deref(), Some("app"));
        assert_eq!((empty.id, empty.service.clone()), (4, None));
        let [a, b] = &app.servers[..] else {
            panic!("two servers: {app:?}")
        };
        assert_eq!((a.id, a.weight, a.rise, a.fall), (1, 20, 4, 3));
        assert!(a.is_disabled && a.is_checked && !b.is_checked);
        let places = |server: &ServerNames| -> Vec<String> {
            let places = server.places.iter();
            places.map(|(s, n)| format!("{s}/{n}")).collect()
        };
        assert_eq!(places(a), ["app/a"]);
        assert_eq!(b.id, 7);
        assert_eq!(places(b), ["app/b", "app-b/b"], "both are told");
        assert!(
            made.text.contains("127.0.0.1:81"),
            "it waits: {}",
            made.text
        );
    }

    #[test]
    fn a_disabled_server_that_can_be_enabled_is_reached_as_the_others_are() {
        let made = |global: &str, server: &str| {
            let text = format!(
                "global\n maxconn 100\n{global}\ndefaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
                 listen l\n bind 127.0.0.1:8080\n server a 127.0.0.1:81\n server b 127.0.0.1:82 disabled {server}\n"
            );
            let options = Options {
                direct: true,
                ..Options::default()
            };
            let name = "h.cfg".into();
            haproxy(&[Input { name, text }], &options, &|_| None)
        };
        let socket = " stats socket /run/h.sock";
        for own in ["send-proxy-v2", "source 127.0.0.9"] {
            let with = made(socket, own);
            assert!(with.loaded.is_none(), "{own}: {}", with.text);
            let without = made("", own);
            assert!(without.loaded.is_some(), "{own}: {}", without.report);
        }
    }

    #[test]
    fn a_socket_that_others_reach_is_told() {
        let told = |line: &str| {
            let report = run(line).report.to_string();
            report.contains("without a password")
        };
        assert!(told(" stats socket ipv4@*:9999 level admin"));
        assert!(!told(" stats socket 127.0.0.1:9999 level admin"));
    }

    #[test]
    fn a_socket_that_makes_no_sense_is_refused() {
        for (line, said) in [
            (" stats socket /run/h.sock level king", "only supports"),
            (" stats socket /run/h.sock mode 999", "is no mode"),
            (" stats socket /run/h.sock mod 600", "does not know 'mod'"),
            (" stats socket run/h.sock", "is no place"),
            (" stats socket abns@x", "is no place"),
            (" stats socket /run/h.sock level", "wants an argument"),
            (" stats timeout soon", "is no time"),
        ] {
            let made = run(line);
            assert!(made.loaded.is_none(), "{line}");
            let report = made.report.to_string();
            assert!(report.contains(said), "{line}: {report}");
        }
    }

    #[test]
    fn a_cluster_file_has_no_such_socket_and_no_server_that_is_disabled() {
        let input = input(" stats socket /run/h.sock level admin");
        let made = set_up(&[Part { input, of: None }], None, &|_| None);
        assert!(made.loaded.is_some(), "{}", made.report);
        let report = made.report.to_string();
        assert!(
            report.contains("does not speak HAProxy's commands"),
            "{report}"
        );
        assert!(!made.text.contains("127.0.0.1:81"), "{}", made.text);
    }
}
