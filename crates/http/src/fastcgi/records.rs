//! Records: how both directions are cut (FastCGI 1.0 section 3.3).

/// The version that every record names.
const VERSION: u8 = 1;
/// A connection has one request.
const REQUEST: u16 = 1;
/// The most that a record is given of a stream: a multiple of eight, as the specification recommends.
pub(crate) const MOST: usize = 65_528;
/// Bytes of a record before its content.
const HEADER: usize = 8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Begin = 1,
    End = 3,
    Params = 4,
    Stdin = 5,
    Stdout = 6,
    Stderr = 7,
}

/// The begin of a record with so much content, [`MOST`] at most.
pub(crate) fn record(kind: Kind, length: usize) -> [u8; HEADER] {
    debug_assert!(length <= MOST, "a record has sixteen bits for it");
    let [a, b] = REQUEST.to_be_bytes();
    let [c, d] = (length as u16).to_be_bytes();
    [VERSION, kind as u8, a, b, c, d, 0, 0]
}

/// The begin of a record with a piece of the request's body.
pub(crate) fn header(length: usize) -> [u8; HEADER] {
    record(Kind::Stdin, length)
}

/// What says that a request's body has ended.
pub(crate) fn end_of_body() -> [u8; HEADER] {
    record(Kind::Stdin, 0)
}

/// Appends what begins a request: a program that answers as a web server's, and closes the connection after it.
pub(crate) fn begin(out: &mut Vec<u8>) {
    const RESPONDER: u8 = 1;
    out.extend_from_slice(&record(Kind::Begin, 8));
    out.extend_from_slice(&[0, RESPONDER, 0, 0, 0, 0, 0, 0]);
}

/// What comes is no FastCGI, or not for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRecord;

/// Reads the records of one answer, cut in any way.
#[derive(Debug, Default)]
pub(crate) struct Records {
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    have: usize,
    kind: Option<Kind>,
    left: usize,
    padding: usize,
    /// What the last record says.
    end: Vec<u8>,
    is_over: bool,
    /// What the program has complained about, the beginning of it.
    complaints: Vec<u8>,
}

/// How much of what a program complains about is kept, of one answer.
pub(crate) const COMPLAINTS: usize = 4096;

impl Records {
    /// Whether the answer has ended, and as a program says that has answered.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What the program wrote to its standard error.
    pub fn complaints(&self) -> &[u8] {
        &self.complaints
    }

    /// Reads the next bytes; moves the output in them to the front and returns how much that is.
    ///
    /// # Errors
    /// When they are no records of this answer, or say that the program did not take the request.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<usize, NoRecord> {
        let (mut read, mut data) = (0, 0);
        while read < piece.len() {
            if self.is_over {
                // One request, one answer.
                return Err(NoRecord);
            }
            if let Some(kind) = self.kind {
                let here = self.left.min(piece.len() - read);
                let content = read..read + here;
                match kind {
                    Kind::Stdout => {
                        piece.copy_within(content, data);
                        data += here;
                    }
                    Kind::Stderr => {
                        let room = COMPLAINTS - self.complaints.len();
                        let kept = &piece[content];
                        self.complaints
                            .extend_from_slice(&kept[..kept.len().min(room)]);
                    }
                    _ => self.end.extend_from_slice(&piece[content]),
                }
                (read, self.left) = (read + here, self.left - here);
                if self.left > 0 {
                    break;
                }
                let padding = self.padding.min(piece.len() - read);
                (read, self.padding) = (read + padding, self.padding - padding);
                if self.padding > 0 {
                    break;
                }
                self.kind = None;
                if kind == Kind::End {
                    // The status of the program itself is its own matter; this is the protocol's.
                    let [_, _, _, _, 0, ..] = self.end[..] else {
                        return Err(NoRecord);
                    };
                    self.is_over = true;
                }
                continue;
            }
            self.header[self.have] = piece[read];
            (self.have, read) = (self.have + 1, read + 1);
            if self.have == HEADER {
                self.begin()?;
            }
        }
        Ok(data)
    }

    fn begin(&mut self) -> Result<(), NoRecord> {
        let [version, kind, a, b, c, d, padding, _] = self.header;
        if version != VERSION || u16::from_be_bytes([a, b]) != REQUEST {
            return Err(NoRecord);
        }
        let kind = match kind {
            3 => Kind::End,
            6 => Kind::Stdout,
            7 => Kind::Stderr,
            _ => return Err(NoRecord),
        };
        let length = usize::from(u16::from_be_bytes([c, d]));
        if kind == Kind::End && length != 8 {
            return Err(NoRecord);
        }
        (self.have, self.left, self.padding) = (0, length, usize::from(padding));
        // Nothing more of it comes.
        self.kind = (length > 0 || padding > 0).then_some(kind);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(kind: Kind, content: &[u8], padding: usize) -> Vec<u8> {
        let mut record = record(kind, content.len()).to_vec();
        record[6] = padding as u8;
        [record, content.to_vec(), vec![0; padding]].concat()
    }

    const END: [u8; 8] = [0, 0, 0, 3, 0, 0, 0, 0];

    fn read(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Records), NoRecord> {
        let (mut records, mut out) = (Records::default(), Vec::new());
        let mut rest = bytes;
        for &cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at(cut.clamp(1, rest.len().max(1)).min(rest.len()));
            let mut piece = piece.to_vec();
            let data = records.decode(&mut piece)?;
            out.extend_from_slice(&piece[..data]);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        Ok((out, records))
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_however_it_is_cut(
            parts in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40), 0usize..9), 0..8),
            cuts in proptest::collection::vec(1usize..20, 1..6),
        ) {
            let (mut bytes, mut output, mut complaints) = (Vec::new(), Vec::<u8>::new(), Vec::<u8>::new());
            for (is_output, content, padding) in &parts {
                let kind = if *is_output { Kind::Stdout } else { Kind::Stderr };
                bytes.extend(with(kind, content, *padding));
                if *is_output { output.extend(content) } else { complaints.extend(content) }
            }
            bytes.extend(with(Kind::End, &END, 3));
            let (read, records) = read(&bytes, &cuts).unwrap();
            prop_assert_eq!(read, output);
            prop_assert_eq!(records.complaints(), complaints);
            prop_assert!(records.is_over());
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(1usize..20, 1..6)) {
            let _ = read(&bytes, &cuts);
        }
    }

    #[test]
    fn what_is_no_answer_to_this_request_is_refused() {
        let good = with(Kind::Stdout, b"x", 0);
        for (at, byte) in [(0, 2), (1, 5), (1, 11), (3, 2)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(read(&bad, &[100]).is_err(), "{at} {byte}");
        }
        // Overloaded, and an end with too little in it; and what comes behind the end.
        assert!(read(&with(Kind::End, &[0, 0, 0, 0, 2, 0, 0, 0], 0), &[100]).is_err());
        assert!(read(&with(Kind::End, b"", 0), &[100]).is_err());
        let more = [with(Kind::End, &END, 0), good].concat();
        assert!(read(&more, &[100]).is_err());
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_over_and_complaints_are_bounded() {
        let (_, records) = read(&with(Kind::Stdout, b"abc", 0), &[2]).unwrap();
        assert!(!records.is_over());
        let loud = with(Kind::Stderr, &[b'x'; 5000], 0);
        let (out, records) = read(&[&*loud, &loud].concat(), &[999]).unwrap();
        assert!(out.is_empty() && records.complaints().len() == COMPLAINTS);
    }
}
