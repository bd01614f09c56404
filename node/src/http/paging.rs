//! Pages by key: upstream's cursors are the last row's moment and id.
//!
//! Rows are ordered by (moment descending, id ascending), or with `ascending` by (moment
//! ascending, id descending). Without an id in the cursor, rows of the same moment are left out.

use dstack_api::http::time::Moment;
use jiff::Timestamp;
use uuid::Uuid;

use super::errors::HttpError;

/// Which page is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub after_moment: Option<Moment>,
    pub after_id: Option<Uuid>,
    pub limit: usize,
    pub ascending: bool,
}

impl Page {
    /// Refuses limits that upstream refuses.
    pub fn new(
        after_moment: Option<Moment>,
        after_id: Option<Uuid>,
        limit: u32,
        most: u32,
        ascending: bool,
    ) -> Result<Self, HttpError> {
        if limit > most {
            return Err(HttpError::invalid(
                "limit",
                format!("Input should be less than or equal to {most}"),
            ));
        }
        Ok(Self {
            after_moment,
            after_id,
            limit: limit as usize,
            ascending,
        })
    }

    /// Orders the rows and keeps those of this page.
    pub fn take<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> (Timestamp, Uuid)) -> Vec<T> {
        let moment = |row: &T| Moment::from(key(row).0);
        rows.retain(|row| self.follows(moment(row), key(row).1));
        rows.sort_by(|a, b| {
            let ((_, id_a), (_, id_b)) = (key(a), key(b));
            let order = moment(b).cmp(&moment(a)).then(id_a.cmp(&id_b));
            if self.ascending {
                order.reverse()
            } else {
                order
            }
        });
        rows.truncate(self.limit);
        rows
    }

    /// Whether a row comes after the cursor.
    pub fn follows(&self, moment: Moment, id: Uuid) -> bool {
        let Some(cursor) = self.after_moment else {
            return true;
        };
        let (beyond, tied) = if self.ascending {
            (
                moment > cursor,
                self.after_id.is_some_and(|after| id < after),
            )
        } else {
            (
                moment < cursor,
                self.after_id.is_some_and(|after| id > after),
            )
        };
        beyond || (moment == cursor && tied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<(Timestamp, Uuid)> {
        // Two rows share a moment up to what the wire carries.
        let at = |nanos: i128| Timestamp::from_nanosecond(nanos).unwrap();
        [(3_000, 1), (2_000, 4), (2_900, 3), (1_000, 2), (2_000, 9)]
            .map(|(nanos, id)| (at(nanos), Uuid::from_u128(id)))
            .to_vec()
    }

    #[test]
    fn pages_cover_everything_once_in_both_directions() {
        for ascending in [false, true] {
            for limit in 1..=5 {
                let mut seen = Vec::new();
                let mut page = Page {
                    after_moment: None,
                    after_id: None,
                    limit,
                    ascending,
                };
                loop {
                    let got = page.take(rows(), |row| *row);
                    let Some(last) = got.last() else { break };
                    page.after_moment = Some(Moment::from(last.0));
                    page.after_id = Some(last.1);
                    seen.extend(got.iter().map(|row| row.1.as_u128()));
                }
                let mut expected = vec![1, 3, 4, 9, 2];
                if ascending {
                    expected.reverse();
                }
                assert_eq!(seen, expected, "limit {limit}, ascending {ascending}");
            }
        }
    }
}
