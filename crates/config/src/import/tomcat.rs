//! Tomcat's context.xml and server.xml: where the application listens, and the Manager of memcached-session-manager,
//! whose memcached nodes become session nodes.

use super::report::Verdicts;
use super::sources::{Sources, Spot};
use super::xml::{self, Attribute, Element};
use crate::suggest::did_you_mean;

/// What a context.xml or a server.xml says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// It is a server.xml.
    pub is_server: bool,
    /// Where Tomcat listens for HTTP: of a server.xml.
    pub listens: Option<(String, Spot)>,
    /// Names and addresses of the memcached nodes: host and port.
    pub memcached: Vec<(String, String, Option<u16>)>,
    /// Where that is said.
    pub spot: Spot,
}

impl Context {
    /// Takes over what another file of the same Tomcat says: its context.xml, or its server.xml.
    pub fn join(&mut self, other: Self) {
        self.is_server |= other.is_server;
        self.listens = self.listens.take().or(other.listens);
        if self.memcached.is_empty() && !other.memcached.is_empty() {
            self.memcached = other.memcached;
            self.spot = other.spot;
        }
    }
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
    (
        "enableStatistics",
        "counters are on the admin pages and at /metrics",
    ),
];

/// What becomes of a Manager that is not msm's, by what its class is called.
fn other_manager(class: &str) -> String {
    let (class, whole) = (class.to_ascii_lowercase(), class);
    let has = |word: &str| class.contains(word);
    let keeps = if has("redis") {
        "keeps sessions in Redis"
    } else if has("delta") || has("backupmanager") || has("catalina.ha") {
        "copies sessions among the Tomcats of a cluster"
    } else if has("persistent") {
        "keeps sessions in files or a database"
    } else if has("couchbase") || has("hazelcast") || has("mongo") || has("jdbc") || has("dynamodb")
    {
        "keeps sessions in a store of its own"
    } else if class.is_empty() || has("org.apache.catalina.session.standardmanager") {
        "keeps sessions in Tomcat alone"
    } else {
        return format!(
            "it stays with Tomcat, and keeps sessions as {whole} does: for Tandem to keep them, name machines in `[sessions]`, and the class \
             `io.tandem.tomcat.SessionManager` here"
        );
    };
    format!(
        "it stays with Tomcat, and {keeps}, as before: for Tandem to keep them, name machines in `[sessions]`, and the class \
         `io.tandem.tomcat.SessionManager` here"
    )
}

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
    context.is_server = elements.first().is_some_and(|e| e.name == "Server");
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
            "Context" if element.depth == 0 || context.is_server => {
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
                let class = element.attributes.iter().find(|a| a.name == "className");
                let what = other_manager(class.map_or("", |class| &class.value));
                verdicts.without(element.spot, what);
                for attribute in &element.attributes {
                    said(attribute, "it stays with this Manager", verdicts, seen);
                }
            }
            "Connector" if context.is_server => connector(element, &mut context, verdicts, seen),
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
    if context.is_server && context.listens.is_none() {
        let spot = elements[0].spot;
        verdicts.note(spot, "no Connector of this file speaks HTTP at a port that it says: Tandem asks Tomcat by HTTP, so add <Connector port=\"8080\" protocol=\"HTTP/1.1\"/>");
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

/// Where Tomcat listens: the first Connector that speaks HTTP without TLS.
fn connector(
    element: &Element,
    context: &mut Context,
    verdicts: &mut Verdicts,
    seen: &mut Vec<(Spot, String)>,
) {
    let value = |name: &str| {
        let found = element.attributes.iter().find(|a| a.name == name);
        found.map_or("", |attribute| attribute.value.trim())
    };
    for attribute in &element.attributes {
        said(attribute, "it is Tomcat's own affair", verdicts, seen);
    }
    let protocol = value("protocol");
    let is_http = !protocol.contains("AJP") && !protocol.contains("ajp");
    let is_tls = value("SSLEnabled") == "true"
        || value("scheme") == "https" && value("SSLEnabled") != "false";
    if !is_http || is_tls {
        let what = if is_http {
            "it speaks TLS"
        } else {
            "it speaks AJP"
        };
        let what = format!("{what}: a gateway asks Tomcat by HTTP on its own machine");
        return verdicts.without(element.spot, what);
    }
    let Ok(port) = value("port").parse::<u16>() else {
        let message = format!(
            "`{}` is no port: with Tandem it is in the file, `port=\"8080\"`",
            value("port")
        );
        return verdicts.refuse(element.spot, element.spot, message);
    };
    if context.listens.is_some() {
        let what = "another Connector before it is the one that is asked";
        return verdicts.without(element.spot, what);
    }
    let host = match value("address") {
        "" | "0.0.0.0" | "::" | "localhost" => "127.0.0.1".to_owned(),
        address if address.contains(':') => format!("[{address}]"),
        address => address.to_owned(),
    };
    verdicts.translated(element.spot);
    context.listens = Some((format!("{host}:{port}"), element.spot));
}

fn manager(
    element: &Element,
    context: &mut Context,
    verdicts: &mut Verdicts,
    seen: &mut Vec<(Spot, String)>,
) {
    verdicts.translated(element.spot);
    context.spot = element.spot;
    let off = |a: &Attribute| a.name == "enabled" && a.value.trim().eq_ignore_ascii_case("false");
    let is_off = element.attributes.iter().any(off);
    for attribute in &element.attributes {
        seen.push((attribute.spot, attribute.name.clone()));
        if attribute.name == "memcachedNodes" {
            nodes(attribute, context, verdicts);
            continue;
        }
        if attribute.name == "enabled" {
            let what = if is_off {
                "`enabled`: msm stores nothing then, so there are no session nodes; leave it out, here and in what is imported, to have Tandem keep sessions"
            } else {
                "`enabled`: a session manager that is there is on"
            };
            verdicts.without(attribute.spot, what);
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
    if is_off {
        context.memcached.clear();
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

    #[test]
    fn a_server_xml_says_where_tomcat_listens() {
        let server = |connectors: &str| {
            parse(&format!(
                "<Server port='8005'><Service name='Catalina'>{connectors}<Engine name='Catalina'/></Service></Server>"
            ))
        };
        for (connectors, wanted) in [
            (
                "<Connector port='8180' protocol='HTTP/1.1'/>",
                "127.0.0.1:8180",
            ),
            (
                "<Connector port='8009' protocol='AJP/1.3'/><Connector port='8443' SSLEnabled='true'/><Connector address='10.0.0.1' port='8081'/><Connector port='8082'/>",
                "10.0.0.1:8081",
            ),
        ] {
            let (context, wrong) = server(connectors);
            assert!(wrong.is_empty(), "{connectors}: {wrong:?}");
            assert_eq!(context.listens.map(|(at, _)| at).as_deref(), Some(wanted));
        }
        let (_, wrong) = server("<Connector port='${http.port}'/>");
        assert!(wrong[0].contains("is no port"), "{wrong:?}");
        // A context may stand within it.
        let (context, wrong) = parse(
            "<Server><Service><Connector port='8180'/><Engine><Host><Context path=''><Manager memcachedNodes='n1:10.0.0.1:11211'/></Context></Host></Engine></Service></Server>",
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(
            (context.memcached.len(), context.listens.is_some()),
            (1, true)
        );
    }

    #[test]
    fn a_manager_that_stores_nothing_makes_no_session_nodes() {
        let (context, wrong) =
            parse("<Context><Manager memcachedNodes='n1:a:1' enabled='false'/></Context>");
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(context.memcached.is_empty());
    }

    #[test]
    fn where_other_managers_keep_sessions_is_told() {
        for (class, keeps) in [
            ("org.redisson.tomcat.RedissonSessionManager", "in Redis"),
            (
                "org.apache.catalina.ha.session.DeltaManager",
                "among the Tomcats",
            ),
            (
                "org.apache.catalina.session.PersistentManager",
                "in files or a database",
            ),
            (
                "org.apache.catalina.session.StandardManager",
                "in Tomcat alone",
            ),
            ("", "in Tomcat alone"),
            ("com.example.Mine", "as com.example.Mine does"),
        ] {
            let told = other_manager(class);
            assert!(
                told.contains(keeps) && told.contains("[sessions]"),
                "{class}: {told}"
            );
        }
    }

    #[test]
    fn characters_may_be_written_as_numbers() {
        let (context, wrong) =
            parse("<Context><Manager memcachedNodes='n1:a:1&#44;n2:b&#x3A;2'/></Context>");
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(context.memcached.len(), 2);
    }
}
