//! Step 2: who may ask.

use std::net::IpAddr;

use ipnet::IpNet;
use tandem_model::{Access, Site};

/// The rules of a site in their order: the first that names a client decides, and whom none names may.
pub(crate) struct Rules(Vec<(bool, IpNet)>);

impl Rules {
    /// `access` as it is written; else `deny`, then `allow`, which leaves out all others.
    pub(crate) fn of(site: &Site) -> Self {
        let rule = |may: bool| move |net: &IpNet| (may, *net);
        if !site.access.is_empty() {
            let rules = site.access.iter().flat_map(|rule| match rule {
                Access::Allow(nets) => nets.iter().map(|net| (true, *net)).collect::<Vec<_>>(),
                Access::Deny(nets) => nets.iter().map(|net| (false, *net)).collect(),
            });
            return Self(rules.collect());
        }
        let mut rules: Vec<_> = site.deny.iter().map(rule(false)).collect();
        if !site.allow.is_empty() {
            rules.extend(site.allow.iter().map(rule(true)));
            for all in [IpAddr::from([0u8; 4]), IpAddr::from([0u8; 16])] {
                rules.push((false, IpNet::new_assert(all, 0)));
            }
        }
        Self(rules)
    }

    /// Whether this client may ask.
    pub(crate) fn permit(&self, client: IpAddr) -> bool {
        if self.0.is_empty() {
            return true;
        }
        // An IPv4 client of a socket for both families looks like ::ffff:10.0.0.1.
        let client = client.to_canonical();
        let rule = self.0.iter().find(|(_, net)| net.contains(&client));
        rule.is_none_or(|(may, _)| *may)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::site;

    #[test]
    fn deny_is_asked_before_allow() {
        let mut site = site("/".into());
        let may = |site: &Site, client: &str| Rules::of(site).permit(client.parse().unwrap());
        assert!(may(&site, "192.0.2.1"));
        site.allow = vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        site.deny = vec!["10.9.0.0/16".parse().unwrap()];
        for (client, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("10.9.1.1", false),
            ("::ffff:10.9.1.1", false),
            ("192.0.2.1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(may(&site, client), expected, "{client}");
        }
        site.allow.clear();
        assert!(may(&site, "192.0.2.1"));
        assert!(!may(&site, "10.9.1.1"));
    }

    #[test]
    fn the_first_rule_that_names_a_client_decides() {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        let site = Site {
            access: vec![
                Access::Deny(nets(&["192.168.1.1/32"])),
                Access::Allow(nets(&["192.168.1.0/24", "10.1.1.0/16"])),
                Access::Allow(nets(&["2001:db8::/32"])),
                Access::Deny(nets(&["0.0.0.0/0"])),
            ],
            ..site("/".into())
        };
        let rules = Rules::of(&site);
        for (client, expected) in [
            ("192.168.1.1", false),
            ("192.168.1.2", true),
            ("::ffff:192.168.1.1", false),
            ("10.1.200.3", true),
            ("192.0.2.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", true),
        ] {
            assert_eq!(rules.permit(client.parse().unwrap()), expected, "{client}");
        }
    }
}
