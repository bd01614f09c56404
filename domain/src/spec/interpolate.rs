//! References `${{ … }}`: found, checked against where they stand, and replaced, each namespace at its own stage.
//!
//! A stage replaces only the namespaces it is given and leaves the others for a later one. `$${{` stands for a literal `${{`
//! and is resolved by the last stage that touches a text.

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// `run.args`: what followed `--` on the command line.
    RunArgs,
    /// `run.project_name`
    ProjectName,
    /// `env.NAME`: a variable of the client.
    Env(String),
    /// `secrets.NAME`
    Secret(String),
    /// `dstack.job_num`
    JobNum,
    /// `dstack.node_rank`
    NodeRank,
    /// `groups[i].nodes[j].IP_ADDRESS`
    NodeAddress { group: usize, node: usize },
    /// `groups[i].replicas[j].IP_ADDRESS`
    ReplicaAddress { group: usize, replica: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// `$${{`
    Escape,
    Reference(&'a str, Reference),
}

const OPEN: &str = "${{";
const ESCAPED: &str = "$${{";
const CLOSE: &str = "}}";

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        if rest[..at].ends_with('$') {
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Escape);
            rest = &rest[at + OPEN.len()..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..at]));
        let inside = &rest[at + OPEN.len()..];
        let Some(end) = inside.find(CLOSE) else {
            return Err(format!(
                "`{}` is not closed: write `${{{{ … }}}}`, or `$${{{{` for the characters themselves",
                head(&rest[at..])
            ));
        };
        let whole = &rest[at..at + OPEN.len() + end + CLOSE.len()];
        pieces.push(Piece::Reference(whole, parse(inside[..end].trim())?));
        rest = &inside[end + CLOSE.len()..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn head(text: &str) -> String {
    text.chars().take(24).collect()
}

fn parse(name: &str) -> Result<Reference, String> {
    let unknown = || {
        format!(
            "`{name}` is not a reference: known are run.args, env.NAME, secrets.NAME, dstack.job_num, dstack.node_rank, \
             run.project_name, groups[i].nodes[j].IP_ADDRESS and groups[i].replicas[j].IP_ADDRESS"
        )
    };
    if name.starts_with("groups") {
        return group_address(name).ok_or_else(unknown);
    }
    let (namespace, member) = name.split_once('.').ok_or_else(unknown)?;
    let plain = !member.is_empty()
        && member
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (namespace, member) {
        _ if !plain => Err(unknown()),
        ("run", "args") => Ok(Reference::RunArgs),
        ("run", "project_name") => Ok(Reference::ProjectName),
        ("dstack", "job_num") => Ok(Reference::JobNum),
        ("dstack", "node_rank") => Ok(Reference::NodeRank),
        ("env", name) => Ok(Reference::Env(name.to_owned())),
        ("secrets", name) => Ok(Reference::Secret(name.to_owned())),
        _ => Err(unknown()),
    }
}

fn group_address(name: &str) -> Option<Reference> {
    let mut parts = name.split('.');
    let (group, member, field, end) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    if field != "IP_ADDRESS" || end.is_some() {
        return None;
    }
    let group = index(group, "groups")?;
    if let Some(node) = index(member, "nodes") {
        return Some(Reference::NodeAddress { group, node });
    }
    index(member, "replicas").map(|replica| Reference::ReplicaAddress { group, replica })
}

fn index(text: &str, name: &str) -> Option<usize> {
    let digits = text
        .strip_prefix(name)?
        .strip_prefix('[')?
        .strip_suffix(']')?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

/// Every reference in a text, in order.
pub fn references(text: &str) -> Result<Vec<Reference>, String> {
    let found = pieces(text)?.into_iter().filter_map(|piece| match piece {
        Piece::Reference(_, reference) => Some(reference),
        _ => None,
    });
    Ok(found.collect())
}

/// Whether `$${{` is for this stage to resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Early,
    Last,
}

/// Replaces what `lookup` answers; `None` leaves a reference as it stands, an error ends the work.
pub fn interpolate(
    text: &str,
    stage: Stage,
    mut lookup: impl FnMut(&Reference) -> Result<Option<String>, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Escape => out.push_str(if stage == Stage::Last { OPEN } else { ESCAPED }),
            Piece::Reference(whole, reference) => match lookup(&reference)? {
                Some(value) => out.push_str(&value),
                None => out.push_str(whole),
            },
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_namespaces_of_the_stage_are_replaced() {
        let text = "a ${{ env.A }} ${{secrets.B}} $${{ env.A }}";
        let env = |reference: &Reference| {
            Ok(matches!(reference, Reference::Env(_)).then(|| "x".to_owned()))
        };
        assert_eq!(
            interpolate(text, Stage::Early, env).unwrap(),
            "a x ${{secrets.B}} $${{ env.A }}"
        );
        let all = |_: &Reference| Ok(Some("y".to_owned()));
        assert_eq!(
            interpolate(text, Stage::Last, all).unwrap(),
            "a y y ${{ env.A }}"
        );
    }

    #[test]
    fn every_known_reference() {
        let cases = [
            ("run.args", Reference::RunArgs),
            ("dstack.node_rank", Reference::NodeRank),
            (
                "groups[1].nodes[0].IP_ADDRESS",
                Reference::NodeAddress { group: 1, node: 0 },
            ),
            (
                "groups[0].replicas[2].IP_ADDRESS",
                Reference::ReplicaAddress {
                    group: 0,
                    replica: 2,
                },
            ),
        ];
        for (name, reference) in cases {
            assert_eq!(
                references(&format!("${{{{ {name} }}}}")),
                Ok(vec![reference]),
                "{name}"
            );
        }
        for broken in [
            "${{ env.A",
            "${{ }}",
            "${{ env }}",
            "${{ env.A.B }}",
            "${{ x.y }}",
            "${{ groups[a].nodes[0].IP_ADDRESS }}",
        ] {
            assert!(references(broken).is_err(), "{broken}");
        }
    }
}
