//! Writing results: tables and colours for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::client::ClientError;
use super::text;

/// Wraps text in colours where those are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Left,
    Right,
}

// === impl Paint ===

impl Paint {
    pub fn stdout() -> Self {
        Self(colours() && io::stdout().is_terminal())
    }

    /// No colours at all.
    #[cfg(test)]
    pub fn none() -> Self {
        Self(false)
    }

    pub fn stderr() -> Self {
        Self(colours() && io::stderr().is_terminal())
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// See no-color.org.
fn colours() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !plain && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a line to stdout. Its error, a reader that went away for instance, ends the command.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes a remark to stderr, where nobody's program reads it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A value as JSON, indented for people.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&text::json(&serde_json::to_string_pretty(value)?))?)
}

/// A table without lines, as `ps` and `ls` print them. Cells are made harmless here.
pub fn table(columns: &[(&str, Column)], rows: Vec<Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(title, _)| Cell::new(title.to_uppercase())));
    for row in rows {
        table.add_row(row.iter().map(|cell| Cell::new(text::one_line(cell))));
    }
    for (index, (_, side)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match side {
                Column::Left => CellAlignment::Left,
                Column::Right => CellAlignment::Right,
            });
        }
    }
    let text = table.trim_fmt();
    let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
    line(&Paint::stdout().dim(head.trim_end()))?;
    rest.lines().try_for_each(|row| line(row.trim_end()))
}

/// Tells on stderr why the command failed.
pub fn error(error: &anyhow::Error, json: bool) {
    let message = format!("{error:#}");
    let code = error.chain().find_map(|cause| cause.downcast_ref::<ClientError>()).and_then(ClientError::code);
    if json {
        let body = serde_json::json!({"error": {"code": code, "message": message}});
        return note(&text::json(&body.to_string()));
    }
    let paint = Paint::stderr();
    note(&format!("{} {}", paint.red("error:"), text::block(&message)));
    if let Some(code) = code {
        let code = text::one_line(code);
        note(&paint.dim(&format!("       `hearth explain {code}` tells more")));
    }
}
