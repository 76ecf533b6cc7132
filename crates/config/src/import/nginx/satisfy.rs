//! `satisfy any`: who comes from a network that is allowed is not asked for a password, and all others are.

use super::super::document::Route;
use super::super::logic::{Literal, Subject, guard};
use super::Translator;
use super::authorize;
use super::content::Here;
use super::scope::Scope;

/// By what a client is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Address,
    Password,
}

/// Whether a place lets clients in by either.
fn is_either(scope: &Scope) -> bool {
    let asks = scope.realm.as_ref().is_some_and(|set| set.value != "off") && scope.users.is_some();
    let asks = asks || authorize::asked(scope).is_some();
    scope.satisfy_any && asks && !scope.access.is_empty()
}

/// The settings of a place for clients that were let in so, or are to be.
fn settled(scope: &Scope, by: By) -> Scope {
    let mut scope = scope.clone();
    scope.access.clear();
    if by == By::Address {
        scope.realm = None;
        scope.authorize = None;
    }
    scope
}

impl<'a> Translator<'a> {
    /// The routes of a place, first for clients whom their address lets in; `None` where both is asked, or one alone.
    pub fn let_in(&mut self, here: Here<'_, 'a>) -> Option<Vec<Route>> {
        if let (true, Some(set), Some(realm)) = (
            here.scope.satisfy_any && authorize::asked(here.scope).is_some(),
            &here.scope.authorize,
            here.scope.realm.as_ref().filter(|set| set.value != "off"),
        ) {
            let message = "with `satisfy any` a password (`auth_basic`) or another request (`auth_request`) lets clients in, not either of them: let \
                           the one that is asked know the passwords";
            self.verdicts.refuse(set.spot, realm.spot, message);
        }
        if !is_either(here.scope) {
            return None;
        }
        let rules = here.scope.access.clone();
        let mut made = |by| {
            let before = self.satisfied.replace((rules.clone(), by));
            let scope = settled(here.scope, by);
            let routes = self.handler(Here {
                scope: &scope,
                ..here
            });
            self.satisfied = before;
            routes
        };
        let (open, asked) = (made(By::Address), made(By::Password));
        let mut routes = Vec::new();
        for same in rules.chunk_by(|a, b| a.allow == b.allow) {
            let inner = if same[0].allow { &open } else { &asked };
            let all = same.iter().any(|rule| rule.network == "all");
            if all {
                routes.extend(inner.iter().cloned());
                return Some(routes);
            }
            let networks = same.iter().map(|rule| rule.network.clone());
            let from = Literal {
                subject: Subject::Source,
                patterns: networks.collect(),
                fold: false,
                not: false,
            };
            routes.extend(guard(&vec![from], inner, same[0].spot));
        }
        // Who is in none of them was not let in by them.
        routes.extend(asked);
        Some(routes)
    }

    /// The settings of a place that another leads to, by which a client was let in already if both say the same.
    pub fn as_satisfied(&self, scope: Scope) -> Scope {
        match &self.satisfied {
            Some((rules, by)) if is_either(&scope) && scope.access == *rules => {
                settled(&scope, *by)
            }
            _ => scope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{direct, said};

    #[test]
    fn whom_the_address_lets_in_is_not_asked_for_a_password_and_all_others_are() {
        let http = |satisfy: &str| {
            format!(
                "server {{ listen 81; {satisfy} allow 10.9.9.0/24; allow 10.8.8.8; deny all; auth_basic x; auth_basic_user_file /f; \
                 location / {{ proxy_pass http://127.0.0.1:82; proxy_set_header Host $http_host; }} }}"
            )
        };
        let made = direct(&http("satisfy any;"));
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let text = made.text;
        let open = text
            .lines()
            .find(|line| line.contains("source"))
            .expect("a route");
        assert!(
            open.contains("source = [\"10.9.9.0/24\", \"10.8.8.8\"], to = \"127-0-0-1-82\"")
                && !open.contains("auth"),
            "{text}"
        );
        assert!(
            text.contains("auth = {") && !text.contains("deny"),
            "{text}"
        );
        // Who is in no list is asked, too.
        let text = direct(&http("satisfy any;").replace("deny all;", "")).text;
        assert!(text.contains("{ to = \"127-0-0-1-82\", auth = {"), "{text}");
        let text = direct(&http("satisfy all;")).text;
        assert!(text.contains("not = { source = ["), "{text}");
    }

    #[test]
    fn other_methods_are_let_in_as_limit_except_says() {
        let made = |inner: &str| {
            let made = direct(&format!(
                "server {{ listen 81; location / {{ limit_except GET {{ {inner} }} proxy_pass http://127.0.0.1:82; }} }}"
            ));
            assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
            let text = made.text;
            let routes = text
                .lines()
                .filter(|line| line.contains("127-0-0-1-82\"") || line.contains("deny"));
            routes.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        let password = made("auth_basic x; auth_basic_user_file /f;");
        let (others, reads) = password.split_once('\n').expect("two routes");
        assert!(
            others.contains("not = { method = [\"GET\", \"HEAD\"] }")
                && others.contains("auth = {"),
            "{password}"
        );
        assert!(!reads.contains("auth"), "{password}");
        let networks = made("allow 10.0.0.0/8; deny all;");
        assert!(
            networks.contains("source = \"10.0.0.0/8\"") && networks.contains("deny = true"),
            "{networks}"
        );
        assert!(made("deny all;").contains("not = { method = [\"GET\", \"HEAD\"] }, deny = true"));
    }

    #[test]
    fn files_whose_directory_has_a_script_are_entered_alike() {
        let made = direct(
            "server { listen 81; root /srv; index index.php; satisfy any; allow 10.9.9.9; deny all; auth_basic x; \
             auth_basic_user_file /f; location / { try_files $uri $uri/ /index.php?$args; } location ~ \\.php$ { \
             fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_pass unix:/run/php.sock; } }",
        );
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let text = made.text;
        let (open, asked) = text
            .split_once("  ] },\n  { path = \"*/\"")
            .expect("two lists");
        assert!(
            open.contains("{ source = \"10.9.9.9\", route = ["),
            "{text}"
        );
        for route in asked.lines().filter(|line| line.contains("to = \"")) {
            assert!(route.contains("auth = {"), "{route} in {text}");
        }
        assert!(!text.contains("deny"), "{text}");
    }
}
