//! The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): a proxy's word on who opened a connection.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tandem_model::ProxyVersion;

use crate::Socket;

/// The most bytes a header may have. Version 1 ends within 107; of version 2 most senders use less than 300, the rest
/// is for their extensions.
pub const MAX_HEADER: usize = 4096;
/// The longest line of version 1, with CR and LF (section 2.1).
const MAX_LINE: usize = 107;
/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2.
const FIXED: usize = 16;

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes; what the client said follows.
    pub length: usize,
    /// Who opened the connection; `None` when the proxy speaks for itself (a health check), or cannot say.
    pub source: Option<SocketAddr>,
}

/// What is there is no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a header from the beginning of `bytes`. `Ok(None)`: not complete yet.
///
/// # Errors
/// When these bytes cannot begin a header, or it is longer than [`MAX_HEADER`].
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| {
        let here = bytes.len().min(with.len());
        bytes[..here] == with[..here]
    };
    if begins(SIGNATURE) {
        version_2(bytes)
    } else if begins(b"PROXY ") {
        version_1(bytes)
    } else {
        Err(Malformed)
    }
}

fn version_1(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let within = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        return if within.len() < MAX_LINE {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let length = end + 1;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(Malformed);
    let family = word()?;
    if family == "UNKNOWN" {
        // What follows the word is to be ignored.
        return Ok(Some(Header {
            length,
            source: None,
        }));
    }
    let addresses: [IpAddr; 2] = match family {
        "TCP4" => [ip::<Ipv4Addr>(word()?)?, ip::<Ipv4Addr>(word()?)?],
        "TCP6" => [ip::<Ipv6Addr>(word()?)?, ip::<Ipv6Addr>(word()?)?],
        _ => return Err(Malformed),
    };
    let (from, _to) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(Malformed);
    }
    Ok(Some(Header {
        length,
        source: Some(SocketAddr::new(addresses[0], from)),
    }))
}

fn ip<T: std::str::FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, Malformed> {
    word.parse::<T>().map(Into::into).map_err(|_| Malformed)
}

fn port(word: &str) -> Result<u16, Malformed> {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain).ok_or(Malformed)
}

fn version_2(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(None);
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let behind = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let length = FIXED + behind;
    if version != 2 || command > 1 || length > MAX_HEADER {
        return Err(Malformed);
    }
    let Some(addresses) = rest.get(..behind) else {
        return Ok(None);
    };
    let source = match (command, fixed[13]) {
        // LOCAL: whatever else it says is to be ignored.
        (0, _) => None,
        (_, 0x11 | 0x12) => {
            let a: [u8; 12] = first(addresses)?;
            let port = u16::from_be_bytes([a[8], a[9]]);
            Some((Ipv4Addr::new(a[0], a[1], a[2], a[3]), port).into())
        }
        (_, 0x21 | 0x22) => {
            let a: [u8; 36] = first(addresses)?;
            let port = u16::from_be_bytes([a[32], a[33]]);
            let ip: [u8; 16] = first(&a)?;
            Some((Ipv6Addr::from(ip), port).into())
        }
        // Not given, or Unix sockets: there is no address to take.
        (_, 0x00 | 0x31 | 0x32) => None,
        _ => return Err(Malformed),
    };
    Ok(Some(Header { length, source }))
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.first_chunk().copied().ok_or(Malformed)
}

/// A header for a connection that `source` opened to `destination`. Without `source` the proxy speaks for itself, as for
/// a health check (`UNKNOWN`, `LOCAL`).
///
/// Where the two are of different families both are written as IPv6.
pub fn header(
    version: ProxyVersion,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
) -> Vec<u8> {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let addresses = source.map(plain).map(|from| {
        let any: IpAddr = match from.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        (from, destination.map_or((any, 0).into(), plain))
    });
    match version {
        ProxyVersion::V1 => line(addresses),
        ProxyVersion::V2 => binary(addresses),
    }
}

fn six(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn line(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((from, to)) = addresses else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let (source, target) = (from.port(), to.port());
    let line = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            format!("PROXY TCP4 {from} {to} {source} {target}\r\n")
        }
        (from, to) => format!("PROXY TCP6 {} {} {source} {target}\r\n", six(from), six(to)),
    };
    line.into_bytes()
}

fn binary(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let Some((from, to)) = addresses else {
        bytes.extend([0x20, 0, 0, 0]);
        return bytes;
    };
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        (from, to) => {
            bytes.extend([0x21, 0x21, 0, 36]);
            bytes.extend(six(from).octets());
            bytes.extend(six(to).octets());
        }
    }
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes
}

impl Socket {
    /// Takes the PROXY header that the connection has to begin with, and not a byte more; returns who it states. To be
    /// called before anything is read. The caller sets the time limit.
    ///
    /// # Errors
    /// When it begins with something else, or ends.
    pub async fn read_proxy_header(&self) -> io::Result<Option<SocketAddr>> {
        let mut buf = Box::new([0; MAX_HEADER]);
        let mut seen = 0;
        loop {
            seen = match poll_fn(|cx| self.poll_peek(cx, &mut buf[..], seen)).await? {
                n if n <= seen => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n,
            };
            let header = parse(&buf[..seen])
                .map_err(|Malformed| io::Error::from(io::ErrorKind::InvalidData))?;
            if let Some(header) = header {
                let mut left = header.length;
                while left > 0 {
                    match self.read(&mut buf[..left]).await? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        n => left -= n,
                    }
                }
                return Ok(header.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((addresses.len() as u16).to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    fn four() -> Vec<u8> {
        vec![192, 0, 2, 7, 10, 0, 0, 1, 0x15, 0xb3, 0, 80]
    }

    fn six() -> Vec<u8> {
        let mut six = Ipv6Addr::LOCALHOST.octets().repeat(2);
        six.extend([0x15, 0xb3, 0, 80]);
        six
    }

    fn with_tlv() -> Vec<u8> {
        [four(), vec![0x04, 0, 2, 0, 0]].concat()
    }

    #[test]
    fn a_header_states_who_opened_the_connection() {
        let v1 = |text: &str| text.as_bytes().to_vec();
        for (bytes, source) in [
            (
                v1("PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\n"),
                Some("192.0.2.7:5555"),
            ),
            (v1("PROXY TCP6 ::1 ::1 5555 80\r\n"), Some("[::1]:5555")),
            (v1("PROXY UNKNOWN\r\n"), None),
            (v1("PROXY UNKNOWN whatever it is\r\n"), None),
            (v2(0x21, 0x11, &four()), Some("192.0.2.7:5555")),
            (v2(0x21, 0x11, &with_tlv()), Some("192.0.2.7:5555")),
            (v2(0x21, 0x21, &six()), Some("[::1]:5555")),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0xff, b"anything"), None),
            (v2(0x21, 0x00, b""), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let header = Header {
                length: bytes.len(),
                source: source.map(|at| at.parse().unwrap()),
            };
            let more = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&more), Ok(Some(header)), "{more:?}");
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (four, six) = ("192.0.2.7:5555", "[2001:db8::1]:5555");
        for (from, to, seen) in [
            (four, Some("10.0.0.1:80"), four),
            (four, None, four),
            ("[::ffff:192.0.2.7]:5555", Some("10.0.0.1:80"), four),
            (four, Some("[::1]:80"), "[::ffff:192.0.2.7]:5555"),
            (six, Some("[::1]:80"), six),
            (six, Some("10.0.0.1:80"), six),
        ] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let bytes = header(version, Some(at(from)), to.map(at));
                let expected = Header {
                    length: bytes.len(),
                    source: Some(at(seen)),
                };
                assert_eq!(parse(&bytes), Ok(Some(expected)), "{from} {to:?}");
                let bytes = header(version, None, to.map(at));
                let length = bytes.len();
                let source = None;
                assert_eq!(parse(&bytes), Ok(Some(Header { length, source })));
            }
        }
        assert_eq!(
            header(ProxyVersion::V1, Some(at(four)), Some(at("10.0.0.1:80"))),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\n"
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            &long,
            &v2(0x11, 0x11, &four()),
            &v2(0x22, 0x11, &four()),
            &v2(0x21, 0x13, &four()),
            &v2(0x21, 0x11, &four()[1..]),
            &v2(0x21, 0x21, &six()[1..]),
            &v2(0x21, 0x00, &[0; MAX_HEADER]),
        ] {
            assert_eq!(parse(bytes), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_no_cut_changes_what_it_says(
            begin in prop_oneof![Just(&b""[..]), Just(&SIGNATURE[..]), Just(&b"PROXY TCP4 "[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [begin, &rest].concat();
            let whole = parse(&bytes);
            for cut in 0..bytes.len() {
                match parse(&bytes[..cut]) {
                    Ok(None) => {}
                    said => prop_assert_eq!(said, whole),
                }
            }
        }
    }
}
