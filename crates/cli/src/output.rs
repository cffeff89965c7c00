//! What is printed: one object on standard output with `--json`, else words and tables. Progress goes to standard error.

use std::io::Write;

use nightjar_protocol::text::Texts;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::failure::Failure;

/// How this run prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints `object` with `--json`, else `words`.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print(self, object: &impl Serialize, words: &str) -> Result<(), Failure> {
        if !self.json {
            return line(words);
        }
        let text = serde_json::to_string(object)
            .map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
        line(&text)
    }
}

/// A line on standard output, out at once: whoever reads a pipe waits for it.
///
/// # Errors
/// When standard output is gone.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed(format!("standard output cannot be written: {error}")))
}

/// A line on standard error for whoever watches. There is nothing to do when nobody does.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Sentences and amounts in the language of this account.
#[must_use]
pub fn texts() -> &'static Texts {
    Texts::of(nightjar_agent::system_language())
}

/// Text from afar without control characters: a host names its own card, and a name must not move the cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Rows in columns, under a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|name| printable(name)).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = Table::new(&["CARD", "REGION", "PRICE"]);
        table.row(vec!["RTX 4090".into(), "华东".into(), "3.00".into()]);
        table.row(vec!["A".into(), "eu-west".into(), "0.60".into()]);
        insta::assert_snapshot!(table.to_string(), @r"
        CARD      REGION   PRICE
        RTX 4090  华东     3.00
        A         eu-west  0.60
        ");
    }

    #[test]
    fn a_name_from_afar_cannot_drive_the_terminal() {
        assert_eq!(printable("RTX\u{1b}[2J\n"), "RTX\u{fffd}[2J\u{fffd}");
    }
}
