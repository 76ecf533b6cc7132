//! Descriptors from one process to another, with words about them (`SCM_RIGHTS`, unix(7)).
//!
//! ```text
//! length of the text, number of descriptors    two u32, little-endian
//! one byte for each batch of descriptors       with them
//! the text
//! ```
//!
//! What is received is closed by `exec`, as everything else of a process here is. Calls wait: for the peer, or until the
//! socket's own time limits.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const BATCH: usize = 128;
/// The longest text, in bytes.
const LONGEST: usize = 64 << 20;
/// The most descriptors: more than a process may usually have.
const MOST: usize = 1 << 20;

/// What was sent.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The words.
    pub text: Vec<u8>,
    /// The descriptors, in their order.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends descriptors, which stay open here too, and words about them.
///
/// # Errors
/// When the peer is gone, or does not take them in time.
pub fn send(socket: &UnixStream, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if text.len() > LONGEST || descriptors.len() > MOST {
        return Err(io::Error::other("a parcel that is too large"));
    }
    let mut stream = socket;
    let mut head = [0; 8];
    head[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
    stream.write_all(&head)?;
    for batch in descriptors.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::Error::other("a batch of descriptors that does not fit"));
        }
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(
                socket,
                &[IoSlice::new(&[0])],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        })?;
        debug_assert_eq!(sent, 1, "one byte is sent or none");
    }
    stream.write_all(text)
}

/// Takes what is sent next; `None` when the peer has ended instead.
///
/// # Errors
/// When nothing comes in time, when it is no parcel, or when descriptors were lost on the way.
pub fn receive(socket: &UnixStream) -> io::Result<Option<Parcel>> {
    let mut stream = socket;
    let mut head = [0; 8];
    if stream.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..])?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, count) = (number(0) as usize, number(4) as usize);
    if length > LONGEST || count > MOST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what came is no parcel",
        ));
    }
    let mut descriptors = Vec::with_capacity(count);
    while descriptors.len() < count {
        let due = descriptors.len() + BATCH.min(count - descriptors.len());
        receive_batch(socket, &mut descriptors)?;
        if descriptors.len() != due {
            return Err(io::Error::other(
                "descriptors were lost on the way: is the limit of open files too low?",
            ));
        }
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(Some(Parcel { text, descriptors }))
}

fn receive_batch(socket: &UnixStream, into: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            into.extend(descriptors);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_sent_arrives_in_its_order_in_several_batches_too() {
        let (here, there) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..300).map(|_| io::pipe().unwrap()).collect();
        let sender = std::thread::spawn(move || {
            let fds: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
            send(&here, b"three hundred", &fds).unwrap();
            send(&here, b"", &[]).unwrap();
            drop(here);
            pipes.into_iter().map(|(reader, _)| reader)
        });
        let parcel = receive(&there).unwrap().unwrap();
        assert_eq!(parcel.text, b"three hundred");
        assert_eq!(parcel.descriptors.len(), 300);
        let empty = receive(&there).unwrap().unwrap();
        assert!(empty.text.is_empty() && empty.descriptors.is_empty());
        assert!(receive(&there).unwrap().is_none(), "the peer has ended");
        for (number, (mut reader, writer)) in
            sender.join().unwrap().zip(parcel.descriptors).enumerate()
        {
            let flags = rustix::io::fcntl_getfd(&writer).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            File::from(writer).write_all(&[number as u8]).unwrap();
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number as u8]);
        }
    }

    #[test]
    fn a_peer_that_ends_within_a_parcel_is_an_error_and_nonsense_is_refused() {
        for (bytes, kind) in [
            (&[1, 0, 0][..], io::ErrorKind::UnexpectedEof),
            (&[0, 0, 0, 0, 1, 0, 0, 0], io::ErrorKind::UnexpectedEof),
            (&[0xff; 8], io::ErrorKind::InvalidData),
        ] {
            let (here, there) = UnixStream::pair().unwrap();
            (&here).write_all(bytes).unwrap();
            drop(here);
            assert_eq!(receive(&there).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }
}
