//! `rehearse`: what plays a service in rehearsals and drills.

use tandem_model::Rehearsal;

use crate::kinds::{ADDRESS, PATH, command};
use crate::table::Need::Else;
use crate::table::{Kind, Table, key};

pub(crate) const COMMAND: Kind<Vec<String>> = Kind {
    text: "list: a program and its arguments",
    read: command,
};

pub(crate) const REHEARSE: Kind<Rehearsal> = Kind {
    text: "table of a rehearsal",
    read: |reader, item| {
        let section = KEYS.read_item(reader, item)?;
        if section.present.len() != 1 && !section.broken {
            reader.wrong(
                &item.span(),
                "`rehearse` has one of `run`, `proxy` and `root`",
            );
        }
        section.draft.0
    },
};

#[derive(Default)]
pub(crate) struct Draft(Option<Rehearsal>);

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "rehearse = { ... }",
    label: "`rehearse`",
    doc: "What plays the service in rehearsals and drills, and only there. One of these.",
    keys: &[
        &key(
            "run",
            COMMAND,
            Else(""),
            "A program, by the rules of `run` of an app.",
            |d: &mut Draft, v| {
                d.0 = Some(Rehearsal::Run(v.value));
            },
        ),
        &key(
            "proxy",
            ADDRESS,
            Else(""),
            "Something that runs already, there.",
            |d: &mut Draft, v| {
                d.0 = Some(Rehearsal::Proxy(v.value));
            },
        ),
        &key(
            "root",
            PATH,
            Else(""),
            "Files from this directory.",
            |d: &mut Draft, v| {
                d.0 = Some(Rehearsal::Root(v.value));
            },
        ),
    ],
};
