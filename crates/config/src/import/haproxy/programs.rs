//! Checks of programs that speak a protocol of their own, as talks: `option mysql-check`, `pgsql-check`, `redis-check`,
//! `smtpchk`, `ldap-check`, `ssl-hello-chk`.

use std::fmt::Write as _;

use super::super::document::{Table, Value};
use super::acl::Refusal;
use super::words::Line;
use crate::suggest::did_you_mean;

/// The talk of an option, by the word behind `option`; `None`: it is none of these. What is worth knowing goes to `note`.
pub(crate) fn talk(line: &Line, note: &mut dyn FnMut(&str)) -> Option<Result<Table, Refusal>> {
    Some(match line.word(1) {
        "redis-check" => Ok(turn("*1\r\n$4\r\nPING\r\n", "+PONG\r\n")),
        "smtpchk" => Ok(smtp(line)),
        "mysql-check" => mysql(line, note),
        "pgsql-check" => pgsql(line),
        // An anonymous bind, and the answer that it succeeded, which both lengths of lengths are right for.
        "ldap-check" => Ok(turn(
            "hex:300c020101600702010304008000",
            "~^0(?s-u:.{1,5})\\x02\\x01\\x01a(?s-u:.{1,5})\\n\\x01\\x00",
        )),
        "ssl-hello-chk" => {
            note(
                "whoever answers a greeting of TLS is up, with a refusal, too; `check = \"tls\"` would want a handshake",
            );
            Ok(turn(
                format!("hex:{}", hex(&hello())),
                "~^[\\x15\\x16]\\x03",
            ))
        }
        _ => return None,
    })
}

fn turn(send: impl Into<String>, expect: impl Into<String>) -> Table {
    Table::default()
        .with("send", Value::text(send))
        .with("expect", Value::text(expect))
}

fn turns(turns: impl IntoIterator<Item = Table>) -> Table {
    let turns = turns.into_iter().map(Value::Table).collect();
    Table::default().with("talk", Value::List(turns))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn smtp(line: &Line) -> Table {
    let hello = match line.word(2) {
        // What is no greeting is the usual one.
        hello @ ("HELO" | "EHLO") if !line.word(3).is_empty() => {
            format!("{hello} {}\r\n", line.word(3))
        }
        _ => "HELO localhost\r\n".to_owned(),
    };
    let good = || Value::text("~^2[0-9][0-9]");
    turns([
        Table::default().with("expect", good()),
        Table::default()
            .with("send", Value::text(hello))
            .with("expect", good()),
        Table::default().with("send", Value::text("QUIT\r\n")),
    ])
}

/// The argument of `user NAME`, and the words behind it.
fn user<'l>(line: &'l Line, option: &str) -> Result<(&'l str, &'l str), Refusal> {
    if line.word(2) != "user" || line.word(3).is_empty() {
        return Err(Refusal {
            at: line.at(2),
            message: format!("'{option}' asks as a user: {option} user NAME"),
            hint: did_you_mean(line.word(2), ["user"]),
        });
    }
    Ok((line.word(3), line.word(4)))
}

/// The first packet of a server (its protocol is 10); then, if there is a user, that it is let in without a password.
fn mysql(line: &Line, note: &mut dyn FnMut(&str)) -> Result<Table, Refusal> {
    // Four bytes before each packet: its length and its number.
    let greeting = "hex:0000000a";
    if line.word(2).is_empty() {
        note(
            "the server counts connections that end behind its greeting as errors (`max_connect_errors`): with `user NAME` it does not",
        );
        return Ok(Table::default().with("expect", Value::text(greeting)));
    }
    let (name, version) = user(line, "mysql-check")?;
    let mut login = Vec::new();
    match version {
        "" | "post-41" => {
            // What the client can, the longest packet, UTF-8, and 23 zeroes.
            login.extend([0x00, 0x82, 0x00, 0x00, 0x00, 0x80, 0x00, 0x01, 0x21]);
            login.extend([0; 23]);
            login.extend(name.bytes());
            login.extend([0, 0]);
        }
        "pre-41" => {
            login.extend([0x00, 0x80, 0x00, 0x00, 0x01]);
            login.extend(name.bytes());
            login.extend([0, 0]);
        }
        other => {
            return Err(Refusal {
                at: line.at(4),
                message: format!("'mysql-check' does not know '{other}'"),
                hint: did_you_mean(other, ["post-41", "pre-41"]),
            });
        }
    }
    let Ok(length) = u8::try_from(login.len()) else {
        return Err(Refusal::new(line.at(3), "this is too long for a name"));
    };
    let mut packet = vec![length, 0, 0, 1];
    packet.extend(login);
    Ok(turns([
        Table::default().with("expect", Value::text(greeting)),
        // OK is a packet that begins with 0.
        turn(format!("hex:{}", hex(&packet)), "hex:00000200"),
        Table::default().with("send", Value::text("hex:0100000001")),
    ]))
}

/// What a client of version 3.0 says first; the server says how it wants to know who that is, or that it is let in.
fn pgsql(line: &Line) -> Result<Table, Refusal> {
    let (name, more) = user(line, "pgsql-check")?;
    if !more.is_empty() {
        let message = format!("'pgsql-check' does not know '{more}'");
        return Err(Refusal::new(line.at(4), message));
    }
    let mut packet = vec![0, 3, 0, 0];
    packet.extend(b"user\0");
    packet.extend(name.bytes());
    packet.extend([0, 0]);
    let length = u8::try_from(packet.len() + 4)
        .map_err(|_| Refusal::new(line.at(3), "this is too long for a name"))?;
    let mut whole = vec![0, 0, 0, length];
    whole.extend(packet);
    Ok(turn(format!("hex:{}", hex(&whole)), "~^R\\x00\\x00\\x00"))
}

/// A `ClientHello` of TLS 1.2 without extensions, which also older servers answer.
fn hello() -> Vec<u8> {
    let random = b"Tandem asks whether TLS is there";
    let suites = [
        0xc0, 0x2f, 0xc0, 0x2b, 0xc0, 0x30, 0xc0, 0x2c, 0x00, 0x9c, 0x00, 0x2f, 0x00, 0x35, 0x00,
        0x0a,
    ];
    let mut body = vec![3, 3];
    body.extend(random);
    body.extend([0, 0, suites.len() as u8]);
    body.extend(suites);
    body.extend([1, 0]);
    let length = body.len() as u8;
    let mut hello = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::haproxy::words;
    use crate::import::report::Verdicts;
    use crate::import::sources::Sources;

    fn asked(option: &str) -> Result<String, String> {
        let mut sources = Sources::default();
        let file = sources.add("h.cfg", option);
        let lines = words::lines(
            &sources,
            file,
            &mut words::Environment::new(&|_| None),
            &mut Verdicts::default(),
        );
        let table = talk(&lines[0], &mut |_| {}).unwrap();
        table
            .map(|table| format!("{:?}", table.0))
            .map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_is_sent_is_what_haproxy_sends() {
        for (option, sent) in [
            (
                "option mysql-check user haproxy_check",
                "2f0000010082000000800001210000000000000000000000000000000000000000000000686170726f78795f636865636b0000",
            ),
            (
                "option mysql-check user haproxy_check pre-41",
                "140000010080000001686170726f78795f636865636b0000",
            ),
            (
                "option pgsql-check user postgres",
                "00000017000300007573657200706f7374677265730000",
            ),
            ("option ldap-check", "300c020101600702010304008000"),
        ] {
            let asked = asked(option).unwrap();
            assert!(
                asked.contains(&format!("hex:{sent}\"")),
                "{option}: {asked}"
            );
        }
    }

    #[test]
    fn a_check_without_its_user_is_refused() {
        for option in [
            "option pgsql-check",
            "option pgsql-check usr x",
            "option pgsql-check user x y",
            "option mysql-check x",
            "option mysql-check user",
            "option mysql-check user x post-42",
        ] {
            assert!(asked(option).is_err(), "{option}");
        }
    }

    #[test]
    fn a_greeting_of_tls_says_its_own_lengths() {
        let hello = hello();
        assert_eq!(usize::from(hello[4]), hello.len() - 5);
        assert_eq!(usize::from(hello[8]), hello.len() - 9);
    }
}
