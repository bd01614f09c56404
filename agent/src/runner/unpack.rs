//! Archives into the job's file system.
//!
//! An archive is unpacked beside its target and then moved over it piece by piece, so that an
//! entry that points out of the archive reaches nothing, and what lies at the target stays unless
//! the archive has the same name.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

/// Who gets what is unpacked; `None` keeps the runner.
pub type Ownership = Option<(u32, u32)>;

/// Unpacks a `files:` archive: its one top entry becomes `target`, whatever it was called.
pub fn unpack(archive: &Path, target: &Path, owner: Ownership) -> Result<(), String> {
    let parent = target.parent().ok_or_else(|| {
        format!(
            "cannot unpack files at {}; name a file or a folder below it",
            target.display()
        )
    })?;
    place(archive, parent, owner, |scratch| {
        let mut tops = Vec::new();
        for entry in fs::read_dir(scratch)? {
            tops.push(entry?.path());
        }
        match tops.as_slice() {
            [only] => merge(only, target),
            _ => merge(scratch, target),
        }
    })
    .map_err(|error| format!("cannot unpack files to {}: {error}", target.display()))
}

/// Unpacks an archive whose top entries belong into `target`.
pub fn unpack_into(archive: &Path, target: &Path, owner: Ownership) -> Result<(), String> {
    place(archive, target, owner, |scratch| merge(scratch, target))
        .map_err(|error| format!("cannot unpack code to {}: {error}", target.display()))
}

/// Makes a folder and the ones above it; the new ones belong to `owner`.
pub fn make_dirs(path: &Path, owner: Ownership) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.exists() {
        missing.push(at);
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        own(path, owner)?;
    }
    Ok(())
}

/// Gives a file or a whole folder to `owner`; links are not followed.
pub fn own_tree(path: &Path, owner: Ownership) -> io::Result<()> {
    if owner.is_none() {
        return Ok(());
    }
    own(path, owner)?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            own_tree(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

fn own(path: &Path, owner: Ownership) -> io::Result<()> {
    match owner {
        Some((uid, gid)) => lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

fn place(
    archive: &Path,
    beside: &Path,
    owner: Ownership,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    make_dirs(beside, owner)?;
    let scratch = beside.join(format!(".dstack-unpack-{}", uuid::Uuid::new_v4().simple()));
    fs::create_dir(&scratch)?;
    let result = extract(archive, &scratch)
        .and_then(|()| own_tree(&scratch, owner))
        .and_then(|()| put(&scratch));
    let cleared = crate::durable::remove_dir(&scratch);
    result.and(cleared)
}

fn extract(archive: &Path, into: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(archive)?);
    let gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if gzip {
        Box::new(GzDecoder::new(reader))
    } else {
        Box::new(reader)
    };
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_overwrite(true);
    // Folders last: one without write permission must not stand in its content's way.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_dir() {
            folders.push(entry);
            continue;
        }
        put_entry(&mut entry, into)?;
    }
    folders.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes()));
    for mut folder in folders {
        put_entry(&mut folder, into)?;
    }
    Ok(())
}

fn put_entry<R: Read>(entry: &mut tar::Entry<'_, R>, into: &Path) -> io::Result<()> {
    if entry.unpack_in(into)? {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the archive holds {name}, which leads out of it"),
    ))
}

/// Moves `from` to `to`; folders that are on both sides are joined.
fn merge(from: &Path, to: &Path) -> io::Result<()> {
    let both_folders =
        from.symlink_metadata()?.is_dir() && to.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    if !both_folders {
        return fs::rename(from, to);
    }
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(from)? {
        entries.push(entry?.path());
    }
    for entry in entries {
        if let Some(name) = entry.file_name() {
            merge(&entry, &to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn tar_of(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes()); // also names no builder would write
            header.set_size(text.len() as u64);
            header.set_mode(0o640);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn write(dir: &Path, bytes: &[u8]) -> PathBuf {
        let path = dir.join("archive");
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_top_entry_takes_the_name_of_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let archive = write(
            dir.path(),
            &tar_of(&[("data/a.txt", "A"), ("data/sub/b.txt", "B")]),
        );
        let target = dir.path().join("x/y/mine");
        unpack(&archive, &target, None).unwrap();
        assert_eq!(fs::read_to_string(target.join("sub/b.txt")).unwrap(), "B");
        assert_eq!(
            target
                .join("a.txt")
                .metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o640
        );
        assert_eq!(
            fs::read_dir(target.parent().unwrap()).unwrap().count(),
            1,
            "no scratch folder stays"
        );
    }

    #[test]
    fn a_single_file_and_gzip() {
        let dir = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::copy(&mut tar_of(&[("a.txt", "A")]).as_slice(), &mut gzip).unwrap();
        let archive = write(dir.path(), &gzip.finish().unwrap());
        unpack(&archive, &dir.path().join("b.conf"), None).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("b.conf")).unwrap(), "A");
    }

    #[test]
    fn what_is_at_the_target_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("t");
        fs::create_dir_all(target.join("sub")).unwrap();
        fs::write(target.join("sub/keep"), "K").unwrap();
        fs::write(target.join("a.txt"), "old").unwrap();
        let archive = write(dir.path(), &tar_of(&[("d/a.txt", "new"), ("d/sub/b", "B")]));
        unpack(&archive, &target, None).unwrap();
        assert_eq!(fs::read_to_string(target.join("sub/keep")).unwrap(), "K");
        assert_eq!(fs::read_to_string(target.join("a.txt")).unwrap(), "new");
        assert_eq!(fs::read_to_string(target.join("sub/b")).unwrap(), "B");
    }

    #[test]
    fn ways_out_of_the_archive_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let archive = write(dir.path(), &tar_of(&[("d/../../../evil", "E")]));
        let error = unpack(&archive, &dir.path().join("in/t"), None).unwrap_err();
        assert!(error.contains("leads out"), "{error}");
        assert!(!dir.path().join("evil").exists());

        let mut builder = tar::Builder::new(Vec::new());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder
            .append_link(&mut link, "d/link", dir.path().join("outside"))
            .unwrap();
        let mut file = tar::Header::new_gnu();
        file.set_size(1);
        builder
            .append_data(&mut file, "d/link/evil", &b"E"[..])
            .unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let archive = write(dir.path(), &builder.into_inner().unwrap());
        assert!(unpack(&archive, &dir.path().join("in/t"), None).is_err());
        assert!(!dir.path().join("outside/evil").exists());
    }

    #[test]
    fn garbage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let archive = write(dir.path(), &[7_u8; 5000]);
        assert!(unpack(&archive, &dir.path().join("t"), None).is_err());
    }
}
