//! The editors a dev environment can be made ready for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Extensions that the remote side of an editor gets with it.
const EXTENSIONS: [&str; 2] = ["ms-python.python", "ms-toolsai.jupyter"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ide {
    Vscode,
    Cursor,
    Windsurf,
    Zed,
}

/// Where the remote side of an editor comes from and where the editor looks for it.
struct Remote {
    url: String,
    /// As the shell expands it.
    folder: String,
    program: &'static str,
}

impl Ide {
    pub fn title(self) -> &'static str {
        match self {
            Self::Vscode => "VS Code",
            Self::Cursor => "Cursor",
            Self::Windsurf => "Windsurf",
            Self::Zed => "Zed",
        }
    }

    /// The link that opens a folder of an SSH host.
    pub fn url(self, host: &str, folder: &str) -> String {
        match self {
            Self::Vscode => format!("vscode://vscode-remote/ssh-remote+{host}{folder}"),
            Self::Cursor => format!("cursor://vscode-remote/ssh-remote+{host}{folder}"),
            Self::Windsurf => format!("windsurf://vscode-remote/ssh-remote+{host}{folder}"),
            Self::Zed => format!("zed://ssh/{host}{folder}"),
        }
    }

    /// Commands that put the remote side in its place before the user comes; none when the version
    /// of the user's editor is not known, because then the editor brings it itself.
    pub fn install(self, version: Option<&str>) -> Vec<String> {
        let Some(remote) = version.and_then(|version| self.remote(version)) else {
            return Vec::new();
        };
        let Remote {
            url,
            folder,
            program,
        } = remote;
        let extensions: Vec<String> = EXTENSIONS
            .iter()
            .map(|name| format!("--install-extension {name}"))
            .collect();
        vec![
            "case \"$(uname -m)\" in aarch64|arm64) ide_arch=arm64;; *) ide_arch=x64;; esac"
                .to_owned(),
            format!("mkdir -p {folder}"),
            format!(
                "{{ wget -qO- \"{url}\" || curl -fsSL \"{url}\"; }} | tar -xz --no-same-owner --strip-components=1 -C {folder}"
            ),
            format!("{folder}/bin/{program} {}", extensions.join(" ")),
        ]
    }

    fn remote(self, version: &str) -> Option<Remote> {
        let remote = match self {
            Self::Vscode => Remote {
                url: format!(
                    "https://update.code.visualstudio.com/commit:{version}/server-linux-$ide_arch/stable"
                ),
                folder: format!("\"$HOME/.vscode-server/bin/{version}\""),
                program: "code-server",
            },
            Self::Cursor => Remote {
                url: format!(
                    "https://cursor.blob.core.windows.net/remote-releases/{version}/vscode-reh-linux-$ide_arch.tar.gz"
                ),
                folder: format!("\"$HOME/.cursor-server/cli/servers/Stable-{version}/server\""),
                program: "cursor-server",
            },
            Self::Windsurf => {
                let (version, commit) = version.split_once('@')?;
                Remote {
                    url: format!(
                        "https://windsurf-stable.codeiumdata.com/linux-reh-$ide_arch/stable/{commit}/windsurf-reh-linux-$ide_arch-{version}.tar.gz"
                    ),
                    folder: format!("\"$HOME/.windsurf-server/bin/{commit}\""),
                    program: "windsurf-server",
                }
            }
            // Zed brings its own over SSH.
            Self::Zed => return None,
        };
        Some(remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_open_the_folder_of_the_run() {
        for (ide, link) in [
            (Ide::Vscode, "vscode://vscode-remote/ssh-remote+dev/work"),
            (Ide::Cursor, "cursor://vscode-remote/ssh-remote+dev/work"),
            (
                Ide::Windsurf,
                "windsurf://vscode-remote/ssh-remote+dev/work",
            ),
            (Ide::Zed, "zed://ssh/dev/work"),
        ] {
            assert_eq!(ide.url("dev", "/work"), link);
        }
    }

    #[test]
    fn the_remote_side_is_installed_for_a_known_version_only() {
        assert!(Ide::Vscode.install(None).is_empty());
        assert!(Ide::Zed.install(Some("1")).is_empty());
        let script = Ide::Windsurf.install(Some("1.2@abc")).join("\n");
        assert!(script.contains("/stable/abc/windsurf-reh-linux-$ide_arch-1.2.tar.gz"));
        assert!(
            script.contains("$HOME/.windsurf-server/bin/abc"),
            "{script}"
        );
    }
}
