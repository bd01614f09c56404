//! Log frames: the one form job output has, in the agent's spool, on the link and in the store.
//!
//! A frame is `[i64 LE µs since 1970][u32 LE length][bytes]`; the bytes are one line with its
//! newline, or a piece of at most [`MAX_PAYLOAD`]. Offsets everywhere are byte offsets into the
//! concatenated frames, so that a chunk can be resumed, compared and stored without being read.
//! Timestamps grow strictly, because the HTTP API lets a client resume after a timestamp.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

/// The longest piece of output in one frame.
pub const MAX_PAYLOAD: usize = 32 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 12;

/// One frame, borrowed from the buffer it was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Microseconds since 1970.
    pub micros: i64,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// How many bytes the frame takes.
    pub fn encoded_len(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// The moment, as the HTTP API gives it.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_microsecond(self.micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error(
        "log frame at byte {at} says it is {len} bytes long, but at most {MAX_PAYLOAD} are allowed"
    )]
    TooLong { at: usize, len: usize },
    #[error("log frame at byte {at} is cut off")]
    Torn { at: usize },
    #[error("log frame at byte {at} is not later than the one before it")]
    OutOfOrder { at: usize },
}

/// Reads frames one after another; stops for good at the first that is torn or nonsense.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    broken: bool,
}

impl<'a> Frames<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            broken: false,
        }
    }

    /// Where the next frame would begin.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.at == self.bytes.len() {
            return None;
        }
        let at = self.at;
        match read_at(self.bytes, at) {
            Ok(frame) => {
                self.at += frame.encoded_len();
                Some(Ok(frame))
            }
            Err(error) => {
                self.broken = true;
                Some(Err(error))
            }
        }
    }
}

fn read_at(bytes: &[u8], at: usize) -> Result<Frame<'_>, FrameError> {
    let rest = bytes.get(at..).unwrap_or_default();
    let torn = FrameError::Torn { at };
    let (stamp, rest) = rest.split_first_chunk::<8>().ok_or(torn.clone())?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or(torn.clone())?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > MAX_PAYLOAD {
        return Err(FrameError::TooLong { at, len });
    }
    let payload = rest.get(..len).ok_or(torn)?;
    Ok(Frame {
        micros: i64::from_le_bytes(*stamp),
        payload,
    })
}

/// Appends one frame. The caller keeps the payload within [`MAX_PAYLOAD`] ([`Writer`] does).
pub fn put(into: &mut BytesMut, micros: i64, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    into.reserve(HEADER + payload.len());
    into.put_i64_le(micros);
    into.put_u32_le(payload.len() as u32);
    into.put_slice(payload);
}

/// How many leading bytes are whole, well-formed frames: where a torn file is to be cut.
pub fn whole_prefix(bytes: &[u8]) -> usize {
    let mut frames = Frames::new(bytes);
    while let Some(Ok(_)) = frames.next() {}
    frames.position()
}

/// The timestamp of the last whole frame.
pub fn last_micros(bytes: &[u8]) -> Option<i64> {
    Frames::new(bytes)
        .map_while(Result::ok)
        .last()
        .map(|f| f.micros)
}

/// Checks a chunk before it is stored: whole frames, in order, the first later than `after`.
/// Returns the timestamp of the last one (`after` when there is none).
pub fn check_chunk(bytes: &[u8], after: Option<i64>) -> Result<Option<i64>, FrameError> {
    let mut last = after;
    let mut frames = Frames::new(bytes);
    loop {
        let at = frames.position();
        let Some(frame) = frames.next() else {
            return Ok(last);
        };
        let frame = frame?;
        if last.is_some_and(|last| frame.micros <= last) {
            return Err(FrameError::OutOfOrder { at });
        }
        last = Some(frame.micros);
    }
}

/// Turns raw output into frames: splits at newlines and at [`MAX_PAYLOAD`], and keeps the
/// timestamps growing even when the clock does not.
#[derive(Debug, Default)]
pub struct Writer {
    last: i64,
    /// A line whose newline has not come yet.
    pending: BytesMut,
}

impl Writer {
    /// Begins after a frame that is already on disk.
    pub fn after(last_micros: i64) -> Self {
        Self {
            last: last_micros,
            pending: BytesMut::new(),
        }
    }

    /// Takes output as it comes; returns the frames that are complete.
    pub fn push(&mut self, now_micros: i64, mut output: &[u8]) -> Bytes {
        let mut frames = BytesMut::new();
        while !output.is_empty() {
            let room = MAX_PAYLOAD - self.pending.len();
            let window = &output[..output.len().min(room)];
            let take = match window.iter().position(|b| *b == b'\n') {
                Some(newline) => newline + 1,
                None => window.len(),
            };
            self.pending.extend_from_slice(&output[..take]);
            output = &output[take..];
            if self.pending.ends_with(b"\n") || self.pending.len() == MAX_PAYLOAD {
                self.emit(now_micros, &mut frames);
            }
        }
        frames.freeze()
    }

    /// Gives out a line that has no newline yet: a prompt, a progress bar, the last words.
    pub fn flush(&mut self, now_micros: i64) -> Bytes {
        let mut frames = BytesMut::new();
        if !self.pending.is_empty() {
            self.emit(now_micros, &mut frames);
        }
        frames.freeze()
    }

    /// Whether there is a line without a newline.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn emit(&mut self, now_micros: i64, frames: &mut BytesMut) {
        self.last = now_micros.max(self.last.saturating_add(1));
        put(frames, self.last, &self.pending);
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
        Frames::new(bytes)
            .map(|f| f.unwrap())
            .map(|f| (f.micros, f.payload.to_vec()))
            .collect()
    }

    #[test]
    fn lines_become_frames_with_growing_timestamps() {
        let mut writer = Writer::default();
        let first = writer.push(100, b"one\ntwo\nthr");
        let second = writer.push(50, b"ee\n");
        assert_eq!(
            lines(&first),
            [(100, b"one\n".to_vec()), (101, b"two\n".to_vec())]
        );
        assert_eq!(
            lines(&second),
            [(102, b"three\n".to_vec())],
            "a clock that steps back"
        );
    }

    #[test]
    fn a_long_line_is_cut_and_nothing_is_lost() {
        let mut writer = Writer::default();
        let text: Vec<u8> = (0..100_000u32).map(|i| b'a' + (i % 26) as u8).collect();
        let mut all = Vec::new();
        for piece in text.chunks(7_001) {
            all.extend_from_slice(&writer.push(1, piece));
        }
        all.extend_from_slice(&writer.flush(1));
        let frames = lines(&all);
        assert!(frames.iter().all(|(_, p)| p.len() <= MAX_PAYLOAD));
        assert_eq!(frames.concat_payloads(), text);
        assert!(check_chunk(&all, None).is_ok());
    }

    trait Concat {
        fn concat_payloads(&self) -> Vec<u8>;
    }
    impl Concat for Vec<(i64, Vec<u8>)> {
        fn concat_payloads(&self) -> Vec<u8> {
            self.iter().flat_map(|(_, p)| p.iter().copied()).collect()
        }
    }

    #[test]
    fn a_torn_tail_is_cut_at_the_last_whole_frame() {
        let mut writer = Writer::default();
        let bytes = writer.push(1, b"one\ntwo\n");
        let first = HEADER + 4;
        for cut in 0..=bytes.len() {
            let expected = if cut == bytes.len() {
                cut
            } else if cut >= first {
                first
            } else {
                0
            };
            assert_eq!(whole_prefix(&bytes[..cut]), expected, "cut at {cut}");
        }
        assert_eq!(last_micros(&bytes), Some(2));
    }

    #[test]
    fn nonsense_is_refused_not_believed() {
        let mut bytes = BytesMut::new();
        bytes.put_i64_le(5);
        bytes.put_u32_le(u32::MAX);
        assert_eq!(
            check_chunk(&bytes, None),
            Err(FrameError::TooLong {
                at: 0,
                len: u32::MAX as usize
            })
        );
        let mut bytes = BytesMut::new();
        put(&mut bytes, 5, b"a\n");
        put(&mut bytes, 5, b"b\n");
        assert_eq!(
            check_chunk(&bytes, None),
            Err(FrameError::OutOfOrder { at: HEADER + 2 })
        );
        assert_eq!(
            check_chunk(&bytes[..HEADER + 2], Some(5)),
            Err(FrameError::OutOfOrder { at: 0 })
        );
        assert_eq!(check_chunk(&bytes[..HEADER + 2], Some(4)), Ok(Some(5)));
        assert_eq!(check_chunk(&[], Some(4)), Ok(Some(4)));
    }
}
