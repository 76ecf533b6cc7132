//! The promises of a site, kept on real directories.

mod answers;
mod changes;
mod codings;
mod escapes;
mod pages;
mod watched;

use std::io::{Seek as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tandem_http::{Cx, Handler as _, Head, Moment, Plan, Request, Step};
use tandem_model::Site;
use tandem_telemetry::{Telemetry, event::Log};

use crate::SiteHandler;
use crate::root::Resolver;

/// A directory that goes when the test ends.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tandem-site-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("root")).unwrap();
        Self(path)
    }

    /// What is served.
    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// What is not.
    fn outside(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        std::os::unix::fs::symlink(target, self.root().join(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn site(root: PathBuf) -> Site {
    Site {
        name: "www".into(),
        on: vec!["files".into()],
        port: None,
        root,
        index: vec!["index.html".into(), "index.htm".into()],
        ..Site::default()
    }
}

fn handler(site: &Site) -> SiteHandler {
    SiteHandler::new(site, 1, telemetry()).unwrap()
}

fn telemetry() -> Telemetry {
    Telemetry::new("files", 1, Log::Silent)
}

/// A site without inotify.
fn unwatched(site: &Site) -> SiteHandler {
    with_watches(site, crate::Watches::none())
}

fn with_watches(site: &Site, watches: crate::Watches) -> SiteHandler {
    let mut handler = handler(site);
    let shared = std::sync::Arc::get_mut(&mut handler.0).unwrap();
    shared.watches = watches;
    handler
}

/// The same site as kernels with less would have it.
fn on_every_kernel(directory: &Directory) -> Vec<(Resolver, SiteHandler)> {
    [Resolver::Cached, Resolver::Beneath, Resolver::Walk]
        .map(|resolver| {
            let mut handler = handler(&site(directory.root()));
            let shared = std::sync::Arc::get_mut(&mut handler.0).unwrap();
            let places = crate::Places::open(&shared.site).unwrap();
            shared.places = places.with(resolver);
            shared.watches = crate::Watches::none();
            (resolver, handler)
        })
        .into()
}

/// An answer as a client would see it.
#[derive(Debug)]
struct Got {
    status: u16,
    fields: String,
    body: Vec<u8>,
    /// It needed a thread that may wait.
    later: bool,
    from_memory: bool,
}

impl Got {
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.fields.split_terminator("\r\n");
        lines.find_map(|line| {
            line.split_once(": ")
                .filter(|(n, _)| *n == name)
                .map(|(_, v)| v)
        })
    }
}

async fn get(handler: &SiteHandler, path: &str) -> Got {
    ask(handler, "GET", path.as_bytes(), &[], Moment::now()).await
}

async fn get_if(handler: &SiteHandler, path: &str, fields: &[(&str, &str)]) -> Got {
    ask(handler, "GET", path.as_bytes(), fields, Moment::now()).await
}

async fn ask(
    handler: &SiteHandler,
    method: &str,
    path: &[u8],
    fields: &[(&str, &str)],
    now: Moment,
) -> Got {
    ask_in(handler, method, path, fields, Cx::new(0, now)).await
}

async fn ask_in(
    handler: &SiteHandler,
    method: &str,
    path: &[u8],
    fields: &[(&str, &str)],
    cx: Cx,
) -> Got {
    let mut bytes = [method.as_bytes(), b" ", path, b" HTTP/1.1\r\nHost: www\r\n"].concat();
    for (name, value) in fields {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    bytes.extend_from_slice(b"\r\n");
    let mut head = Head::default();
    match head.parse(&bytes) {
        Ok(complete) => assert!(complete),
        // The engine refuses it; no handler sees it.
        Err(_) => {
            return Got {
                status: 400,
                fields: String::new(),
                body: Vec::new(),
                later: false,
                from_memory: false,
            };
        }
    }
    let client: IpAddr = [127, 0, 0, 1].into();
    let request = Request {
        head: &head,
        bytes: &bytes,
        client,
        peer: (client, 1).into(),
        from_node: false,
        trusted: false,
        secure: false,
        port: 80,
        came: None,
        certificate: None,
    };
    let (later, plan) = match handler.step(&request, &cx) {
        Step::Plan(plan) => (false, plan),
        Step::Later(plan) => (true, within(plan).await),
    };
    // A page of the site's own says that it is not to be replaced.
    let plan = match plan {
        Plan::Edited { plan, edits } if edits.keeps_page => *plan,
        plan => plan,
    };
    match plan {
        Plan::Bytes(reply) => Got {
            status: reply.status,
            fields: String::from_utf8(reply.fields.to_vec()).unwrap(),
            body: reply.body.to_vec(),
            later,
            from_memory: true,
        },
        Plan::File(part) => {
            let file = std::fs::File::from(part.file.try_clone().unwrap());
            let mut rest = vec![0; part.length as usize];
            file.read_exact_at(&mut rest, part.offset).unwrap();
            let body = [&part.before[..], &rest].concat();
            assert_eq!((&file).stream_position().unwrap(), 0, "read by offset only");
            Got {
                status: part.status,
                fields: String::from_utf8(part.fields.to_vec()).unwrap(),
                body,
                later,
                from_memory: false,
            }
        }
        _ => panic!("a site sends files and bytes"),
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future)
        .await
        .expect("an answer in time")
}
