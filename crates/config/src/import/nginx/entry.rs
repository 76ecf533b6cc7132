//! Who may ask, and how often: `auth_basic` and `limit_req`.

use super::super::document::{Route, Table, Value};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::Translator;
use super::authorize;
use super::content::Here;
use super::location::Location;
use super::scope::{Scope, Set};
use super::tree::Directive;

/// `limit_req_zone $binary_remote_addr zone=one:10m rate=10r/s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub name: String,
    /// What is counted by.
    pub key: String,
    /// As the cluster file has it: `10/s`.
    limit: String,
}

/// `limit_req zone=one burst=20 nodelay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    zone: String,
    burst: u32,
    waits: bool,
    spot: Spot,
}

impl Zone {
    /// Reads the directive.
    pub fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Self> {
        let spot = directive.spot;
        let given = |name: &str| {
            let mut words = directive.args.iter();
            words.find_map(|word| word.text.strip_prefix(name))
        };
        let limit = given("rate=").and_then(|rate| {
            let (number, unit) = rate.split_once("r/")?;
            let is_known = matches!(unit, "s" | "m") && number.parse::<u32>().is_ok_and(|n| n > 0);
            is_known.then(|| format!("{number}/{unit}"))
        });
        let name = given("zone=").and_then(|zone| Some(zone.split_once(':')?.0.to_owned()));
        let (Some(name), Some(limit)) = (name, limit) else {
            let message = "limit_req_zone $binary_remote_addr zone=NAME:SIZE rate=10r/s";
            verdicts.refuse(spot, spot, message);
            return None;
        };
        let key = directive.arg(0).to_owned();
        Some(Self { name, key, limit })
    }

    /// Those of a file that a limit of requests names stay as they are; of others nothing comes.
    pub fn tell_unused(http: &Directive, verdicts: &mut Verdicts) {
        let named = |zone: &str| {
            let mut left: Vec<&Directive> = http.inner().iter().collect();
            while let Some(directive) = left.pop() {
                let mut words = directive.args.iter();
                if directive.is("limit_req")
                    && words.any(|word| word.text.strip_prefix("zone=") == Some(zone))
                {
                    return true;
                }
                left.extend(directive.inner());
            }
            false
        };
        for directive in http.inner().iter().filter(|d| d.is("limit_req_zone")) {
            let mut words = directive.args.iter();
            let zone = words.find_map(|word| word.text.strip_prefix("zone="));
            let zone = zone
                .and_then(|zone| zone.split(':').next())
                .unwrap_or_default();
            if !named(zone) {
                verdicts.without(
                    directive.spot,
                    format!("no `limit_req` names the zone `{zone}`"),
                );
            }
        }
    }
}

/// Whether this counts by the client's address. Each server and location counts for itself anyway.
fn is_by_address(key: &str) -> bool {
    let key = key.replace("${", "$").replace('}', "");
    let address = ["$binary_remote_addr", "$remote_addr"];
    let rest = address.iter().find_map(|address| {
        let (before, after) = key.split_once(address)?;
        Some([before, after].concat())
    });
    rest.is_some_and(|rest| matches!(rest.as_str(), "" | "$server_name"))
}

impl Limit {
    /// Reads the directive.
    pub fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Self> {
        let spot = directive.spot;
        let mut limit = Self {
            zone: String::new(),
            burst: 0,
            waits: true,
            spot,
        };
        for word in &directive.args {
            let text = word.text.as_str();
            if let Some(zone) = text.strip_prefix("zone=") {
                zone.clone_into(&mut limit.zone);
            } else if let Some(burst) = text.strip_prefix("burst=").and_then(|n| n.parse().ok()) {
                limit.burst = burst;
            } else if text == "nodelay" {
                limit.waits = false;
            } else if !text.starts_with("delay=") {
                verdicts.refuse(spot, word.spot, format!("invalid parameter \"{text}\""));
                return None;
            }
        }
        limit.waits &= limit.burst > 0;
        Some(limit)
    }
}

/// `limit_conn zone 10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AtOnce {
    zone: String,
    most: u32,
    spot: Spot,
}

impl AtOnce {
    /// Reads the directive.
    pub fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Self> {
        let spot = directive.spot;
        match directive.arg(1).parse() {
            Ok(most) if most > 0 => Some(Self {
                zone: directive.arg(0).to_owned(),
                most,
                spot,
            }),
            _ => {
                let message = format!("invalid number of connections \"{}\"", directive.arg(1));
                verdicts.refuse(spot, directive.at(1), message);
                None
            }
        }
    }
}

impl<'a> Translator<'a> {
    /// The settings of a place that another one leads to once a client was let in there (`try_files`, an index): whoever may at both
    /// may ask.
    pub fn led_to(&mut self, here: Here<'_, 'a>, next: &Location<'a>) -> Scope {
        let mut there = self.scope_of(here.server, next);
        let open = |scope: &Scope| scope.access.iter().all(|rule| rule.allow);
        let asks = |scope: &Scope| scope.realm.as_ref().is_some_and(|set| set.value != "off");
        let text = |set: &Option<Set<String>>| set.as_ref().map(|set| set.value.clone());
        let mut both = false;
        if open(&there) {
            there.access.clone_from(&here.scope.access);
        } else if !open(here.scope) {
            both |= there.access != here.scope.access;
        }
        if !asks(&there) {
            there.realm.clone_from(&here.scope.realm);
            there.users.clone_from(&here.scope.users);
        } else if asks(here.scope) {
            let said = |scope: &Scope| (text(&scope.realm), text(&scope.users));
            both |= said(&there) != said(here.scope);
        }
        if authorize::asked(&there).is_none() {
            there.authorize.clone_from(&here.scope.authorize);
            there.answer_sets.clone_from(&here.scope.answer_sets);
        } else if let Some(path) = authorize::asked(here.scope) {
            both |= authorize::asked(&there) != Some(path);
        }
        if both {
            let message = format!(
                "who may ask is said here, and in another way in `{}`, which it leads to: say it once, for the server",
                next.directive.shown()
            );
            self.verdicts.refuse(here.spot, here.spot, message);
        }
        // One of the two was enough for either of the places, and not for both.
        there.satisfy_any &=
            open(here.scope) && !asks(here.scope) && authorize::asked(here.scope).is_none();
        // What was counted here is not counted there.
        if !here.scope.rates.is_empty() {
            there.rates.clone_from(&here.scope.rates);
        }
        if !here.scope.at_once.is_empty() {
            there.at_once.clone_from(&here.scope.at_once);
        }
        there
    }

    /// What the limit of a place counts by, which a `map` may have made.
    pub fn counted_by(scope: &Scope) -> Option<String> {
        let limit = scope.rates.first()?;
        let zone = scope.zones.iter().find(|zone| zone.name == limit.zone)?;
        (!is_by_address(&zone.key)).then(|| zone.key.clone())
    }

    /// Puts `auth` and `rate` on the routes that lead to what a place has. What it answers itself comes before, as in
    /// nginx.
    pub fn entry(&mut self, scope: &Scope, routes: &mut [Route]) {
        if !routes.iter().any(|route| route.table.has("to")) {
            return;
        }
        let auth = self.auth(scope);
        let authorize = self.authorize(scope);
        let rate = self.rate(scope);
        let most = self.at_once(scope);
        for route in routes.iter_mut().filter(|route| route.table.has("to")) {
            for (key, value) in [("auth", &auth), ("rate", &rate)] {
                if let Some(value) = value {
                    route.table.put(key, Value::Table(value.clone()));
                }
            }
            if let Some(authorize) = &authorize {
                route.table.put("authorize", authorize.clone());
            }
            if let Some(most) = most {
                let limits = route.table.table("limits");
                limits.put("per-source", Value::plain(most));
            }
        }
    }

    fn auth(&mut self, scope: &Scope) -> Option<Table> {
        let realm = scope.realm.as_ref().filter(|set| set.value != "off")?;
        let Some(users) = &scope.users else {
            let message = "without `auth_basic_user_file` nobody is asked";
            self.verdicts.without(realm.spot, message);
            return None;
        };
        if users.value.contains('$') || realm.value.contains('$') {
            let at = if users.value.contains('$') {
                users.spot
            } else {
                realm.spot
            };
            self.verdicts
                .refuse(at, at, "users are named, not worked out for each request");
            return None;
        }
        // Beside the file, as certificates are.
        let directory = self.config_directory();
        let file = if users.value.starts_with('/') || !self.options.direct {
            users.value.clone()
        } else {
            format!("{directory}/{}", users.value)
        };
        let table = Table::default().with("file", Value::text(file));
        Some(table.with("realm", Value::text(&realm.value)))
    }

    fn at_once(&mut self, scope: &Scope) -> Option<u32> {
        let limit = scope.at_once.first()?;
        if let Some(second) = scope.at_once.get(1) {
            let message = "a place has one limit of requests at once: write the other around it";
            self.verdicts.refuse(second.spot, second.spot, message);
            return None;
        }
        let most = self.by_address(limit, scope)?;
        self.verdicts.note(
            limit.spot,
            "the answer is 429; requests to each location are counted for themselves",
        );
        Some(most)
    }

    /// A limit whose zone counts by the client's address.
    fn by_address(&mut self, limit: &AtOnce, scope: &Scope) -> Option<u32> {
        let zone = scope
            .counted_by
            .iter()
            .find(|(name, _)| *name == limit.zone);
        let Some((_, key)) = zone else {
            let message = format!("zero size shared memory zone \"{}\"", limit.zone);
            self.verdicts.refuse(limit.spot, limit.spot, message);
            return None;
        };
        if !matches!(key.as_str(), "$binary_remote_addr" | "$remote_addr") {
            let message = format!(
                "what comes at once is counted by the client's address, $binary_remote_addr, and this by {key}"
            );
            self.verdicts.refuse(limit.spot, limit.spot, message);
            return None;
        }
        Some(limit.most)
    }

    /// `limit_conn` of a stream: how many connections one client may have.
    pub fn connections_at_once(&mut self, scope: &Scope) -> Option<u32> {
        let mut least = None;
        for limit in &scope.at_once {
            let most = self.by_address(limit, scope)?;
            least = Some(least.map_or(most, |least: u32| least.min(most)));
            self.verdicts.note(
                limit.spot,
                "each listener counts for itself, and those of one IPv6 network (/64) together; with `proxy_protocol` clients that are in `set_real_ip_from` themselves are not counted",
            );
        }
        least
    }

    fn rate(&mut self, scope: &Scope) -> Option<Table> {
        let limit = scope.rates.first()?;
        if let Some(second) = scope.rates.get(1) {
            let message = "a place has one limit: write the other around it";
            self.verdicts.refuse(second.spot, second.spot, message);
            return None;
        }
        let zone = scope.zones.iter().find(|zone| zone.name == limit.zone);
        let Some(zone) = zone else {
            let message = format!("zero size shared memory zone \"{}\"", limit.zone);
            self.verdicts.refuse(limit.spot, limit.spot, message);
            return None;
        };
        let key = self.known(&zone.key);
        if key.is_empty() {
            // Whom nginx does not count, as a `map` has it for those who may ask as often as they like.
            self.verdicts.translated(limit.spot);
            return None;
        }
        if !is_by_address(&key) {
            let message = format!(
                "clients are counted by their addresses, $binary_remote_addr, and this zone counts by {key}"
            );
            self.verdicts.refuse(limit.spot, limit.spot, message);
            return None;
        }
        let waits = if limit.waits {
            "; those within the burst are not kept waiting"
        } else {
            ""
        };
        self.verdicts.note(
            limit.spot,
            format!(
                "the answer is 429 with Retry-After; requests to each location are counted for themselves{waits}"
            ),
        );
        let table = Table::default().with("limit", Value::text(&zone.limit));
        Some(table.with("burst", Value::plain(limit.burst.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, direct, said};

    fn file(key: &str, more: &str) -> String {
        format!(
            "{more} limit_req_zone {key} zone=z:10m rate=5r/s; server {{ listen 81; location / {{ limit_req zone=z; \
             proxy_pass http://127.0.0.1:82; }} }}"
        )
    }

    #[test]
    fn clients_are_counted_by_their_addresses_or_not_at_all() {
        for key in [
            "$binary_remote_addr",
            "$binary_remote_addr$server_name",
            "$remote_addr",
        ] {
            let made = direct(&file(key, ""));
            assert!(
                made.text.contains("limit = \"5/s\""),
                "{key}: {}",
                made.text
            );
        }
        are_refused(&[
            (
                &file("$http_x_api_key", ""),
                "this zone counts by $http_x_api_key",
            ),
            (&file("$server_name", ""), "this zone counts by"),
            (&file("$binary_remote_addr$uri", ""), "this zone counts by"),
        ]);
        let unused =
            direct("limit_req_zone $http_x zone=z:1m rate=5r/s; server { listen 81; return 204; }");
        assert_eq!(said(&unused, Verdict::Refused), Vec::<String>::new());
        assert!(said(&unused, Verdict::Without)[0].contains("no `limit_req` names"));
    }

    #[test]
    fn whom_a_map_leaves_out_is_not_counted() {
        let map = "geo $counts { default 1; 10.0.0.0/8 0; } map $counts $key { 0 \"\"; 1 $binary_remote_addr; }";
        let made = direct(&file("$key", map));
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let routes = made.text.lines().filter(|line| line.contains("to = \""));
        let limited = routes.map(|line| {
            (
                line.contains("not = { source = \"10.0.0.0/8\" }"),
                line.contains("rate = {"),
            )
        });
        let limited: Vec<(bool, bool)> = limited.collect();
        assert_eq!(limited, [(true, true), (false, false)], "{}", made.text);
    }

    #[test]
    fn who_may_ask_is_asked_where_a_place_leads_to_another_whatever_the_method() {
        let users = "auth_basic x; auth_basic_user_file /f;";
        let php = "location ~ \\.php$ { fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_pass unix:/php.sock; }";
        let app = "location @app { proxy_pass http://127.0.0.1:82; }";
        for (files, to) in [
            ("$uri @app", app),
            ("/none @app", app),
            ("$uri $uri/ /index.php?$args", php),
        ] {
            for rule in [users, "deny 10.0.0.1;"] {
                let made = direct(&format!(
                    "server {{ listen 81; root /srv; location /in/ {{ {rule} try_files {files}; }} {to} }}"
                ));
                assert_eq!(
                    said(&made, Verdict::Refused),
                    Vec::<String>::new(),
                    "{files}"
                );
                let inner = made.text.split("/in/*").nth(1).unwrap_or_default();
                let inner = inner.split("\n  { path = \"~").next().unwrap_or_default();
                let inner = inner.split("[site.").next().unwrap_or_default();
                let mut is_asked = false;
                for line in inner.lines() {
                    is_asked |= line.contains("deny = true");
                    if line.contains("to = \"127-0-0-1-82\"") || line.contains("to = \"php") {
                        let asked = line.contains("auth = {") || is_asked;
                        assert!(asked, "{files} {rule}: {line} in {}", made.text);
                    }
                }
            }
        }
        are_refused(&[(
            &format!(
                "server {{ listen 81; root /srv; location / {{ {users} try_files $uri @app; }} location @app {{ auth_basic y; \
                 auth_basic_user_file /g; proxy_pass http://127.0.0.1:82; }} }}"
            ),
            "which it leads to",
        )]);
    }
}
