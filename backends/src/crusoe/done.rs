//! `?` for outcomes.

/// The value of what is done; whatever is not done is what the caller answers.
macro_rules! done {
    ($outcome:expr) => {{
        use $crate::backend::Outcome;
        match $outcome {
            Outcome::Done(value) => value,
            Outcome::Refused(why) => return Outcome::Refused(why),
            Outcome::Unknown(why) => return Outcome::Unknown(why),
            Outcome::Absent => return Outcome::Absent,
        }
    }};
}

pub(super) use done;
