//! The log as openraft sees it: segments on disk, the newest entries in memory too.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::fs;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use futures_util::stream;
use openraft::entry::{EntryPayload, RaftEntry};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::files;
use super::mark::Mark;
use super::segment::{Records, Segment};
use super::sync::{Flusher, Job, sync_data};
use crate::home::Hold;
use crate::rt::blocking;
use crate::types::{Entry, LogId, Types, Vote, invalid};

/// What a segment may grow to, in bytes.
const SEGMENT: u64 = 16 * 1024 * 1024;
/// Entries kept in memory, for replicas that are a little behind; values are shared with the state.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
const CACHE_ENTRIES: usize = 8 * 1024;
/// Entries read at once stop at about so many bytes. They make one frame of the cluster port, which both ends read, copy and
/// write on the thread that serves: a replica that is far behind must not keep it from those who are served.
const READ_BYTES: usize = 256 * 1024;
/// Entries read at once to be applied.
const READ_ENTRIES: u64 = 256;

const VOTE: &str = "vote";
const PURGED: &str = "purged";
/// Says which segment is the newest, so that its loss is seen.
const NEWEST: &str = "newest";

/// The vote and the log of a replica, and the reader of both. Cheap to clone.
#[derive(Clone)]
pub struct LogStore(Arc<Mutex<Inner>>);

struct Inner {
    directory: PathBuf,
    segments: VecDeque<Segment>,
    /// The first index of the newest segment, as the disk has it.
    newest: Option<u64>,
    mark: Mark,
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    flusher: Option<Flusher>,
    /// A segment that has reached so many bytes is followed by another.
    segment: u64,
    /// A flush that was begun, and says then how far the log was written, is over before the directory is another's.
    hold: Option<Hold>,
    /// It lacks what was acknowledged, and nothing is added to it any more.
    is_lost: bool,
}

impl LogStore {
    /// Makes a log in which nothing is yet, where there is none.
    pub fn begin(directory: &Path, durable: bool) -> io::Result<()> {
        Mark::begin(directory, durable)?;
        files::write(&directory.join(NEWEST), &None::<u64>, durable)
    }

    /// Reads what is in `directory`. An error of the kind [`io::ErrorKind::InvalidData`] means that the state is lost.
    pub fn open(directory: &Path, durable: bool) -> io::Result<Self> {
        let vote = files::read(&directory.join(VOTE))?;
        let purged: Option<LogId> = files::read(&directory.join(PURGED))?;
        let newest =
            files::read(&directory.join(NEWEST))?.ok_or_else(|| invalid("the log is missing"))?;
        let mut inner = Inner {
            directory: directory.into(),
            segments: VecDeque::new(),
            newest,
            mark: Mark::open(directory)?,
            cache: VecDeque::new(),
            cache_bytes: 0,
            vote,
            last: purged,
            purged,
            flusher: durable.then(Flusher::start).transpose()?,
            segment: SEGMENT,
            hold: None,
            is_lost: false,
        };
        inner.load()?;
        if inner.vote.is_none() && inner.last.is_some() {
            return Err(invalid("the log is there and the vote is not"));
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Keeps the directory as long as the log is used.
    pub fn set_hold(&self, hold: Hold) {
        self.lock().hold = Some(hold);
    }

    /// Whether there is neither a vote nor a log.
    pub fn is_blank(&self) -> bool {
        let inner = self.lock();
        inner.vote.is_none() && inner.last.is_none()
    }

    /// The last entry that was taken away because a snapshot has it.
    pub fn purged(&self) -> Option<LogId> {
        self.lock().purged
    }

    /// Has smaller segments begun from now on.
    #[cfg(test)]
    pub fn set_segment(&self, bytes: u64) {
        self.lock().segment = bytes;
    }

    /// All entries from `start` on, some at a time, in order.
    pub fn each_from(&self, start: u64, mut seen: impl FnMut(Entry)) -> io::Result<()> {
        let inner = self.lock();
        let behind = inner.last.map_or(0, |last| last.index() + 1);
        for index in start..behind {
            let entry = inner.get(index)?;
            seen(entry.ok_or_else(|| invalid("an entry of the log is missing"))?);
        }
        Ok(())
    }

    /// The vote, and how many entries the log has had: the index behind the last.
    pub fn extent(&self) -> (Option<Vote>, u64) {
        let inner = self.lock();
        (inner.vote, inner.last.map_or(0, |last| last.index() + 1))
    }

    /// Says that so many entries were in the log, and more than are: whoever opens it finds that it is lost.
    pub async fn give_up(&self, entries: u64) -> io::Result<()> {
        let (mark, hold) = {
            let mut inner = self.lock();
            inner.is_lost = true;
            inner.mark.set(entries)?;
            (inner.mark.file(), inner.hold.clone())
        };
        blocking(move || {
            let _hold = hold;
            sync_data(&mark)
        })
        .await
    }

    /// Bytes of entries that are held in memory.
    #[cfg(test)]
    pub fn cached(&self) -> usize {
        self.lock().cache_bytes
    }

    /// Bytes that the log takes on disk.
    pub fn size(&self) -> u64 {
        self.lock().segments.iter().map(Segment::size).sum()
    }

    /// The last index that may go when about so many bytes of the newest entries are kept; `None` when none may.
    pub fn beyond(&self, keep: u64) -> Option<u64> {
        let inner = self.lock();
        let mut kept = 0;
        for segment in inner.segments.iter().rev() {
            if kept >= keep {
                return segment.next().checked_sub(1);
            }
            kept += segment.size();
        }
        None
    }

    /// Has everything flushed to disk. What was written without `durable` becomes durable by it, and what a process was
    /// killed before flushing, or failed to flush: from now on it counts as written.
    pub fn flush_all(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let known = inner.mark.entries();
        for segment in &inner.segments {
            segment.write_again(known)?;
            sync_data(&segment.file())?;
        }
        for name in [VOTE, PURGED, NEWEST] {
            match fs::File::open(inner.directory.join(name)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files::sync_directory(&inner.directory)?;
        inner.is_written(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all appended so far is on disk, so that what is written next cannot be there before it.
    async fn barrier(&self) -> io::Result<()> {
        let (done, waited) = tokio::sync::oneshot::channel();
        {
            let inner = self.lock();
            let (Some(flusher), Some(segment)) = (&inner.flusher, inner.segments.back()) else {
                return Ok(());
            };
            flusher.ask(Job::flush(segment.file(), |result| {
                let _ = done.send(result);
            }));
        }
        waited.await.map_err(io::Error::other)?
    }

    /// Does what may wait for the disk: beside what serves, and after all that was appended so far is on it.
    async fn in_turn(
        &self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (done, waited) = tokio::sync::oneshot::channel();
        {
            let inner = self.lock();
            if let Some(flusher) = &inner.flusher {
                if let Some(segment) = inner.segments.back() {
                    // When this fails, so does what comes after it.
                    flusher.ask(Job::flush(segment.file(), |_| {}));
                }
                let hold = inner.hold.clone();
                let work = move || {
                    let _hold = hold;
                    work()
                };
                flusher.ask(Job::after(work, |result| {
                    let _ = done.send(result);
                }));
            } else {
                // It waits for no disk.
                drop(inner);
                return work();
            }
        }
        waited.await.map_err(io::Error::other)?
    }

    /// Begins the segment that the entry `first` goes to, if that is another one and it takes the disk's time.
    async fn make_room(&self, first: u64) -> io::Result<()> {
        let directory = {
            let inner = self.lock();
            inner.must_not_be_lost()?;
            if inner.flusher.is_none() || !inner.needs_segment(first) {
                return Ok(());
            }
            inner.directory.clone()
        };
        let made = Arc::new(Mutex::new(None));
        let begun = made.clone();
        // The full one is on the disk before there is another: only the last may end within a record.
        self.in_turn(move || {
            let segment = Segment::create(&directory, first)?;
            files::write(&directory.join(NEWEST), &Some(first), true)?;
            *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(segment);
            Ok(())
        })
        .await?;
        let made = made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or_else(|| invalid("no segment was begun"))?;
        let mut inner = self.lock();
        inner.segments.push_back(made);
        inner.newest = Some(first);
        Ok(())
    }
}

impl Inner {
    fn load(&mut self) -> io::Result<()> {
        let found = Segment::list(&self.directory)?;
        let count = found.len();
        let mut expected = None;
        for (i, (first, path)) in found.into_iter().enumerate() {
            if expected.is_some_and(|e| e != first) {
                return Err(invalid("a part of the log is missing"));
            }
            let (mut last, mut entries) = (None, Vec::new());
            let segment = Segment::open(
                first,
                path,
                i + 1 == count,
                self.flusher.is_some(),
                |entry| {
                    last = Some(entry.log_id());
                    entries.push(entry);
                },
            )?;
            expected = Some(segment.next());
            for entry in entries {
                self.remember(entry);
            }
            self.last = self.last.max(last);
            self.segments.push_back(segment);
        }
        let there = |first| self.segments.iter().any(|s| s.first == first);
        if self.newest.is_some_and(|first| !there(first)) {
            return Err(invalid("the end of the log is missing"));
        }
        let gap = self
            .segments
            .front()
            .is_some_and(|s| s.first > self.purged.map_or(0, |p| p.index() + 1));
        let short = expected.is_some_and(|next| self.purged.is_some_and(|p| next <= p.index()));
        if gap {
            return Err(invalid("the start of the log is missing"));
        }
        let behind = self.last.map_or(0, |last| last.index() + 1);
        if behind < self.mark.entries() {
            let missing = self.mark.entries() - behind;
            return Err(invalid(&format!(
                "the end of the log is missing, {missing} entries"
            )));
        }
        if short {
            // Everything in the segments is in a snapshot: the next entry starts a new one.
            self.forget_segments(u64::MAX)?;
        }
        Ok(())
    }

    fn remember(&mut self, entry: Entry) {
        self.cache_bytes += weight(&entry);
        self.cache.push_back(entry);
        while self.cache.len() > CACHE_ENTRIES
            || (self.cache_bytes > CACHE_BYTES && self.cache.len() > 1)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= weight(&entry);
        }
    }

    /// Says that `first` is the newest segment: before another goes, and after it has come.
    fn set_newest(&mut self, first: Option<u64>) -> io::Result<()> {
        if self.newest != first {
            let path = self.directory.join(NEWEST);
            files::write(&path, &first, self.flusher.is_some())?;
            self.newest = first;
        }
        Ok(())
    }

    /// Deletes the segments all of whose entries are below `index`.
    fn forget_segments(&mut self, index: u64) -> io::Result<()> {
        if index == u64::MAX {
            self.set_newest(None)?;
        }
        while self.segments.front().is_some_and(|s| s.next() <= index) {
            // The last one is kept while entries may follow in it.
            if self.segments.len() == 1 && index != u64::MAX {
                break;
            }
            if let Some(segment) = self.segments.pop_front() {
                segment.delete()?;
            }
        }
        Ok(())
    }

    /// What was said to be lost stays so.
    fn must_not_be_lost(&self) -> io::Result<()> {
        if self.is_lost {
            return Err(invalid("the log lacks what was acknowledged"));
        }
        Ok(())
    }

    /// Whether the entry `first` goes to a segment of its own.
    fn needs_segment(&self, first: u64) -> bool {
        let newest = self.segments.back();
        // One that has nothing yet was begun for it.
        newest.is_none_or(|s| s.next() != first || (s.size() >= self.segment && s.first != first))
    }

    fn append(&mut self, entries: impl Iterator<Item = Entry>) -> io::Result<()> {
        self.must_not_be_lost()?;
        let mut records = Records::default();
        let mut first = None;
        let mut added = Vec::new();
        for entry in entries {
            first.get_or_insert(entry.index());
            records.add(&entry, weight(&entry))?;
            added.push(entry);
        }
        let Some(first) = first else {
            return Ok(());
        };
        // With `durable` room was made before.
        if self.needs_segment(first) {
            self.segments
                .push_back(Segment::create(&self.directory, first)?);
            self.set_newest(Some(first))?;
        }
        let segment = self.segments.back_mut().expect("one was just made sure of");
        segment.append(&records)?;
        for entry in added {
            self.last = Some(entry.log_id());
            self.remember(entry);
        }
        Ok(())
    }

    /// What was appended up to here is in the log for good, unless it was taken out again meanwhile.
    fn is_written(&mut self, entries: u64) -> io::Result<()> {
        self.must_not_be_lost()?;
        let behind = self.last.map_or(0, |last| last.index() + 1);
        self.mark.set(entries.min(behind))
    }

    fn get(&self, index: u64) -> io::Result<Option<Entry>> {
        let purged = self.purged.is_some_and(|p| index <= p.index());
        if purged || self.last.is_none_or(|last| index > last.index()) {
            return Ok(None);
        }
        if let Some(first) = self.cache.front().map(RaftEntry::index)
            && index >= first
        {
            return Ok(self.cache.get((index - first) as usize).cloned());
        }
        let behind = self.segments.partition_point(|s| s.first <= index);
        match behind.checked_sub(1).map(|i| &self.segments[i]) {
            Some(segment) if index < segment.next() => segment.read(index).map(Some),
            _ => Ok(None),
        }
    }

    /// Takes the entries from `from` on out, all but those in the file of the last segment that stays. Whether files went.
    fn forget_from(&mut self, from: u64) -> io::Result<bool> {
        let count = self.segments.len();
        while self.segments.back().is_some_and(|s| s.first >= from) {
            if let Some(segment) = self.segments.pop_back() {
                segment.delete()?;
            }
        }
        while self.cache.back().is_some_and(|e| e.index() >= from) {
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= weight(&entry);
            }
        }
        self.last = match from.checked_sub(1) {
            Some(index) => self.get(index)?.map(|e| e.log_id()).or(self.purged),
            None => None,
        };
        Ok(self.segments.len() < count)
    }
}

fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.weight(),
        _ => 256,
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let inner = self.lock();
        let first = inner.purged.map_or(0, |p| p.index() + 1);
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => *i + 1,
            Bound::Unbounded => 0,
        };
        let behind = inner.last.map_or(0, |last| last.index() + 1);
        let end = match range.end_bound() {
            Bound::Included(i) => *i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => behind,
        };
        let mut entries = Vec::new();
        for index in start.max(first)..end.min(behind) {
            let entry = inner.get(index)?;
            entries.push(entry.ok_or_else(|| invalid("an entry of the log is missing"))?);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let inner = self.lock();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in start..end {
            let Some(entry) = inner.get(index)? else {
                break;
            };
            bytes += weight(&entry);
            entries.push(entry);
            if bytes >= READ_BYTES {
                break;
            }
        }
        Ok(entries)
    }

    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + Send {
        // Some at a time: a replica that has to apply its whole log need not hold it in memory at once.
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => *i + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(i) => *i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        let read = (self.clone(), start, VecDeque::new());
        Box::pin(stream::unfold(
            read,
            move |(mut store, mut next, mut ready)| async move {
                if ready.is_empty() && next < end {
                    match store
                        .limited_get_log_entries(next, end.min(next + READ_ENTRIES))
                        .await
                    {
                        Ok(entries) => ready.extend(entries),
                        Err(error) => return Some((Err(error), (store, end, ready))),
                    }
                }
                let entry = ready.pop_front()?;
                next += 1;
                Some((Ok(entry), (store, next, ready)))
            },
        ))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let inner = self.lock();
        Ok(LogState {
            last_purged_log_id: inner.purged,
            last_log_id: inner.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (path, durable) = {
            let inner = self.lock();
            (inner.directory.join(VOTE), inner.flusher.is_some())
        };
        let saved = *vote;
        self.in_turn(move || files::write(&path, &saved, durable))
            .await?;
        self.lock().vote = Some(saved);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.make_room(first.index()).await?;
        }
        let mut inner = self.lock();
        inner.append(entries.into_iter())?;
        #[cfg(test)]
        if crate::sim::is_broken(crate::sim::Broken::AcknowledgedBeforeTheDisk) {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let entries = inner.last.map_or(0, |last| last.index() + 1);
        match (&inner.flusher, inner.segments.back()) {
            (Some(flusher), Some(segment)) => {
                let store = self.clone();
                flusher.ask(Job::flush(segment.file(), move |result| {
                    let result = result.and_then(|()| store.lock().is_written(entries));
                    callback.io_completed(result);
                }));
            }
            _ => {
                inner.is_written(entries)?;
                callback.io_completed(Ok(()));
            }
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        // What is on its way to the disk says how far the log goes when it is there.
        self.barrier().await?;
        let (mark, path, newest, directory, durable) = {
            let mut inner = self.lock();
            inner.must_not_be_lost()?;
            let kept = from.min(inner.mark.entries());
            inner.mark.set(kept)?;
            let newest = inner.segments.iter().rev().find(|s| s.first < from);
            let newest = newest.map(|s| s.first);
            let path = inner.directory.join(NEWEST);
            let changed = (inner.newest != newest).then_some(path);
            let durable = inner.flusher.is_some();
            let directory = inner.directory.clone();
            (inner.mark.file(), changed, newest, directory, durable)
        };
        // First said, then done.
        self.in_turn(move || {
            if durable {
                sync_data(&mark)?;
            }
            path.map_or(Ok(()), |path| files::write(&path, &newest, durable))
        })
        .await?;
        let fewer = {
            let mut inner = self.lock();
            inner.newest = newest;
            inner.forget_from(from)?
        };
        if durable && fewer {
            // Else one could be there again after a power cut, behind a gap.
            self.in_turn(move || files::sync_directory(&directory))
                .await?;
        }
        match self.lock().segments.back_mut() {
            Some(segment) => segment.truncate(from),
            None => Ok(()),
        }
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let (directory, durable, all) = {
            let inner = self.lock();
            let durable = inner.flusher.is_some();
            (inner.directory.clone(), durable, inner.is_all(upto))
        };
        self.in_turn(move || say_purged(&directory, upto, all, durable))
            .await?;
        self.lock().forget_to(upto, all)
    }
}

impl LogStore {
    /// Forgets the entries up to this one, which a snapshot has: for a log that nobody serves from.
    pub fn purge_to(&self, upto: LogId) -> io::Result<()> {
        let mut inner = self.lock();
        let all = inner.is_all(upto);
        say_purged(&inner.directory, upto, all, inner.flusher.is_some())?;
        inner.forget_to(upto, all)
    }
}

/// First said, then done: segments that are left over are recognised, ones that are missing would not be.
fn say_purged(directory: &Path, upto: LogId, all: bool, durable: bool) -> io::Result<()> {
    files::write(&directory.join(PURGED), &upto, durable)?;
    if all {
        files::write(&directory.join(NEWEST), &None::<u64>, durable)?;
    }
    Ok(())
}

impl Inner {
    /// Whether nothing is left behind this entry.
    fn is_all(&self, upto: LogId) -> bool {
        self.last.is_none_or(|last| last.index() <= upto.index())
    }

    /// It was said that what is up to here goes.
    fn forget_to(&mut self, upto: LogId, all: bool) -> io::Result<()> {
        self.purged = Some(upto);
        while self
            .cache
            .front()
            .is_some_and(|e| e.index() <= upto.index())
        {
            self.forget_first();
        }
        if all {
            self.newest = None;
            self.last = Some(upto);
            self.cache.clear();
            self.cache_bytes = 0;
            return self.forget_segments(u64::MAX);
        }
        self.forget_segments(upto.index() + 1)
    }
}
