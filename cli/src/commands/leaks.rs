//! `dstack leaks`: the proof that nothing in a cloud's account costs money for nobody.

use super::refused;
use crate::args::Leaks;
use crate::failure::{Failure, Outcome};
use crate::ui::{self, Table, ago, word};
use dstack_api::http::leaks::{self, LedgerThing, Verdict};
use jiff::Timestamp;

/// Fails when something leaked, or when an account could not be looked at: then nothing is proven.
pub async fn leaks(args: Leaks) -> Outcome {
    let project = super::connect(&args.common)?;
    let found = project.leaks().await.map_err(refused)?;
    if args.json {
        ui::json(&found);
    } else {
        print(&found);
    }
    let leaked = count(&found, Verdict::Leaked);
    if leaked > 0 {
        let what = format!("{leaked} things in the account have no record");
        let hint = "They are removed by themselves after a while, unless the backend says `strays: observe`";
        return Err(Failure::with_hint(what, hint));
    }
    match found.problems.first() {
        Some(problem) => Err(Failure::refused(format!(
            "Not everything was seen. {problem}"
        ))),
        None => Ok(()),
    }
}

fn count(found: &leaks::Leaks, verdict: Verdict) -> usize {
    let things = found.things.iter();
    things.filter(|thing| thing.verdict == verdict).count()
}

fn print(found: &leaks::Leaks) {
    let mut table = Table::new(&[
        "VERDICT", "KIND", "NAME", "ID", "RECORD", "FLEET", "PRICE", "SINCE", "ERROR",
    ]);
    for thing in &found.things {
        table.row(row(thing, Timestamp::now()));
    }
    if !found.things.is_empty() {
        table.print();
    }
    let there = found.things.iter().filter(|one| one.id.is_some()).count();
    let recorded = found
        .things
        .iter()
        .filter(|one| one.phase.is_some())
        .count();
    let leaked = count(found, Verdict::Leaked);
    let doubtful = count(found, Verdict::Doubtful);
    ui::data(&format!(
        "{there} in the account, {recorded} on record, {leaked} leaked, {doubtful} doubtful"
    ));
}

fn row(thing: &LedgerThing, now: Timestamp) -> [String; 9] {
    [
        word(&thing.verdict),
        thing.kind.as_str().to_owned(),
        thing.key.clone(),
        thing.id.clone().unwrap_or_default(),
        thing.phase.map(|phase| word(&phase)).unwrap_or_default(),
        thing.fleet_name.clone().unwrap_or_default(),
        match thing.price > 0.0 {
            true => format!("${:.2}", thing.price),
            false => String::new(),
        },
        thing
            .since
            .map(|since| ago(since.timestamp(), now))
            .unwrap_or_default(),
        thing.message.clone().unwrap_or_default(),
    ]
}
