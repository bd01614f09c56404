//! Going through rows on disk in order of time, over several sources at once.
//!
//! Keys of a source are a prefix, eight bytes of time that sort as time, and a rest. What is
//! visited comes in groups of one moment, because pages order rows of one moment by id and a page
//! may end within such a group only after it was sorted as a whole.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dstack_domain::history::events_from as time_bytes;
use dstack_storage::{Rows, Scan, StorageError, Table};
use jiff::{SignedDuration, Timestamp};

/// Rows read from one source at a time.
const CHUNK: usize = 128;
const TIME: usize = 8;

/// Keys that begin alike.
#[derive(Debug, Clone)]
pub struct Source {
    pub table: Table,
    pub prefix: Vec<u8>,
}

/// Visits the rests of keys (with their time in front), from `start` on, newest first unless
/// `ascending`. The visitor breaks when it has enough.
pub fn walk<E: From<StorageError>>(
    rows: &dyn Rows,
    sources: &[Source],
    start: Option<Timestamp>,
    ascending: bool,
    mut visit: impl FnMut(&[Vec<u8>]) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut edge = start.map(|start| edge_at(start, ascending));
    let mut chunk = CHUNK;
    loop {
        let mut groups: BTreeMap<[u8; TIME], Vec<Vec<u8>>> = BTreeMap::new();
        // The last moment that is certain to be complete ends before this one.
        let mut horizon: Option<[u8; TIME]> = None;
        for source in sources {
            let found = read(rows, source, edge, ascending, chunk)?;
            if let (true, Some(last)) = (found.len() == chunk, found.last()) {
                let time = time_of(last);
                let nearer = |old: [u8; TIME]| {
                    if ascending {
                        old.min(time)
                    } else {
                        old.max(time)
                    }
                };
                horizon = Some(horizon.map_or(time, nearer));
            }
            for tail in found {
                groups.entry(time_of(&tail)).or_default().push(tail);
            }
        }
        let complete = |time: &[u8; TIME]| match horizon {
            None => true,
            Some(horizon) if ascending => *time < horizon,
            Some(horizon) => *time > horizon,
        };
        let mut ordered: Vec<_> = groups
            .into_iter()
            .filter(|(time, _)| complete(time))
            .collect();
        if !ascending {
            ordered.reverse();
        }
        let progress = !ordered.is_empty();
        for (_, mut group) in ordered {
            group.sort();
            group.dedup();
            if visit(&group)?.is_break() {
                return Ok(());
            }
        }
        let Some(horizon) = horizon else {
            return Ok(());
        };
        // A moment with more rows than a chunk: read more at once, or it never ends.
        chunk = if progress { CHUNK } else { chunk * 2 };
        edge = Some(if ascending { horizon } else { next(horizon) });
    }
}

/// First time of an ascending walk, or the one just beyond the first of a descending walk.
fn edge_at(start: Timestamp, ascending: bool) -> [u8; TIME] {
    let at = match ascending {
        true => start,
        false => start
            .checked_add(SignedDuration::from_micros(1))
            .unwrap_or(Timestamp::MAX),
    };
    time_of(&time_bytes(at))
}

fn next(time: [u8; TIME]) -> [u8; TIME] {
    u64::from_be_bytes(time).saturating_add(1).to_be_bytes()
}

fn time_of(tail: &[u8]) -> [u8; TIME] {
    tail.first_chunk::<TIME>().copied().unwrap_or_default()
}

fn read(
    rows: &dyn Rows,
    source: &Source,
    edge: Option<[u8; TIME]>,
    ascending: bool,
    limit: usize,
) -> Result<Vec<Vec<u8>>, StorageError> {
    let bound = edge.map(|edge| [source.prefix.as_slice(), &edge].concat());
    let end = after(&source.prefix);
    let (from, to) = match (ascending, bound) {
        (true, Some(from)) => (from, end),
        (false, Some(to)) => (source.prefix.clone(), Some(to)),
        (_, None) => (source.prefix.clone(), end),
    };
    let scan = Scan {
        table: source.table,
        from: &from,
        to: to.as_deref(),
        reverse: !ascending,
        limit,
    };
    let mut found = Vec::new();
    rows.scan(scan, &mut |key, _value| {
        if let Some(tail) = key.get(source.prefix.len()..)
            && tail.len() >= TIME
        {
            found.push(tail.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The first key that no longer begins with `prefix`; none when there is no such key.
pub fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Rows in memory, in key order.
    struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Rows for Memory {
        fn get(&self, _: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
            Ok(self.0.get(key).map(|value| Bytes::from(value.clone())))
        }

        fn scan(
            &self,
            scan: Scan<'_>,
            visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
        ) -> Result<(), StorageError> {
            let inside = |key: &&Vec<u8>| {
                key.as_slice() >= scan.from && scan.to.is_none_or(|to| key.as_slice() < to)
            };
            let mut keys: Vec<_> = self.0.keys().filter(inside).collect();
            if scan.reverse {
                keys.reverse();
            }
            for key in keys.into_iter().take(scan.limit) {
                if visit(key, &self.0[key]).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    fn key(prefix: &[u8], micros: i64, rest: u32) -> Vec<u8> {
        [prefix, &time_bytes(at(micros)), &rest.to_be_bytes()].concat()
    }

    fn collect(rows: &Memory, start: Option<Timestamp>, ascending: bool) -> Vec<Vec<u8>> {
        let sources = [b"a", b"b"].map(|prefix| Source {
            table: Table::Idx,
            prefix: prefix.to_vec(),
        });
        let mut seen = Vec::new();
        walk::<StorageError>(rows, &sources, start, ascending, |group| {
            assert!(
                group
                    .windows(2)
                    .all(|pair| time_of(&pair[0]) == time_of(&pair[1]))
            );
            seen.extend(group.iter().cloned());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        seen
    }

    #[test]
    fn every_row_is_visited_once_in_order_of_time() {
        // Far apart, dense, and 500 rows in one moment; neighbours of the prefixes are not touched.
        let mut rows = BTreeMap::new();
        for i in 0..300u32 {
            rows.insert(key(b"a", i64::from(i) * 10, i), vec![]);
            rows.insert(key(b"b", 1_000 + i64::from(i), i), vec![]);
        }
        for i in 0..500u32 {
            rows.insert(key(b"b", 1_500, 10_000 + i), vec![]);
        }
        rows.insert(key(b"`", 5, 1), vec![]);
        rows.insert(key(b"c", 5, 1), vec![]);
        let rows = Memory(rows);
        for ascending in [true, false] {
            let seen = collect(&rows, None, ascending);
            assert_eq!(seen.len(), 1_100);
            let times: Vec<_> = seen.iter().map(|tail| time_of(tail)).collect();
            let ordered = times.windows(2).all(|pair| {
                if ascending {
                    pair[0] <= pair[1]
                } else {
                    pair[0] >= pair[1]
                }
            });
            assert!(ordered, "ascending {ascending}");
        }
        let from = collect(&rows, Some(at(1_500)), false);
        assert!(
            from.iter()
                .all(|tail| time_of(tail) <= time_of(&time_bytes(at(1_500))))
        );
        assert!(
            from.iter()
                .filter(|tail| time_of(tail) == time_of(&time_bytes(at(1_500))))
                .count()
                >= 500
        );
    }

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(after(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after(&[255]), None);
        assert_eq!(after(&[]), None);
    }
}
