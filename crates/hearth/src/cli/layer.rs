//! `hearth layer`: packages that several functions share, seen at `/opt`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use control::{LayerList, LayerView, LayerWrite};
use model::{CodeHash, LayerName};
use sha2::{Digest, Sha256};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::pack::{self, Contents, Packer};
use super::progress::Progress;
use super::{Usage, deploy, text};

#[derive(Debug, Args)]
pub struct LayerArgs {
    #[command(subcommand)]
    command: LayerCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum LayerCommand {
    /// Make the next version of a layer
    ///
    /// Functions name it as NAME:VERSION (`layers = ["deps:1"]` in hearth.toml, or `hearth config FUNCTION
    /// layers=deps:1`) and see it at /opt: python/ and nodejs/node_modules/ are where those languages look, bin/ is on
    /// PATH, lib/ on LD_LIBRARY_PATH, java/lib/ on the class path.
    Publish {
        name: LayerName,
        /// A folder or a zip, as it shall be seen at /opt
        path: PathBuf,
        /// For people, at most 256 bytes
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List all versions of all layers
    #[command(visible_alias = "list")]
    Ls,
    /// Remove a version: functions that have it go on
    Rm {
        /// NAME:VERSION
        layer: String,
    },
}

pub fn run(args: LayerArgs) -> anyhow::Result<ExitCode> {
    let (client, json) = (Client::new(&args.connect)?, args.json);
    match args.command {
        LayerCommand::Publish { name, path, description } => {
            let meta = std::fs::metadata(&path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
            let zip = match meta.is_dir() {
                true => Packer::default().pack(&Contents::of_folder(&path, &[])?)?,
                false => pack::open_zip(&path)?.0,
            };
            let sha256 = CodeHash::from_digest(&Sha256::digest(&zip).into());
            deploy::upload(&client, &zip, &sha256, &Progress::new(json))?;
            let write = LayerWrite { sha256, description };
            let made: LayerView = client.write(Method::POST, &format!("/api/v1/layers/{name}"), &write)?;
            if json {
                out::json(&made)?;
            } else {
                out::line(&format!("{}:{}", made.name, made.version))?;
                out::note(&format!("functions have it with layers = [\"{}:{}\"]", made.name, made.version));
            }
        }
        LayerCommand::Ls => {
            let list: LayerList = client.get("/api/v1/layers")?;
            if json {
                out::json(&list.layers)?;
            } else if list.layers.is_empty() {
                out::note("no layers: `hearth layer publish NAME FOLDER` makes one");
            } else {
                let columns = ["LAYER", "SIZE", "MADE", "DESCRIPTION"].map(|name| (name, Column::Left));
                out::table(&columns, list.layers.into_iter().map(row).collect())?;
            }
        }
        LayerCommand::Rm { layer } => {
            let Some((name, version)) = layer.split_once(':') else {
                return Err(
                    Usage(format!("{layer:?} is no version of a layer: expected NAME:VERSION, like deps:1")).into()
                );
            };
            client.delete(&format!("/api/v1/layers/{name}/{version}"))?;
            if json {
                out::json(&serde_json::json!({ "removed": layer }))?;
            } else {
                out::line(&format!("removed {layer}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(layer: LayerView) -> Vec<String> {
    vec![format!("{}:{}", layer.name, layer.version), text::bytes(layer.size), layer.created, layer.description]
}
