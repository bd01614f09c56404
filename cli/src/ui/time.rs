//! Moments and durations as upstream's tables show them.

use jiff::Timestamp;

/// `now`, `25 sec ago`, `3 mins ago`, `yesterday`, `2 weeks ago` …
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    let days = seconds.div_euclid(86_400);
    match seconds {
        ..0 => String::new(),
        0..10 => "now".into(),
        10..60 => format!("{seconds} sec ago"),
        60..120 => "1 min ago".into(),
        120..3_600 => format!("{} mins ago", rounded(seconds, 60)),
        3_600..7_200 => "1 hour ago".into(),
        7_200..86_400 => format!("{} hours ago", rounded(seconds, 3_600)),
        _ if days == 1 => "yesterday".into(),
        _ if days < 7 => format!("{days} days ago"),
        _ if days < 31 => counted(rounded(days, 7), "week"),
        _ if days < 365 => counted(rounded(days, 30), "month"),
        _ => counted(rounded(days, 365), "year"),
    }
}

/// The largest whole unit: `90` is `90s`, `300` is `5m`, `259200` is `3d`.
pub fn duration(seconds: i64) -> String {
    for (unit, length) in [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= length && seconds % length == 0 {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

fn rounded(value: i64, unit: i64) -> i64 {
    (value + unit / 2) / unit
}

fn counted(number: i64, unit: &str) -> String {
    if number == 1 {
        format!("1 {unit} ago")
    } else {
        format!("{number} {unit}s ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_upstreams() {
        let now = Timestamp::from_second(100_000_000).unwrap();
        let at = |seconds: i64| ago(Timestamp::from_second(100_000_000 - seconds).unwrap(), now);
        let cases = [
            (-5, ""),
            (3, "now"),
            (25, "25 sec ago"),
            (61, "1 min ago"),
            (150, "3 mins ago"),
            (3_700, "1 hour ago"),
            (9_000, "3 hours ago"),
            (90_000, "yesterday"),
            (300_000, "3 days ago"),
            (8 * 86_400, "1 week ago"),
            (60 * 86_400, "2 months ago"),
            (400 * 86_400, "1 year ago"),
        ];
        for (seconds, text) in cases {
            assert_eq!(at(seconds), text, "{seconds} s");
        }
    }

    #[test]
    fn durations_take_their_largest_whole_unit() {
        let cases = [
            (45, "45s"),
            (90, "90s"),
            (300, "5m"),
            (7_200, "2h"),
            (259_200, "3d"),
            (604_800, "1w"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
