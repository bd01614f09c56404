//! From what a command writes to log frames: escape sequences go, lines become frames, a line
//! without an end is given out after half a second, and the quota is counted.

use std::io;
use std::time::{Duration, Instant};

use dstack_api::frames;

use crate::clock;
use crate::spool::SpoolWriter;

/// How long a line without a newline waits for more.
pub const PARTIAL_LINE: Duration = Duration::from_millis(500);
const HOUR: Duration = Duration::from_secs(3600);

/// The stored output of the command.
#[derive(Debug)]
pub struct Output {
    spool: SpoolWriter,
    frames: frames::Writer,
    plain: PlainText,
    partial_since: Option<Instant>,
    quota: Quota,
    tail: Tail,
}

impl Output {
    pub fn new(spool: SpoolWriter, quota_bytes_per_hour: Option<u64>) -> Self {
        let frames = frames::Writer::after(spool.last_micros());
        Self {
            spool,
            frames,
            plain: PlainText::default(),
            partial_since: None,
            quota: Quota {
                per_hour: quota_bytes_per_hour.filter(|bytes| *bytes > 0),
                used: 0,
                since: Instant::now(),
            },
            tail: Tail::default(),
        }
    }

    /// Takes raw output. `Ok(false)`: the quota of this hour is used up and the rest is dropped.
    pub fn take(&mut self, raw: &[u8]) -> io::Result<bool> {
        let plain = self.plain.strip(raw);
        let allowed = self.quota.allow(plain.len());
        let text = &plain[..allowed];
        self.tail.push(text);
        let bytes = self.frames.push(clock::now_micros(), text);
        self.spool.append(&bytes)?;
        self.partial_since = self
            .frames
            .has_pending()
            .then(|| self.partial_since.unwrap_or_else(Instant::now));
        Ok(allowed == plain.len())
    }

    /// When the pending line should be given out.
    pub fn flush_due(&self) -> Option<Instant> {
        self.partial_since.map(|since| since + PARTIAL_LINE)
    }

    /// Gives out the pending line.
    pub fn flush(&mut self) -> io::Result<()> {
        self.partial_since = None;
        let bytes = self.frames.flush(clock::now_micros());
        self.spool.append(&bytes)
    }

    /// The last of the last: nothing more will come.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.spool.sync()
    }

    /// The last lines, for the message of a job that failed.
    pub fn tail(&self) -> String {
        self.tail.text()
    }
}

#[derive(Debug)]
struct Quota {
    per_hour: Option<u64>,
    used: u64,
    since: Instant,
}

impl Quota {
    fn allow(&mut self, wanted: usize) -> usize {
        let Some(limit) = self.per_hour else {
            return wanted;
        };
        if self.since.elapsed() >= HOUR {
            self.used = 0;
            self.since = Instant::now();
        }
        let allowed =
            wanted.min(usize::try_from(limit.saturating_sub(self.used)).unwrap_or(usize::MAX));
        self.used += allowed as u64;
        allowed
    }
}

/// The last few lines, bounded.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    const BYTES: usize = 2048;
    const LINES: usize = 5;

    fn push(&mut self, text: &[u8]) {
        let text = &text[text.len().saturating_sub(Self::BYTES)..];
        self.bytes.extend_from_slice(text);
        let surplus = self.bytes.len().saturating_sub(Self::BYTES);
        self.bytes.drain(..surplus);
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(Self::LINES)..].join("\n")
    }
}

/// Removes terminal escape sequences, across the borders of reads.
#[derive(Debug, Default)]
struct PlainText {
    state: Escape,
    /// A carriage return whose follower is not known yet.
    held_return: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// `ESC [ … letter`
    Control,
    /// `ESC ] … BEL` or `ESC ] … ESC \`, and its kin
    Text,
    TextEnd,
    /// `ESC ( B` and its kin: one more byte
    OneMore,
}

impl PlainText {
    fn strip(&mut self, raw: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(raw.len());
        for byte in raw {
            self.step(*byte, &mut plain);
        }
        plain
    }

    fn step(&mut self, byte: u8, plain: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (Escape::None, 0x1b) => Escape::Begun,
            (Escape::None, _) => {
                self.put(byte, plain);
                Escape::None
            }
            (Escape::Begun, b'[') => Escape::Control,
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => Escape::Text,
            (Escape::Begun, b'(' | b')' | b'*' | b'+' | b'#' | b'%' | b' ') => Escape::OneMore,
            (Escape::Begun | Escape::TextEnd, 0x1b) => Escape::Begun,
            (Escape::Control, 0x40..=0x7e) | (Escape::Text, 0x07) => Escape::None,
            (Escape::Control, b'\n') => {
                self.put(byte, plain); // a sequence that was cut off must not eat lines
                Escape::None
            }
            (Escape::Control, _) => Escape::Control,
            (Escape::Text, 0x1b) => Escape::TextEnd,
            (Escape::Text, _) => Escape::Text,
            (Escape::Begun | Escape::TextEnd | Escape::OneMore, _) => Escape::None,
        };
    }

    fn put(&mut self, byte: u8, plain: &mut Vec<u8>) {
        if self.held_return && byte != b'\n' {
            plain.push(b'\r');
        }
        self.held_return = byte == b'\r';
        if !self.held_return {
            plain.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(pieces: &[&str]) -> String {
        let mut plain = PlainText::default();
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| plain.strip(piece.as_bytes()))
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn colours_titles_and_carriage_returns_go() {
        assert_eq!(strip(&["\x1b[1;31mred\x1b[0m\r\n"]), "red\n");
        assert_eq!(strip(&["\x1b]0;title\x07a\x1b]8;;u\x1b\\b\n"]), "ab\n");
        assert_eq!(strip(&["\x1b(Bx\x1b=y"]), "xy");
        assert_eq!(strip(&["10%\r20%\r\n"]), "10%\r20%\n");
    }

    #[test]
    fn sequences_cut_by_a_read_are_still_seen() {
        let text = ("a\x1b[3", "2mb\x1b", "[0mc\r", "\nd");
        assert_eq!(strip(&[text.0, text.1, text.2, text.3]), "abc\nd");
    }

    #[test]
    fn a_torn_sequence_does_not_eat_the_following_lines() {
        assert_eq!(strip(&["\x1b[31\nnext\n"]), "\nnext\n");
    }

    #[test]
    fn the_quota_lets_through_what_fits_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let spool = SpoolWriter::open(dir.path(), "job", None).unwrap();
        let mut output = Output::new(spool, Some(10));
        assert!(output.take(b"12345\n").unwrap());
        assert!(!output.take(b"67890\n").unwrap());
        output.finish().unwrap();
        let (_, bytes) = crate::spool::SpoolReader::at(dir.path(), "job", 0)
            .next_chunk(1000)
            .unwrap();
        let text: Vec<u8> = frames::Frames::new(&bytes)
            .flat_map(|f| f.unwrap().payload.to_vec())
            .collect();
        assert_eq!(text, b"12345\n6789");
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let mut tail = Tail::default();
        for n in 0..1000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        assert_eq!(
            tail.text(),
            "line 995\nline 996\nline 997\nline 998\nline 999"
        );
    }
}
