//! Answers to meta commands.

use crate::class::Classes;
use crate::extended::Details;
use crate::keyspace::{Hit, Sink};
use crate::meta::{Meta, Verb, base64, words};
use crate::op::Reply;
use crate::text::reply::{self as text, decimal};

/// Writes the answer to one meta command: the item when it comes, or what the command came to.
pub(crate) struct Writer<'w, 'a> {
    out: &'w mut Vec<u8>,
    meta: &'w Meta<'a>,
    /// The key's own bytes.
    key: &'w [u8],
    classes: &'w Classes,
    /// Where the answer begins.
    mark: usize,
    /// An item came.
    shown: bool,
    /// A number was counted, though no item came.
    counted: bool,
}

impl<'w, 'a> Writer<'w, 'a> {
    pub(crate) fn new(
        out: &'w mut Vec<u8>,
        meta: &'w Meta<'a>,
        key: &'w [u8],
        classes: &'w Classes,
    ) -> Self {
        let mark = out.len();
        Self {
            out,
            meta,
            key,
            classes,
            mark,
            shown: false,
            counted: false,
        }
    }

    /// Completes the answer.
    pub(crate) fn finish(mut self, reply: &Reply) {
        let quiet = self.meta.flags.quiet;
        let verb = self.meta.verb;
        let (code, silent) = match reply {
            Reply::End | Reply::Partly(_) if self.shown => {
                return;
            }
            Reply::End | Reply::Partly(_) => ("EN", quiet && verb == Verb::Get),
            Reply::Stored | Reply::Deleted | Reply::Touched | Reply::Ok => ("HD", quiet),
            Reply::Number(number) => return self.number(*number),
            Reply::NotStored => ("NS", false),
            Reply::Exists => ("EX", false),
            Reply::NotFound => ("NF", false),
            Reply::ClientError(_) | Reply::ServerError(_) | Reply::Stats(_) => {
                self.out.truncate(self.mark);
                text::write(self.out, reply);
                return;
            }
        };
        if silent {
            self.out.truncate(self.mark);
        } else if !self.shown {
            self.out.extend_from_slice(code.as_bytes());
            self.flags(None, Details::default());
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn number(self, number: u64) {
        let Self {
            out, meta, mark, ..
        } = self;
        if meta.flags.quiet {
            out.truncate(mark);
            return;
        }
        // The flags are there already if the store showed the item; the digits are not.
        let tail = if self.shown {
            out.split_off(mark)
        } else {
            let mut tail = Vec::new();
            let writer = Writer::new(&mut tail, meta, self.key, self.classes);
            writer.bare_flags();
            tail
        };
        if meta.flags.value {
            let mut digits = Vec::with_capacity(20);
            decimal(&mut digits, number);
            out.extend_from_slice(b"VA ");
            decimal(out, digits.len() as u64);
            out.extend_from_slice(&tail);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&digits);
        } else {
            out.extend_from_slice(b"HD");
            out.extend_from_slice(&tail);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn bare_flags(mut self) {
        self.counted = true;
        self.flags(None, Details::default());
    }

    /// The flags that were asked for, in their order, as far as there is an item to know them of.
    fn flags(&mut self, hit: Option<&Hit<'_>>, details: Details) {
        let out = &mut *self.out;
        for (letter, token) in words(self.meta.words) {
            match (letter, hit) {
                (b'k', _) => {
                    out.extend_from_slice(b" k");
                    if self.meta.flags.encoded {
                        base64::encode(out, self.key);
                        out.extend_from_slice(b" b");
                    } else {
                        out.extend_from_slice(self.key);
                    }
                }
                (b'O', _) => {
                    out.extend_from_slice(b" O");
                    out.extend_from_slice(token);
                }
                (b'c', Some(hit)) => number(out, b" c", hit.version),
                // Not stored, or by a store that does not tell: 0 is nobody's version.
                (b'c', None) if self.counted || self.meta.verb == Verb::Set => {
                    out.extend_from_slice(b" c0");
                }
                (b's', Some(hit)) => number(out, b" s", hit.value.len() as u64),
                (b's', None) if self.meta.verb == Verb::Set => {
                    number(out, b" s", self.meta.value.len() as u64);
                }
                (b'f', Some(hit)) => number(out, b" f", u64::from(hit.flags)),
                (b't', Some(hit)) => match hit.remaining {
                    // As a whole number of seconds that have begun: an item of 30 s shows 30 at first.
                    Some(left) => number(out, b" t", left.div_ceil(1000)),
                    None => out.extend_from_slice(b" t-1"),
                },
                (b'h', Some(_)) => number(out, b" h", u64::from(details.fetched)),
                (b'l', Some(_)) => number(out, b" l", details.idle),
                _ => {}
            }
        }
        for (is, letters) in [
            (details.taken, b" Z"),
            (details.stale, b" X"),
            (details.won, b" W"),
        ] {
            if is {
                out.extend_from_slice(letters);
            }
        }
    }

    fn debug(&mut self, hit: &Hit<'_>, details: Details) {
        let out = &mut *self.out;
        out.extend_from_slice(b"ME ");
        out.extend_from_slice(self.meta.key);
        match hit.remaining {
            // memcached counts from the end.
            Some(left) => number(out, b" exp=-", left.div_ceil(1000)),
            None => out.extend_from_slice(b" exp=-1"),
        }
        number(out, b" la=", details.idle);
        number(out, b" cas=", hit.version);
        out.extend_from_slice(if details.fetched {
            b" fetch=yes"
        } else {
            b" fetch=no"
        });
        let size = crate::item_size(self.key.len(), hit.flags, hit.value.len());
        number(out, b" cls=", self.classes.of(size) as u64);
        number(out, b" size=", size as u64);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    decimal(out, number);
}

impl Sink for Writer<'_, '_> {
    fn hit(&mut self, hit: Hit<'_>) {
        self.detailed(hit, Details::default());
    }

    fn detailed(&mut self, hit: Hit<'_>, details: Details) {
        self.shown = true;
        match self.meta.verb {
            Verb::Debug => self.debug(&hit, details),
            Verb::Get => {
                let same = self.meta.flags.compare == Some(hit.version);
                let value = self.meta.flags.value && !same;
                if value {
                    self.out.reserve(hit.value.len() + 64);
                    number(self.out, b"VA ", hit.value.len() as u64);
                } else {
                    self.out.extend_from_slice(b"HD");
                }
                self.flags(Some(&hit), details);
                self.out.extend_from_slice(b"\r\n");
                if value {
                    self.out.extend_from_slice(hit.value);
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            Verb::Arithmetic => self.flags(Some(&hit), Details::default()),
            Verb::Set | Verb::Delete => {
                self.out.extend_from_slice(b"HD");
                self.flags(Some(&hit), Details::default());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }
}
