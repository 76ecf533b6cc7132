//! What does not go with programs that speak FastCGI.

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
            &mine.check,
            |key| section.place(key),
            reader,
        );
    }
    for app in &draft.apps {
        let (section, mine) = (&app.section, &app.section.draft.app);
        one(
            mine.fastcgi.as_deref(),
            &mine.check,
            |key| section.place(key),
            reader,
        );
    }
}

fn one(
    fastcgi: Option<&FastCgi>,
    check: &Check,
    place: impl Fn(&str) -> Span,
    reader: &mut Reader<'_>,
) {
    let Some(fastcgi) = fastcgi else { return };
    if matches!(check, Check::Http(..)) {
        let message = "a check with `path` asks over HTTP, and `fastcgi` is spoken there";
        let hint = "`check = \"tcp\"` opens a connection";
        reader.wrong_hint(&place("check"), message, Some(hint.into()));
    }
    if fastcgi.root.is_none() && (fastcgi.front.is_some() || fastcgi.script.is_some()) {
        let message = "`front` and `script` are below `root`, and there is no `root`";
        reader.wrong(&place("fastcgi"), message);
    }
    if fastcgi.front.is_some() && fastcgi.script.is_some() {
        let message = "with `script` no other one runs: there is nothing left for `front`";
        reader.wrong(&place("fastcgi"), message);
    }
}
