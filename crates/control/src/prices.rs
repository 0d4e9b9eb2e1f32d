//! Prices: what the machine and a cloud cost, as the user says.

use axum::Json;
use axum::extract::State;
use model::{Cloud, Currency, Hardware, Lifetime, Memory, Prices};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody};
use crate::extract::Input;
use crate::platform::Machine;
use crate::{Api, Shared};

/// The prices that costs are told in, and what there is to choose from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PricesView {
    /// Whether somebody has set them; else they are a cloud's list prices, for reference.
    pub set: bool,
    pub hardware: Option<HardwareView>,
    pub cloud: Option<CloudView>,
    /// List prices that have a name here.
    pub presets: Vec<CloudView>,
    /// This machine.
    pub machine: Machine,
}

/// A machine that was bought and takes electricity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HardwareView {
    #[schema(value_type = String, example = "EUR")]
    pub currency: Currency,
    /// What the machine cost.
    pub price: f64,
    /// How long it is used.
    #[schema(value_type = String, example = "5y")]
    pub lifetime: Lifetime,
    /// What it takes with all cores busy.
    pub watts: f64,
    /// What it takes when nothing runs.
    pub watts_idle: f64,
    /// Price of a kilowatt-hour.
    pub kwh: f64,
    pub cores: u32,
    #[schema(value_type = String, example = "16GB")]
    pub memory: Memory,
    /// Comes of it: an hour in which nothing runs.
    pub per_hour: f64,
    /// Comes of it: one second of one core.
    pub core_second: f64,
    /// Comes of it: holding one GB for a second.
    pub gb_second: f64,
}

/// A cloud that bills the time of calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CloudView {
    #[schema(example = "aws-lambda-x86")]
    pub name: String,
    #[schema(value_type = String, example = "USD")]
    pub currency: Currency,
    /// Of one GB of configured memory for one second.
    pub gb_second: f64,
    /// Of one request.
    pub request: f64,
    /// Of one allocated vCPU for one second; 0 where it is in the memory's price.
    pub vcpu_second: f64,
}

/// New prices, in place of all that were set. What is left out is not shown any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PricesWrite {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareWrite>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudWrite>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareWrite {
    #[schema(value_type = String, example = "EUR")]
    pub currency: Currency,
    pub price: f64,
    #[schema(value_type = String, example = "5y")]
    pub lifetime: Lifetime,
    pub watts: f64,
    /// Left out: the same as `watts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts_idle: Option<f64>,
    pub kwh: f64,
    /// Left out: this machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Left out: this machine's.
    #[schema(value_type = Option<String>, example = "16GB")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Prices of a cloud, or the name of some that are known here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWrite {
    /// Alone: list prices that have a name here.
    #[schema(example = "aws-lambda-x86")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Default `cloud`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Default `USD`.
    #[schema(value_type = Option<String>, example = "USD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gb_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu_second: Option<f64>,
}

/// The prices that costs are told in
#[utoipa::path(get, path = "/api/v1/prices", operation_id = "get_prices", tag = "comparisons",
    responses((status = 200, body = PricesView)))]
pub(crate) async fn get(State(api): State<Api>) -> Result<Json<PricesView>, ApiError> {
    let (prices, set) = current(&api).await?;
    Ok(Json(view(&api, prices, set)))
}

/// Set the prices
#[utoipa::path(put, path = "/api/v1/prices", operation_id = "put_prices", tag = "comparisons",
    request_body = PricesWrite,
    responses((status = 200, body = PricesView), (status = 400, body = ErrorBody)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Input(write): Input<PricesWrite>,
) -> Result<Json<PricesView>, ApiError> {
    let hardware = write.hardware.map(|write| hardware(write, &api.platform.host()));
    let prices = Prices { hardware, cloud: write.cloud.map(cloud).transpose()? };
    prices.validate().map_err(|error| ApiError::invalid(error.to_string()))?;
    api.comparisons.set_prices(prices.clone()).await?;
    Ok(Json(view(&api, prices, true)))
}

/// The prices, and whether somebody has set them.
pub(crate) async fn current(api: &Shared) -> Result<(Prices, bool), ApiError> {
    Ok(match api.comparisons.prices().await? {
        Some(prices) => (prices, true),
        None => (Prices::reference(), false),
    })
}

fn hardware(write: HardwareWrite, machine: &Machine) -> Hardware {
    let HardwareWrite { currency, price, lifetime, watts, watts_idle, kwh, cores, memory } = write;
    let mib = u32::try_from(machine.memory / (1024 * 1024)).unwrap_or(u32::MAX);
    Hardware {
        currency,
        price,
        lifetime,
        watts,
        watts_idle: watts_idle.unwrap_or(watts),
        kwh,
        cores: cores.unwrap_or(machine.cores),
        memory: memory.unwrap_or(Memory::mib(mib)),
    }
}

fn cloud(write: CloudWrite) -> Result<Cloud, ApiError> {
    let CloudWrite { preset, name, currency, gb_second, request, vcpu_second } = write;
    if let Some(preset) = preset {
        if name.is_some() || currency.is_some() || gb_second.or(request).or(vcpu_second).is_some() {
            return Err(ApiError::invalid("cloud.preset: expected nothing beside it"));
        }
        return Cloud::preset(&preset).map_err(|error| ApiError::invalid(error.to_string()));
    }
    if gb_second.or(vcpu_second).is_none() {
        return Err(ApiError::invalid("cloud: expected gb_second, vcpu_second or both, or preset alone"));
    }
    let dollar = "USD".parse().map_err(|error: model::InvalidQuantity| ApiError::invalid(error.to_string()));
    Ok(Cloud {
        name: name.unwrap_or_else(|| "cloud".to_owned()),
        currency: currency.map_or(dollar, Ok)?,
        gb_second: gb_second.unwrap_or(0.0),
        request: request.unwrap_or(0.0),
        vcpu_second: vcpu_second.unwrap_or(0.0),
    })
}

fn view(api: &Shared, prices: Prices, set: bool) -> PricesView {
    PricesView {
        set,
        hardware: prices.hardware.map(HardwareView::from),
        cloud: prices.cloud.map(CloudView::from),
        presets: Cloud::presets().into_iter().map(CloudView::from).collect(),
        machine: api.platform.host(),
    }
}

impl From<Hardware> for HardwareView {
    fn from(from: Hardware) -> Self {
        let (per_hour, core_second, gb_second) = (from.per_hour(), from.core_second(), from.gb_second());
        let Hardware { currency, price, lifetime, watts, watts_idle, kwh, cores, memory } = from;
        Self { currency, price, lifetime, watts, watts_idle, kwh, cores, memory, per_hour, core_second, gb_second }
    }
}

impl From<Cloud> for CloudView {
    fn from(Cloud { name, currency, gb_second, request, vcpu_second }: Cloud) -> Self {
        Self { name, currency, gb_second, request, vcpu_second }
    }
}

impl From<HardwareView> for HardwareWrite {
    fn from(from: HardwareView) -> Self {
        let HardwareView { currency, price, lifetime, watts, watts_idle, kwh, cores, memory, .. } = from;
        let (watts_idle, cores, memory) = (Some(watts_idle), Some(cores), Some(memory));
        Self { currency, price, lifetime, watts, watts_idle, kwh, cores, memory }
    }
}

impl From<CloudView> for CloudWrite {
    fn from(CloudView { name, currency, gb_second, request, vcpu_second }: CloudView) -> Self {
        Self {
            preset: None,
            name: Some(name),
            currency: Some(currency),
            gb_second: Some(gb_second),
            request: Some(request),
            vcpu_second: Some(vcpu_second),
        }
    }
}
