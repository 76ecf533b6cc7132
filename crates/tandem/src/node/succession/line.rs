//! What two processes talk over.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tandem_net::parcel;

/// One end. Cheap to clone. Calls block.
#[derive(Clone)]
pub struct Line(Arc<UnixStream>);

/// The longest that the other side may take to take what is said.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

impl Line {
    /// Both ends; the second is for another process.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) = UnixStream::pair()?;
        Ok((Self::of(here)?, there.into()))
    }

    /// The end that is this process's standard input, which is empty from then on.
    pub fn on_stdin() -> io::Result<Self> {
        let line = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Self::of(line.into())
    }

    /// An end that another process had.
    pub fn of(socket: UnixStream) -> io::Result<Self> {
        socket.set_write_timeout(Some(TAKEN_WITHIN))?;
        Ok(Self(Arc::new(socket)))
    }

    /// Says something, with descriptors.
    pub fn say(&self, what: &impl Serialize, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(what)?;
        parcel::send(&self.0, &text, with)
    }

    /// What the other side says next, within this time; `None` when it has ended.
    pub fn hear<T: DeserializeOwned>(
        &self,
        within: Option<Duration>,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.0.set_read_timeout(within)?;
        let Some(parcel) = parcel::receive(&self.0)? else {
            return Ok(None);
        };
        Ok(Some((
            serde_json::from_slice(&parcel.text)?,
            parcel.descriptors,
        )))
    }

    /// Whether the other side has ended.
    pub fn has_ended(&self) -> bool {
        self.wait_for_end(Duration::ZERO)
    }

    /// Waits for the end of the other side, and says whether it came. What it says meanwhile is left unread.
    pub fn wait_for_end(&self, within: Duration) -> bool {
        let limit = Timespec::try_from(within).ok();
        // The end is told whatever is asked for.
        let mut end = [PollFd::new(&*self.0, PollFlags::empty())];
        let told = rustix::io::retry_on_intr(|| poll(&mut end, limit.as_ref()));
        told.is_ok_and(|count| count > 0)
    }

    /// For a process that takes this one's place.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}
