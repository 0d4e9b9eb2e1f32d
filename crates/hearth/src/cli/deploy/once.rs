//! One deploy from its beginning to its end, for `hearth deploy` and for each save under `hearth dev`.

use control::{CodeRef, FunctionView, FunctionWrite};
use model::{CodeHash, FunctionName};
use sha2::{Digest, Sha256};
use ureq::http::Method;

use super::{DeployArgs, Source, gone, kept, upload};
use crate::cli::client::Client;
use crate::cli::pack::Packer;
use crate::cli::progress::Progress;
use crate::cli::{Usage, text};

/// A deploy that is done.
pub struct Deployed {
    pub function: FunctionView,
    /// Whether there was no such function before.
    pub created: bool,
    /// What was guessed, and what was installed.
    pub told: Vec<String>,
    /// What an existing function kept although it is not the default.
    pub kept: Vec<String>,
}

// === impl DeployArgs ===

impl DeployArgs {
    /// The whole way once. `tell` hears what people want to know before it is done.
    pub fn once(
        &self,
        client: &Client,
        progress: &Progress,
        packer: &mut Packer,
        tell: &dyn Fn(&FunctionName, &str),
    ) -> anyhow::Result<Deployed> {
        let source = Source::of(&self.path)?;
        let (name, mut write) = self.wanted(&source)?;
        let path = format!("/api/v1/functions/{name}");
        let before = client.get_if_there::<FunctionView>(&path)?;

        if let Some(Some(image)) = &write.image {
            crate::cli::image::ensure(client, image, progress)?;
        }
        let mut told = Vec::new();
        let zip = self.package(&source, client, before.as_ref(), &mut write, progress, packer, &mut told)?;
        if let Some(debugger) = self.debugger {
            debugger.prepare(&mut write, before.as_ref())?;
        }
        told.iter().for_each(|remark| tell(&name, remark));
        let sha256 = CodeHash::from_digest(&Sha256::digest(&zip).into());
        // All of it is in its image.
        let packed = !zip.is_empty();
        write.code = packed.then(|| CodeRef { sha256: sha256.clone() });
        let created = before.is_none();
        let before = before.filter(|_| !self.reset);
        let kept = before.as_ref().map(|function| kept(function, &write)).unwrap_or_default();
        if !kept.is_empty() {
            let kept = kept.iter().map(|one| text::one_line(one)).collect::<Vec<_>>().join(", ");
            tell(&name, &format!("kept as it was: {kept} (--reset goes back to defaults)"));
        }

        if packed {
            upload(client, &zip, &sha256, progress)?;
        }
        if before.is_none() && self.canary.wanted() {
            let message =
                format!("{name} is not there yet, so nothing can serve beside it: deploy it without --canary");
            return Err(Usage(message).into());
        }
        let step = progress.step(&format!("deploying {name}"));
        if let Some(canary) = self.canary.write(&write) {
            let function = client.write(Method::POST, &format!("{path}/canary"), &canary)?;
            return Ok(Deployed { function, created, told, kept });
        }
        let method = if before.is_some() { Method::PATCH } else { Method::PUT };
        let function: FunctionView = match client.write(method, &path, &write) {
            // Others removed it, or its package, in between.
            Err(error) if packed && gone(&error) => {
                upload(client, &zip, &sha256, progress)?;
                client.write(Method::PUT, &path, &write)?
            }
            result => result?,
        };
        drop(step);
        Ok(Deployed { function, created, told, kept })
    }

    /// The function's name, and what manifest and flags say of it.
    pub fn wanted(&self, source: &Source) -> anyhow::Result<(FunctionName, FunctionWrite)> {
        let mut write = source.manifest()?;
        self.override_in(&mut write);
        let name = match write.name.clone() {
            Some(name) => name,
            None => source.name()?,
        };
        write.name = Some(name.clone());
        Ok((name, write))
    }
}
