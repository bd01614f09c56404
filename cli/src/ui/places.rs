//! The tables of `dstack volume` and `dstack gateway`. Their rows are values: cells are picked by path, and what is
//! absent is an empty cell.

use super::{Table, ago};
use jiff::Timestamp;
use serde_json::Value;

pub fn volumes(volumes: &[Value], verbose: bool, now: Timestamp) -> Table {
    let cells = [
        ("NAME", "/name"),
        ("BACKEND", "/configuration/backend"),
        ("REGION", "/configuration/region"),
        ("STATUS", "/status"),
        ("CREATED", "/created_at"),
    ];
    table(volumes, &cells, ("ERROR", "/status_message"), verbose, now)
}

pub fn gateways(gateways: &[Value], verbose: bool, now: Timestamp) -> Table {
    let cells = [
        ("NAME", "/name"),
        ("BACKEND", "/configuration/backend"),
        ("HOSTNAME", "/hostname"),
        ("DOMAIN", "/wildcard_domain"),
        ("DEFAULT", "/default"),
        ("STATUS", "/status"),
        ("CREATED", "/created_at"),
    ];
    table(gateways, &cells, ("ERROR", "/status_message"), verbose, now)
}

type Cell = (&'static str, &'static str);

fn table(rows: &[Value], cells: &[Cell], more: Cell, verbose: bool, now: Timestamp) -> Table {
    let mut cells = cells.to_vec();
    cells.extend(verbose.then_some(more));
    let columns: Vec<&str> = cells.iter().map(|(column, _)| *column).collect();
    let mut table = Table::new(&columns);
    for row in rows {
        table.row(cells.iter().map(|(_, path)| text(row.pointer(path), now)));
    }
    table
}

fn text(value: Option<&Value>, now: Timestamp) -> String {
    match value {
        Some(Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(moment) => ago(moment, now),
            Err(_) => text.clone(),
        },
        Some(Value::Bool(true)) => "✓".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
