//! One stream on disk: files named by the offset of their first byte. Blocking; called from blocking threads.
//!
//! A file ends where a whole frame ends. After a crash the last file may hold a torn frame; opening cuts it off.
//! A hole between two files is a part that no replica has any more (see `Disk::append`).

use dstack_api::frames;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Debug)]
struct Segment {
    base: u64,
    len: u64,
    path: PathBuf,
}

#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    name: &'static str,
    /// In the order of their offsets; only the last one grows.
    list: Vec<Segment>,
    /// The last file, open for appending.
    tail: Option<File>,
    rollover: u64,
}

impl Segments {
    pub fn open(dir: &Path, name: &'static str, rollover: u64) -> io::Result<Self> {
        let mut list = Vec::new();
        for path in files(dir)? {
            if let Some(base) = base_of(&path, name) {
                let len = fs::metadata(&path)?.len();
                list.push(Segment { base, len, path });
            }
        }
        list.sort_by_key(|segment| segment.base);
        let mut segments = Self {
            dir: dir.to_owned(),
            name,
            list,
            tail: None,
            rollover,
        };
        segments.mend()?;
        Ok(segments)
    }

    /// Cuts a torn frame off the end.
    fn mend(&mut self) -> io::Result<()> {
        let Some(last) = self.list.last_mut() else {
            return Ok(());
        };
        let bytes = fs::read(&last.path)?;
        let whole = frames::whole_prefix(&bytes) as u64;
        if whole < last.len {
            tracing::warn!(path = %last.path.display(), cut = last.len - whole, "cut a torn frame off a log");
            let file = OpenOptions::new().write(true).open(&last.path)?;
            file.set_len(whole)?;
            file.sync_all()?;
            last.len = whole;
        }
        Ok(())
    }

    /// Where the next byte goes.
    pub fn end(&self) -> u64 {
        self.list.last().map_or(0, |last| last.base + last.len)
    }

    /// The first byte that is still here.
    pub fn start(&self) -> u64 {
        self.list.first().map_or(0, |first| first.base)
    }

    /// Writes behind the end, or at `offset` beyond it, leaving a hole. Not yet synced.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let full = self
            .list
            .last()
            .is_none_or(|last| last.len >= self.rollover);
        if full || offset != self.end() {
            self.roll(offset)?;
        }
        let tail = self.tail_file()?;
        let (Some(last), Some(mut tail)) = (self.list.last_mut(), tail) else {
            return Err(io::Error::other("a log without a file"));
        };
        if let Err(error) = tail.write_all(bytes) {
            // Half a chunk must not stay: the next append would put its frames behind torn ones.
            let _ = tail.set_len(last.len);
            return Err(error);
        }
        last.len += bytes.len() as u64;
        Ok(())
    }

    fn tail_file(&mut self) -> io::Result<Option<File>> {
        if self.tail.is_none()
            && let Some(last) = self.list.last()
        {
            self.tail = Some(OpenOptions::new().append(true).open(&last.path)?);
        }
        self.tail.as_ref().map(File::try_clone).transpose()
    }

    /// The file to sync; a clone, so that writers need not wait for the disk.
    pub fn sync_handle(&mut self) -> io::Result<Option<File>> {
        self.tail_file()
    }

    fn roll(&mut self, base: u64) -> io::Result<()> {
        if let Some(tail) = self.tail.take() {
            tail.sync_data()?;
        }
        fs::create_dir_all(&self.dir)?;
        let path = self.dir.join(format!("{}.{base:016x}", self.name));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(0)?;
        // The name must survive too.
        File::open(&self.dir)?.sync_all()?;
        self.tail = Some(file);
        self.list.push(Segment { base, len: 0, path });
        Ok(())
    }

    /// Bytes from `from` on, or from the first byte behind it that exists; at most `limit`, never across a hole.
    pub fn read(&self, from: u64, limit: usize) -> io::Result<(u64, Vec<u8>)> {
        let Some(segment) = self.list.iter().find(|s| s.base + s.len > from) else {
            return Ok((from, Vec::new()));
        };
        let at = from.max(segment.base);
        let len = (segment.base + segment.len - at).min(limit as u64);
        let mut file = File::open(&segment.path)?;
        file.seek(SeekFrom::Start(at - segment.base))?;
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(len).read_to_end(&mut bytes)?;
        Ok((at, bytes))
    }

    /// Gives up the oldest file, but never the one that grows. Returns how many bytes that freed.
    pub fn drop_oldest(&mut self) -> io::Result<u64> {
        if self.list.len() < 2 {
            return Ok(0);
        }
        let oldest = self.list.remove(0);
        fs::remove_file(&oldest.path)?;
        Ok(oldest.len)
    }
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn base_of(path: &Path, name: &str) -> Option<u64> {
    let (stream, base) = path.file_name()?.to_str()?.rsplit_once('.')?;
    (stream == name && base.len() == 16).then(|| u64::from_str_radix(base, 16).ok())?
}

/// Size and last change of everything in a submission's folder.
pub(super) fn weigh(dir: &Path) -> io::Result<(u64, SystemTime)> {
    let (mut size, mut changed) = (0, SystemTime::UNIX_EPOCH);
    for path in files(dir)? {
        let meta = fs::metadata(path)?;
        size += meta.len();
        changed = changed.max(meta.modified()?);
    }
    Ok((size, changed))
}
