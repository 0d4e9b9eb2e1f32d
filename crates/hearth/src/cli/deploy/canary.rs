//! `hearth deploy --canary`: the deploy gets a share of the calls first.

use clap::Args;
use control::{CanaryWrite, FunctionWrite};
use model::Idle;

use crate::cli::{alias, manifest};

#[derive(Debug, Args)]
pub struct CanaryFlags {
    /// Try it on this share of the calls first; it is rolled back when too many fail, and gets all when none do
    #[arg(long, value_name = "SHARE", value_parser = alias::percent, conflicts_with = "reset")]
    canary: Option<f64>,
    /// How long it is tried, 1s to 7d [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = manifest::idle, requires = "canary")]
    canary_for: Option<Idle>,
    /// It is rolled back when more of its calls fail [default: 5%]
    #[arg(long, value_name = "SHARE", value_parser = alias::percent, requires = "canary")]
    max_error_rate: Option<f64>,
    /// No rate of errors is taken of fewer calls [default: 20]
    #[arg(long, value_name = "COUNT", requires = "canary")]
    min_calls: Option<u64>,
}

// === impl CanaryFlags ===

impl CanaryFlags {
    pub fn wanted(&self) -> bool {
        self.canary.is_some()
    }

    /// What the API is told; none: it is an ordinary deploy.
    pub fn write(&self, change: &FunctionWrite) -> Option<CanaryWrite> {
        let Self { canary, canary_for, max_error_rate, min_calls } = self;
        let (lasts, max_error_rate, min_calls) = (*canary_for, *max_error_rate, *min_calls);
        Some(CanaryWrite { weight: (*canary)?, lasts, max_error_rate, min_calls, change: change.clone() })
    }
}
