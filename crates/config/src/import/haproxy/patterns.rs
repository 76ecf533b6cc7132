//! HAProxy's ways to match, as patterns of the cluster file.

use ipnet::IpNet;

use super::elements;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    Begins,
    Ends,
    Contains,
    /// A whole component between slashes.
    Dir,
    /// A whole component between dots.
    Domain,
    Regex,
    Length,
    /// It is there.
    Found,
    /// As a number, an address, or true or false; texts are not compared so.
    Number,
}

impl Match {
    /// The method of `-m`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "str" => Self::Exact,
            "beg" => Self::Begins,
            "end" => Self::Ends,
            "sub" => Self::Contains,
            "dir" => Self::Dir,
            "dom" => Self::Domain,
            "reg" => Self::Regex,
            "len" => Self::Length,
            "found" => Self::Found,
            "bool" | "int" | "ip" => Self::Number,
            _ => return None,
        })
    }
}

/// The pattern for one value; `None` matches everything. `fold` is for subjects whose patterns have no switch for it;
/// `in_list`: one member of a list that commas part.
pub(crate) fn pattern(
    how: Match,
    value: &str,
    fold: bool,
    in_list: bool,
) -> Result<Option<String>, String> {
    let quoted = regex::escape(value);
    let regex = match how {
        Match::Begins | Match::Ends | Match::Contains if value.is_empty() => return Ok(None),
        Match::Number => {
            return Err("numbers and addresses are not compared in texts".into());
        }
        _ if in_list => elements::expression(how, value)?,
        Match::Exact | Match::Begins | Match::Ends => {
            let plain = !value.contains('*') && !value.starts_with('~') && !fold;
            if plain && !value.is_empty() {
                return Ok(Some(match how {
                    Match::Begins => format!("{value}*"),
                    Match::Ends => format!("*{value}"),
                    _ => value.to_owned(),
                }));
            }
            match how {
                Match::Begins => format!("^{quoted}"),
                Match::Ends => format!("{quoted}$"),
                _ => format!("^{quoted}$"),
            }
        }
        Match::Contains => quoted,
        Match::Dir => {
            let inner = regex::escape(value.trim_matches('/'));
            format!("(^|/){inner}(/|$)")
        }
        Match::Domain => {
            let inner = regex::escape(value.trim_matches('.'));
            format!(r"(^|[./:]){inner}([./:]|$)")
        }
        Match::Regex => {
            checked(value)?;
            value.to_owned()
        }
        Match::Length => {
            let regex = format!("^(?s:.{{{value}}})$");
            checked(&regex)?;
            regex
        }
        Match::Found => String::new(),
    };
    Ok(Some(if fold {
        format!("~(?i){regex}")
    } else {
        format!("~{regex}")
    }))
}

/// Whether a regular expression is one here; most of PCRE's are.
pub(crate) fn checked(regex: &str) -> Result<(), String> {
    match regex::Regex::new(regex) {
        Ok(_) => Ok(()),
        Err(regex::Error::Syntax(_)) if has_look(regex) => Err(format!(
            "'{regex}' looks around itself or refers back, which regular expressions cannot here"
        )),
        Err(error) => Err(format!(
            "'{regex}' is no regular expression: {}",
            crate::kinds::short(&error.to_string())
        )),
    }
}

fn has_look(regex: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!", "(?>", "\\1", "\\2"]
        .iter()
        .any(|look| regex.contains(look))
}

/// An address or a network, in the normal form of a network. `10.0.0.0/255.0.0.0` is one too.
pub(crate) fn network(text: &str) -> Option<String> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(net.trunc().to_string());
    }
    if let Some((address, mask)) = text.split_once('/') {
        let address: std::net::IpAddr = address.parse().ok()?;
        let mask: std::net::IpAddr = mask.parse().ok()?;
        return Some(IpNet::with_netmask(address, mask).ok()?.trunc().to_string());
    }
    let address: std::net::IpAddr = text.parse().ok()?;
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_match_has_its_pattern() {
        for (how, value, wanted) in [
            (Match::Exact, "/a", "/a"),
            (Match::Begins, "/static", "/static*"),
            (Match::Ends, ".jpg", "*.jpg"),
            (Match::Contains, ".php", r"~\.php"),
            (Match::Dir, "img", "~(^|/)img(/|$)"),
            (Match::Regex, r"\.(gif|png)$", r"~\.(gif|png)$"),
            (Match::Exact, "/a*b", r"~^/a\*b$"),
            (Match::Length, "4", "~^(?s:.{4})$"),
            (Match::Length, "4,", "~^(?s:.{4,})$"),
        ] {
            assert_eq!(
                pattern(how, value, false, false).unwrap().as_deref(),
                Some(wanted)
            );
        }
        assert_eq!(pattern(Match::Begins, "", false, false).unwrap(), None);
        assert!(
            pattern(Match::Regex, "a(?=b)", false, false)
                .unwrap_err()
                .contains("looks around")
        );
        assert!(pattern(Match::Regex, "a(", false, false).is_err());
    }

    #[test]
    fn networks_have_one_form() {
        assert_eq!(network("10.1.2.3/255.0.0.0").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(network("192.168.0.7").as_deref(), Some("192.168.0.7"));
        assert_eq!(network("::1").as_deref(), Some("::1"));
        assert_eq!(network("banana"), None);
    }
}
