//! Borderless tables with upstream's column names, which scripts may cut by.

use comfy_table::{ContentArrangement, TableStyle};

/// A table under construction.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// With these columns.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(TableStyle::new())
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns);
        Self(table)
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.0
            .add_row(cells.into_iter().map(Into::into).collect::<Vec<String>>());
    }

    /// Prints it to stdout, without blanks at line ends.
    pub fn print(&self) {
        for line in self.0.lines() {
            super::data(line.trim_end());
        }
    }
}
