//! `hearth top`: what goes on, drawn anew every few seconds.
//!
//! ```text
//! terminal as it was ──► raw, other screen ──► read, draw, wait ──q, Ctrl-C, a signal, a failure──► as it was
//! ```
//!
//! It is drawn with the few sequences that every terminal has, the whole screen at once, so it works over the slowest line.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use control::{DurationView, InstancesView, OverviewView, PointView};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::client::{Client, ClientError, ConnectArgs};
use super::out::{self, Paint};
use super::{Usage, text};

/// How long a Hearth that went away is waited for.
const AWAY: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct TopArgs {
    /// How far back figures go, 10s to 1h
    #[arg(long, default_value = "1m", value_name = "TIME")]
    window: String,
    /// Seconds between two readings
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=600))]
    every: u16,
    /// Print one reading and end
    #[arg(long)]
    once: bool,
    /// Print one reading as a JSON object and end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: TopArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let window = model::parse_duration(&args.window).map_err(|error| Usage(format!("--window: {error}")))?;
    let path = format!("/api/v1/overview?window={}", model::show_duration(window));
    let read = || -> Result<OverviewView, ClientError> { client.get(&path) };
    let first = read().map_err(|error| match error {
        ClientError::Refused { status: 400, message, .. } => anyhow::Error::new(Usage(format!("--{message}"))),
        error => error.into(),
    })?;
    if args.json {
        out::json(&first)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.once {
        let screen =
            Screen { width: usize::MAX, height: usize::MAX, paint: Paint::stdout(), endpoint: client.endpoint() };
        screen.draw(&first, None).iter().try_for_each(|line| out::line(line))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(Usage("this is no terminal: expected --once or --json".into()).into());
    }
    let terminal = Raw::enter()?;
    let result = redraw(&args, &client, first, read);
    drop(terminal);
    result
}

fn redraw(
    args: &TopArgs,
    client: &Client,
    first: OverviewView,
    read: impl Fn() -> Result<OverviewView, ClientError>,
) -> anyhow::Result<ExitCode> {
    let (mut now, mut before): (OverviewView, Option<OverviewView>) = (first, None);
    let mut away: Option<Instant> = None;
    loop {
        let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) = size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
        let screen = Screen { width, height, paint: Paint::stdout(), endpoint: client.endpoint() };
        let mut lines = screen.draw(&now, before.as_ref());
        if away.is_some() {
            lines[0] = Paint::stdout().yellow("Hearth went away: waiting for it");
        }
        // Each line is cleared behind its text, and not the screen before it: nothing flickers.
        let mut picture = String::from("\x1b[H");
        picture += &lines.join("\x1b[K\r\n");
        picture += "\x1b[K\x1b[J";
        let mut out = stdout().lock();
        out.write_all(picture.as_bytes())?;
        out.flush()?;
        drop(out);
        if wants_to_end(Duration::from_secs(args.every.into()))? {
            return Ok(ExitCode::SUCCESS);
        }
        match read() {
            Ok(next) => {
                before = Some(std::mem::replace(&mut now, next));
                away = None;
            }
            Err(error @ ClientError::Refused { .. }) => return Err(error.into()),
            Err(error) if away.is_some_and(|since| since.elapsed() > AWAY) => return Err(error.into()),
            Err(_) => away = away.or_else(|| Some(Instant::now())),
        }
    }
}

/// Waits, at most so long; true where somebody wants to end.
fn wants_to_end(patience: Duration) -> anyhow::Result<bool> {
    let input = stdin();
    let mut fds = [PollFd::new(&input, PollFlags::IN)];
    let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    match poll(&mut fds, Some(&patience)) {
        // Interrupted: the window changed its size, for instance.
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let mut keys = [0; 64];
    let count = rustix::io::read(&input, &mut keys)?;
    // Nobody is there any more; Ctrl-C; Ctrl-D; q. Any other key draws at once.
    Ok(count == 0 || keys[..count].iter().any(|key| matches!(key, 3 | 4 | b'q' | b'Q')))
}

/// The terminal while it is drawn on. As it was when this is dropped, or when a signal ends the program.
struct Raw {
    before: Termios,
}

// === impl Raw ===

impl Raw {
    fn enter() -> anyhow::Result<Self> {
        let before = tcgetattr(stdin()).context("ask the terminal for its settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        let ends = before.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || end_on_signal(&ends))?;
        tcsetattr(stdin(), OptionalActions::Now, &raw).context("set the terminal")?;
        let terminal = Self { before };
        let mut out = stdout().lock();
        // The other screen, without a cursor: what was there comes back.
        out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        out.flush()?;
        Ok(terminal)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

/// Nobody is left to tell where it fails.
fn restore(before: &Termios) {
    let mut out = stdout();
    let _ = out.write_all(b"\x1b[?25h\x1b[?1049l");
    let _ = out.flush();
    let _ = tcsetattr(stdin(), OptionalActions::Now, before);
}

#[allow(
    clippy::disallowed_methods,
    reason = "a client's: no destructor here holds more than the terminal, which is restored"
)]
fn end_on_signal(before: &Termios) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let number = runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()), signal(SignalKind::interrupt()))
        else {
            return None;
        };
        Some(tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        })
    });
    if let Some(number) = number {
        restore(before);
        std::process::exit(128 + number.as_raw_value());
    }
}

/// What is drawn on.
struct Screen<'a> {
    width: usize,
    height: usize,
    paint: Paint,
    endpoint: &'a str,
}

// === impl Screen ===

impl Screen<'_> {
    fn draw(&self, now: &OverviewView, before: Option<&OverviewView>) -> Vec<String> {
        let paint = self.paint;
        let cut = |line: String| line.chars().take(self.width).collect::<String>();
        let window = text::span(Duration::from_secs(now.window.round() as u64));
        let all = &now.all;
        let mut lines = vec![
            paint.bold(&cut(format!(
                "Hearth {}   last {window}: {} calls/s   {} errors   p50 {}   p99 {}   {} cold",
                text::one_line(self.endpoint),
                text::digits(all.calls as f64 / now.window.max(1.0)),
                share(all.errors, all.calls),
                took(all, |one| one.p50_us),
                took(all, |one| one.p99_us),
                share(all.cold, all.calls),
            ))),
            cut(format!(
                "memory {} {} of {}   instances {}   stems {}   server {}",
                bar(now.memory.used, now.memory.budget),
                text::memory(now.memory.used),
                text::memory(now.memory.budget),
                states(&now.instances),
                now.stems.ready,
                server(now, before),
            )),
        ];
        if now.dropped > 0 {
            lines.push(
                paint.yellow(&cut(format!("{} records and log lines were lost: they came too fast", now.dropped))),
            );
        }
        lines.push(String::new());
        let longest = now.functions.iter().map(|one| one.function.chars().count()).max().unwrap_or(0).clamp(8, 40);
        let head = ["CALLS/S", "ERRORS", "P50", "P99", "COLD", "BUSY", "IDLE", "FROZEN", "STARTING", "PEAK"];
        let head: String = head.iter().map(|title| format!("{title:>9}")).collect();
        lines.push(paint.dim(&cut(format!("{:<longest$}{head}", "FUNCTION"))));
        if now.functions.is_empty() {
            lines.push(cut("nobody calls, and nothing lives".into()));
        }
        let room = self.height.saturating_sub(lines.len() + 1);
        for one in now.functions.iter().take(room) {
            let name: String = text::one_line(&one.function).chars().take(longest).collect();
            let figures = &one.figures;
            let cells = [
                text::digits(one.calls_per_second),
                share(figures.errors, figures.calls),
                took(figures, |one| one.p50_us),
                took(figures, |one| one.p99_us),
                share(figures.cold, figures.calls),
                one.instances.busy.to_string(),
                one.instances.idle.to_string(),
                one.instances.frozen.to_string(),
                one.instances.starting.to_string(),
                figures.memory_peak.map_or_else(|| "-".to_owned(), text::memory),
            ];
            let cells: String = cells.iter().map(|cell| format!("{cell:>9}")).collect();
            let line = cut(format!("{name:<longest$}{cells}"));
            lines.push(if figures.errors > 0 { paint.red(&line) } else { line });
        }
        if let Some(more) = now.functions.len().checked_sub(room).filter(|more| *more > 0) {
            lines.push(paint.dim(&cut(format!("and {more} more"))));
        }
        lines
    }
}

/// `0.5%`; a dash where there was nothing.
fn share(part: u64, of: u64) -> String {
    match of {
        0 => "-".to_owned(),
        _ if part == 0 => "0%".to_owned(),
        _ => format!("{}%", text::digits(part as f64 * 100.0 / of as f64)),
    }
}

fn took(figures: &PointView, which: fn(&DurationView) -> u64) -> String {
    figures.duration.as_ref().map_or_else(|| "-".to_owned(), |one| text::latency(which(one) as f64))
}

fn states(instances: &InstancesView) -> String {
    let InstancesView { starting, idle, frozen, busy } = instances;
    format!("{busy} busy {idle} idle {frozen} frozen {starting} starting")
}

fn bar(used: u64, of: u64) -> String {
    const CELLS: u64 = 10;
    let full = (used.saturating_mul(CELLS) / of.max(1)).min(CELLS) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(CELLS as usize - full))
}

/// Processor time since the reading before, and memory.
fn server(now: &OverviewView, before: Option<&OverviewView>) -> String {
    let memory = text::memory(now.process.resident_bytes);
    let share = before.filter(|before| before.process.started_us == now.process.started_us).and_then(|before| {
        let passed = (now.at_us - before.at_us) as f64 / 1e6;
        (passed > 0.0).then(|| (now.process.cpu_seconds - before.process.cpu_seconds) / passed * 100.0)
    });
    match share {
        Some(share) => format!("{}% CPU {memory}", text::digits(share.max(0.0))),
        None => memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{MemoryView, OverviewFunction, ProcessView, StemCounts};

    fn overview() -> OverviewView {
        let duration = DurationView { count: 120, sum_us: 9, p50_us: 1800, p90_us: 2500, p99_us: 9000, max_us: 12_000 };
        let figures = PointView { calls: 120, errors: 3, cold: 2, duration: Some(duration), ..PointView::default() };
        let instances = InstancesView { idle: 1.0, busy: 2.0, ..InstancesView::default() };
        let function = |function: &str, figures| OverviewFunction {
            function: function.into(),
            calls_per_second: 2.0,
            figures,
            instances: instances.clone(),
        };
        OverviewView {
            at_us: 10_000_000,
            window: 60.0,
            functions: vec![function("hello", figures.clone()), function("quiet", PointView::default())],
            all: figures,
            memory: MemoryView { budget: 8 << 30, used: 4 << 30 },
            instances: instances.clone(),
            stems: StemCounts { ready: 4, starting: 0 },
            dropped: 0,
            process: ProcessView { cpu_seconds: 1.5, resident_bytes: 50 << 20, open_fds: 1, started_us: 1 },
        }
    }

    #[test]
    fn a_picture_fits_the_terminal() {
        let now = overview();
        let draw = |width, height| {
            let screen = Screen { width, height, paint: Paint::none(), endpoint: "http://127.0.0.1:7070" };
            screen.draw(&now, None)
        };
        let wide = draw(200, 50);
        assert!(wide[0].contains("2.00 calls/s") && wide[0].contains("2.50% errors"), "{}", wide[0]);
        assert!(wide[1].contains("[#####-----]"), "{}", wide[1]);
        assert!(wide[4].starts_with("hello ") && wide[4].contains("9.00 ms"), "{}", wide[4]);
        let small = draw(30, 6);
        assert!(small.len() <= 6 && small.iter().all(|line| line.chars().count() <= 30), "{small:?}");
        assert_eq!(small.last().unwrap(), "and 1 more");
    }

    #[test]
    fn the_server_s_share_is_of_the_time_between_two_readings() {
        let (now, mut before) = (overview(), overview());
        before.at_us -= 2_000_000;
        before.process.cpu_seconds -= 0.5;
        assert!(server(&now, Some(&before)).starts_with("25"), "{}", server(&now, Some(&before)));
        before.process.started_us = 0;
        assert!(!server(&now, Some(&before)).contains('%'), "another server");
    }
}
