//! `dstack-agent sftp`: the file server behind scp, sftp and IDEs. A process of its own on its standard streams,
//! so that it reads and writes as the session's user and not as the server.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions, ReadDir};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use russh_sftp::protocol::{
    Attrs, Data, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::{self, Handler};

/// Entries of a folder that one answer carries.
const ENTRIES: usize = 128;
/// The most that one answer carries of a file.
const PIECE: u32 = 256 * 1024;
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// Serves standard input and output to their end.
pub fn serve_stdio() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let streams = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            let (served, done) = tokio::sync::oneshot::channel::<()>();
            server::run(
                streams,
                Files {
                    open: HashMap::new(),
                    next: 0,
                    _served: served,
                },
            )
            .await;
            let _ = done.await;
        });
    Ok(())
}

struct Files {
    open: HashMap<String, Open>,
    next: u64,
    /// Dropped when the client is gone.
    _served: tokio::sync::oneshot::Sender<()>,
}

enum Open {
    File(File),
    Folder(ReadDir),
}

/// What went wrong, as the protocol says it.
struct Failure(StatusCode);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::NotFound => StatusCode::NoSuchFile,
            io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
            io::ErrorKind::UnexpectedEof => StatusCode::Eof,
            io::ErrorKind::Unsupported => StatusCode::OpUnsupported,
            _ => StatusCode::Failure,
        })
    }
}

impl From<Failure> for server::StatusReply {
    fn from(failure: Failure) -> Self {
        failure.0.into()
    }
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "done".into(),
        language_tag: "en".into(),
    }
}

impl Files {
    fn keep(&mut self, id: u32, open: Open) -> Handle {
        let handle = self.next.to_string();
        self.next += 1;
        self.open.insert(handle.clone(), open);
        Handle { id, handle }
    }

    fn file(&self, handle: &str) -> Result<&File, Failure> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(Failure(StatusCode::Failure)),
        }
    }
}

impl Handler for Files {
    type Error = Failure;

    fn unimplemented(&self) -> Failure {
        Failure(StatusCode::OpUnsupported)
    }

    async fn init(
        &mut self,
        _version: u32,
        _extensions: HashMap<String, String>,
    ) -> Result<Version, Failure> {
        let mut version = Version::new();
        version.extensions.insert(POSIX_RENAME.into(), "1".into());
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Failure> {
        let mut options: OpenOptions = flags.into();
        options.mode(attributes.permissions.unwrap_or(0o666) & 0o7777);
        let file = options.open(path)?;
        Ok(self.keep(id, Open::File(file)))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Failure> {
        match self.open.remove(&handle) {
            Some(_) => Ok(done(id)),
            None => Err(Failure(StatusCode::Failure)),
        }
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        length: u32,
    ) -> Result<Data, Failure> {
        let file = self.file(&handle)?;
        let mut data = vec![0; length.min(PIECE) as usize];
        let read = file.read_at(&mut data, offset)?;
        if read == 0 {
            return Err(Failure(StatusCode::Eof));
        }
        data.truncate(read);
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Failure> {
        self.file(&handle)?.write_all_at(&data, offset)?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Failure> {
        let attrs = attributes(&fs::symlink_metadata(path)?);
        Ok(Attrs { id, attrs })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Failure> {
        let attrs = attributes(&fs::metadata(path)?);
        Ok(Attrs { id, attrs })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Failure> {
        let attrs = attributes(&self.file(&handle)?.metadata()?);
        Ok(Attrs { id, attrs })
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, Failure> {
        change(Path::new(&path), &attrs)?;
        Ok(done(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Failure> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.file(&handle)?.as_raw_fd());
        change(Path::new(&path), &attrs)?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Failure> {
        let folder = fs::read_dir(path)?;
        Ok(self.keep(id, Open::Folder(folder)))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Failure> {
        let Some(Open::Folder(folder)) = self.open.get_mut(&handle) else {
            return Err(Failure(StatusCode::Failure));
        };
        let mut files = Vec::new();
        for entry in folder.take(ENTRIES) {
            let entry = entry?;
            let Ok(metadata) = entry.path().symlink_metadata() else {
                continue; // removed meanwhile
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(Entry::new(name, attributes(&metadata)));
        }
        if files.is_empty() {
            return Err(Failure(StatusCode::Eof));
        }
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, Failure> {
        fs::remove_file(path)?;
        Ok(done(id))
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .mode(attrs.permissions.unwrap_or(0o777) & 0o7777)
            .create(path)?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Failure> {
        fs::remove_dir(path)?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Failure> {
        let absolute = absolute(&std::env::current_dir()?, Path::new(&path));
        let found = fs::canonicalize(&absolute).unwrap_or(absolute);
        Ok(name(id, &found))
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Failure> {
        // The protocol's own rename does not replace; a hard link cannot either.
        if fs::symlink_metadata(&to).is_ok() {
            return Err(Failure(StatusCode::Failure));
        }
        fs::rename(from, to)?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Failure> {
        Ok(name(id, &fs::read_link(path)?))
    }

    /// OpenSSH's clients send the target first, whatever the protocol's draft says.
    async fn symlink(&mut self, id: u32, target: String, link: String) -> Result<Status, Failure> {
        symlink(target, link)?;
        Ok(done(id))
    }

    async fn extended(
        &mut self,
        id: u32,
        request: String,
        data: Vec<u8>,
    ) -> Result<Packet, Failure> {
        if request != POSIX_RENAME {
            return Err(self.unimplemented());
        }
        let (from, rest) = text(&data)?;
        let (to, _) = text(rest)?;
        fs::rename(from, to)?;
        Ok(Packet::Status(done(id)))
    }
}

/// One string of the protocol, and what follows.
fn text(data: &[u8]) -> Result<(&str, &[u8]), Failure> {
    let bad = || Failure(StatusCode::BadMessage);
    let (length, rest) = data.split_first_chunk::<4>().ok_or_else(bad)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (text, rest) = rest.split_at_checked(length).ok_or_else(bad)?;
    Ok((std::str::from_utf8(text).map_err(|_| bad())?, rest))
}

fn name(id: u32, path: &Path) -> Name {
    Name {
        id,
        files: vec![Entry::dummy(path.to_string_lossy())],
    }
}

/// Without dots, whether or not it exists.
fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

fn attributes(metadata: &fs::Metadata) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time).ok();
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: seconds(metadata.atime()),
        mtime: seconds(metadata.mtime()),
        ..FileAttributes::default()
    }
}

fn change(path: &Path, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        OpenOptions::new().write(true).open(path)?.set_len(size)?;
    }
    if wanted.uid.is_some() || wanted.gid.is_some() {
        chown(path, wanted.uid, wanted.gid)?;
    }
    if let Some(mode) = wanted.permissions {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (wanted.atime, wanted.mtime) {
        let moment = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
        let times = FileTimes::new()
            .set_accessed(moment(accessed))
            .set_modified(moment(modified));
        File::open(path)?.set_times(times)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_their_dots() {
        let got = |path: &str| absolute(Path::new("/home/ann"), Path::new(path));
        assert_eq!(got("."), Path::new("/home/ann"));
        assert_eq!(got("../bob/./x"), Path::new("/home/bob/x"));
        assert_eq!(got("/a/../../b"), Path::new("/b"));
    }

    #[test]
    fn a_string_that_is_cut_off_is_refused() {
        assert_eq!(text(b"\0\0\0\x02abc").ok(), Some(("ab", &b"c"[..])));
        for bad in [&b""[..], b"\0\0\0", b"\0\0\0\x05abc", b"\xff\xff\xff\xff"] {
            assert!(text(bad).is_err());
        }
    }
}
