//! Traces of calls: how often each function was called in each minute, how long its calls took, what it held.
//!
//! The format is that of the Azure Functions trace of 2019 as the vHive project cuts it: three files whose names end
//! with `invocations.csv`, `durations.csv` and `memory.csv`, each with a header line and a line for each function, which
//! `HashFunction` names. Refused is whatever is not read completely: an error names file, line and column.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The percentiles that durations are given at.
const PERCENTILES: [(f64, &str); 7] = [
    (0.0, "percentile_Average_0"),
    (0.01, "percentile_Average_1"),
    (0.25, "percentile_Average_25"),
    (0.5, "percentile_Average_50"),
    (0.75, "percentile_Average_75"),
    (0.99, "percentile_Average_99"),
    (1.0, "percentile_Average_100"),
];

const FUNCTION: &str = "HashFunction";
const TRIGGER: &str = "Trigger";
const MEMORY: &str = "AverageAllocatedMb_pct50";

/// More than any function takes: what is read is bounded.
const MOST_MEBIBYTES: f64 = 1e6;
const MOST_MILLIS: f64 = 1e9;

pub struct Trace {
    pub functions: Vec<Traced>,
    pub minutes: usize,
}

/// One function of a trace.
pub struct Traced {
    pub timer: bool,
    /// Calls in each minute.
    pub calls: Vec<u32>,
    /// Milliseconds at each of [`PERCENTILES`].
    millis: [f64; PERCENTILES.len()],
    pub mebibytes: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, std::io::Error),
    #[error("{folder}: {found} files end with {suffix}: expected one", folder = .0.display(), found = .2, suffix = .1)]
    Files(PathBuf, &'static str, usize),
    #[error("{file}, line {line}, column {column}: {what}", file = .file.display())]
    Cell { file: PathBuf, line: usize, column: String, what: String },
    #[error("{file}, line {line}: {what}", file = .file.display())]
    Line { file: PathBuf, line: usize, what: String },
}

/// A file, by rows; its header is line 1.
struct Table {
    file: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

// === impl Trace ===

impl Trace {
    pub fn read(folder: &Path) -> Result<Self, TraceError> {
        let calls = Table::read(folder, "invocations.csv")?;
        let durations = Table::read(folder, "durations.csv")?;
        let memory = Table::read(folder, "memory.csv")?;
        let (duration_of, memory_of) = (durations.by_function()?, memory.by_function()?);
        let named = calls.column(FUNCTION)?;
        let trigger = calls.column(TRIGGER)?;
        let minutes: Vec<usize> =
            (0..calls.header.len()).filter(|at| calls.header[*at].parse::<u32>().is_ok()).collect();
        if minutes.is_empty() {
            return Err(calls.line(0, "no column is named by a minute: expected 1, 2, 3, …"));
        }
        let mut functions = Vec::with_capacity(calls.rows.len());
        for (row, cells) in calls.rows.iter().enumerate() {
            let name = &cells[named];
            let find = |table: &Table, rows: &HashMap<String, usize>| {
                let missing = || calls.cell(row, named, format!("function {name} is not in {}", table.file.display()));
                rows.get(name).copied().ok_or_else(missing)
            };
            let (duration, held) = (find(&durations, &duration_of)?, find(&memory, &memory_of)?);
            let counts = minutes.iter().map(|at| calls.number::<u32>(row, *at, "a whole number of calls"));
            let mut millis = [0.0; PERCENTILES.len()];
            for (place, (_, column)) in PERCENTILES.iter().enumerate() {
                millis[place] = durations.amount(duration, column, "milliseconds", MOST_MILLIS)?;
                if place > 0 && millis[place] < millis[place - 1] {
                    let what = "less than the percentile before it: expected percentiles in order".to_owned();
                    return Err(durations.cell(duration, durations.column(column)?, what));
                }
            }
            functions.push(Traced {
                timer: cells[trigger] == "timer",
                calls: counts.collect::<Result<_, _>>()?,
                millis,
                mebibytes: memory.amount(held, MEMORY, "megabytes", MOST_MEBIBYTES)?,
            });
        }
        Ok(Self { functions, minutes: minutes.len() })
    }

    pub fn calls(&self) -> u64 {
        self.functions.iter().flat_map(|one| &one.calls).map(|count| u64::from(*count)).sum()
    }
}

// === impl Traced ===

impl Traced {
    /// How long a call takes that so large a part of all calls is shorter than, microseconds; a millisecond at least.
    pub fn duration(&self, part: f64) -> u64 {
        let above = PERCENTILES.iter().position(|(at, _)| *at >= part).unwrap_or(PERCENTILES.len() - 1).max(1);
        let ((from, _), (to, _)) = (PERCENTILES[above - 1], PERCENTILES[above]);
        let (low, high) = (self.millis[above - 1], self.millis[above]);
        ((low + (high - low) * (part - from) / (to - from)) * 1000.0).max(1000.0) as u64
    }
}

// === impl Table ===

impl Table {
    fn read(folder: &Path, suffix: &'static str) -> Result<Self, TraceError> {
        let entries = fs::read_dir(folder).map_err(|error| TraceError::Io(folder.into(), error))?;
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| TraceError::Io(folder.into(), error))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)) {
                found.push(path);
            }
        }
        let file = match &found[..] {
            [one] => one.clone(),
            several => return Err(TraceError::Files(folder.into(), suffix, several.len())),
        };
        let text = fs::read_to_string(&file).map_err(|error| TraceError::Io(file.clone(), error))?;
        let split = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let mut lines = text.lines();
        let header = split(lines.next().unwrap_or_default());
        let table = Self { file, header, rows: lines.map(split).collect() };
        let (columns, wrong) = (table.header.len(), table.rows.iter().position(|row| row.len() != table.header.len()));
        match wrong {
            None => Ok(table),
            Some(row) => {
                let cells = table.rows[row].len();
                Err(table.line(row + 1, &format!("{cells} columns: expected {columns}, as in line 1")))
            }
        }
    }

    fn line(&self, line: usize, what: &str) -> TraceError {
        TraceError::Line { file: self.file.clone(), line: line + 1, what: what.to_owned() }
    }

    fn cell(&self, row: usize, column: usize, what: String) -> TraceError {
        let column = self.header.get(column).cloned().unwrap_or_default();
        TraceError::Cell { file: self.file.clone(), line: row + 2, column, what }
    }

    fn column(&self, name: &str) -> Result<usize, TraceError> {
        let found = self.header.iter().position(|column| column == name);
        found.ok_or_else(|| self.line(0, &format!("no column is named {name}")))
    }

    fn by_function(&self) -> Result<HashMap<String, usize>, TraceError> {
        let column = self.column(FUNCTION)?;
        let mut rows = HashMap::with_capacity(self.rows.len());
        for (row, cells) in self.rows.iter().enumerate() {
            if rows.insert(cells[column].clone(), row).is_some() {
                return Err(self.cell(row, column, format!("function {} has a line already", cells[column])));
            }
        }
        Ok(rows)
    }

    fn number<T: FromStr>(&self, row: usize, column: usize, expected: &str) -> Result<T, TraceError> {
        let text: String = self.rows[row][column].chars().take(40).collect();
        text.parse().map_err(|_| self.cell(row, column, format!("{text:?}: expected {expected}")))
    }

    fn amount(&self, row: usize, column: &str, unit: &str, most: f64) -> Result<f64, TraceError> {
        let (column, expected) = (self.column(column)?, format!("{unit}, 0 to {most}"));
        let amount: f64 = self.number(row, column, &expected)?;
        let text = &self.rows[row][column];
        // NaN is within no range.
        if (0.0..=most).contains(&amount) {
            Ok(amount)
        } else {
            Err(self.cell(row, column, format!("{text}: expected {expected}")))
        }
    }
}
