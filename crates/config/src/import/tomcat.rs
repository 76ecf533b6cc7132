//! Tomcat's context.xml: where the application is, and the Manager of memcached-session-manager, whose memcached nodes
//! become session nodes.

use super::report::Verdicts;
use super::sources::{Sources, Spot};
use super::xml::{self, Attribute, Element};
use crate::suggest::did_you_mean;

/// What a context.xml says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// Names and addresses of the memcached nodes: host and port.
    pub memcached: Vec<(String, String, Option<u16>)>,
    /// Where that is said.
    pub spot: Spot,
}

/// Attributes of msm's Manager, and what becomes of each.
const MANAGER: &[(&str, &str)] = &[
    ("memcachedNodes", ""),
    (
        "className",
        "the session manager is `io.tandem.tomcat.SessionManager`: put its jar into Tomcat's lib and change the class; it understands these attributes",
    ),
    (
        "failoverNodes",
        "every node holds every session, so none waits for the failure of another",
    ),
    (
        "requestUriIgnorePattern",
        "it stays with Tandem's session manager, which understands it: requests for such paths do not store the session",
    ),
    (
        "sticky",
        "sessions are read and written at a majority of the nodes, so that any Tomcat may serve any request: sticky or not is the same",
    ),
    (
        "sessionBackupAsync",
        "a change is stored before the answer leaves: no answer promises what may be lost",
    ),
    (
        "sessionBackupTimeout",
        "a change is stored before the answer leaves, or the request says that it is not",
    ),
    (
        "backupThreadCount",
        "a change is stored before the answer leaves, by the thread of the request",
    ),
    (
        "transcoderFactoryClass",
        "attributes are stored one by one as Java serializes them: no transcoder is needed",
    ),
    (
        "copyCollectionsForSerialization",
        "attributes are stored one by one as Java serializes them: no transcoder is needed",
    ),
    (
        "customConverter",
        "attributes are stored one by one as Java serializes them: no transcoder is needed",
    ),
    (
        "lockingMode",
        "it stays with Tandem's session manager, which understands it",
    ),
    (
        "memcachedProtocol",
        "the agent on each machine speaks memcached's text protocol",
    ),
    (
        "username",
        "the agent listens on 127.0.0.1 only; the nodes prove themselves by `[cluster] key`",
    ),
    (
        "password",
        "the agent listens on 127.0.0.1 only; the nodes prove themselves by `[cluster] key`",
    ),
    (
        "operationTimeout",
        "it stays with Tandem's session manager, which understands it",
    ),
    (
        "storageKeyPrefix",
        "it stays with Tandem's session manager, which understands it",
    ),
    (
        "sessionAttributeFilter",
        "it stays with Tandem's session manager, which understands it",
    ),
    (
        "maxInactiveInterval",
        "it stays with Tandem's session manager, as with any",
    ),
    (
        "maxActiveSessions",
        "it stays with Tandem's session manager, as with any",
    ),
    ("enabled", "it stays with Tandem's session manager"),
    (
        "enableStatistics",
        "counters are on the admin pages and at /metrics",
    ),
];

/// Reads a file.
pub(crate) fn read(
    sources: &Sources,
    file: usize,
    verdicts: &mut Verdicts,
    seen: &mut Vec<(Spot, String)>,
) -> Context {
    let mut context = Context::default();
    let elements = match xml::elements(sources.text(file), file) {
        Ok(elements) => elements,
        Err((spot, message)) => {
            verdicts.refuse(spot, spot, message);
            return context;
        }
    };
    for element in &elements {
        seen.push((element.spot, format!("<{}>", element.name)));
        let msm = element
            .attributes
            .iter()
            .any(|a| a.name == "memcachedNodes")
            || element.attributes.iter().any(|a| {
                a.name == "className" && a.value.contains("MemcachedBackupSessionManager")
            });
        match element.name.as_str() {
            "Context" if element.depth == 0 => {
                verdicts.translated(element.spot);
                for attribute in &element.attributes {
                    let why = match attribute.name.as_str() {
                        "path" => {
                            "Tomcat answers below this path itself, and routes lead there by their own conditions"
                        }
                        "docBase" => "Tomcat finds its application itself",
                        _ => "it is Tomcat's own affair",
                    };
                    said(attribute, why, verdicts, seen);
                }
            }
            "Context" => verdicts.refuse(
                element.spot,
                element.spot,
                "a Context stands at the top of its file",
            ),
            "Manager" if msm => manager(element, &mut context, verdicts, seen),
            "Manager" => {
                let spot = element.spot;
                verdicts.without(spot, "this Manager keeps sessions in Tomcat alone; Tandem's keeps them on the session nodes");
                for attribute in &element.attributes {
                    said(
                        attribute,
                        "of a Manager that keeps sessions in Tomcat alone",
                        verdicts,
                        seen,
                    );
                }
            }
            name => {
                verdicts.without(
                    element.spot,
                    format!("<{name}> is Tomcat's own affair, and stays there"),
                );
                for attribute in &element.attributes {
                    said(attribute, "it is Tomcat's own affair", verdicts, seen);
                }
            }
        }
    }
    if elements.is_empty() {
        let spot = Spot {
            file,
            start: 0,
            end: 0,
        };
        verdicts.refuse(spot, spot, "there is no <Context> in it");
    }
    context
}

fn said(attribute: &Attribute, why: &str, verdicts: &mut Verdicts, seen: &mut Vec<(Spot, String)>) {
    seen.push((attribute.spot, attribute.name.clone()));
    verdicts.without(attribute.spot, format!("`{}`: {why}", attribute.name));
}

fn manager(
    element: &Element,
    context: &mut Context,
    verdicts: &mut Verdicts,
    seen: &mut Vec<(Spot, String)>,
) {
    verdicts.translated(element.spot);
    context.spot = element.spot;
    for attribute in &element.attributes {
        seen.push((attribute.spot, attribute.name.clone()));
        if attribute.name == "memcachedNodes" {
            nodes(attribute, context, verdicts);
            continue;
        }
        match MANAGER.iter().find(|(name, _)| *name == attribute.name) {
            Some((name, why)) => verdicts.without(attribute.spot, format!("`{name}`: {why}")),
            None => verdicts.refuse_hint(
                attribute.spot,
                attribute.spot,
                format!("`{}` is no attribute of the Manager", attribute.name),
                did_you_mean(&attribute.name, MANAGER.iter().map(|(name, _)| *name)),
            ),
        }
    }
    // Names that failoverNodes has are nodes.
    let failover = element
        .attributes
        .iter()
        .find(|a| a.name == "failoverNodes");
    for name in failover
        .iter()
        .flat_map(|a| a.value.split([',', ' ']).filter(|name| !name.is_empty()))
    {
        if !context.memcached.is_empty() && !context.memcached.iter().any(|(node, ..)| node == name)
        {
            let spot = failover.map_or(element.spot, |a| a.spot);
            let names = context.memcached.iter().map(|(node, ..)| node.as_str());
            verdicts.refuse_hint(
                spot,
                spot,
                format!("`{name}` is none of the memcachedNodes"),
                did_you_mean(name, names),
            );
        }
    }
}

/// `n1:192.168.0.71:11211,n2:192.168.0.101:11211`, or one `host:port`.
fn nodes(attribute: &Attribute, context: &mut Context, verdicts: &mut Verdicts) {
    let spot = attribute.spot;
    if attribute.value.contains("://") {
        return verdicts.refuse(
            spot,
            spot,
            "the nodes are memcached servers: NAME:HOST:PORT",
        );
    }
    for (number, part) in attribute
        .value
        .split([',', ' '])
        .filter(|part| !part.is_empty())
        .enumerate()
    {
        let pieces: Vec<&str> = part.split(':').collect();
        let (name, host, port) = match pieces[..] {
            [name, host, port] => (name.to_owned(), host, port),
            [host, port] => (format!("n{}", number + 1), host, port),
            _ => {
                verdicts.refuse(spot, spot, format!("`{part}` is no node: NAME:HOST:PORT"));
                continue;
            }
        };
        let Ok(port) = port.parse::<u16>() else {
            verdicts.refuse(spot, spot, format!("`{port}` is no port"));
            continue;
        };
        if context.memcached.iter().any(|(known, ..)| *known == name) {
            verdicts.refuse(spot, spot, format!("there are two nodes `{name}`"));
            continue;
        }
        context.memcached.push((name, host.to_owned(), Some(port)));
    }
    if context.memcached.is_empty() {
        verdicts.refuse(spot, spot, "no node is named");
    } else {
        verdicts.note(spot, "the memcached nodes become session nodes: `tandem run` takes the place of memcached there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Context, Vec<String>) {
        let mut sources = Sources::default();
        let file = sources.add("context.xml", text);
        let (mut verdicts, mut seen) = (Verdicts::default(), Vec::new());
        let context = read(&sources, file, &mut verdicts, &mut seen);
        let report = verdicts.finish(&sources, &seen);
        let wrong = report.refused().map(|d| d.message.clone()).collect();
        (context, wrong)
    }

    #[test]
    fn memcached_nodes_are_found() {
        let (context, wrong) = parse(
            "<Context path='/t'><Manager className='de.javakaffee.web.msm.MemcachedBackupSessionManager' memcachedNodes='n1:10.0.0.1:11211,n2:10.0.0.2:11211' failoverNodes='n2' sticky='false'/></Context>",
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        let shown: Vec<String> = context
            .memcached
            .iter()
            .map(|(n, h, _)| format!("{n}={h}"))
            .collect();
        assert_eq!(shown, ["n1=10.0.0.1", "n2=10.0.0.2"]);
    }

    #[test]
    fn slips_in_the_manager_are_refused() {
        let (_, wrong) = parse(
            "<Context><Manager memcachedNodes='n1:a:1' failoverNodes='n3' stiky='x'/></Context>",
        );
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(
            parse("<Context><Manager memcachedNodes='redis://x'/></Context>").1[0]
                .contains("NAME:HOST:PORT")
        );
    }
}
