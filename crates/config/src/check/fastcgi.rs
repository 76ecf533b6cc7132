//! What does not go with programs that speak FastCGI, uwsgi or SCGI.

use tandem_model::{Check, FastCgi};

use crate::keys::file::Draft;
use crate::reader::Reader;
use crate::span::Span;

/// Checks every service that speaks it.
pub(super) fn check(draft: &Draft, reader: &mut Reader<'_>) {
    for backend in &draft.backends {
        let (section, mine) = (&backend.section, &backend.section.draft.backend);
        one(
            mine.fastcgi.as_deref(),
            (&mine.check, mine.send_proxy.is_some()),
            &said(&|key| section.has(key)),
            |key| section.place(key),
            reader,
        );
    }
    for app in &draft.apps {
        let (section, mine) = (&app.section, &app.section.draft.app);
        one(
            mine.fastcgi.as_deref(),
            (&mine.check, mine.send_proxy.is_some()),
            &said(&|key| section.has(key)),
            |key| section.place(key),
            reader,
        );
    }
}

/// The protocols that a service says it speaks.
fn said(has: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let all = ["fastcgi", "uwsgi", "scgi"];
    all.into_iter().filter(|key| has(key)).collect()
}

fn one(
    fastcgi: Option<&FastCgi>,
    (check, sends_proxy): (&Check, bool),
    keys: &[&str],
    place: impl Fn(&str) -> Span,
    reader: &mut Reader<'_>,
) {
    let Some(fastcgi) = fastcgi else { return };
    let spoken = fastcgi.protocol.key();
    for key in keys.iter().filter(|key| **key != spoken) {
        let message = format!("`{key}` and `{spoken}`: one protocol is spoken there");
        reader.wrong(&place(key), message);
    }
    if matches!(check, Check::Http(..)) {
        let message = format!("a check with `path` asks over HTTP, and `{spoken}` is spoken there");
        let hint = "`check = \"tcp\"` opens a connection";
        reader.wrong_hint(&place("check"), message, Some(hint.into()));
    }
    let is_name = |name: &str| {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        !name.is_empty() && name.bytes().all(is_part) && name != "CONTENT_LENGTH"
    };
    for name in fastcgi.params.keys().filter(|name| !is_name(name)) {
        let message = format!(
            "a program cannot be given a parameter `{name}`: names are of letters, digits and _, and the length of a body is what it is"
        );
        reader.wrong(&place(spoken), message);
    }
    if sends_proxy {
        let message = "a program that does not speak HTTP knows no PROXY header: it is told who the client is anyway";
        reader.wrong(&place("send-proxy"), message);
    }
    if fastcgi.root.is_none() && (fastcgi.front.is_some() || fastcgi.script.is_some()) {
        let message = "`front` and `script` are below `root`, and there is no `root`";
        reader.wrong(&place(spoken), message);
    }
    if fastcgi.front.is_some() && fastcgi.script.is_some() {
        let message = "with `script` no other one runs: there is nothing left for `front`";
        reader.wrong(&place(spoken), message);
    }
}
