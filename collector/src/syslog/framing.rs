//! Messages on a TCP connection (RFC 6587): with their length in front, or a line each, message by message. In: bytes as they
//! come, in pieces of any size. Out: messages, those longer than allowed cut. Pure. Fails: on a length that is none.

/// A length past anything that a message has: what follows cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the length of a message is more than nine digits")]
pub(crate) struct BadLength;

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it should.
    Whole,
    /// Its rest was left out because it is too long.
    TooLong,
    /// The connection ended before it did.
    Truncated,
}

#[derive(Clone, Copy)]
enum State {
    /// Between two messages.
    Between,
    /// In the digits of a length.
    Length(u32),
    /// In a message of which so many bytes are left.
    Octets(usize),
    /// In a line.
    Line,
}

/// Takes a connection's bytes apart.
pub(crate) struct Framer {
    max: usize,
    state: State,
    message: Vec<u8>,
    too_long: bool,
}

impl Framer {
    /// For messages of at most so many bytes.
    pub(crate) fn new(max: usize) -> Self {
        Framer { max, state: State::Between, message: Vec::new(), too_long: false }
    }

    /// Takes bytes; `each` gets the messages that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8], Ended)) -> Result<(), BadLength> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Between => match byte {
                    b'\n' | b'\r' | 0 | b' ' => rest = after,
                    b'1'..=b'9' => self.state = State::Length(0),
                    _ => self.state = State::Line,
                },
                State::Length(length) => {
                    rest = after;
                    self.length(length, byte)?;
                }
                State::Octets(left) => {
                    let (taken, after) = rest.split_at(left.min(rest.len()));
                    self.keep(taken);
                    rest = after;
                    self.state = State::Octets(left - taken.len());
                    if left == taken.len() {
                        self.end(&mut each);
                    }
                }
                State::Line => match rest.iter().position(|byte| matches!(byte, b'\n' | 0)) {
                    Some(end) => {
                        self.keep(&rest[..end]);
                        rest = &rest[end + 1..];
                        self.end(&mut each);
                    }
                    None => {
                        self.keep(rest);
                        rest = &[];
                    }
                },
            }
        }
        Ok(())
    }

    /// The connection has ended: a line needs no end, a message with a length is cut short.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8], Ended)) {
        match self.state {
            State::Between | State::Length(_) => {}
            State::Line => self.end(&mut each),
            State::Octets(_) if self.message.is_empty() => {}
            State::Octets(_) => each(&self.message, Ended::Truncated),
        }
        (self.state, self.too_long) = (State::Between, false);
        self.message.clear();
    }

    /// A byte in or behind the digits of a length. A line that begins with digits is one all the same.
    fn length(&mut self, length: u32, byte: u8) -> Result<(), BadLength> {
        match byte {
            b'0'..=b'9' if self.message.len() >= 9 => return Err(BadLength),
            b'0'..=b'9' => {
                self.message.push(byte);
                self.state = State::Length(length * 10 + u32::from(byte - b'0'));
            }
            b' ' => {
                self.message.clear();
                self.state = State::Octets(length as usize);
            }
            b'\n' | 0 => {
                self.message.clear();
                self.state = State::Between;
            }
            _ => {
                self.message.push(byte);
                self.state = State::Line;
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.max.saturating_sub(self.message.len());
        self.message.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.too_long |= bytes.len() > room;
    }

    fn end(&mut self, each: &mut impl FnMut(&[u8], Ended)) {
        each(&self.message, if std::mem::take(&mut self.too_long) { Ended::TooLong } else { Ended::Whole });
        self.message.clear();
        self.state = State::Between;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(max: usize, pieces: &[&[u8]]) -> (Vec<(String, Ended)>, Result<(), BadLength>) {
        let (mut framer, mut found, mut result) = (Framer::new(max), Vec::new(), Ok(()));
        let mut each = |message: &[u8], ended| found.push((String::from_utf8_lossy(message).into_owned(), ended));
        for piece in pieces {
            result = framer.push(piece, &mut each);
            if result.is_err() {
                break;
            }
        }
        framer.finish(&mut each);
        (found, result)
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        all(100, &[bytes]).0.into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn both_framings_on_one_connection() {
        assert_eq!(texts(b"6 <1>abc<2>line\n\n7 <3>a\nbc<4>nul\0<5>last"), ["<1>abc", "<2>line", "<3>a\nbc", "<4>nul", "<5>last"]);
        assert_eq!(texts(b"12ab\n5\n3 xyz"), ["12ab", "xyz"]);
    }

    #[test]
    fn long_cut_and_senseless_ones() {
        assert_eq!(all(3, &[b"<1>abc\n<2>\n"]).0, [("<1>".to_owned(), Ended::TooLong), ("<2>".to_owned(), Ended::Whole)]);
        assert_eq!(all(3, &[b"6 <1>abc3 <2>"]).0, [("<1>".to_owned(), Ended::TooLong), ("<2>".to_owned(), Ended::Whole)]);
        assert_eq!(all(9, &[b"9 <1>"]).0, [("<1>".to_owned(), Ended::Truncated)]);
        assert_eq!(all(9, &[b"9 "]).0, []);
        assert_eq!(all(9, &[b"3 abc", b"1234567890 x"]), (vec![("abc".to_owned(), Ended::Whole)], Err(BadLength)));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), 48u8..58, any::<u8>()], 0..60), at in 0usize..60, other in 0usize..60) {
            let (at, other) = (at.min(bytes.len()), other.min(bytes.len()));
            let (first, second) = (at.min(other), at.max(other));
            prop_assert_eq!(all(5, &[&bytes]), all(5, &[&bytes[..first], &bytes[first..second], &bytes[second..]]));
        }

        #[test]
        fn every_message_comes_out_as_it_went_in(messages in proptest::collection::vec(("[a-z<>\\n ]{1,20}", any::<bool>()), 0..6)) {
            let mut wire = Vec::new();
            let mut want = Vec::new();
            for (text, counted) in &messages {
                if *counted {
                    wire.extend_from_slice(format!("{} {text}", text.len()).as_bytes());
                    want.push(text.clone());
                } else {
                    let line = format!("<{}", text.replace('\n', "_"));
                    wire.extend_from_slice(format!("{line}\n").as_bytes());
                    want.push(line);
                }
            }
            prop_assert_eq!(texts(&wire), want);
        }
    }
}
