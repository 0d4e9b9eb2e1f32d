//! Cold starts out of stems: one call of a function without an instance, where a sandbox with its runtime up waits. Each
//! pair is one such call and one of what it is compared to, in random order: the bare interpreter, or the same function
//! on the same isolation in a second Hearth that keeps no stems.
//!
//! Before each call it is waited until a stem is ready and none is being made; at the end every call's record must say
//! that it was cold and whether a stem was there.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::baseline::Baseline;
use crate::cold::{self, REST, WARM_UP, nanos};
use crate::hearth::{Hearth, Language};
use crate::report::{Arm, Row, Unit};
use crate::stats::{self, Random, compare, percentile};

/// What it is compared to.
#[derive(Debug, Clone, Copy)]
pub enum Other<'a> {
    Interpreter(&'a Baseline),
    /// The same isolation without stems.
    Unpooled(&'a Hearth),
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub language: Language,
    pub isolation: &'a str,
}

// === impl Subject ===

impl Subject<'_> {
    pub fn title(self, other: Other<'_>) -> String {
        let (language, isolation) = (self.language.title(), self.isolation);
        match other {
            Other::Interpreter(_) => format!("cold {language}, stems"),
            Other::Unpooled(_) => format!("cold {language} on {isolation}, stems"),
        }
    }
}

/// Measures `pairs` pairs.
pub fn measure(
    hearth: &Hearth,
    subject: Subject<'_>,
    other: Other<'_>,
    pairs: usize,
    random: &mut Random,
) -> anyhow::Result<Arm> {
    let Subject { language, isolation } = subject;
    let name = format!("stem-{}-{isolation}", language.title().to_lowercase());
    hearth.deploy(language, &name, isolation, "0s", 4)?;
    let target = hearth.target(&name);
    let ours = || -> anyhow::Result<Duration> {
        hearth.until_none(&name)?;
        hearth.until_stem(isolation)?;
        std::thread::sleep(REST);
        cold::call(&target)
    };
    let unpooled = match other {
        Other::Unpooled(without) => {
            without.deploy(language, &name, isolation, "0s", 4)?;
            Some((without, without.target(&name)))
        }
        Other::Interpreter(_) => None,
    };
    let theirs = || -> anyhow::Result<Duration> {
        std::thread::sleep(REST);
        match (&unpooled, other) {
            (Some((without, target)), _) => {
                without.until_none(&name)?;
                cold::call(target)
            }
            (None, Other::Interpreter(baseline)) => Ok(baseline.run()?.wall),
            (None, Other::Unpooled(_)) => bail!("nothing to compare with"),
        }
    };
    for _ in 0..WARM_UP {
        ours()?;
        theirs()?;
    }
    let mut walls = Vec::new();
    for _ in 0..pairs {
        let (wall, their) = if random.coin() {
            let wall = ours()?;
            (wall, theirs()?)
        } else {
            let their = theirs()?;
            (ours()?, their)
        };
        walls.push((nanos(wall), nanos(their)));
    }
    let records = hearth.records(&name, WARM_UP + pairs)?;
    verify(&records, true)?;
    if let Some((without, _)) = unpooled {
        verify(&without.records(&name, WARM_UP + pairs)?, false).context("without stems")?;
    }
    Ok(Arm {
        title: subject.title(other),
        method: format!("{pairs} pairs"),
        against: match other {
            Other::Interpreter(baseline) => baseline.label.clone(),
            Other::Unpooled(_) => format!("{isolation} without"),
        },
        rows: vec![
            Row::new("p50", Unit::Time, compare(&walls, random, |values| percentile(values, 50.0))),
            Row::new("min", Unit::Time, compare(&walls, random, stats::min)),
            Row::new("p99", Unit::Time, compare(&walls, random, |values| percentile(values, 99.0))),
        ],
        notes: cold::parts(&records[..pairs.min(records.len())]),
    })
}

fn verify(records: &[Value], stem: bool) -> anyhow::Result<()> {
    for record in records {
        let is = |key: &str| record.get(key).and_then(Value::as_bool);
        let status = record.pointer("/outcome/status").and_then(Value::as_str);
        if is("cold") != Some(true) || is("stem") != Some(stem) || status != Some("ok") {
            bail!("expected a cold call that succeeded, with stem = {stem}, got {record}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_that_had_no_stem_spoils_the_measurement() {
        let record = |stem: bool| json!({"cold": true, "stem": stem, "outcome": {"status": "ok"}});
        assert!(verify(&[record(true), record(true)], true).is_ok());
        assert!(verify(&[record(true), record(false)], true).is_err());
        assert!(verify(&[record(false)], false).is_ok());
        assert!(verify(&[json!({})], false).is_err());
    }
}
