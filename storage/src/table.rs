//! The tables of the replicated state: a fixed set, because column families are created at open.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One table. The discriminant is its number on the wire and is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Table {
    /// Single values: the applied marker, the membership, feature level, counters.
    Meta = 0,
    /// Live objects.
    Obj = 1,
    /// Secondary indexes.
    Idx = 2,
    /// Finished runs and other history; on disk only.
    Hist = 3,
    /// Events, by revision.
    Events = 4,
    /// Replies by request id.
    Dedup = 5,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Table; 6] = [
        Table::Meta,
        Table::Obj,
        Table::Idx,
        Table::Hist,
        Table::Events,
        Table::Dedup,
    ];

    /// Name of the column family.
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Obj => "obj",
            Table::Idx => "idx",
            Table::Hist => "hist",
            Table::Events => "events",
            Table::Dedup => "dedup",
        }
    }

    /// Number on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The table with that number.
    pub fn from_code(code: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.code() == code)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
