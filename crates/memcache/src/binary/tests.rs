use super::*;

const LIMITS: Limits = Limits { max_value: 1000 };

fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = extras.len() + key.len() + value.len();
    let mut packet = vec![MAGIC, opcode];
    packet.extend_from_slice(&(key.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    packet.extend_from_slice(&(body as u32).to_be_bytes());
    packet.extend_from_slice(b"opaq");
    packet.extend_from_slice(&7u64.to_be_bytes());
    for part in [extras, key, value] {
        packet.extend_from_slice(part);
    }
    packet
}

fn header(opcode: u8) -> Header {
    Header {
        opcode,
        opaque: *b"opaq",
        cas: 7,
    }
}

#[test]
fn a_packet_is_read_when_all_of_it_is_there() {
    let packet = packet(0x11, &[0, 0, 0, 5, 0, 0, 0, 9], b"k\n", b"value");
    for length in 0..packet.len() {
        let Parsed::More { need } = parse(&packet[..length], LIMITS, false) else {
            panic!("{length} bytes are enough?");
        };
        assert!(length < need && need <= packet.len());
    }
    let expected = Parsed::Request {
        header: header(0x11),
        request: Request::Store {
            verb: Verb::Set,
            key: b"k\n",
            flags: 5,
            exptime: 9,
            value: b"value",
        },
        quiet: true,
        consumed: packet.len(),
    };
    assert_eq!(parse(&packet, LIMITS, false), expected);
}

#[test]
fn every_opcode_is_known_as_what_it_is() {
    let (none, four, eight, twenty) = (&[][..], &[0; 4][..], &[0; 8][..], &[0; 20][..]);
    let get = |exptime, with_key, with_value| Request::Retrieve {
        key: b"k",
        exptime,
        with_key,
        with_value,
    };
    let store = |verb| Request::Store {
        verb,
        key: b"k",
        flags: 0,
        exptime: 0,
        value: b"v",
    };
    let count = |down| Request::Arithmetic {
        key: b"k",
        delta: 0,
        down,
        initial: 0,
        exptime: 0,
    };
    let delete = Request::Delete { key: b"k" };
    for (opcode, extras, key, value, expected, silent) in [
        (0x00, none, "k", "", get(None, false, true), false),
        (0x09, none, "k", "", get(None, false, true), true),
        (0x0c, none, "k", "", get(None, true, true), false),
        (0x0d, none, "k", "", get(None, true, true), true),
        (0x1c, four, "k", "", get(Some(0), false, false), false),
        (0x1d, four, "k", "", get(Some(0), false, true), false),
        (0x1e, four, "k", "", get(Some(0), false, true), true),
        (0x23, four, "k", "", get(Some(0), true, true), false),
        (0x24, four, "k", "", get(Some(0), true, true), true),
        (0x01, eight, "k", "v", store(Verb::Set), false),
        (0x02, eight, "k", "v", store(Verb::Add), false),
        (0x03, eight, "k", "v", store(Verb::Replace), false),
        (0x12, eight, "k", "v", store(Verb::Add), true),
        (0x13, eight, "k", "v", store(Verb::Replace), true),
        (0x0e, none, "k", "v", store(Verb::Append), false),
        (0x0f, none, "k", "v", store(Verb::Prepend), false),
        (0x19, none, "k", "v", store(Verb::Append), true),
        (0x1a, none, "k", "v", store(Verb::Prepend), true),
        (0x04, none, "k", "", delete, false),
        (0x14, none, "k", "", delete, true),
        (0x05, twenty, "k", "", count(false), false),
        (0x06, twenty, "k", "", count(true), false),
        (0x15, twenty, "k", "", count(false), true),
        (0x16, twenty, "k", "", count(true), true),
        (0x07, none, "", "", Request::Quit, false),
        (0x17, none, "", "", Request::Quit, true),
        (0x08, none, "", "", Request::FlushAll { exptime: 0 }, false),
        (0x18, four, "", "", Request::FlushAll { exptime: 0 }, true),
        (0x0a, none, "", "", Request::Noop, false),
        (0x0b, none, "", "", Request::Version, false),
        (
            0x10,
            none,
            "k",
            "",
            Request::Stats { argument: b"k" },
            false,
        ),
        (0x1b, four, "", "", Request::Verbosity, false),
    ] {
        let packet = packet(opcode, extras, key.as_bytes(), value.as_bytes());
        let expected = Parsed::Request {
            header: header(opcode),
            request: expected,
            quiet: silent,
            consumed: packet.len(),
        };
        assert_eq!(parse(&packet, LIMITS, false), expected, "{opcode:#x}");
    }
}

#[test]
fn sasl_is_unknown_where_it_is_not_spoken() {
    let packet = packet(0x21, b"", b"PLAIN", b"\0name\0password");
    assert_eq!(
        parse(&packet, LIMITS, false),
        Parsed::Refused {
            header: header(0x21),
            status: Status::Unknown,
            consumed: HEADER,
            swallow: 5 + 14,
            set_refused: None,
        }
    );
    let Parsed::Request { request, .. } = parse(&packet, LIMITS, true) else {
        panic!("not read");
    };
    let expected = Request::SaslAuth {
        mechanism: b"PLAIN",
        message: b"\0name\0password",
    };
    assert_eq!(request, expected);
}

#[test]
fn lengths_that_cannot_be_end_the_connection_with_an_answer() {
    let long = [b'k'; MAX_KEY + 1];
    let mut beyond = packet(0x00, b"", b"k", b"");
    beyond[3] = 9;
    let mut huge = packet(0x00, b"", b"k", b"");
    huge[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    for (packet, status) in [
        (packet(0x00, b"", b"", b""), Status::Invalid),
        (packet(0x00, b"1234", b"k", b""), Status::Invalid),
        (packet(0x01, b"", b"k", b"v"), Status::Invalid),
        (packet(0x00, b"", &long, b""), Status::Invalid),
        (packet(0x0a, b"", b"k", b""), Status::Invalid),
        (huge, Status::Invalid),
        (beyond, Status::Unknown),
    ] {
        let expected = Parsed::Close(Some((header(packet[1]), status)));
        assert_eq!(parse(&packet, LIMITS, false), expected);
    }
    assert_eq!(parse(b"get k\r\n", LIMITS, false), Parsed::Close(None));
}

#[test]
fn a_value_over_the_limit_is_swallowed_and_its_key_named() {
    let mut packet = packet(0x01, &[0; 8], b"key", b"");
    packet[8..12].copy_from_slice(&(u32::MAX).to_be_bytes());
    assert_eq!(
        parse(&packet, LIMITS, false),
        Parsed::Refused {
            header: header(0x01),
            status: Status::TooLarge,
            consumed: HEADER,
            swallow: u64::from(u32::MAX),
            set_refused: Some(b"key"),
        }
    );
}
