//! The reading end: resumes at an offset, gives out whole frames only.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dstack_api::frames;

use super::segment::{self, Segment};

/// What of a stream is on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The first byte that has not been trimmed.
    pub start: u64,
    /// The end of what has been written; a frame may be cut off there.
    pub end: u64,
}

/// What of a stream is on the disk.
pub fn bounds(spool: &Path, stream: &str) -> io::Result<Bounds> {
    let segments = segment::list(spool, stream)?;
    Ok(match (segments.first(), segments.last()) {
        (Some(first), Some(last)) => Bounds {
            start: first.base,
            end: last.end(),
        },
        _ => Bounds::default(),
    })
}

/// Gives the disk back whole segments that end at or below `upto`; the last one stays, because
/// its name carries the offset of what comes next.
pub fn trim(spool: &Path, stream: &str, upto: u64) -> io::Result<()> {
    let segments = segment::list(spool, stream)?;
    let Some((_, older)) = segments.split_last() else {
        return Ok(());
    };
    for segment in older.iter().filter(|segment| segment.end() <= upto) {
        fs::remove_file(&segment.path)?;
    }
    Ok(())
}

/// Reads a stream on and on from an offset.
#[derive(Debug)]
pub struct SpoolReader {
    spool: PathBuf,
    stream: String,
    offset: u64,
    open: Option<(Segment, File)>,
}

impl SpoolReader {
    /// Begins at `offset`, which must be where a frame begins, or at what is left after trimming.
    pub fn at(spool: &Path, stream: &str, offset: u64) -> Self {
        Self {
            spool: spool.to_owned(),
            stream: stream.to_owned(),
            offset,
            open: None,
        }
    }

    /// Where the next chunk begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next whole frames, at most `max` bytes of them; empty when there are none yet.
    pub fn next_chunk(&mut self, max: usize) -> io::Result<(u64, Bytes)> {
        // Two looks: the end of one segment may be the beginning of the next.
        for _ in 0..2 {
            if !self.seek()? {
                break;
            }
            let Some((segment, file)) = &mut self.open else {
                break;
            };
            file.seek(SeekFrom::Start(self.offset - segment.base))?;
            let mut bytes = Vec::with_capacity(max.min(64 * 1024));
            file.take(max as u64).read_to_end(&mut bytes)?;
            let whole = frames::whole_prefix(&bytes);
            if whole == 0 && bytes.len() >= frames::HEADER + frames::MAX_PAYLOAD {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "{}: no log frame begins at {}",
                        segment.path.display(),
                        self.offset
                    ),
                ));
            }
            if whole > 0 {
                let offset = self.offset;
                self.offset += whole as u64;
                bytes.truncate(whole);
                return Ok((offset, bytes.into()));
            }
            if !bytes.is_empty() {
                break; // a frame that is being written
            }
            self.open = None;
        }
        Ok((self.offset, Bytes::new()))
    }

    /// Has the segment that holds the offset open; `false` when nothing is there yet.
    fn seek(&mut self) -> io::Result<bool> {
        if self.open.is_some() {
            return Ok(true);
        }
        let segments = segment::list(&self.spool, &self.stream)?;
        let Some(first) = segments.first() else {
            return Ok(false);
        };
        self.offset = self.offset.max(first.base);
        let Some(segment) = segments.into_iter().rev().find(|s| s.base <= self.offset) else {
            return Ok(false);
        };
        if self.offset > segment.end() {
            return Ok(false); // acknowledged beyond what this disk kept
        }
        let file = File::open(&segment.path)?;
        self.open = Some((segment, file));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::SpoolWriter;

    fn frame(text: &str, micros: i64) -> Bytes {
        frames::Writer::after(micros - 1).push(micros, text.as_bytes())
    }

    #[test]
    fn reads_on_as_frames_come_and_never_half_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = SpoolReader::at(dir.path(), "job", 0);
        assert!(reader.next_chunk(1000).unwrap().1.is_empty());
        let mut writer = SpoolWriter::open(dir.path(), "job", None).unwrap();
        let one = frame("one\n", 1);
        let two = frame("two\n", 2);
        writer.append(&one).unwrap();
        writer.append(&two[..5]).unwrap();
        assert_eq!(reader.next_chunk(1000).unwrap(), (0, one.clone()));
        assert!(reader.next_chunk(1000).unwrap().1.is_empty());
        writer.append(&two[5..]).unwrap();
        assert_eq!(reader.next_chunk(1000).unwrap(), (one.len() as u64, two));
    }

    #[test]
    fn a_torn_frame_is_cut_when_the_writer_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let one = frame("one\n", 7);
        let mut writer = SpoolWriter::open(dir.path(), "job", None).unwrap();
        writer.append(&one).unwrap();
        writer.append(&one[..9]).unwrap();
        drop(writer);
        let writer = SpoolWriter::open(dir.path(), "job", None).unwrap();
        assert_eq!((writer.end(), writer.last_micros()), (one.len() as u64, 7));
        assert_eq!(bounds(dir.path(), "job").unwrap().end, one.len() as u64);
    }

    #[test]
    fn trimming_keeps_what_is_not_acknowledged_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("{}\n", "x".repeat(30_000));
        let mut writer = SpoolWriter::open(dir.path(), "job", None).unwrap();
        let mut micros = 1;
        while writer.end() < 2 * segment::SEGMENT_BYTES + 200_000 {
            writer.append(&frame(&line, micros)).unwrap();
            micros += 1;
        }
        let segments = segment::list(dir.path(), "job").unwrap();
        assert_eq!(segments.len(), 3);
        trim(dir.path(), "job", segments[1].end() - 1).unwrap();
        assert_eq!(
            bounds(dir.path(), "job").unwrap(),
            Bounds {
                start: segments[1].base,
                end: writer.end()
            }
        );
        trim(dir.path(), "job", writer.end()).unwrap();
        assert_eq!(
            bounds(dir.path(), "job").unwrap(),
            Bounds {
                start: segments[2].base,
                end: writer.end()
            }
        );

        // A reader that asks for what is gone begins at what is left, and finds the end.
        let mut reader = SpoolReader::at(dir.path(), "job", 0);
        let mut expected = segments[2].base;
        loop {
            let (offset, bytes) = reader.next_chunk(256 * 1024).unwrap();
            if bytes.is_empty() {
                break;
            }
            assert_eq!(offset, expected);
            expected += bytes.len() as u64;
        }
        assert_eq!(expected, writer.end());
    }

    #[test]
    fn an_offset_beyond_the_end_waits() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SpoolWriter::open(dir.path(), "job", None).unwrap();
        writer.append(&frame("one\n", 1)).unwrap();
        let mut reader = SpoolReader::at(dir.path(), "job", 1_000_000);
        assert!(reader.next_chunk(1000).unwrap().1.is_empty());
        assert_eq!(reader.offset(), 1_000_000);
    }
}
