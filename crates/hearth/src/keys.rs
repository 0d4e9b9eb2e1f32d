//! The installation's secrets: the admin token, and the master key that AWS access keys are derived from. Both are
//! made at the first start.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use control::{Pace, Scopes, Token, TokenSet};
use model::{Timestamp, TokenId};
use store::{Credentials, StoredToken};
use tokio::sync::watch;

use crate::chosen_key::ChosenKey;

/// Where the admin token is kept, in the data directory.
pub const TOKEN_FILE: &str = "admin.token";
const MASTER_FILE: &str = "master.key";
const MASTER_BYTES: usize = 32;

/// How often it is written down when tokens were last used: after a crash that is so much too early.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// The name of the admin token among the others.
const OWN: &str = "admin";

/// What the doors check callers against.
pub struct Keys {
    pub tokens: Arc<TokenSet>,
    /// The admin token, if this start made it.
    pub new_token: Option<String>,
    master: Vec<u8>,
    /// The access key id that is handed out for the admin token.
    pub access_key_id: String,
    /// An access key that the operator chose, of the admin token as well.
    chosen: Option<ChosenKey>,
}

impl Keys {
    /// Reads what is there, makes what is not.
    pub async fn load(
        data_dir: &Path,
        credentials: &dyn Credentials,
        chosen: Option<ChosenKey>,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let master = master_key(&data_dir.join(MASTER_FILE))?;
        let token_file = data_dir.join(TOKEN_FILE);
        let new_token = match fs::metadata(&token_file) {
            Ok(_) => None,
            Err(_) => {
                let token = Token::generate().map_err(|error| anyhow::anyhow!("draw random bits: {error}"))?;
                // The hash first: a token in the file is always valid.
                credentials.add_token(own(&token)).await?;
                write_secret(&token_file, format!("{}\n", token.as_str()).as_bytes())?;
                Some(token.as_str().to_owned())
            }
        };
        let tokens = Arc::new(TokenSet::new(credentials.tokens().await?, pace));
        let mut entropy = [0; 10];
        entropy.copy_from_slice(&master[..10]);
        // Not the master's own bytes: they would be half of the secret's key.
        let digest = <sha2::Sha256 as sha2::Digest>::digest([b"access-key-id:".as_slice(), &entropy].concat());
        entropy.copy_from_slice(&digest[..10]);
        let access_key_id = aws::credentials::access_key_id(entropy);
        let chosen_id = chosen.as_ref().map(|key| key.id.clone());
        tokens.set_own_keys(chosen_id.into_iter().chain([access_key_id.clone()]).collect());
        Ok(Self { tokens, new_token, master, access_key_id, chosen })
    }

    /// The key that AWS's tools are told of: the operator's, if there is one.
    pub fn own_key(&self) -> (String, String) {
        match &self.chosen {
            Some(ChosenKey { id, secret }) => (id.clone(), secret.clone()),
            None => {
                let id = self.access_key_id.clone();
                let secret = aws::credentials::secret_access_key(&self.master, &id);
                (id, secret)
            }
        }
    }

    /// Writes down when tokens were used, now and then, until the server closes.
    pub async fn note_uses(self: Arc<Self>, credentials: Arc<dyn Credentials>, mut closing: watch::Receiver<bool>) {
        loop {
            let ends = tokio::time::timeout(NOTE_EVERY, closing.wait_for(|closing| *closing)).await.is_ok();
            let used = self.tokens.used();
            if !used.is_empty()
                && let Err(error) = credentials.tokens_used(used).await
            {
                tracing::warn!(%error, "could not write down when tokens were last used");
            }
            if ends {
                return;
            }
        }
    }
}

fn own(token: &Token) -> StoredToken {
    let sha256 = token.sha256();
    StoredToken {
        id: TokenId::of(&sha256),
        name: OWN.parse().expect("it is a name"),
        sha256,
        scopes: Scopes::admin().texts(),
        created: Timestamp::now(),
        expires: None,
        last_used: None,
        access_key_id: None,
        own: true,
    }
}

impl control::AccessKeys for Keys {
    fn secret(&self, access_key_id: &str) -> Option<String> {
        self.tokens.of_access_key(access_key_id).filter(|holder| holder.scopes.is_admin())?;
        self.secret_of(access_key_id)
    }

    fn secret_of(&self, access_key_id: &str) -> Option<String> {
        if let Some(chosen) = self.chosen.as_ref().filter(|chosen| chosen.id == access_key_id) {
            return Some(chosen.secret.clone());
        }
        aws::credentials::is_access_key_id(access_key_id)
            .then(|| aws::credentials::secret_access_key(&self.master, access_key_id))
    }
}

fn master_key(path: &Path) -> anyhow::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(key) if key.len() == MASTER_BYTES => Ok(key),
        Ok(_) => anyhow::bail!("{} does not hold {MASTER_BYTES} bytes: restore it from a backup", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = vec![0; MASTER_BYTES];
            File::open("/dev/urandom")?.read_exact(&mut key)?;
            write_secret(path, &key)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes a file for its owner only, whole or not at all.
fn write_secret(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let subject = || format!("write {}", path.display());
    let unfinished = path.with_extension("new");
    let mut file =
        File::options().create(true).truncate(true).write(true).mode(0o600).open(&unfinished).with_context(subject)?;
    file.write_all(content).with_context(subject)?;
    file.sync_all().with_context(subject)?;
    fs::rename(&unfinished, path).with_context(subject)?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(subject)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_master_key_is_made_once_and_for_its_owner_only() {
        let dir = std::env::temp_dir().join(format!("hearth-keys-{}", model::InstanceId::random()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join(MASTER_FILE);
        let key = master_key(&path).unwrap();
        assert_eq!(key, master_key(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, b"short").unwrap();
        assert!(master_key(&path).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
