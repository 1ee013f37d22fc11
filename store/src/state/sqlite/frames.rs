//! What SQLite writes to its log, joined: it writes each page of a commit by itself, and before it 24 bytes that describe it, 36 calls of the
//! system for an alert that comes alone. Together they are one (10 us instead of 107 for 18 pages, ext4).
//!
//! Kept back are only frames that follow each other, from one without a commit's mark on until the one with it is whole (SQLite's "Database
//! File Format", 4.1); all else is written as it comes. So nothing is kept back once a commit was written, whether it is synced or not.
//! Reads state, returns what to do.

/// What stands before each page.
const HEADER: usize = 24;
/// The least page of a database.
const LEAST_PAGE: usize = 512;
/// At so much it is written, in bytes, though it is not the end of a commit: SQLite writes a little less than 128 KiB in one call.
const FULL: usize = 112 * 1_024;

/// SQLite's way to the files of Unix takes no more in one call (`seekAndWriteFd`): pages of 16 KiB and more could make it so.
const MOST: usize = 0x1_ffff;

/// What is done with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet: it is kept.
    Kept,
    /// All that is kept is written: this is the end of it.
    Write,
    /// What is kept is written first, then this as it is.
    Through,
}

/// What comes next, if it is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Header,
    /// The page of the header that is kept; whether it is the last of a commit.
    Page { last: bool },
}

/// Frames that are kept back, and where they belong.
#[derive(Debug, Default)]
pub(super) struct Frames {
    kept: Vec<u8>,
    at: u64,
    next: Next,
}

impl Frames {
    /// What is kept, and where it belongs in the file.
    pub(super) fn kept(&self) -> Option<(&[u8], u64)> {
        (!self.kept.is_empty()).then_some((self.kept.as_slice(), self.at))
    }

    /// It was written, or the write failed, which SQLite hears: nothing is kept.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.next = Next::Header;
    }

    /// SQLite writes this there.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> Step {
        let follows = offset == self.at + self.kept.len() as u64;
        let step = match (self.next, mark(bytes)) {
            (Next::Header, Some(false)) if follows || self.kept.is_empty() => {
                self.next = Next::Page { last: false };
                Step::Kept
            }
            // A commit of one page, or a header that is written again, is not worth it.
            (Next::Header, Some(true)) if follows && !self.kept.is_empty() => {
                self.next = Next::Page { last: true };
                Step::Kept
            }
            (Next::Page { last }, None) if follows && bytes.len() >= LEAST_PAGE && self.kept.len() + bytes.len() <= MOST => {
                self.next = Next::Header;
                if last || self.kept.len() >= FULL { Step::Write } else { Step::Kept }
            }
            _ => return Step::Through,
        };
        if self.kept.is_empty() {
            self.at = offset;
        }
        self.kept.extend_from_slice(bytes);
        step
    }
}

/// Whether a frame's header marks the end of a commit; none where it is no header. Its second number is the length of the database after the
/// commit, else zero.
fn mark(bytes: &[u8]) -> Option<bool> {
    (bytes.len() == HEADER).then(|| bytes[4..8] != [0; 4])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 512;
    const FRAME: u64 = (HEADER + PAGE) as u64;

    /// A file, and how often it was written.
    #[derive(Default)]
    struct File {
        bytes: Vec<u8>,
        calls: usize,
    }

    impl File {
        fn write(&mut self, bytes: &[u8], offset: u64) {
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            self.bytes.resize(self.bytes.len().max(to), 0);
            self.bytes[from..to].copy_from_slice(bytes);
            self.calls += 1;
        }
    }

    /// What SQLite writes, joined and as it is.
    #[derive(Default)]
    struct Both {
        frames: Frames,
        joined: File,
        plain: File,
    }

    impl Both {
        fn flush(&mut self) {
            if let Some((bytes, at)) = self.frames.kept() {
                self.joined.write(bytes, at);
            }
            self.frames.clear();
        }

        fn write(&mut self, bytes: &[u8], offset: u64) {
            self.plain.write(bytes, offset);
            match self.frames.write(bytes, offset) {
                Step::Kept => {}
                Step::Write => self.flush(),
                Step::Through => {
                    self.flush();
                    self.joined.write(bytes, offset);
                }
            }
        }

        fn header(&mut self, frame: u64, last: bool) {
            let mut header = [7; HEADER];
            header[4..8].copy_from_slice(&u32::from(last).to_be_bytes());
            self.write(&header, 32 + frame * FRAME);
        }

        fn page(&mut self, frame: u64, byte: u8) {
            self.write(&[byte; PAGE], 32 + frame * FRAME + HEADER as u64);
        }

        fn commit(&mut self, from: u64, frames: u64) {
            for frame in from..from + frames {
                self.header(frame, frame + 1 == from + frames);
                self.page(frame, frame as u8);
            }
        }
    }

    #[test]
    fn a_commit_is_one_write() {
        let mut both = Both::default();
        both.write(&[1; 32], 0);
        both.commit(0, 18);
        assert_eq!((both.joined.calls, both.plain.calls), (2, 37));
        assert_eq!(both.frames.kept(), None);
        assert_eq!(both.joined.bytes, both.plain.bytes);
        both.commit(18, 1);
        assert_eq!(both.joined.calls, 4, "a page alone goes as it comes");
        both.commit(19, 1_000);
        assert!(both.joined.calls < 4 + 1_000 * PAGE / FULL + 2, "{} writes", both.joined.calls);
        assert_eq!(both.joined.bytes, both.plain.bytes);
    }

    #[test]
    fn no_call_is_longer_than_sqlite_takes() {
        for page in (9..=16).map(|power| 1_usize << power) {
            let mut frames = Frames::default();
            let (mut at, mut longest) = (32, 0);
            let mut write = |bytes: &[u8], frames: &mut Frames| {
                let step = frames.write(bytes, at);
                at += bytes.len() as u64;
                if step != Step::Kept {
                    longest = longest.max(frames.kept().map_or(0, |(kept, _)| kept.len()));
                    frames.clear();
                }
            };
            for number in 0..600 {
                let mut header = [7; HEADER];
                header[4..8].copy_from_slice(&u32::from(number == 599).to_be_bytes());
                write(&header, &mut frames);
                write(&vec![1; page], &mut frames);
            }
            assert_eq!(frames.kept(), None, "pages of {page}");
            assert!((FULL / 2..=MOST).contains(&longest), "pages of {page}: {longest}");
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Commit(u64),
        /// Begun and given up: the next one stands in its place.
        GivenUp(u64),
        /// A page that this commit wrote already, a header alone, something else.
        Again(u64),
        Header(u64, bool),
        Other(usize, u64),
        Read,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (1..300_u64).prop_map(Act::Commit),
            (1..20_u64).prop_map(Act::GivenUp),
            (0..100_u64).prop_map(Act::Again),
            (0..100_u64, any::<bool>()).prop_map(|(frame, last)| Act::Header(frame, last)),
            (1..700_usize, 0..9_000_u64).prop_map(|(length, at)| Act::Other(length, at)),
            Just(Act::Read),
        ];
        proptest::collection::vec(act, 1..20)
    }

    proptest! {
        /// Whatever comes in whatever order: after each commit, and whenever somebody reads, the file is what it would have been.
        #[test]
        fn the_file_is_what_it_would_have_been(acts in acts()) {
            let (mut both, mut next) = (Both::default(), 0);
            for act in acts {
                match act {
                    Act::Commit(frames) => {
                        both.commit(next, frames);
                        next += frames;
                        prop_assert_eq!(both.frames.kept(), None, "a commit is written when it ends");
                    }
                    Act::GivenUp(frames) => for frame in next..next + frames {
                        both.header(frame, false);
                        both.page(frame, 9);
                    },
                    Act::Again(frame) => both.page(frame, 3),
                    Act::Header(frame, last) => both.header(frame, last),
                    Act::Other(length, at) => both.write(&vec![5; length], at),
                    Act::Read => both.flush(),
                }
                if both.frames.kept().is_none() {
                    prop_assert_eq!(&both.joined.bytes, &both.plain.bytes);
                }
            }
            both.flush();
            prop_assert_eq!(both.joined.bytes, both.plain.bytes);
        }
    }
}
