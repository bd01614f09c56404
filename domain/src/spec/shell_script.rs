//! The one script that a list of commands becomes.

/// Joined with ` && `; an item that would break the join is put between braces.
pub(crate) fn join(commands: &[String]) -> String {
    let items: Vec<String> = commands
        .iter()
        .map(|item| item.trim())
        .filter(|item| !item.is_empty())
        .map(joinable)
        .collect();
    items.join(" && ")
}

fn joinable(item: &str) -> String {
    let background = item.ends_with('&') && !item.ends_with("&&") && !item.ends_with("\\&");
    if background {
        return format!("{{ {item} }}");
    }
    // A comment or a here-document reaches to the end of its line, and `;;` or `; &&` is no shell.
    if item.contains('#') || item.contains("<<") || item.ends_with(';') {
        return format!("{{ {item}\n}}");
    }
    item.to_owned()
}

/// Makes the Python of the default image the current one, where there is one.
///
/// The agent sets `DSTACK_VENV_DIR` only for the default image; elsewhere, as on a bare host, this does nothing.
pub(crate) fn python_environment(version: &str) -> String {
    format!(
        "{{ if [ -n \"${{DSTACK_VENV_DIR:-}}\" ] && command -v uv >/dev/null 2>&1; then \
         [ -e \"$DSTACK_VENV_DIR/bin/activate\" ] || uv venv -q --seed --python {version} \"$DSTACK_VENV_DIR\" || exit 1; \
         [ -w /dstack/profile ] && echo \". $DSTACK_VENV_DIR/bin/activate\" >> /dstack/profile; \
         . \"$DSTACK_VENV_DIR/bin/activate\"; fi; }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(items: &[&str]) -> String {
        join(
            &items
                .iter()
                .map(|item| (*item).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn items_that_would_break_the_join_are_wrapped() {
        assert_eq!(script(&["a", " b ", ""]), "a && b");
        assert_eq!(script(&["sleep 1 &", "b"]), "{ sleep 1 & } && b");
        assert_eq!(script(&["echo a # c", "b"]), "{ echo a # c\n} && b");
        assert_eq!(script(&["a;", "b"]), "{ a;\n} && b");
        assert_eq!(script(&["cat <<E\nx\nE", "b"]), "{ cat <<E\nx\nE\n} && b");
    }
}
