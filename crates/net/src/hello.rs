//! The name that a TLS client asks for (RFC 6066 section 3), read from its first bytes without taking them.

use std::future::poll_fn;
use std::io;

use crate::Socket;

/// The longest hello that is looked at, in bytes: a browser's is some 600, with post-quantum keys 1,800.
const MOST: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of what may be a client's hello.
    Part,
    /// A whole one, and the name that it asks for, in small letters.
    Asks(Option<String>),
    /// Something else.
    Other,
}

/// Reads the beginning of a connection. The hello may come in several records (RFC 8446 section 5.1).
pub fn parse(bytes: &[u8]) -> Hello {
    match message(bytes) {
        Ok(Some(hello)) => name(&hello).unwrap_or(Hello::Other),
        Ok(None) => Hello::Part,
        Err(Other) => Hello::Other,
    }
}

/// These bytes are no hello.
struct Other;

/// The body of the hello, put together from its records; `None` when it is not complete.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Other> {
    let mut whole = Vec::new();
    loop {
        // Type 22 is a handshake; the version is 3.x whatever is spoken later.
        for (i, expected) in [(0, 22), (1, 3)] {
            match bytes.get(i) {
                None => return Ok(None),
                Some(&byte) if byte == expected => {}
                Some(_) => return Err(Other),
            }
        }
        let Some((head, rest)) = bytes.split_at_checked(5) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > MOST {
            return Err(Other);
        }
        let here = &rest[..length.min(rest.len())];
        whole.extend_from_slice(here);
        // Type 1 is the client's hello.
        if whole.first().is_some_and(|&kind| kind != 1) {
            return Err(Other);
        }
        if let [_, a, b, c, body @ ..] = &whole[..] {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if wanted > MOST {
                return Err(Other);
            }
            if body.len() >= wanted {
                return Ok(Some(body[..wanted].to_vec()));
            }
        }
        if rest.len() <= length {
            return Ok(None);
        }
        bytes = &rest[length..];
    }
}

/// What a whole hello asks for; `None` when it is malformed.
fn name(hello: &[u8]) -> Option<Hello> {
    let mut rest = hello.get(2 + 32..)?;
    // Session, cipher suites, compression.
    vector(&mut rest, 1)?;
    vector(&mut rest, 2)?;
    vector(&mut rest, 1)?;
    if rest.is_empty() {
        return Some(Hello::Asks(None));
    }
    let mut extensions = vector(&mut rest, 2)?;
    while !extensions.is_empty() {
        let kind = number(&mut extensions, 2)?;
        let mut content = vector(&mut extensions, 2)?;
        if kind != 0 {
            continue;
        }
        let mut names = vector(&mut content, 2)?;
        while !names.is_empty() {
            let kind = number(&mut names, 1)?;
            let name = vector(&mut names, 2)?;
            if kind == 0 {
                let name = std::str::from_utf8(name).ok()?;
                let name = name.strip_suffix('.').unwrap_or(name);
                return Some(Hello::Asks(Some(name.to_ascii_lowercase())));
            }
        }
    }
    Some(Hello::Asks(None))
}

fn number(from: &mut &[u8], bytes: usize) -> Option<usize> {
    let (head, rest) = from.split_at_checked(bytes)?;
    *from = rest;
    Some(head.iter().fold(0, |n, &byte| n << 8 | usize::from(byte)))
}

/// A part whose length stands before it.
fn vector<'a>(from: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let length = number(from, bytes)?;
    let (part, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(part)
}

impl Socket {
    /// The name that a TLS client asks for, and not a byte is taken; `None` when it asks for none, or does not speak
    /// TLS. To be called before anything is read. The caller sets the time limit.
    ///
    /// # Errors
    /// When the connection breaks or ends before.
    pub async fn peek_name(&self) -> io::Result<Option<String>> {
        let mut buf = vec![0; MOST];
        let mut seen = 0;
        loop {
            seen = match poll_fn(|cx| self.poll_peek(cx, &mut buf[..], seen)).await? {
                // It has ended: no more will come, however often it is looked at.
                n if n <= seen => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n,
            };
            match parse(&buf[..seen]) {
                Hello::Part if seen < MOST => {}
                Hello::Asks(name) => return Ok(name),
                Hello::Part | Hello::Other => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::Arc;

    /// What rustls says first when it asks for this name.
    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = rustls_pki_types::ServerName::try_from(name).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same message, in records of so many bytes.
    fn cut(hello: &[u8], size: usize) -> Vec<u8> {
        let pieces = hello[5..].chunks(size).flat_map(|piece| {
            let length = (piece.len() as u16).to_be_bytes();
            [&[22, 3, 1], &length[..], piece].concat()
        });
        pieces.collect()
    }

    #[test]
    fn the_name_is_read_in_however_many_records_it_comes() {
        let whole = hello("Shop.Example");
        let expected = Hello::Asks(Some("shop.example".into()));
        assert_eq!(parse(&whole), expected);
        for size in [1, 7, 50, 500] {
            assert_eq!(parse(&cut(&whole, size)), expected, "{size}");
        }
        assert_eq!(parse(&hello("10.0.0.1")), Hello::Asks(None));
    }

    #[test]
    fn a_part_of_a_hello_is_one_and_anything_else_is_not() {
        for whole in [hello("a.example"), cut(&hello("a.example"), 33)] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end]), Hello::Part, "{end}");
            }
        }
        for other in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-OpenSSH\r\n",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\0\x05\x02\0\0\0\0",
            b"\x15\x03\x01\0\x02\x01\0",
            b"\x16\x02",
            b"\x16\x03\x01\0\x04\x01\x01\0\0",
        ] {
            assert_eq!(parse(other), Hello::Other, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, byte: u8) {
            let _ = parse(&bytes);
            let mut like = hello("a.example");
            like[at] = byte;
            let _ = parse(&like);
            let _ = parse(&[&[22, 3, 1, 1, 0, 1, 0, 0, 250][..], &bytes].concat());
        }
    }

    #[tokio::test]
    async fn a_client_that_ends_within_its_hello_is_gone() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = Socket::new(ours.into()).unwrap();
        theirs.write_all(&hello("a.example")[..60]).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let named = tokio::time::timeout(std::time::Duration::from_secs(5), socket.peek_name());
        let error = named.await.expect("it does not look again and again");
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn nothing_is_taken_from_the_connection() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = Socket::new(ours.into()).unwrap();
        let sent = hello("a.example");
        let (first, second) = sent.split_at(60);
        theirs.write_all(first).unwrap();
        let (rest, mut later) = (second.to_vec(), theirs.try_clone().unwrap());
        let peek = socket.peek_name();
        let send = async move {
            tokio::task::yield_now().await;
            later.write_all(&rest).unwrap();
        };
        let (name, ()) = tokio::join!(peek, send);
        assert_eq!(name.unwrap().as_deref(), Some("a.example"));
        let mut got = vec![0; sent.len()];
        let mut filled = 0;
        while filled < got.len() {
            filled += socket.read(&mut got[filled..]).await.unwrap();
        }
        assert!(got == sent);
    }
}
