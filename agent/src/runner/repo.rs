//! The code of a run: a clone of a Git repository with the local changes applied, or the tar of a
//! local folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use dstack_api::agent_job::{IfExists, OrderRepo};

use super::repo_access::Access;
use super::unpack::{self, Ownership};

/// Puts the code at `dir`. `say` gets what the user may want to read later.
pub fn place(
    repo: &OrderRepo,
    access: &Access,
    code: Option<&Path>,
    dir: &Path,
    owner: Ownership,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    if !matches!(repo.kind.as_str(), "remote" | "local") {
        return Ok(());
    }
    unpack::make_dirs(dir, owner)
        .map_err(|error| format!("cannot create the repo folder {}: {error}", dir.display()))?;
    if !is_empty(dir)? {
        match repo.if_exists {
            IfExists::Skip => {
                say(&format!(
                    "{} is not empty: the repo is left out (if_exists: skip)",
                    dir.display()
                ));
                return Ok(());
            }
            IfExists::Error => {
                return Err(format!(
                    "the repo folder {} is not empty; choose another path or set if_exists: skip",
                    dir.display()
                ));
            }
        }
    }
    if repo.kind == "local" {
        return code.map_or(Ok(()), |code| unpack::unpack_into(code, dir, owner));
    }
    clone(repo, access, dir, say)?;
    if let Some(patch) = code {
        apply(patch, dir)?;
    }
    unpack::own_tree(dir, owner)
        .map_err(|error| format!("cannot give {} to the job's user: {error}", dir.display()))
}

fn is_empty(dir: &Path) -> Result<bool, String> {
    let mut entries =
        fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    Ok(entries.next().is_none())
}

fn clone(
    repo: &OrderRepo,
    access: &Access,
    dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let url = repo
        .clone_url
        .as_deref()
        .ok_or("the run's Git repository has no URL")?;
    say(&format!("cloning {}", without_password(url)));
    let mut args = vec!["clone", "--quiet", "--recurse-submodules"];
    if let Some(branch) = &repo.branch {
        args.extend(["--branch", branch]);
    }
    args.extend(["--", url, "."]);
    git(dir, access, &args)?;
    if let Some(hash) = &repo.hash {
        // A shallow or single-branch clone need not hold the commit.
        if git(dir, access, &["checkout", "--quiet", hash]).is_err() {
            git(dir, access, &["fetch", "--quiet", "origin", hash])?;
            git(dir, access, &["checkout", "--quiet", hash])?;
        }
        git(
            dir,
            access,
            &["submodule", "update", "--quiet", "--init", "--recursive"],
        )?;
    }
    for (key, value) in [
        ("user.name", &repo.config_name),
        ("user.email", &repo.config_email),
    ] {
        if let Some(value) = value {
            git(dir, access, &["config", key, value])?;
        }
    }
    Ok(())
}

fn apply(patch: &Path, dir: &Path) -> Result<(), String> {
    if fs::metadata(patch).is_ok_and(|meta| meta.len() == 0) {
        return Ok(());
    }
    git(
        dir,
        &Access::default(),
        &["apply", "--whitespace=nowarn", &patch.display().to_string()],
    )
}

fn git(dir: &Path, access: &Access, args: &[&str]) -> Result<(), String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs(access.env())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run git: {error}; the image needs git for a repo"))?;
    if output.status.success() {
        return Ok(());
    }
    let verb = args.first().copied().unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "git {verb} failed: {}",
        without_password(said.trim())
    ))
}

/// Hides what stands between `://` and `@`.
fn without_password(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let authority = after.find(['/', ' ', '\n', '\'']).unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(at) => {
                shown.push_str("***");
                &after[at..]
            }
            None => after,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_hidden() {
        assert_eq!(
            without_password("fatal: 'https://u:tok@host/a b' and ssh://git@h/x"),
            "fatal: 'https://***@host/a b' and ssh://***@h/x"
        );
        assert_eq!(without_password("https://host/a@b"), "https://host/a@b");
    }

    #[test]
    fn a_clone_with_local_changes() {
        let dir = tempfile::tempdir().unwrap();
        let origin = dir.path().join("origin");
        fs::create_dir(&origin).unwrap();
        for args in [
            &["init", "--quiet"][..],
            &[
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
                "commit",
                "--quiet",
                "--allow-empty",
                "-m",
                "x",
            ],
        ] {
            git(&origin, &Access::default(), args).unwrap();
        }
        let patch = dir.path().join("patch");
        fs::write(&patch, "diff --git a/f b/f\nnew file mode 100644\n--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+hi\n").unwrap();
        let target = dir.path().join("w/f");
        let repo = OrderRepo {
            kind: "remote".into(),
            clone_url: Some(origin.display().to_string()),
            ..OrderRepo::default()
        };
        let access = Access::default();
        place(&repo, &access, Some(&patch), &target, None, &mut |_| ()).unwrap();
        assert_eq!(fs::read_to_string(target.join("f")).unwrap(), "hi\n");

        let again = place(&repo, &access, None, &target, None, &mut |_| ()).unwrap_err();
        assert!(again.contains("not empty"), "{again}");
        let skip = OrderRepo {
            if_exists: IfExists::Skip,
            ..repo
        };
        place(&skip, &access, None, &target, None, &mut |_| ()).unwrap();
    }
}
