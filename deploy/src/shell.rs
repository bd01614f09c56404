//! Quoting for POSIX shells, so that no host name, path or value can become a command.

/// One word, whatever it contains. Single quotes keep every byte as it is in sh, dash, bash, zsh and fish.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line that runs `script` in a POSIX shell whatever the login shell of the user is.
/// Standard input stays free for data.
pub fn command(script: &str, sudo: bool) -> String {
    let shell = if sudo { "sudo -n sh -c " } else { "sh -c " };
    format!("{shell}{}", quote(script))
}

/// Whether a name can be a shell variable. Others cannot be passed on and are left out.
pub fn is_variable(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn hostile_words_come_back_unchanged() {
        for word in [
            "",
            "a b",
            "it's",
            "$(touch /tmp/x)",
            "`id`",
            "a\nb",
            "\\",
            "\"",
            "*",
            "é'; rm -rf x #",
        ] {
            let line = format!("printf %s {}", quote(word));
            let out = Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word);
        }
    }

    #[test]
    fn a_script_survives_being_an_argument() {
        let script = "x='one two'\nprintf %s \"$x\"; cat";
        let out = Command::new("sh")
            .args(["-c", &command(script, false)])
            .output()
            .unwrap();
        assert_eq!(out.stdout, b"one two");
    }

    #[test]
    fn variable_names() {
        assert!(is_variable("_A9") && is_variable("PATH"));
        assert!(
            !is_variable("") && !is_variable("9A") && !is_variable("A-B") && !is_variable("A=B")
        );
    }
}
