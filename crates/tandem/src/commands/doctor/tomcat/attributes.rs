//! What may stand in a `<Manager>` of ours. A test compares it with the manager's own list.

/// Ours, and those of memcached-session-manager that still mean something.
pub const OWN: &[&str] = &[
    "sessions",
    "key",
    "keyFile",
    "whenAway",
    "conflicts",
    "rotationGrace",
    "localCopies",
    "memcachedNodes",
    "failoverNodes",
    "sticky",
    "lockingMode",
    "lockExpiration",
    "requestUriIgnorePattern",
    "sessionBackupAsync",
    "sessionBackupTimeout",
    "operationTimeout",
    "sessionAttributeFilter",
    "storageKeyPrefix",
    "transcoderFactoryClass",
];

/// Those of memcached-session-manager that mean nothing any more.
pub const MEANINGLESS: &[&str] = &[
    "backupThreadCount",
    "copyCollectionsForSerialization",
    "customConverter",
    "enabled",
    "enableStatistics",
    "memcachedProtocol",
    "password",
    "username",
];

/// Those of all of Tomcat's managers (Tomcat's documentation, "The Manager Component").
pub const TOMCATS: &[&str] = &[
    "className",
    "maxActiveSessions",
    "notifyAttributeListenerOnUnchangedValue",
    "notifyBindingListenerOnUnchangedValue",
    "persistAuthentication",
    "persistAuthenticationNotes",
    "processExpiresFrequency",
    "secureRandomAlgorithm",
    "secureRandomClass",
    "secureRandomProvider",
    "sessionActivityCheck",
    "sessionAttributeNameFilter",
    "sessionAttributeValueClassNameFilter",
    "sessionLastAccessAtStart",
    "sessionMaxAliveTime",
    "warnOnSessionAttributeFilterFailure",
];

/// The nearest of ours, for a name that is none.
pub fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    OWN.iter()
        .chain(TOMCATS)
        .map(|known| (distance(&lower, &known.to_lowercase()), *known))
        .min()
        .filter(|(distance, _)| *distance < 4)
        .map(|(_, known)| known)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(1 + row[j].min(corner));
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_has_the_same_list() {
        let source = include_str!(
            "../../../../../../integrations/tomcat/src/main/java/io/tandem/tomcat/Options.java"
        );
        let known = source.split("Arrays.asList(").nth(1).unwrap();
        let known = known.split(')').next().unwrap();
        let names: Vec<&str> = known.split('"').skip(1).step_by(2).collect();
        assert_eq!(names, OWN);
        for name in MEANINGLESS {
            assert!(
                source.contains(&format!("MEANINGLESS.put(\"{name}\"")),
                "{name}"
            );
        }
        let meaningless = source.matches("MEANINGLESS.put(").count();
        let both = OWN
            .iter()
            .filter(|name| source.contains(&format!("MEANINGLESS.put(\"{name}\"")))
            .count();
        assert_eq!(meaningless, MEANINGLESS.len() + both);
    }

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(nearest("sesions"), Some("sessions"));
        assert_eq!(nearest("lockingmode"), Some("lockingMode"));
        assert_eq!(nearest("colour of the sky"), None);
    }
}
