//! One pass over all concerns, in the order in which one feeds the next.

use super::{desired, fleets, instances, jobs, ledger, machines, pass, retention, runs};
use crate::facts::Facts;
use crate::state::State;
use crate::step::Decision;
use jiff::Timestamp;

pub fn decide(state: &State, facts: &Facts, now: Timestamp) -> Decision {
    let mut pass = pass::Pass::new(state, facts, now);
    fleets::decide(&mut pass);
    machines::decide(&mut pass);
    ledger::decide(&mut pass);
    instances::decide(&mut pass);
    jobs::watch(&mut pass);
    runs::decide(&mut pass);
    jobs::assign(&mut pass);
    retention::decide(&mut pass);
    let desired = desired::desired_sets(&pass.draft, now);
    pass.finish(desired)
}
