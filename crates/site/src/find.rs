//! Step 6: what there is at a name, as far as it has to be looked up.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use tandem_http::Moment;
use tandem_http::policy::coding::{Preference, is_text};
use tandem_model::Coding;

use crate::entry::{self, About, Entry};
use crate::expires::cache_control;
use crate::listing::{self, Sort};
use crate::place::Place;
use crate::root::{Closed, Held, Opened, Patience};
use crate::watch::{self, Belief};
use crate::{Shared, Worker};
use crate::{coding, compress};

/// What there is at a path.
pub(crate) enum Found {
    /// A file, and for how long it is certain.
    File(Arc<Entry>, Option<Belief>),
    /// A directory, asked for without the slash.
    Directory,
    /// A directory without an index, as a page.
    Listing(Bytes),
}

/// A look for a file, for one request.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) worker: &'a Worker,
    pub(crate) now: Moment,
    pub(crate) patience: Patience,
    pub(crate) wanted: Wanted,
}

/// What a request would rather have of what there is.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Of the codings of a file.
    pub(crate) preference: Preference,
    /// Of the orders of a listing.
    pub(crate) sort: Sort,
}

/// A file that was opened, and where.
struct Candidate<'a> {
    /// What it was asked for by.
    name: &'a [u8],
    place: &'a Place,
    held: &'a Held,
    /// The name below the place.
    file_name: &'a [u8],
    file: OwnedFd,
    stat: Stat,
    /// Of its directory.
    belief: Option<Belief>,
}

/// The name under which the cache keeps what is sent to clients of this preference. No name has a NUL.
pub(crate) fn key(name: &[u8], preference: Preference) -> Cow<'_, [u8]> {
    match preference.code() {
        None => Cow::Borrowed(name),
        Some(code) => Cow::Owned([name, &[0, code]].concat()),
    }
}

impl Search<'_> {
    /// Finds a name, or the index of a directory (a name that is empty or ends with a slash), or what is served where
    /// there is nothing; and keeps it.
    pub(crate) fn look(&self, name: &[u8]) -> Result<Found, Closed> {
        let found = self.look_for(name);
        let Some(fallback) = self.shared.site.fallback.as_deref() else {
            return found;
        };
        if !matches!(found, Err(Closed::Missing)) {
            return found;
        }
        // It is kept under its own name: there are any number of names without a file.
        let fallback = fallback.trim_start_matches('/').as_bytes();
        match self
            .worker
            .cache
            .fresh(&key(fallback, self.wanted.preference), self.now)
        {
            Some(entry) => Ok(Found::File(entry, None)),
            None => self.look_for(fallback),
        }
    }

    /// As [`look`](Self::look), for that name and no other.
    pub(crate) fn look_for(&self, name: &[u8]) -> Result<Found, Closed> {
        let cache = &self.worker.cache;
        if cache.is_unplaced(self.now) {
            // A place whose disk does not answer must not keep the others waiting: nothing is believed for longer then.
            let mut places = self.shared.places.all();
            if places.all(|place| self.directory(place, Patience::None).is_ok()) {
                cache.place(self.now);
            }
        }
        let mut found = self.find(name);
        if matches!(found, Err(Closed::Busy)) {
            // The descriptors that are missing may be the cache's own.
            cache.clear();
            found = self.find(name);
        }
        let key = key(name, self.wanted.preference);
        match &found {
            Ok(Found::File(entry, belief)) => {
                cache.keep(&key, entry.clone(), self.now, belief.clone());
            }
            Err(Closed::Patience | Closed::Busy) => {}
            Ok(_) | Err(_) => cache.forget(&key),
        }
        if let Err(closed) = found {
            let (place, below) = self.shared.places.of(name);
            let events = &self.shared.telemetry.events;
            place.say_if_refused(below, closed, self.now, events);
        }
        found
    }

    fn directory(&self, place: &Place, patience: Patience) -> Result<Arc<Held>, Closed> {
        let turned = || self.shared.watches.forget();
        let held = place.root.directory(self.now, patience, turned)?;
        place.report(held.fd().err(), &self.shared.telemetry.events);
        Ok(held)
    }

    fn find(&self, name: &[u8]) -> Result<Found, Closed> {
        let is_directory = name.is_empty() || name.ends_with(b"/");
        let only_files = self.shared.site.only_files;
        let suffixes = &self.shared.site.suffixes;
        let of_directories = |suffix: &String| suffix.starts_with('/');
        if is_directory && only_files && !suffixes.iter().any(of_directories) {
            return Err(Closed::Missing);
        }
        let (place, below) = self.shared.places.of(name);
        let watches = &self.shared.watches;
        let epoch = watches.epoch();
        let held = self.directory(place, self.patience)?;
        // Before anything is read: what changes from here on is counted.
        let directory = watch::directory_of(below);
        let belief = watches.believe(epoch, place.index, &place.root, &held, directory);
        // An index of another directory is not watched.
        let far = |index: &String| index.contains('/');
        let belief = belief.filter(|_| !self.shared.site.index.iter().any(far));
        let asked = belief.is_some();
        let opened = |file_name: &[u8]| place.root.find(&held, file_name, self.patience, asked);
        let ready = |file_name: &[u8], file, stat: Stat, unlinked| {
            // Another name of the file may be in a directory that is not watched.
            let belief = belief.filter(|_| unlinked && stat.st_nlink == 1);
            self.ready(Candidate {
                belief,
                name,
                place,
                held: &held,
                file_name,
                file,
                stat,
            })
        };
        let mut there = Err(Closed::Missing);
        if !is_directory {
            there = match opened(below) {
                Ok(Opened::File(file, stat, unlinked)) => {
                    return ready(below, file, stat, unlinked);
                }
                Ok(Opened::Directory) if !only_files => Ok(Found::Directory),
                Ok(Opened::Directory) | Err(Closed::Missing) => Err(Closed::Missing),
                Err(closed) => return Err(closed),
            };
        }
        let stem = below.strip_suffix(b"/").unwrap_or(below);
        for suffix in suffixes {
            let is_far = suffix.contains('/');
            // What ends in a slash names a directory, in which something may be.
            if is_directory && !is_far {
                continue;
            }
            let file_name = [stem, suffix.as_bytes()].concat();
            let file_name = file_name.strip_prefix(b"/").unwrap_or(&file_name);
            match opened(file_name) {
                Ok(Opened::File(file, stat, unlinked)) => {
                    // The directory that it is in is not watched.
                    return ready(file_name, file, stat, unlinked && !is_far);
                }
                Ok(Opened::Directory) | Err(Closed::Missing) => {}
                Err(closed) => return Err(closed),
            }
        }
        if !is_directory || only_files {
            return there;
        }
        for index in &self.shared.site.index {
            let file_name = [below, index.as_bytes()].concat();
            match opened(&file_name) {
                Ok(Opened::File(file, stat, unlinked)) => {
                    return ready(&file_name, file, stat, unlinked);
                }
                Ok(Opened::Directory) | Err(Closed::Missing) => {}
                Err(closed) => return Err(closed),
            }
        }
        // What is not even a directory is not there.
        let Opened::Directory = opened(below)? else {
            return Err(Closed::Missing);
        };
        let site = &self.shared.site;
        match (site.listing, self.patience) {
            (true, Patience::None) => Err(Closed::Patience),
            (true, Patience::Disk) => {
                let page = listing::page(
                    &place.root,
                    &held,
                    below,
                    name,
                    site.hidden,
                    self.wanted.sort,
                )?;
                Ok(Found::Listing(page))
            }
            (false, _) if site.fallback.is_some() => Err(Closed::Missing),
            (false, _) => Err(Closed::Unlisted),
        }
    }

    /// What is sent of a file to clients of this preference: a sibling, or what it is compressed to, or itself.
    fn ready(&self, mut found: Candidate<'_>) -> Result<Found, Closed> {
        let site = &self.shared.site;
        let kind = self.shared.types.of(found.file_name);
        let about = About {
            cache_control: cache_control(&site.expires, &kind),
            varies: !site.precompressed.is_empty() || site.compress && is_text(&kind),
            kind: &kind,
        };
        let known = self
            .worker
            .cache
            .known(&key(found.name, self.wanted.preference));
        for coding in self.wanted.preference.codings() {
            if site.precompressed.contains(&coding)
                && let Some(entry) = self.sibling(&mut found, &about, coding, known.as_ref())?
            {
                return Ok(Found::File(entry, found.belief));
            }
            if site.compress
                && coding::is_made(coding)
                && compress::is_worth_it(&kind, entry::size_of(&found.stat)?)
            {
                return self.made(found, &about, coding, known);
            }
        }
        self.as_it_is(found, &about, known)
    }

    /// The file beside it that holds the same in this coding. One that is older than the file is of another version.
    fn sibling(
        &self,
        found: &mut Candidate<'_>,
        about: &About<'_>,
        coding: Coding,
        known: Option<&Arc<Entry>>,
    ) -> Result<Option<Arc<Entry>>, Closed> {
        let name = [found.file_name, coding.suffix().as_bytes()].concat();
        let root = &found.place.root;
        let opened = root.find(found.held, &name, self.patience, found.belief.is_some());
        let (file, stat) = match opened {
            Ok(Opened::File(file, stat, unlinked)) => {
                if !unlinked || stat.st_nlink != 1 {
                    found.belief = None;
                }
                (file, stat)
            }
            Ok(Opened::Directory) | Err(Closed::Missing | Closed::Denied | Closed::Outside) => {
                return Ok(None);
            }
            Err(closed) => return Err(closed),
        };
        let changed = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        if changed(&stat) < changed(&found.stat) {
            return Ok(None);
        }
        if let Some(known) = known
            && known.coding == Some(coding)
            && !known.is_made()
            && known.is(&stat)
        {
            return Ok(Some(known.clone()));
        }
        let entry = Entry::load(file, &stat, about, Some(coding), self.patience)?;
        Ok(Some(Arc::new(entry)))
    }

    /// The file compressed, which takes long enough to be done by another thread.
    fn made(
        &self,
        found: Candidate<'_>,
        about: &About<'_>,
        coding: Coding,
        known: Option<Arc<Entry>>,
    ) -> Result<Found, Closed> {
        if let Some(known) = &known
            && (known.coding == Some(coding) && known.is_made() || known.incompressible)
            && known.is(&found.stat)
        {
            return Ok(Found::File(known.clone(), found.belief));
        }
        if self.patience == Patience::None {
            return Err(Closed::Patience);
        }
        let key = key(found.name, self.wanted.preference);
        let _turn = self.shared.making.take(&key);
        // Others may have waited for the same, or another worker have it.
        for worker in &self.shared.workers {
            if let Some(made) = worker.cache.known(&key)
                && made.coding == Some(coding)
                && made.is_made()
                && made.is(&found.stat)
            {
                let mine = std::ptr::eq(worker, self.worker);
                let made = if mine { made } else { Arc::new(made.copy()) };
                return Ok(Found::File(made, found.belief));
            }
        }
        let size = entry::size_of(&found.stat)?;
        let content = entry::whole(&found.file, size, self.patience)?;
        match content.and_then(|content| compress::compressed(&content, coding)) {
            Some(made) => {
                let entry = Entry::made(made, &found.stat, about, coding);
                Ok(Found::File(Arc::new(entry), found.belief))
            }
            None => {
                let mut entry = Entry::load(found.file, &found.stat, about, None, self.patience)?;
                entry.incompressible = true;
                Ok(Found::File(Arc::new(entry), found.belief))
            }
        }
    }

    /// The file as it was kept, if it is unchanged; else read anew.
    fn as_it_is(
        &self,
        found: Candidate<'_>,
        about: &About<'_>,
        known: Option<Arc<Entry>>,
    ) -> Result<Found, Closed> {
        // Clients of every preference share it.
        for known in [known, self.worker.cache.known(found.name)]
            .into_iter()
            .flatten()
        {
            if known.coding.is_none() && known.is(&found.stat) {
                return Ok(Found::File(known, found.belief));
            }
        }
        let entry = Entry::load(found.file, &found.stat, about, None, self.patience)?;
        Ok(Found::File(Arc::new(entry), found.belief))
    }
}
