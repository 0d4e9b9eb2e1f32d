//! How far long work is: a spinner or a bar on a terminal, a line for each step elsewhere. Always on stderr.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{out, text};

/// Reports steps; quiet where output is for programs.
pub struct Progress {
    terminal: bool,
    quiet: bool,
}

/// A step that runs. Gone without a trace when it is dropped.
pub struct Step(ProgressBar);

// === impl Progress ===

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self { terminal: io::stderr().is_terminal(), quiet }
    }

    /// Begins a step of unknown length.
    pub fn step(&self, what: &str) -> Step {
        if !self.terminal {
            if !self.quiet {
                out::note(what);
            }
            return Step(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.set_style(style("{spinner} {wide_msg}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Step(bar)
    }

    /// Begins a step that is done when so many bytes were read.
    pub fn bytes(&self, what: &str, length: u64) -> Step {
        if !self.terminal || length < 1_000_000 {
            return self.step(what);
        }
        let bar = ProgressBar::new(length).with_message(what.to_owned());
        bar.set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}"));
        Step(bar)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

// === impl Step ===

impl Step {
    /// What it is at now; shown on a terminal only.
    pub fn now(&self, what: &str) {
        self.0.set_message(text::one_line(what));
    }

    /// Counts what is read through it.
    pub fn reading<R: Read>(&self, from: R) -> impl Read + use<R> {
        self.0.wrap_read(from)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
