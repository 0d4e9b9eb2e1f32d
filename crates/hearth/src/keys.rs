//! The installation's secrets: the admin token, and the master key that AWS access keys are derived from. Both are
//! made at the first start.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use control::{Token, TokenSet};
use store::Credentials;

/// Where the admin token is kept, in the data directory.
pub const TOKEN_FILE: &str = "admin.token";
const MASTER_FILE: &str = "master.key";
const MASTER_BYTES: usize = 32;

/// What the doors check callers against.
pub struct Keys {
    pub tokens: Arc<TokenSet>,
    /// The admin token, if this start made it.
    pub new_token: Option<String>,
    master: Vec<u8>,
    /// The one access key id that is handed out.
    pub access_key_id: String,
}

impl Keys {
    /// Reads what is there, makes what is not.
    pub async fn load(data_dir: &Path, credentials: &dyn Credentials) -> anyhow::Result<Self> {
        let master = master_key(&data_dir.join(MASTER_FILE))?;
        let token_file = data_dir.join(TOKEN_FILE);
        let new_token = match fs::metadata(&token_file) {
            Ok(_) => None,
            Err(_) => {
                let token = Token::generate().map_err(|error| anyhow::anyhow!("draw random bits: {error}"))?;
                // The hash first: a token in the file is always valid.
                credentials.add_token("admin", token.sha256()).await?;
                write_secret(&token_file, format!("{}\n", token.as_str()).as_bytes())?;
                Some(token.as_str().to_owned())
            }
        };
        let tokens = Arc::new(TokenSet::new(credentials.tokens().await?));
        let mut entropy = [0; 10];
        entropy.copy_from_slice(&master[..10]);
        // Not the master's own bytes: they would be half of the secret's key.
        let digest = <sha2::Sha256 as sha2::Digest>::digest([b"access-key-id:".as_slice(), &entropy].concat());
        entropy.copy_from_slice(&digest[..10]);
        let access_key_id = aws::credentials::access_key_id(entropy);
        Ok(Self { tokens, new_token, master, access_key_id })
    }

    /// The secret that belongs to an access key id that was handed out.
    pub fn secret(&self, access_key_id: &str) -> Option<String> {
        (access_key_id == self.access_key_id).then(|| aws::credentials::secret_access_key(&self.master, access_key_id))
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
