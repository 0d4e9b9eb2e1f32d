//! `hearth image`: images that functions run in, pulled, imported, listed and removed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::{ImageCredentials, ImageList, ImagePull, ImageView, PrunedImages, PullLine};
use images::{Credentials, Reference};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::{Method, Response};

use super::client::{Client, ClientError, ConnectArgs};
use super::out::{self, Column};
use super::progress::Progress;
use super::{Usage, text};

/// Longest line of a pull's answer.
const MAX_LINE: u64 = 1 << 20;

#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Pull an image from a registry
    Pull(PullArgs),
    /// Take in an image from a file or folder: an OCI layout or archive, or what `docker save` writes
    Import(ImportArgs),
    /// List the images that are here
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Remove images that no function uses
    Rm(RmArgs),
    /// Remove all images that no function uses
    Prune(ListArgs),
}

#[derive(Debug, Args)]
struct PullArgs {
    /// [REGISTRY/]NAME[:TAG|@sha256:DIGEST]
    reference: String,
    /// Who pulls; without it, what `docker login` has kept for the registry
    #[arg(long, requires = "password_stdin", value_name = "NAME")]
    user: Option<String>,
    /// Read the password, or a token, from standard input
    #[arg(long, requires = "user")]
    password_stdin: bool,
    /// Print the image as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// A folder with an index.json, or an uncompressed tar
    path: PathBuf,
    /// Which one, where there are several
    #[arg(long)]
    name: Option<String>,
    /// Print the image as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct RmArgs {
    /// References, digests, or the first 8 or more digits of one
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Print the removed as a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

// === impl ImageArgs ===

impl ImageArgs {
    pub fn json(&self) -> bool {
        match &self.command {
            ImageCommand::Pull(args) => args.json,
            ImageCommand::Import(args) => args.json,
            ImageCommand::List(args) | ImageCommand::Prune(args) => args.json,
            ImageCommand::Rm(args) => args.json,
        }
    }
}

pub fn run(args: ImageArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ImageCommand::Pull(args) => {
            let credentials = match &args.user {
                Some(user) => Some(ImageCredentials::Basic { user: user.clone(), password: password()? }),
                None => kept_credentials(&args.reference)?,
            };
            let client = Client::new(&args.connect)?;
            let pull = ImagePull { reference: args.reference, credentials };
            report(&self::pull(&client, &pull, &Progress::new(args.json))?, "pulled", args.json)?;
        }
        ImageCommand::Import(args) => import(&args)?,
        ImageCommand::List(args) => list(&args)?,
        ImageCommand::Rm(args) => {
            let client = Client::new(&args.connect)?;
            for image in &args.images {
                client.delete(&path_of(image))?;
                if !args.json {
                    out::line(&format!("removed {}", text::one_line(image)))?;
                }
            }
            if args.json {
                out::json(&args.images)?;
            }
        }
        ImageCommand::Prune(args) => {
            let client = Client::new(&args.connect)?;
            let PrunedImages { images, bytes } = client.remove("/api/v1/images")?;
            if args.json {
                out::json(&images)?;
            } else {
                images.iter().try_for_each(|image| out::line(&format!("removed {}", name_of(image))))?;
                out::line(&format!("{} images, {}", images.len(), text::bytes(bytes)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The image of that name, pulled if it is not there.
pub fn ensure(client: &Client, name: &str, progress: &Progress) -> anyhow::Result<ImageView> {
    match client.get::<ImageView>(&path_of(name)) {
        Err(error) if error.is_absent() => {
            let pull = ImagePull { reference: name.to_owned(), credentials: kept_credentials(name)? };
            self::pull(client, &pull, progress)
        }
        found => Ok(found?),
    }
}

fn path_of(image: &str) -> String {
    format!("/api/v1/images/{}", utf8_percent_encode(image, NON_ALPHANUMERIC))
}

fn name_of(image: &ImageView) -> String {
    text::one_line(image.names.first().unwrap_or(&image.digest))
}

fn pull(client: &Client, what: &ImagePull, progress: &Progress) -> anyhow::Result<ImageView> {
    let body = serde_json::to_vec(what)?;
    let headers = [("content-type", "application/json")];
    let answer = client.send(Method::POST, "/api/v1/images", &headers, Some(body), None)?;
    follow(client, answer, &what.reference, progress)
}

fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let progress = Progress::new(args.json);
    let shown = args.path.display().to_string();
    let mut path = "/api/v1/images".to_owned();
    if let Some(name) = &args.name {
        path = format!("{path}?name={}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    }
    let found = std::fs::metadata(&args.path).map_err(|error| Usage(format!("{shown}: {error}")))?;
    let answer = if found.is_dir() {
        let step = progress.step(&format!("sending {shown}"));
        let (reader, writer) = io::pipe()?;
        let folder = args.path.clone();
        let packing = std::thread::spawn(move || pack(&folder, writer));
        let sent = client.stream(Method::PUT, &path, "application/x-tar", &mut step.reading(reader));
        drop(step);
        // Where the server hung up, what it said matters more than the broken pipe.
        let packed = packing.join().unwrap_or_else(|_| Err(io::Error::other("packing ended early")));
        match (sent, packed) {
            (Ok(answer), Ok(())) => answer,
            (Ok(_), Err(error)) => return Err(error).with_context(|| format!("reading {shown}")),
            (Err(error), _) => return Err(error.into()),
        }
    } else {
        let step = progress.bytes(&format!("sending {}", text::bytes(found.len())), found.len());
        let file = File::open(&args.path).with_context(|| format!("opening {shown}"))?;
        client.stream(Method::PUT, &path, "application/x-tar", &mut step.reading(file))?
    };
    let image = follow(&client, answer, &shown, &progress)?;
    report(&image, "imported", args.json)
}

/// An OCI layout's files as a tar. Only what a layout has: nothing else of the folder is sent.
fn pack(folder: &Path, to: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(to);
    tar.follow_symlinks(true);
    for name in ["oci-layout", "index.json"] {
        if folder.join(name).exists() {
            tar.append_path_with_name(folder.join(name), name)?;
        }
    }
    if folder.join("blobs").exists() {
        tar.append_dir_all("blobs", folder.join("blobs"))?;
    }
    tar.finish()
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let ImageList { images, bytes, budget } = client.get("/api/v1/images")?;
    if args.json {
        return out::json(&images);
    }
    if images.is_empty() {
        out::note("no images: `hearth image pull REFERENCE` fetches one");
        return Ok(());
    }
    use Column::{Left, Right};
    let columns = [("image", Left), ("digest", Left), ("size", Right), ("used", Right), ("functions", Left)];
    let rows = images.iter().map(|one| {
        let digest = one.digest.strip_prefix("sha256:").unwrap_or(&one.digest).chars().take(12).collect();
        let functions = if one.functions.is_empty() { "-".to_owned() } else { one.functions.join(", ") };
        let name = one.names.first().cloned().unwrap_or_else(|| "-".to_owned());
        vec![name, digest, text::bytes(one.bytes), format!("{} ago", text::ago(&one.used)), functions]
    });
    out::table(&columns, rows.collect())?;
    out::note(&format!("{} of {}", text::bytes(bytes), text::bytes(budget)));
    Ok(())
}

fn report(image: &ImageView, done: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(image);
    }
    let done = out::Paint::stdout().green(&format!("{done} {}", name_of(image)));
    out::line(&format!("{done}, {}", text::bytes(image.bytes)))?;
    Ok(out::line(&format!("  {}", text::one_line(&image.digest)))?)
}

/// Reads how a pull goes, to its end.
fn follow(client: &Client, answer: Response<ureq::Body>, what: &str, progress: &Progress) -> anyhow::Result<ImageView> {
    let answer = client.checked(answer)?;
    let mut step = progress.parts();
    let mut lines = BufReader::new(answer.into_body().into_reader());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).context("reading how the pull goes")?;
        if read == 0 {
            anyhow::bail!("the server ended before the pull of {what} did: try again");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line: PullLine = serde_json::from_slice(&line).context("reading how the pull goes")?;
        if let Some(error) = line.error {
            let code = Some(error.code.as_str().to_owned());
            return Err(ClientError::Refused { status: 422, code, message: error.message }.into());
        }
        if let Some(image) = line.image {
            return Ok(image);
        }
        if let Some(now) = line.progress {
            step.reached(&format!("{} {what}", text::one_line(&now.phase)), now.bytes_done, now.bytes);
        }
    }
}

fn password() -> anyhow::Result<String> {
    let mut password = String::new();
    io::stdin().lock().take(MAX_LINE).read_to_string(&mut password).context("reading the password")?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Usage("--password-stdin: there is no password on standard input".into()).into());
    }
    Ok(password)
}

/// What `docker login` has kept for the registry of an image.
fn kept_credentials(reference: &str) -> anyhow::Result<Option<ImageCredentials>> {
    // What is no reference, the server refuses in its own words.
    let Ok(reference) = reference.parse::<Reference>() else { return Ok(None) };
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
    let Some(file) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let found = Credentials::from_docker_config(&text, reference.registry());
    let found = found.with_context(|| format!("{}: give them with --user and --password-stdin", file.display()))?;
    Ok(match found {
        Credentials::Anonymous => None,
        Credentials::Basic { user, password } => Some(ImageCredentials::Basic { user, password }),
        Credentials::Bearer(token) => Some(ImageCredentials::Bearer(token)),
        Credentials::Identity(token) => Some(ImageCredentials::Identity(token)),
    })
}
