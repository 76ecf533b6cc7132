//! Step 6: the directories of a site: its root, and those seen under other paths.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::io::Errno;
use tandem_http::{Moment, Seldom};
use tandem_model::Site;
use tandem_telemetry::event::Events;

use crate::root::{Closed, Root};
use crate::{Fault, SiteError};

/// How often it is said what clients ask for and may not have: whoever asks again and again fills no log.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// A directory, and where it is seen.
pub(crate) struct Place {
    /// Which of the site's places it is.
    pub(crate) index: usize,
    /// Without slashes at its ends; empty for the root.
    prefix: String,
    pub(crate) root: Root,
    /// `site NAME`, for events.
    subject: String,
    /// It could be opened when it was last looked at.
    readable: AtomicBool,
    /// What was asked for and could not be had.
    refused: Seldom,
}

/// All of them.
pub(crate) struct Places {
    root: Place,
    /// The longest prefix first.
    aliases: Vec<Place>,
}

impl Places {
    pub(crate) fn open(site: &Site) -> Result<Self, SiteError> {
        let place = |prefix: &str, path: &std::path::Path| {
            let root = Root::open(path).map_err(|errno| SiteError {
                site: site.name.clone(),
                fault: Fault::Place {
                    alias: (!prefix.is_empty()).then(|| prefix.to_owned()),
                    path: path.to_owned(),
                    errno,
                },
            });
            Ok(Place {
                index: 0,
                prefix: prefix.trim_matches('/').to_owned(),
                root: root?,
                subject: format!("site {}", site.name),
                readable: AtomicBool::new(true),
                refused: Seldom::default(),
            })
        };
        let aliases = site.aliases.iter().map(|(at, path)| place(at, path));
        let mut aliases: Vec<Place> = aliases.collect::<Result<_, SiteError>>()?;
        aliases.sort_by_key(|place| std::cmp::Reverse(place.prefix.len()));
        for (index, place) in (1..).zip(&mut aliases) {
            place.index = index;
        }
        Ok(Self {
            root: place("", &site.root)?,
            aliases,
        })
    }

    /// Where a name is, and what it is called there.
    pub(crate) fn of<'n>(&self, name: &'n [u8]) -> (&Place, &'n [u8]) {
        for place in &self.aliases {
            match name.strip_prefix(place.prefix.as_bytes()) {
                Some([]) => return (place, b""),
                Some([b'/', below @ ..]) => return (place, below),
                _ => {}
            }
        }
        (&self.root, name)
    }

    /// The root and the others.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.root).chain(&self.aliases)
    }

    #[cfg(test)]
    pub(crate) fn with(mut self, resolver: crate::root::Resolver) -> Self {
        self.root.root = self.root.root.with(resolver);
        self
    }
}

impl Place {
    /// Says that nothing can be served of it, if that is so.
    pub(crate) fn say_if_closed(&self, events: &Events) {
        if !self.root.may_be_entered() {
            let path = self.root.path().display();
            events.warning(
                self.subject.clone(),
                format!(
                    "its root {path} may not be entered by this user, every request is answered 403: give it the \
                     permission (chmod +x on it) or correct `root`"
                ),
            );
        }
    }

    /// Says now and then what is answered 403 since it may not be read or leads out of the root, which is seldom meant.
    pub(crate) fn say_if_refused(&self, name: &[u8], closed: Closed, now: Moment, events: &Events) {
        let why = match closed {
            Closed::Denied => {
                "this user may not read it, or not enter a directory on the way: give it the permission (chmod)"
            }
            Closed::Outside => {
                "a symbolic link on the way leads out of the root: move what it leads to, or use `aliases`"
            }
            _ => return,
        };
        let Some(unsaid) = self.refused.due(now, SAID_EVERY) else {
            return;
        };
        let more = match unsaid {
            0 => String::new(),
            n => format!(" (refusals since the last one that was told: {n} more)"),
        };
        let path = self.root.path().join(OsStr::from_bytes(name));
        // Clients choose the name: no byte of it may end the line.
        let path = path.to_string_lossy();
        events.warning(
            self.subject.clone(),
            format!("{path:?} is answered 403: {why}{more}"),
        );
    }

    /// Says once that the directory cannot be opened any more, and once that it can again.
    pub(crate) fn report(&self, fault: Option<Errno>, events: &Events) {
        let readable = fault.is_none();
        if self.readable.load(Relaxed) == readable
            || self.readable.swap(readable, Relaxed) == readable
        {
            return;
        }
        let subject = self.subject.clone();
        let path = self.root.path().display();
        match fault {
            None => events.info(subject, format!("the root {path} is readable again")),
            Some(errno) => {
                let why = std::io::Error::from(errno);
                events.error(
                    subject,
                    format!("the root {path} cannot be opened any more: {why}"),
                );
            }
        }
    }
}
