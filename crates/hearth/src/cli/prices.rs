//! `hearth prices`: what the machine and a cloud cost, so that costs can be told.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use control::{CloudView, CloudWrite, HardwareView, HardwareWrite, PricesView, PricesWrite};
use model::{Currency, Lifetime, Memory};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::{out, text};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Without a command, shows them. The own hardware and a cloud can both be set: costs are then told side by side.

  hearth prices hardware --price 600 --lifetime 5y --watts 15 --kwh 0.30 --currency EUR
  hearth prices preset aws-lambda-x86

How costs come of them: docs/compare.md."
)]
pub struct PricesArgs {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, Args)]
struct Shared {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Set what the own machine costs
    Hardware {
        /// What it cost
        #[arg(long, value_name = "MONEY", value_parser = amount, allow_negative_numbers = true)]
        price: f64,
        /// How long it is used: 5y
        #[arg(long, value_name = "YEARS")]
        lifetime: Lifetime,
        /// What it takes with all cores busy
        #[arg(long, value_name = "WATTS", value_parser = amount, allow_negative_numbers = true)]
        watts: f64,
        /// What it takes when nothing runs [default: the same]
        #[arg(long, value_name = "WATTS", value_parser = amount, allow_negative_numbers = true)]
        watts_idle: Option<f64>,
        /// Price of a kilowatt-hour
        #[arg(long, value_name = "MONEY", value_parser = amount, allow_negative_numbers = true)]
        kwh: f64,
        /// Three letters: EUR
        #[arg(long, value_name = "CODE")]
        currency: Currency,
        /// Cores that the price is for [default: this machine's]
        #[arg(long, value_name = "COUNT")]
        cores: Option<u32>,
        /// Memory that the price is for [default: this machine's]
        #[arg(long, value_name = "SIZE")]
        memory: Option<Memory>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Set a cloud's prices
    Cloud {
        /// Price of one GB of memory for one second
        #[arg(long, value_name = "MONEY", value_parser = amount, allow_negative_numbers = true)]
        gb_second: Option<f64>,
        /// Price of one request [default: 0]
        #[arg(long, value_name = "MONEY", value_parser = amount, allow_negative_numbers = true)]
        request: Option<f64>,
        /// Price of one vCPU for one second [default: 0]
        #[arg(long, value_name = "MONEY", value_parser = amount, allow_negative_numbers = true)]
        vcpu_second: Option<f64>,
        /// Three letters [default: USD]
        #[arg(long, value_name = "CODE")]
        currency: Option<Currency>,
        /// What it is called in tables [default: cloud]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Set a cloud's list prices by their name
    Preset {
        /// aws-lambda-x86 or aws-lambda-arm
        name: String,
        #[command(flatten)]
        shared: Shared,
    },
    /// Forget prices
    Rm {
        which: Which,
        #[command(flatten)]
        shared: Shared,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Hardware,
    Cloud,
}

// === impl PricesArgs ===

impl PricesArgs {
    pub fn json(&self) -> bool {
        self.shared().json
    }

    fn shared(&self) -> &Shared {
        match &self.change {
            None => &self.shared,
            Some(
                Change::Hardware { shared, .. }
                | Change::Cloud { shared, .. }
                | Change::Preset { shared, .. }
                | Change::Rm { shared, .. },
            ) => shared,
        }
    }
}

/// A number that can be a price or a power: the rest is checked where it is used.
fn amount(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| format!("expected a number, 0 or more, like 0.30, got {text}"))
}

pub fn run(args: PricesArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.shared().connect)?, args.json());
    let mut prices: PricesView = client.get("/api/v1/prices")?;
    if let Some(change) = args.change {
        // What is not changed stays as it is.
        let mut write = PricesWrite {
            hardware: prices.hardware.map(HardwareWrite::from),
            cloud: prices.cloud.map(CloudWrite::from),
        };
        apply(change, &mut write);
        prices = client.write(Method::PUT, "/api/v1/prices", &write)?;
    }
    if json {
        out::json(&prices)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(hardware) = &prices.hardware {
        out::line(&show_hardware(hardware))?;
        out::line(&format!(
            "  comes to {} an hour idle; {} an hour for a core, {} for a GB of memory",
            text::digits(hardware.per_hour),
            text::digits(hardware.core_second * 3600.0),
            text::digits(hardware.gb_second * 3600.0),
        ))?;
    }
    if let Some(cloud) = &prices.cloud {
        out::line(&show_cloud(cloud))?;
    }
    if !prices.set {
        out::note("nobody has set prices yet: these are for reference; `hearth prices --help` tells how to set them");
    } else if prices.hardware.is_none() && prices.cloud.is_none() {
        out::note("no prices: costs are not told");
    }
    Ok(ExitCode::SUCCESS)
}

fn apply(change: Change, write: &mut PricesWrite) {
    match change {
        Change::Hardware { price, lifetime, watts, watts_idle, kwh, currency, cores, memory, .. } => {
            write.hardware = Some(HardwareWrite { currency, price, lifetime, watts, watts_idle, kwh, cores, memory });
        }
        Change::Cloud { gb_second, request, vcpu_second, currency, name, .. } => {
            write.cloud = Some(CloudWrite { preset: None, name, currency, gb_second, request, vcpu_second });
        }
        Change::Preset { name, .. } => {
            write.cloud = Some(CloudWrite { preset: Some(name), ..CloudWrite::default() });
        }
        Change::Rm { which: Which::Hardware, .. } => write.hardware = None,
        Change::Rm { which: Which::Cloud, .. } => write.cloud = None,
    }
}

/// In one line, for below a table too.
pub fn show_hardware(one: &HardwareView) -> String {
    let HardwareView { currency, price, lifetime, watts, watts_idle, kwh, cores, memory, .. } = one;
    format!(
        "hardware: {price} {currency} over {lifetime}, {watts} W busy and {watts_idle} W idle at {kwh} {currency} a kWh, \
         {cores} cores, {memory}"
    )
}

/// In one line, for below a table too.
pub fn show_cloud(one: &CloudView) -> String {
    let CloudView { name, currency, gb_second, request, vcpu_second } = one;
    let mut parts = vec![format!("{} a GB-second", text::digits(*gb_second))];
    if *vcpu_second > 0.0 {
        parts.push(format!("{} a vCPU-second", text::digits(*vcpu_second)));
    }
    parts.push(format!("{} a million requests", text::digits(request * 1e6)));
    format!("{}: {} {currency}", text::one_line(name), parts.join(", "))
}
