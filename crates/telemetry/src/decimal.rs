//! Numbers as text, for what is written with every request: the general formatting of the standard library costs several
//! times as much.

use std::net::IpAddr;

/// The digits of all numbers below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends a number in decimal digits.
pub fn push(out: &mut Vec<u8>, number: u64) {
    // Most are small: octets, statuses, milliseconds.
    if number < 10 {
        return out.push(b'0' + number as u8);
    }
    if number < 100 {
        return out.extend_from_slice(&PAIRS[number as usize]);
    }
    if number < 1000 {
        return out.extend_from_slice(&three(number as u16));
    }
    push_long(out, number);
}

/// Appends a status code, which has three digits; whatever else it may be has those of a number.
#[inline]
pub fn push_status(out: &mut Vec<u8>, status: u16) {
    match status {
        100..1000 => out.extend_from_slice(&three(status)),
        _ => push(out, status.into()),
    }
}

/// Three digits, of a number below a thousand.
pub fn three(number: u16) -> [u8; 3] {
    let [tens, ones] = PAIRS[usize::from(number % 100)];
    [b'0' + (number / 100 % 10) as u8, tens, ones]
}

/// The digits of a byte, from the front, and how many they are.
const BYTES: [([u8; 3], u8); 256] = {
    let mut bytes = [([0; 3], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let zero = b'0' as usize;
        let a = (zero + byte / 100) as u8;
        let b = (zero + byte / 10 % 10) as u8;
        let c = (zero + byte % 10) as u8;
        bytes[byte] = match byte {
            0..10 => ([c, 0, 0], 1),
            10..100 => ([b, c, 0], 2),
            _ => ([a, b, c], 3),
        };
        byte += 1;
    }
    bytes
};

fn push_long(out: &mut Vec<u8>, mut number: u64) {
    // The largest has 20.
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    let [tens, ones] = PAIRS[number as usize];
    at -= 1;
    digits[at] = ones;
    if number >= 10 {
        at -= 1;
        digits[at] = tens;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends an address.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            // Put together aside: four digits of room each, of which the next one takes back what was too much.
            let (mut text, mut at) = ([b'.'; 16], 0);
            for octet in ip.octets() {
                let (digits, count) = BYTES[usize::from(octet)];
                text[at..at + 3].copy_from_slice(&digits);
                at += usize::from(count);
                text[at] = b'.';
                at += 1;
            }
            out.extend_from_slice(&text[..at - 1]);
        }
        IpAddr::V6(ip) => out.extend_from_slice(ip.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_read_as_ever() {
        for number in (0..2_000).chain([9_999, 10_000, 12_345, 123_456, u64::MAX]) {
            let mut out = Vec::new();
            push(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        for status in [0, 99, 100, 101, 404, 999, 1_000, u16::MAX] {
            let mut out = Vec::new();
            push_status(&mut out, status);
            assert_eq!(out, status.to_string().as_bytes());
        }
        for number in 0..1000 {
            assert_eq!(&three(number), format!("{number:03}").as_bytes());
        }
        for ip in [
            "0.0.0.0",
            "1.22.99.100",
            "192.168.10.255",
            "255.255.255.255",
            "2001:db8::1",
        ] {
            let mut out = Vec::new();
            push_ip(&mut out, ip.parse().unwrap());
            assert_eq!(out, ip.as_bytes());
        }
    }
}
