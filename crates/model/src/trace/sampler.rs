//! Which traces are recorded.

use std::str::FromStr;

use super::{Context, TraceId};

/// OpenTelemetry's samplers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    root: Root,
    /// Whether a caller's decision stands.
    parent_based: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Root {
    On,
    Off,
    /// A share of all ids: those whose number is below this.
    Below(u64),
}

/// A sampler that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSampler {
    #[error(
        "{0:?} is not a sampler that Hearth has: expected always_on, always_off, traceidratio, parentbased_always_on, \
         parentbased_always_off or parentbased_traceidratio"
    )]
    Name(String),
    #[error("{0:?} is not a share of traces: expected a number from 0 to 1, as 0.1")]
    Ratio(String),
}

// === impl Sampler ===

impl Sampler {
    /// By the names and arguments of `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub fn new(name: &str, argument: Option<&str>) -> Result<Self, InvalidSampler> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => Root::On,
            "always_off" => Root::Off,
            "traceidratio" => {
                let text = argument.unwrap_or("1");
                let ratio = f64::from_str(text).ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                match ratio.ok_or_else(|| InvalidSampler::Ratio(text.chars().take(40).collect()))? {
                    1.0 => Root::On,
                    ratio => Root::Below((ratio * (1u64 << 63) as f64) as u64),
                }
            }
            _ => return Err(InvalidSampler::Name(name.chars().take(80).collect())),
        };
        Ok(Self { root, parent_based })
    }

    /// Whether the trace is recorded here.
    pub fn decide(&self, context: &Context) -> bool {
        match (context.sampled, self.parent_based) {
            (Some(decided), true) => decided,
            _ => self.root.takes(context.id),
        }
    }
}

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self { root: Root::On, parent_based: true }
    }
}

// === impl Root ===

impl Root {
    fn takes(self, id: TraceId) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            // The bits that other programs' samplers look at, so that all of them take the same traces.
            Self::Below(bound) => id.low() >> 1 < bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn context(sampled: Option<bool>) -> Context {
        Context { sampled, ..Context::fresh(Timestamp(0)) }
    }

    #[test]
    fn a_callers_decision_stands_where_it_is_asked_for() {
        let decide = |name, sampled| Sampler::new(name, Some("0")).unwrap().decide(&context(sampled));
        assert!(decide("always_on", Some(false)) && !decide("always_off", Some(true)));
        assert!(decide("parentbased_always_on", None) && !decide("parentbased_always_on", Some(false)));
        assert!(decide("parentbased_always_off", Some(true)) && !decide("parentbased_always_off", None));
        assert!(decide("parentbased_traceidratio", Some(true)) && !decide("parentbased_traceidratio", None));
        assert!(!decide("traceidratio", Some(true)));
        assert_eq!(Sampler::new("parentbased_always_on", None), Ok(Sampler::default()));
    }

    #[test]
    fn a_share_is_of_all_traces() {
        let sampler = Sampler::new("traceidratio", Some("0.25")).unwrap();
        let taken = (0..4000).filter(|_| sampler.decide(&context(None))).count();
        assert!((800..1200).contains(&taken), "{taken}");
        assert!(Sampler::new("traceidratio", None).unwrap().decide(&context(None)));
    }

    #[test]
    fn what_is_no_sampler_is_refused() {
        for (name, argument) in [("xray", None), ("", None), ("parentbased_", None), ("traceidratio", Some("2"))] {
            assert!(Sampler::new(name, argument).is_err(), "{name} {argument:?}");
        }
        assert!(Sampler::new("traceidratio", Some("NaN")).is_err());
    }
}
