//! `files:`: each entry packed as a tar, uploaded by digest, referred to by id.

use crate::commands::refused;
use crate::failure::{Failure, Outcome};
use crate::paths::expand;
use anyhow::Context;
use dstack_api::client::ProjectClient;
use dstack_domain::spec::{FileArchiveMapping, FilePathMapping};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Larger archives are refused by the server's default limit.
const LARGEST: usize = 2 * 1024 * 1024;

/// Uploads every entry; relative paths start at `folder`.
pub async fn upload(
    project: &ProjectClient,
    files: &[FilePathMapping],
    folder: &Path,
) -> Outcome<Vec<FileArchiveMapping>> {
    let mut archives = Vec::new();
    for file in files {
        let tar = pack(&expand(&file.local_path, folder))?;
        if tar.len() > LARGEST {
            return Err(Failure::with_hint(
                format!(
                    "files: {} is {} bytes as a tar; the limit is {LARGEST}",
                    file.local_path,
                    tar.len()
                ),
                "Name what is not needed in .gitignore or .dstackignore",
            ));
        }
        let digest = hex::encode(Sha256::digest(&tar));
        let archive = project
            .client()
            .upload_archive(&digest, &tar)
            .await
            .map_err(refused)?;
        archives.push(FileArchiveMapping {
            id: archive.id,
            path: file.path.clone(),
        });
    }
    Ok(archives)
}

/// The same content gives the same bytes: entries sorted, owners and times left out.
fn pack(path: &Path) -> Outcome<Vec<u8>> {
    if !path.exists() {
        return Err(Failure::refused(format!(
            "files: {} does not exist",
            path.display()
        )));
    }
    let base = path.parent().unwrap_or(Path::new("/"));
    let mut builder = tar::Builder::new(Vec::new());
    builder.mode(tar::HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    let walk = ignore::WalkBuilder::new(path)
        .hidden(false)
        .git_global(false)
        .require_git(false)
        .add_custom_ignore_filename(".dstackignore")
        .sort_by_file_path(Path::cmp)
        .build();
    for entry in walk {
        let entry = entry.with_context(|| format!("looking through {}", path.display()))?;
        let name = entry.path().strip_prefix(base).unwrap_or(entry.path());
        builder
            .append_path_with_name(entry.path(), name)
            .with_context(|| format!("packing {}", entry.path().display()))?;
    }
    Ok(builder.into_inner().context("finishing a tar")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_gives_the_same_bytes_and_ignored_files_stay_out() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for (name, text) in [
            ("b", "2"),
            ("a", "1"),
            ("secret", "x"),
            (".dstackignore", "secret\n"),
        ] {
            std::fs::write(data.join(name), text).unwrap();
        }
        let first = pack(&data).unwrap();
        assert_eq!(first, pack(&data).unwrap());
        let mut archive = tar::Archive::new(first.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            ["data", "data/.dstackignore", "data/a", "data/b"].map(str::to_owned)
        );
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert!(
            pack(Path::new("/nonexistent/x"))
                .unwrap_err()
                .to_string()
                .contains("/nonexistent/x")
        );
    }
}
