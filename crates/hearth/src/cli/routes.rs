//! `hearth routes`: which function answers what on the ingress.

use std::process::ExitCode;

use clap::Args;
use control::RouteList;
use model::FunctionName;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};

#[derive(Debug, Args)]
pub struct RoutesArgs {
    /// Only this function's
    function: Option<FunctionName>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: RoutesArgs) -> anyhow::Result<ExitCode> {
    let RouteList { mut routes } = Client::new(&args.connect)?.get("/api/v1/routes")?;
    routes.retain(|one| args.function.as_ref().is_none_or(|wanted| wanted.as_str() == one.function));
    if args.json {
        out::json(&routes)?;
        return Ok(ExitCode::SUCCESS);
    }
    if routes.is_empty() {
        out::note("no routes: [[http]] of a hearth.toml makes one, or `hearth deploy --route`");
        return Ok(ExitCode::SUCCESS);
    }
    let columns = ["ROUTE", "FUNCTION", "AUTH", "RATE", "BODY", "TIMEOUT"].map(|name| (name, Column::Left));
    let rows = routes.into_iter().map(|one| {
        let route = one.route;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            route.route.to_string(),
            one.function,
            route.auth.to_string(),
            or_none(route.rate.map(|rate| rate.to_string())),
            or_none(route.max_body.map(|limit| limit.to_string())),
            or_none(route.timeout.map(model::show_duration)),
        ]
    });
    out::table(&columns, rows.collect())?;
    Ok(ExitCode::SUCCESS)
}
