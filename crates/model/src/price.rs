//! What calls cost: on a machine that somebody bought, and at a cloud's prices. Formulas only; `docs/compare.md` is
//! the same in words.
//!
//! ```text
//! Use (what one call takes) ──┐
//! Traffic (how often, kept    ├──► Cost of one call, by its parts ──► of a million, of a month
//!   how long) ──► Standing ───┘         ▲
//! Hardware │ Cloud ─────────────────────┘
//! ```
//!
//! Times are seconds, memory is GB of 2³⁰ bytes (what clouds call a GB in a GB-second), rates are calls per second,
//! money is in the prices' own currency. A month is a twelfth of 365.25 days.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quantity::{InvalidQuantity, Memory};

/// Seconds.
pub const MONTH: f64 = YEAR / 12.0;

const YEAR: f64 = 365.25 * 86_400.0;

/// What one core of a machine is worth, in GB of its memory: what AWS Fargate asks for a vCPU over what it asks for a
/// GB (0.04048 and 0.004445 USD an hour, Linux/x86, us-east-1). A machine with much memory so has cheap memory.
pub const GB_PER_CORE: f64 = 9.1;

/// A share of calls that is too small to count.
const NEGLIGIBLE: f64 = 1e-9;

/// The prices that a user set: of the own machine, of a cloud, or both, to see them beside one another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    pub hardware: Option<Hardware>,
    pub cloud: Option<Cloud>,
}

/// A machine that was bought and takes electricity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    pub currency: Currency,
    /// What the machine cost.
    pub price: f64,
    /// How long it is used.
    pub lifetime: Lifetime,
    /// What it takes with all cores busy.
    pub watts: f64,
    /// What it takes when nothing runs.
    pub watts_idle: f64,
    /// Price of a kilowatt-hour.
    pub kwh: f64,
    /// As the operating system counts them.
    pub cores: u32,
    pub memory: Memory,
}

/// A cloud that bills the time of calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// What it is called in tables.
    pub name: String,
    pub currency: Currency,
    /// Of one GB of configured memory for one second.
    pub gb_second: f64,
    /// Of one request.
    pub request: f64,
    /// Of one allocated vCPU for one second; 0 where it is in the memory's price.
    pub vcpu_second: f64,
}

/// An ISO 4217 code: `EUR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// How long a machine is used, in years: `5y`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime(f64);

/// What is wrong with prices.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidPrices {
    #[error("{key} = {given} is out of range: expected {expected}")]
    OutOfRange { key: &'static str, given: String, expected: &'static str },
    #[error("name {0:?} is not valid: expected 1 to 40 letters, digits, spaces and - _ .")]
    Name(String),
    #[error("there are no prices named {given:?}: known are {known}")]
    Preset { given: String, known: String },
}

/// What one call takes, on average.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Use {
    /// Processor time of a call.
    pub cpu: f64,
    /// How long a call has its instance for itself.
    pub busy: f64,
    /// The same, each call rounded up to a millisecond, as AWS Lambda bills it.
    pub billed: f64,
    /// What the start of an instance takes.
    pub start: f64,
    /// What of it comes after the sandbox is there: clouds bill no more.
    pub start_billed: f64,
    /// What an instance holds, GB.
    pub held: f64,
    /// What it may hold, GB.
    pub configured: f64,
    /// What it may use of the processors.
    pub vcpus: f64,
}

/// How often a function is called, and how long its instances outlive calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Calls per second; 0: nobody knows, or there were none.
    pub rate: f64,
    /// How long an instance without work is kept.
    pub keep: Duration,
    /// Instances that are kept in any case.
    pub min: u32,
    /// Instances at once at most.
    pub max: u32,
}

/// What keeping instances comes to, for each call.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// Seconds of an instance without work.
    pub idle: f64,
    /// The share of calls that find no instance.
    pub cold: f64,
}

/// What one call costs, by its parts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    pub cpu: f64,
    pub memory: f64,
    /// Memory that is held between calls.
    pub idle: f64,
    /// Starts, at their share of the calls.
    pub cold: f64,
    pub request: f64,
}

// === impl Traffic ===

impl Traffic {
    /// The model: calls come independently of one another, at `rate` on average (a Poisson process), and each has an
    /// instance for `busy` seconds. The first instance that is free takes the call; of `n` instances the share
    /// `B(n) = ρ·B(n-1) / (n + ρ·B(n-1))` of the calls finds none free (Erlang's loss formula, `ρ = rate·busy`), so
    /// that instance `n` serves the share `c = B(n-1) − B(n)`, and is idle for `g = 1/(rate·c) − busy` between two of
    /// its calls, exponentially distributed. Kept for `T`, it is there for the next call with the probability
    /// `1 − e^(−T/g)`, and idle for `g·(1 − e^(−T/g))` of it.
    pub fn standing(&self, busy: f64) -> Standing {
        let mut standing = Standing::default();
        if self.rate <= 0.0 {
            return standing;
        }
        let (load, keep) = (self.rate * busy, self.keep.as_secs_f64());
        let mut lost = 1.0;
        for n in 1..=self.max.max(self.min) {
            let lost_after = load * lost / (f64::from(n) + load * lost);
            let share = lost - lost_after;
            lost = lost_after;
            if n <= self.min {
                // Never gone: all the time that it does not work.
                standing.idle += (1.0 / self.rate - share * busy).max(0.0);
                continue;
            }
            if share > 0.0 {
                let gap = (1.0 / (self.rate * share) - busy).max(0.0);
                let gone = if gap > 0.0 { (-keep / gap).exp() } else { 0.0 };
                standing.idle += share * gap * (1.0 - gone);
                standing.cold += share * gone;
            }
            if lost < NEGLIGIBLE {
                break;
            }
        }
        standing
    }
}

// === impl Cost ===

impl Cost {
    pub fn total(&self) -> f64 {
        self.cpu + self.memory + self.idle + self.cold + self.request
    }

    pub fn per_million(&self) -> f64 {
        self.total() * 1e6
    }

    /// None where nobody knows how many calls a month has.
    pub fn per_month(&self, traffic: &Traffic) -> Option<f64> {
        (traffic.rate > 0.0).then(|| self.total() * traffic.rate * MONTH)
    }
}

// === impl Hardware ===

impl Hardware {
    /// What the machine costs in an hour in which nothing runs: its price over its lifetime, and what it takes idle.
    pub fn per_hour(&self) -> f64 {
        self.price / (self.lifetime.years() * YEAR) * 3600.0 + self.watts_idle / 1000.0 * self.kwh
    }

    /// The processors' part of that; the rest is the memory's.
    pub fn cpu_part(&self) -> f64 {
        let cores = f64::from(self.cores) * GB_PER_CORE;
        cores / (cores + gb(self.memory.bytes()))
    }

    /// Price of one second of one core: its part of the machine, and what it takes beyond idle.
    pub fn core_second(&self) -> f64 {
        let electricity = (self.watts - self.watts_idle) / 1000.0 * self.kwh;
        (self.per_hour() * self.cpu_part() + electricity) / (f64::from(self.cores) * 3600.0)
    }

    /// Price of holding one GB for a second.
    pub fn gb_second(&self) -> f64 {
        self.per_hour() * (1.0 - self.cpu_part()) / (gb(self.memory.bytes()) * 3600.0)
    }

    /// What is used is paid for, idle instances too; what nobody uses of the machine is nobody's.
    pub fn cost(&self, of: &Use, standing: Standing) -> Cost {
        let (core, gb) = (self.core_second(), self.gb_second() * of.held);
        Cost {
            cpu: of.cpu * core,
            memory: of.busy * gb,
            idle: standing.idle * gb,
            // Nobody measures the processor time of a start: at most one core, all of it.
            cold: standing.cold * of.start * (core + gb),
            request: 0.0,
        }
    }

    pub fn validate(&self) -> Result<(), InvalidPrices> {
        within("price", self.price, 0.0..=1e9, "0 to 1000000000")?;
        within("watts", self.watts, 0.0..=1e6, "0 to 1000000")?;
        within("watts_idle", self.watts_idle, 0.0..=self.watts, "0 to watts")?;
        within("kwh", self.kwh, 0.0..=1e4, "0 to 10000, the price of one kilowatt-hour")?;
        within("cores", f64::from(self.cores), 1.0..=65_536.0, "1 to 65536")?;
        within("memory", f64::from(self.memory.as_mib()), 1.0..=f64::MAX, "1MB or more")
    }
}

// === impl Cloud ===

impl Cloud {
    /// The prices that have a name here: list prices of AWS Lambda in us-east-1 without the free tier, first step of
    /// the staircase, from https://aws.amazon.com/lambda/pricing/.
    pub fn presets() -> Vec<Cloud> {
        let aws = |name: &str, gb_second| Cloud {
            name: name.to_owned(),
            currency: Currency(*b"USD"),
            gb_second,
            request: 0.20 / 1e6,
            vcpu_second: 0.0,
        };
        vec![aws("aws-lambda-x86", 0.000_016_666_7), aws("aws-lambda-arm", 0.000_013_333_4)]
    }

    pub fn preset(name: &str) -> Result<Cloud, InvalidPrices> {
        let presets = Self::presets();
        let known: Vec<_> = presets.iter().map(|one| one.name.clone()).collect();
        let refuse = || InvalidPrices::Preset { given: name.chars().take(40).collect(), known: known.join(", ") };
        presets.into_iter().find(|one| one.name == name).ok_or_else(refuse)
    }

    /// The time of calls is billed, for what is configured; so is that of starts, once the sandbox is there, as AWS
    /// Lambda does since August 2025. Instances without work cost nothing.
    pub fn cost(&self, of: &Use, standing: Standing) -> Cost {
        let (gb, cpu) = (of.configured * self.gb_second, of.vcpus * self.vcpu_second);
        Cost {
            cpu: of.billed * cpu,
            memory: of.billed * gb,
            idle: 0.0,
            cold: standing.cold * of.start_billed * (gb + cpu),
            request: self.request,
        }
    }

    pub fn validate(&self) -> Result<(), InvalidPrices> {
        let named = |c: char| c.is_ascii_alphanumeric() || " -_.".contains(c);
        if !(1..=40).contains(&self.name.len()) || !self.name.chars().all(named) {
            return Err(InvalidPrices::Name(self.name.chars().take(80).collect()));
        }
        within("gb_second", self.gb_second, 0.0..=1e3, "0 to 1000, the price of one GB-second")?;
        within("request", self.request, 0.0..=1e3, "0 to 1000, the price of one request, not of a million")?;
        within("vcpu_second", self.vcpu_second, 0.0..=1e3, "0 to 1000, the price of one vCPU-second")
    }
}

// === impl Prices ===

impl Prices {
    /// Those that are shown as long as nobody has set any.
    pub fn reference() -> Self {
        Self { hardware: None, cloud: Cloud::presets().into_iter().next() }
    }

    pub fn validate(&self) -> Result<(), InvalidPrices> {
        self.hardware.iter().try_for_each(Hardware::validate)?;
        self.cloud.iter().try_for_each(Cloud::validate)
    }
}

fn within(
    key: &'static str,
    given: f64,
    range: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), InvalidPrices> {
    // Not a number is in no range.
    if range.contains(&given) {
        return Ok(());
    }
    Err(InvalidPrices::OutOfRange { key, given: given.to_string(), expected })
}

/// Bytes as GB.
pub fn gb(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

// === impl Currency ===

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl FromStr for Currency {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        match <[u8; 3]>::try_from(text.trim().to_ascii_uppercase().as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(refuse("a currency", text, "three letters like EUR or USD")),
        }
    }
}

// === impl Lifetime ===

impl Lifetime {
    pub fn years(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}y", self.0)
    }
}

impl FromStr for Lifetime {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let given = text.trim();
        let number = given.strip_suffix('y').unwrap_or(given).trim_end();
        // Digits and a point only: no sign, no exponent, no infinity.
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let years = number.parse::<f64>().ok().filter(|years| plain && (0.1..=100.0).contains(years));
        years.map(Self).ok_or_else(|| refuse("a lifetime", text, "years between 0.1 and 100, like 5y"))
    }
}

fn refuse(what: &'static str, given: &str, expected: &'static str) -> InvalidQuantity {
    InvalidQuantity { what, given: given.chars().take(40).collect(), expected }
}

macro_rules! text_form {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidQuantity;
            fn try_from(text: String) -> Result<Self, InvalidQuantity> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

text_form!(Currency);
text_form!(Lifetime);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server() -> Hardware {
        Hardware {
            currency: "EUR".parse().unwrap(),
            price: 600.0,
            lifetime: "5y".parse().unwrap(),
            watts: 40.0,
            watts_idle: 15.0,
            kwh: 0.30,
            cores: 4,
            memory: Memory::mib(16 * 1024),
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-12)
    }

    fn traffic(rate: f64, keep: f64) -> Traffic {
        Traffic { rate, keep: Duration::from_secs_f64(keep), min: 0, max: 1000 }
    }

    #[test]
    fn a_cloud_bills_configured_memory_and_requests() {
        // 3 million calls of 120 ms with 1,536 MB: 540,000 GB-seconds.
        let cloud = Cloud::preset("aws-lambda-x86").unwrap();
        let call = Use { billed: 0.120, configured: 1.5, ..Use::default() };
        let month = cloud.cost(&call, Standing::default()).total() * 3e6;
        assert!((month - (9.0 + 0.60)).abs() < 0.001, "{month}");
    }

    #[test]
    fn a_machine_costs_its_price_and_its_electricity() {
        // 600 over 5 years of 8,766 hours, and 15 W.
        assert!(near(server().per_hour(), 600.0 / 43_830.0 + 0.0045));
    }

    #[test]
    fn calls_far_apart_leave_an_instance_idle_for_all_of_its_keep_alive() {
        let Standing { idle, cold } = traffic(1.0 / 86_400.0, 600.0).standing(0.01);
        assert!((597.0..=600.0).contains(&idle) && cold > 0.99, "{idle} {cold}");
    }

    #[test]
    fn calls_that_seldom_meet_keep_a_second_instance_now_and_then() {
        // Ten a second, a millisecond each: one call in a hundred meets another, so that the second instance is always
        // kept, and the third one for a quarter of the time.
        let Standing { idle, cold } = traffic(10.0, 600.0).standing(0.001);
        assert!((2.2..2.3).contains(&(10.0 * idle)) && cold < 1e-4, "{idle} {cold}");
    }

    #[test]
    fn wrong_prices_are_refused_with_the_key_named() {
        type Change = fn(&mut Hardware);
        let cases: &[(Change, &str)] = &[
            (|h| h.price = -1.0, "price = -1"),
            (|h| h.price = f64::NAN, "price = NaN"),
            (|h| h.watts_idle = 41.0, "0 to watts"),
            (|h| h.cores = 0, "cores"),
        ];
        for (change, named) in cases {
            let mut hardware = server();
            change(&mut hardware);
            let error = hardware.validate().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert_eq!(server().validate(), Ok(()));
        let error = Cloud::preset("aws-lambda").unwrap_err().to_string();
        assert!(error.contains("aws-lambda-x86, aws-lambda-arm"), "{error}");
        for bad in ["5", "0y", "-1y", "1e1y", "500y", "y", "infy"] {
            assert_eq!(bad.parse::<Lifetime>().is_ok(), bad == "5", "{bad}");
        }
        for bad in ["EURO", "E", "€", "12A"] {
            assert!(bad.parse::<Currency>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_read_what_they_write() {
        let prices = Prices { hardware: Some(server()), ..Prices::reference() };
        let text = serde_json::to_string(&prices).unwrap();
        assert_eq!(serde_json::from_str::<Prices>(&text).unwrap(), prices);
    }

    fn some_hardware() -> impl Strategy<Value = Hardware> {
        let money = (0.0..1e5, 1u32..20, 0.0..500.0, 0.0..1.0, 0.0..2.0);
        (money, 1u32..128, 512u32..1_000_000).prop_map(|((price, years, watts, idle, kwh), cores, mib)| Hardware {
            currency: Currency(*b"EUR"),
            price,
            lifetime: Lifetime(f64::from(years)),
            watts,
            watts_idle: watts * idle,
            kwh,
            cores,
            memory: Memory::mib(mib),
        })
    }

    proptest! {
        /// All cores and all memory for an hour cost what the machine costs under full load: the split between the two
        /// invents nothing and loses nothing.
        #[test]
        fn a_full_machine_is_wholly_paid_for(hardware in some_hardware()) {
            prop_assert_eq!(hardware.validate(), Ok(()));
            let of = Use {
                cpu: 3600.0 * f64::from(hardware.cores),
                busy: 3600.0,
                held: gb(hardware.memory.bytes()),
                ..Use::default()
            };
            let electricity = (hardware.watts - hardware.watts_idle) / 1000.0 * hardware.kwh;
            let cost = hardware.cost(&of, Standing::default()).total();
            prop_assert!(near(cost, hardware.per_hour() + electricity), "{cost}");
        }

        #[test]
        fn every_call_finds_an_instance_or_is_cold(
            rate in 1e-7..1e4f64, load in 0.0..500.0f64, keep in 0.0..1e6f64, min in 0u32..5,
        ) {
            let busy = load / rate;
            let traffic = Traffic { min, ..traffic(rate, keep) };
            let Standing { idle, cold } = traffic.standing(busy);
            prop_assert!((0.0..=1.0 + 1e-9).contains(&cold), "{cold}");
            prop_assert!(idle >= 0.0);
            // What is kept for nobody in particular goes when its time is over.
            let kept = f64::from(min) / rate;
            prop_assert!(idle <= keep + kept + 1e-9, "{idle}");
            // And all that live are at least those that are kept, by Little's law.
            prop_assert!(rate * (busy + idle) >= f64::from(min) - 1e-6);
        }

        #[test]
        fn keeping_longer_holds_more_and_starts_less(rate in 1e-6..100.0f64, busy in 0.0..1.0f64, keep in 0.0..1e5f64) {
            let (short, long) = (traffic(rate, keep).standing(busy), traffic(rate, keep * 2.0).standing(busy));
            prop_assert!(long.idle >= short.idle - 1e-9 && long.cold <= short.cold + 1e-9);
        }

        /// The first instance's own formula: of one that never works for long, the textbook's.
        #[test]
        fn a_short_call_s_idle_time_is_the_next_arrival_or_the_keep_alive(rate in 1e-5..10.0f64, keep in 0.1..1e4f64) {
            let Standing { idle, cold } = traffic(rate, keep).standing(0.0);
            let gone = (-rate * keep).exp();
            prop_assert!((idle - (1.0 - gone) / rate).abs() < 1e-6 && (cold - gone).abs() < 1e-9);
        }

        #[test]
        fn a_month_is_its_calls(rate in 1e-6..1e3f64, cpu in 0.0..1.0f64, hardware in some_hardware()) {
            let traffic = traffic(rate, 600.0);
            let of = Use { cpu, busy: cpu, held: 0.02, ..Use::default() };
            let cost = hardware.cost(&of, traffic.standing(cpu));
            let month = cost.per_month(&traffic).unwrap();
            prop_assert!(near(month, cost.per_million() * rate * MONTH / 1e6));
            let silent = Traffic { rate: 0.0, ..traffic };
            prop_assert_eq!(cost.per_month(&silent), None);
        }
    }
}
