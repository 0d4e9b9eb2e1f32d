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
use crate::hearth::{Code, Deploy, GONE, Hearth};
use crate::report::Arm;
use crate::stats::Random;

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
    pub name: &'a str,
    pub code: Code,
    pub isolation: &'a str,
}

/// Measures `pairs` pairs.
pub fn measure(
    hearth: &Hearth,
    Subject { name, code, isolation }: Subject<'_>,
    other: Other<'_>,
    pairs: usize,
    random: &mut Random,
) -> anyhow::Result<Arm> {
    hearth.deploy(Deploy::new(name, code).isolation(isolation))?;
    let target = hearth.target(name);
    let ours = || -> anyhow::Result<Duration> {
        hearth.until_none(name, GONE)?;
        hearth.until_stem(isolation)?;
        std::thread::sleep(REST);
        cold::call(&target)
    };
    let unpooled = match other {
        Other::Unpooled(without) => {
            without.deploy(Deploy::new(name, code).isolation(isolation))?;
            Some((without, without.target(name)))
        }
        Other::Interpreter(_) => None,
    };
    let theirs = || -> anyhow::Result<Duration> {
        std::thread::sleep(REST);
        match (&unpooled, other) {
            (Some((without, target)), _) => {
                without.until_none(name, GONE)?;
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
    let records = hearth.records(name, WARM_UP + pairs)?;
    verify(&records, true)?;
    if let Some((without, _)) = unpooled {
        verify(&without.records(name, WARM_UP + pairs)?, false).context("without stems")?;
    }
    Ok(Arm {
        method: format!("{pairs} pairs"),
        against: match other {
            Other::Interpreter(baseline) => baseline.label.clone(),
            Other::Unpooled(_) => format!("{isolation} without"),
        },
        rows: cold::rows(&walls, random),
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
