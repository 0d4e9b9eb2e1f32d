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
pub struct Step {
    bar: ProgressBar,
    /// What it said last, where it says lines.
    said: Option<String>,
}

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
            return Step::hidden();
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.set_style(style("{spinner} {wide_msg}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { bar, said: None }
    }

    /// Begins a step that is done when so many bytes were read.
    pub fn bytes(&self, what: &str, length: u64) -> Step {
        if !self.terminal || length < 1_000_000 {
            return self.step(what);
        }
        let bar = ProgressBar::new(length).with_message(what.to_owned());
        bar.set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}"));
        Step { bar, said: None }
    }

    /// Begins something whose parts are told by [`Step::reached`].
    pub fn parts(&self) -> Step {
        if !self.terminal {
            return Step { bar: ProgressBar::hidden(), said: (!self.quiet).then(String::new) };
        }
        let bar = ProgressBar::new(1);
        bar.set_style(style("[{bar:30}] {percent:>3}% {wide_msg}"));
        Step { bar, said: None }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

// === impl Step ===

impl Step {
    fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), said: None }
    }

    /// It is at `what` now, and `done` of `total` is behind it.
    pub fn reached(&mut self, what: &str, done: u64, total: u64) {
        if let Some(said) = self.said.as_mut().filter(|said| *said != what) {
            out::note(&text::one_line(what));
            *said = what.to_owned();
        }
        self.bar.set_length(total.max(1));
        self.bar.set_position(done);
        self.now(what);
    }

    /// What it is at now; shown on a terminal only.
    pub fn now(&self, what: &str) {
        self.bar.set_message(text::one_line(what));
    }

    /// Counts what is read through it.
    pub fn reading<R: Read>(&self, from: R) -> impl Read + use<R> {
        self.bar.wrap_read(from)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
