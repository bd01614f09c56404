//! Plain two-column tables for people.

/// Prints `rows` with the first column padded.
pub fn print(title: &str, rows: &[(&str, String)]) {
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    println!("\n{title}");
    for (name, value) in rows {
        println!("  {name:width$}  {value}");
    }
}
