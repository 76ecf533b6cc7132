//! What a cluster expects of this machine.

use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tandem_model::{App, Cluster, LogTo, Node, Program, Service, Site};

/// The nodes whose address this machine has, in the order of the file. Looks host names up, so it may take as long as
/// the system's resolver does.
pub fn nodes_here(cluster: &Cluster) -> Vec<&Node> {
    cluster
        .nodes
        .iter()
        .filter(|node| is_here(&node.address))
        .collect()
}

/// Looks with the rights that a node has when it serves: those of its user.
pub type Serving<'a> = dyn Fn(&(dyn Fn() -> Vec<String> + Sync)) -> Vec<String> + 'a;

/// Looks at this machine with the eyes of `node`, or else of each node whose address this machine has, and says in
/// sentences what is not as the cluster expects it. Reads nothing but names and rights, and changes nothing.
///
/// [`Cluster::start_in`] is to be called before: programs are looked for from where they start. What is only touched when
/// a node has become its user is looked at through `serving`.
pub fn check_here(cluster: &Cluster, node: Option<&str>, serving: &Serving<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let nodes: Vec<&Node> = match node {
        Some(name) => match cluster.node(name) {
            Some(node) => {
                if !is_here(&node.address) {
                    found.push(format!(
                        "node {name}: this machine does not have its address, {}",
                        node.address
                    ));
                }
                vec![node]
            }
            None => return vec![format!("the file has no node {name}")],
        },
        None => nodes_here(cluster),
    };
    if nodes.is_empty() {
        found.push(
            "this machine has the address of no node of the file: name one with --node".into(),
        );
    }
    for node in nodes {
        for listener in &cluster.listeners {
            if listener.on.contains(&node.name) {
                let files = listener.files().into_iter();
                let unread = files.filter_map(|file| Some((file, unopened(file)?)));
                found.extend(unread.map(|(file, why)| {
                    format!("listener {}: {}: {why}", listener.name, file.display())
                }));
            }
        }
        for service in &cluster.services {
            if !service.on().contains(&node.name) {
                continue;
            }
            match service {
                Service::Site(site) => {
                    let user = cluster.user.as_deref();
                    found.extend(serving(&|| site_here(site, user)));
                }
                Service::App(app) => found.extend(app_here(app)),
                Service::Backend(_) => {}
            }
        }
        if let LogTo::File(path) = &cluster.log {
            let path = PathBuf::from(path.replace("{node}", &node.name));
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            if let Some(why) = dir.and_then(unreadable) {
                found.push(format!("the log {}: {why}", path.display()));
            }
        }
    }
    found
}

/// Whether a socket can be bound to the address, that is, whether this machine has it.
fn is_here(address: &str) -> bool {
    (address, 0)
        .to_socket_addrs()
        .is_ok_and(|mut found| found.any(|at| TcpListener::bind(at).is_ok()))
}

fn site_here(site: &Site, user: Option<&str>) -> Vec<String> {
    let aliases = site.aliases.values();
    let places = std::iter::once(&site.root).chain(aliases);
    let wrong = places.filter_map(|path| {
        let why =
            closed(path, user).or_else(|| site.listing.then(|| unreadable(path)).flatten())?;
        Some(format!("site {}: {}: {why}", site.name, path.display()))
    });
    wrong.collect()
}

/// Why names in a directory cannot be looked up.
fn closed(dir: &Path, user: Option<&str>) -> Option<String> {
    let mut above: Vec<&Path> = dir.ancestors().collect();
    above.reverse();
    for at in above {
        // What is asked for is in it, so that its own rights count, not only those of the ones above.
        let Err(error) = std::fs::metadata(at.join(".")) else {
            continue;
        };
        return Some(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such directory".into(),
            std::io::ErrorKind::PermissionDenied => {
                let who = user.map_or_else(|| "this user".into(), |user| format!("user {user}"));
                format!(
                    "{who} may not enter {}: give it the permission (chmod +x)",
                    at.display()
                )
            }
            _ => format!("cannot be entered: {error}"),
        });
    }
    None
}

fn app_here(app: &App) -> Vec<String> {
    let Program::Run {
        command, dir, env, ..
    } = &app.program
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let dir = dir.as_deref().unwrap_or(Path::new("."));
    if let Some(why) = unreadable(dir) {
        found.push(format!("app {}: {}: {why}", app.name, dir.display()));
    }
    let program = command.first().map_or("", String::as_str);
    // Placeholders are not known yet.
    if !program.contains('{') && !runs(program, dir, env.get("PATH")) {
        let place = if program.contains('/') {
            ""
        } else {
            " in PATH"
        };
        found.push(format!(
            "app {}: there is no program {program}{place}",
            app.name
        ));
    }
    found
}

/// Why a directory cannot be used.
fn unreadable(dir: &Path) -> Option<String> {
    match std::fs::read_dir(dir) {
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("there is no such directory".into())
        }
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

/// Why a file cannot be read.
fn unopened(file: &Path) -> Option<String> {
    match std::fs::File::open(file) {
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("there is no such file".into())
        }
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

fn runs(program: &str, dir: &Path, path: Option<&String>) -> bool {
    let executable = |file: &Path| {
        std::fs::metadata(file)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return executable(&dir.join(program));
    }
    let path = path.map_or_else(|| std::env::var_os("PATH"), |path| Some(path.into()));
    path.is_some_and(|path| {
        std::env::split_paths(&path).any(|place| executable(&dir.join(place).join(program)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn cluster(text: &str) -> Cluster {
        parse(text, "test", Path::new(env!("CARGO_MANIFEST_DIR")), &|_| {
            None
        })
        .unwrap()
        .cluster
    }

    #[test]
    fn what_is_missing_here_is_named() {
        let mut cluster = cluster(
            r#"
            listener.web = { bind = ":80", errors = { 503 = "no-such-page.html" }, route = [{ path = "/r", respond = { status = 200, file = "no-such-file.txt" } }, { path = "/a*", to = "shop" }, { path = "/b*", to = "calc" }, { to = "www" }] }
            site.www = { root = "no-such-directory" }
            app.shop = { run = ["no-such-program-anywhere"], dir = "src" }
            app.calc = { run = ["./no-such-file"] }
            app.good = { run = "sh" }
            "#,
        );
        cluster.start_in(Path::new(env!("CARGO_MANIFEST_DIR")));
        let mut found = check_here(&cluster, None, &|look| look());
        assert_eq!(found.len(), 5, "{found:?}");
        for file in ["no-such-page.html", "no-such-file.txt"] {
            let said = found.remove(0);
            assert!(said.starts_with("listener web: "), "{said}");
            assert!(
                said.ends_with(&format!("{file}: there is no such file")),
                "{said}"
            );
        }
        assert!(found[0].contains("no-such-directory: there is no such directory"));
        assert!(found[1].contains("no-such-program-anywhere in PATH"));
        assert!(found[2].contains("no program ./no-such-file"));
    }

    #[test]
    fn a_machine_knows_which_node_it_is() {
        let cluster = cluster(
            r#"
            nodes = { a = "192.0.2.1", b = "127.0.0.1" }
            cluster.key = "0123456789abcdef"
            "#,
        );
        let names: Vec<&str> = nodes_here(&cluster)
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["b"]);
        assert!(check_here(&cluster, None, &|look| look()).is_empty());
        assert!(
            check_here(&cluster, Some("a"), &|look| look())[0]
                .contains("does not have its address")
        );
        assert_eq!(
            check_here(&cluster, Some("c"), &|look| look()),
            ["the file has no node c"]
        );
    }
}
