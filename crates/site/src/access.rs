//! Step 2: who may ask.

use std::net::IpAddr;

use tandem_model::Site;

/// Whether this client may: `deny` is asked first, then `allow`, where nothing means everyone.
pub(crate) fn permits(site: &Site, client: IpAddr) -> bool {
    if site.allow.is_empty() && site.deny.is_empty() {
        return true;
    }
    // An IPv4 client of a socket for both families looks like ::ffff:10.0.0.1.
    let client = client.to_canonical();
    !site.deny.iter().any(|net| net.contains(&client))
        && (site.allow.is_empty() || site.allow.iter().any(|net| net.contains(&client)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::site;

    #[test]
    fn deny_is_asked_before_allow() {
        let mut site = site("/".into());
        let may = |site: &Site, client: &str| permits(site, client.parse().unwrap());
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
}
