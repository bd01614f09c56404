//! Judges the log of a task whose lines are numbered: nothing lost, nothing twice, in order.

use anyhow::{Result, bail};

/// Wants exactly the lines `prefix 000`, `prefix 001` … up to `count` in this order among `lines`.
pub fn gapless<'a>(lines: impl Iterator<Item = &'a str>, prefix: &str, count: usize) -> Result<()> {
    let mut expected = 0;
    for line in lines {
        let Some(rest) = line.strip_prefix(prefix) else {
            continue;
        };
        let Some(number) = rest
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<usize>().ok())
        else {
            continue;
        };
        match number.cmp(&expected) {
            std::cmp::Ordering::Equal => expected += 1,
            std::cmp::Ordering::Less => bail!("line {prefix}{number:03} came twice"),
            std::cmp::Ordering::Greater => {
                bail!("line {prefix}{expected:03} is missing, {number:03} came")
            }
        }
    }
    if expected != count {
        bail!("{expected} of {count} lines `{prefix}NNN` arrived");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::gapless;

    fn judge(text: &str) -> Result<(), String> {
        gapless(text.lines(), "slice ", 3).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_log_passes() {
        assert_eq!(
            judge("hello\nslice 000 a\nslice 001 b\nother\nslice 002 c\n"),
            Ok(())
        );
    }

    #[test]
    fn a_lost_line_is_named() {
        assert_eq!(
            judge("slice 000\nslice 002\n"),
            Err("line slice 001 is missing, 002 came".into())
        );
    }

    #[test]
    fn a_doubled_line_is_named() {
        assert_eq!(
            judge("slice 000\nslice 000\n"),
            Err("line slice 000 came twice".into())
        );
    }

    #[test]
    fn a_cut_log_is_told_by_its_count() {
        assert_eq!(
            judge("slice 000\nslice 001\n"),
            Err("2 of 3 lines `slice NNN` arrived".into())
        );
    }
}
