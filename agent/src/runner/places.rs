//! Where the paths of an order lie on this file system.
//!
//! In a container they are what they are called. On a host that other jobs share, `/dstack` and
//! `/workflow` belong to nobody, so they stand in the job's own folder; other absolute paths mean
//! the host's, and are used only if this user may write there.

use std::path::{Component, Path, PathBuf};

use crate::record::Layout;

/// Paths that a host-layout job gets in its own folder.
const OWN: [&str; 2] = ["/dstack", "/workflow"];

#[derive(Debug, Clone)]
pub struct Places {
    layout: Layout,
    /// Stands for `/` under the paths of [`OWN`].
    root: PathBuf,
    home: PathBuf,
}

impl Places {
    pub fn new(layout: Layout, job_root: &Path, home: &Path) -> Self {
        Self {
            layout,
            root: job_root.to_owned(),
            home: home.to_owned(),
        }
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// `/dstack` or what stands for it.
    pub fn dstack(&self) -> PathBuf {
        self.absolute(Path::new("/dstack"))
    }

    /// Where a job works that does not say where.
    pub fn workflow(&self) -> PathBuf {
        self.absolute(Path::new("/workflow"))
    }

    /// A path of the order: absolute, from `~`, or below `base`.
    pub fn resolve(&self, path: &str, base: &Path) -> Result<PathBuf, String> {
        let resolved = if path == "~" {
            self.home.clone()
        } else if let Some(rest) = path.strip_prefix("~/") {
            self.home.join(rest)
        } else if path.starts_with('~') {
            return Err(format!(
                "the path {path} names another user's home; use ~/ or an absolute path"
            ));
        } else if path.starts_with('/') {
            self.absolute(Path::new(path))
        } else {
            base.join(path)
        };
        if resolved
            .components()
            .any(|part| part == Component::ParentDir)
        {
            return Err(format!("the path {path} goes up with ..; write it without"));
        }
        Ok(resolved.components().collect())
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        let own = OWN.iter().any(|own| path.starts_with(own));
        match (self.layout, path.strip_prefix("/")) {
            (Layout::Host, Ok(below)) if own => self.root.join(below),
            _ => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(layout: Layout) -> Places {
        Places::new(layout, Path::new("/home/u/job/root"), Path::new("/home/u"))
    }

    fn resolve(layout: Layout, path: &str) -> Result<String, String> {
        places(layout)
            .resolve(path, Path::new("/base"))
            .map(|p| p.display().to_string())
    }

    #[test]
    fn a_container_has_paths_of_its_own_and_a_host_job_a_folder() {
        assert_eq!(
            resolve(Layout::Container, "/workflow/a").unwrap(),
            "/workflow/a"
        );
        assert_eq!(
            resolve(Layout::Host, "/workflow/a").unwrap(),
            "/home/u/job/root/workflow/a"
        );
        assert_eq!(resolve(Layout::Host, "/workflows").unwrap(), "/workflows");
        assert_eq!(resolve(Layout::Host, "/mnt/data").unwrap(), "/mnt/data");
        assert_eq!(
            places(Layout::Host).dstack(),
            Path::new("/home/u/job/root/dstack")
        );
    }

    #[test]
    fn home_and_relative_paths() {
        assert_eq!(resolve(Layout::Host, "~").unwrap(), "/home/u");
        assert_eq!(resolve(Layout::Host, "~/x").unwrap(), "/home/u/x");
        assert_eq!(resolve(Layout::Host, "x/./y").unwrap(), "/base/x/y");
        assert_eq!(resolve(Layout::Host, ".").unwrap(), "/base");
    }

    #[test]
    fn ways_out_are_refused() {
        for path in ["../x", "/workflow/../../x", "~root/x", "a/../../b"] {
            assert!(resolve(Layout::Host, path).is_err(), "{path}");
        }
    }
}
