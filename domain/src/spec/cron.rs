//! `schedule:`: cron in UTC, five fields, in which weekday 0 is Monday and every field must match.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::shorthand::OneOrMany;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    #[serde(deserialize_with = "checked")]
    pub cron: OneOrMany,
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
    let cron = OneOrMany::deserialize(deserializer)?;
    if cron.as_slice().is_empty() {
        return Err(D::Error::custom(
            "a schedule needs at least one cron expression",
        ));
    }
    for expression in cron.as_slice() {
        compile(expression).map_err(D::Error::custom)?;
    }
    Ok(OneOrMany::Many(cron.as_slice().to_vec()))
}

impl Schedule {
    /// The first moment strictly after `now`; `None` when there is none within what the calendar can express.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_zoned(TimeZone::UTC);
        self.cron
            .as_slice()
            .iter()
            .filter_map(|expression| {
                compile(expression)
                    .ok()?
                    .find_next_occurrence(&now, false)
                    .ok()
            })
            .map(|moment| moment.timestamp())
            .min()
    }
}

fn compile(expression: &str) -> Result<croner::Cron, String> {
    let refused = |why: &str| format!("`{expression}` is not a cron expression: {why}");
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(refused(
            "expected five fields (minute, hour, day of month, month, day of week), in UTC",
        ));
    };
    let symbols = |field: &str, names: &[&str]| {
        let words = field
            .split(|c: char| !c.is_ascii_alphabetic())
            .filter(|word| !word.is_empty());
        let known = words
            .into_iter()
            .all(|word| names.contains(&word.to_ascii_lowercase().as_str()));
        known
            && field
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"*,-/".contains(&b))
    };
    let plain = symbols(minute, &[]) && symbols(hour, &[]) && (*day == "last" || symbols(day, &[]));
    if !plain || !symbols(month, &MONTHS) || !symbols(weekday, &DAYS) {
        return Err(refused(
            "only digits, names of months and days, `*`, `,`, `-` and `/` are understood",
        ));
    }
    let day = if *day == "last" { "L" } else { day };
    let weekday = weekdays(weekday).map_err(|why| refused(&why))?;
    let parser = croner::parser::CronParser::builder()
        .dom_and_dow(true)
        .build();
    parser
        .parse(&format!("{minute} {hour} {day} {month} {weekday}"))
        .map_err(|error| refused(&error.to_string()))
}

/// Written out as a list of Sunday-based numbers, which is what the cron library counts in.
fn weekdays(field: &str) -> Result<String, String> {
    if field == "*" {
        return Ok(field.to_owned());
    }
    let mut chosen = [false; 7];
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)),
            None => (part, Some(1)),
        };
        let step = step.ok_or_else(|| format!("`{part}` has no step after its `/`"))?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((from, to)) => (day_number(from)?, day_number(to)?),
            None => (
                day_number(range)?,
                if part.contains('/') {
                    6
                } else {
                    day_number(range)?
                },
            ),
        };
        if from > to {
            return Err(format!(
                "the days `{range}` run backwards; weeks begin on Monday (0)"
            ));
        }
        for day in (from..=to).step_by(step) {
            chosen[day] = true;
        }
    }
    let numbers: Vec<String> = (0..7)
        .filter(|day| chosen[*day])
        .map(|day| ((day + 1) % 7).to_string())
        .collect();
    Ok(numbers.join(","))
}

fn day_number(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(day) = DAYS.iter().position(|day| *day == lower) {
        return Ok(day);
    }
    text.parse::<usize>()
        .ok()
        .filter(|day| *day <= 6)
        .ok_or_else(|| {
            format!(
                "`{text}` is not a day of the week: 0 (Monday) to 6 (Sunday), or `mon` to `sun`"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, now: &str) -> String {
        let schedule = Schedule {
            cron: OneOrMany::One(cron.to_owned()),
        };
        schedule
            .next_after(now.parse().unwrap())
            .map(|moment| moment.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn weekday_zero_is_monday() {
        // 2026-11-25 is a Wednesday.
        assert_eq!(
            next("0 8 * * 0", "2026-11-25T12:00:00Z"),
            "2026-11-30T08:00:00Z"
        );
        assert_eq!(
            next("0 8 * * mon", "2026-11-25T12:00:00Z"),
            "2026-11-30T08:00:00Z"
        );
        assert_eq!(
            next("0 8 * * 5-6", "2026-11-25T12:00:00Z"),
            "2026-11-28T08:00:00Z"
        );
        assert_eq!(
            next("0 8 * * 6", "2026-11-25T12:00:00Z"),
            "2026-11-29T08:00:00Z"
        );
        assert_eq!(
            next("*/15 * * * *", "2026-11-25T12:00:00Z"),
            "2026-11-25T12:15:00Z"
        );
    }

    #[test]
    fn day_of_month_and_of_week_must_both_match() {
        assert_eq!(
            next("0 0 13 * fri", "2026-11-25T12:00:00Z"),
            "2027-08-13T00:00:00Z"
        );
    }

    #[test]
    fn the_last_day_of_the_month() {
        assert_eq!(
            next("0 8 last * *", "2026-11-25T12:00:00Z"),
            "2026-11-30T08:00:00Z"
        );
        assert_eq!(
            next("0 8 last feb *", "2026-11-25T12:00:00Z"),
            "2027-02-28T08:00:00Z"
        );
    }

    #[test]
    fn broken_expressions_are_refused() {
        for cron in [
            "",
            "* * * *",
            "* * * * * *",
            "61 * * * *",
            "0 0 * * 7",
            "0 0 * * fri-mon",
            "0 0 * * */0",
            "0 0 L * *",
            "@daily",
            "0 0 * * x",
        ] {
            assert!(compile(cron).is_err(), "{cron}");
        }
    }
}
