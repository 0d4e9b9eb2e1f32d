//! The keys that secrets are sealed with, in one file for its owner only, and the sealing itself: XChaCha20-Poly1305,
//! with a random nonce for each value and the secret's name bound to it, so that no value can be passed off as another's.
//!
//! ```text
//! 64 hexadecimal digits    one key a line, the first is the one to seal with; the rest open what was sealed before
//! # a comment
//! ```
//!
//! Refuses a file that others may read, and one in which a line is anything else. A key is named by its hash, so that each
//! sealed value says which one opens it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key as CipherKey, KeyInit, XChaCha20Poly1305, XNonce};
use model::{SecretName, SecretValue};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::StoreError;

/// In the data directory, unless the operator keeps it elsewhere.
pub const KEY_FILE: &str = "secret.key";

/// More than anybody needs to have at once.
const MAX_KEYS: usize = 64;

/// What the keys are bound to beside a secret's name: values of another kind are never mistaken for these.
const PURPOSE: &[u8] = b"hearth secret v1";

/// All keys, and where they come from.
pub struct Keyring {
    path: PathBuf,
    /// Somebody else's to write.
    external: bool,
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

/// A value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which key opens it.
    pub key: String,
    pub nonce: [u8; 24],
    pub bytes: Vec<u8>,
}

/// Why a value could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpened {
    /// Its key is not in the file.
    NoKey,
    /// It is not what was sealed, or it is another secret's.
    Damaged,
}

// === impl Keyring ===

impl Keyring {
    /// The installation's own, made at the first start.
    pub fn in_dir(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(KEY_FILE);
        if !path.exists() {
            let ring = Self { path: path.clone(), external: false, keys: vec![Key::fresh()?] };
            ring.write()?;
            return Ok(ring);
        }
        Ok(Self { keys: read(&path)?, path, external: false })
    }

    /// The operator's, which is read and never written.
    pub fn external(path: PathBuf) -> Result<Self, StoreError> {
        Ok(Self { keys: read(&path)?, path, external: true })
    }

    /// The same file as it is now, with a fresh key to seal with where the file is ours to write. What was sealed with the
    /// others can still be opened; [`Keyring::forget_others`] ends that.
    pub fn rotated(&self) -> Result<Self, StoreError> {
        let mut keys = read(&self.path)?;
        if !self.external {
            keys.insert(0, Key::fresh()?);
            let ring = Self { path: self.path.clone(), external: false, keys };
            ring.write()?;
            return Ok(ring);
        }
        if keys.first().map(|key| &key.id) == self.keys.first().map(|key| &key.id) {
            let path = self.path.display();
            return Err(StoreError::KeyFile(format!(
                "the first key of {path} is the one in use: put a new one on a line above it (`openssl rand -hex 32`), and \
                 rotate again"
            )));
        }
        Ok(Self { path: self.path.clone(), external: true, keys })
    }

    /// Keeps the key to seal with alone. In a file of the operator's, the others are the operator's to take away.
    pub fn forget_others(&self) -> Result<Self, StoreError> {
        let keys = self.keys.iter().take(1).cloned().collect();
        let ring = Self { path: self.path.clone(), external: self.external, keys };
        if !self.external {
            ring.write()?;
        }
        Ok(ring)
    }

    /// Whether it can open what was sealed with the key of that name.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Names the key that values are sealed with.
    pub fn current(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    pub fn seal(&self, name: &SecretName, value: &SecretValue) -> Result<Sealed, StoreError> {
        let failed = |what: &str| StoreError::Failed(format!("seal a secret: {what}"));
        let key = self.keys.first().ok_or_else(|| failed("there is no key"))?;
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|error| failed(&error.to_string()))?;
        let bound = bound(&key.id, name);
        let payload = Payload { msg: value.expose(), aad: &bound };
        let bytes = key.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| failed("the cipher refused"))?;
        Ok(Sealed { key: key.id.clone(), nonce, bytes })
    }

    pub fn open(&self, name: &SecretName, sealed: &Sealed) -> Result<SecretValue, NotOpened> {
        let key = self.keys.iter().find(|key| key.id == sealed.key).ok_or(NotOpened::NoKey)?;
        let bound = bound(&key.id, name);
        let payload = Payload { msg: &sealed.bytes, aad: &bound };
        let value = key.cipher().decrypt(&XNonce::from(sealed.nonce), payload).map_err(|_| NotOpened::Damaged)?;
        SecretValue::new(value).map_err(|_| NotOpened::Damaged)
    }

    /// Writes the file, whole or not at all, and durably.
    fn write(&self) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::io(format_args!("write {}", self.path.display()), &error);
        let mut text = Zeroizing::new(String::with_capacity(256 + self.keys.len() * 80));
        text.push_str("# Opens the secrets of this Hearth: whoever has this file and catalogue.db can read them.\n");
        for key in &self.keys {
            key.bytes.iter().for_each(|byte| {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            });
            text.push('\n');
        }
        let unfinished = self.path.with_extension("new");
        let written = (|| {
            let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
            // One that an earlier start left may have had another mode.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        })();
        written.map_err(failed)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("path", &self.path).field("current", &self.current()).finish_non_exhaustive()
    }
}

/// What a sealed value is bound to.
fn bound(key: &str, name: &SecretName) -> Vec<u8> {
    [PURPOSE, key.as_bytes(), name.as_str().as_bytes()].join(&0)
}

fn read(path: &Path) -> Result<Vec<Key>, StoreError> {
    let shown = path.display();
    let refuse = |why: String| Err(StoreError::KeyFile(format!("the secrets' key file {shown} {why}")));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            let me = rustix::process::geteuid().as_raw();
            return refuse(format!("cannot be read by the server, user id {me}: {error}"));
        }
    };
    let about = file.metadata().map_err(|error| StoreError::io(&shown, &error))?;
    if !about.is_file() || about.mode() & 0o077 != 0 {
        return refuse(format!(
            "may be read by others (mode {:03o}): expected a file with mode 600, `chmod 600 {shown}`",
            about.mode() & 0o777
        ));
    }
    // It says nothing but keys: a file that is longer is none.
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    if let Err(error) = io::Read::read_to_string(&mut io::Read::take(file, 16 * 1024), &mut text) {
        return refuse(format!("cannot be read: {error}"));
    }
    let lines = text.lines().map(str::trim).enumerate();
    let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<_>, _> = keys.map(|(number, line)| Key::parse(line).ok_or(number + 1)).collect();
    match keys {
        Ok(keys) if (1..=MAX_KEYS).contains(&keys.len()) => Ok(keys),
        Ok(keys) => refuse(format!("has {} keys: expected 1 to {MAX_KEYS}", keys.len())),
        Err(line) => refuse(format!("is not valid in line {line}: expected 64 hexadecimal digits, a key's")),
    }
}

// === impl Key ===

impl Key {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let hash = Sha256::digest([b"hearth secret key id\0".as_slice(), bytes.as_slice()].concat());
        let id = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { id, bytes }
    }

    fn fresh() -> Result<Self, StoreError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| StoreError::Failed(format!("make a key: {error}")))?;
        Ok(Self::new(bytes))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        if line.len() != 64 || !line.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(line.as_bytes().chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Some(Self::new(bytes))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&CipherKey::from(*self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    fn value(bytes: &[u8]) -> SecretValue {
        SecretValue::new(bytes.to_vec()).unwrap()
    }

    #[test]
    fn the_file_is_for_its_owner_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keyring::in_dir(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let sealed = first.seal(&name("a"), &value(b"hunter2")).unwrap();
        let again = Keyring::in_dir(dir.path()).unwrap();
        assert_eq!(again.open(&name("a"), &sealed).unwrap().expose(), b"hunter2");
        assert_eq!(again.open(&name("b"), &sealed), Err(NotOpened::Damaged), "it is another secret's");
        assert!(!format!("{first:?}").contains(fs::read_to_string(&path).unwrap().lines().last().unwrap()));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = Keyring::in_dir(dir.path()).unwrap_err().to_string();
        assert!(said.contains("mode 640") && said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn a_rotation_opens_the_old_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let first = Keyring::in_dir(dir.path()).unwrap();
        let old = first.seal(&name("a"), &value(b"v")).unwrap();
        let both = first.rotated().unwrap();
        assert_ne!(first.current(), both.current());
        assert!(both.open(&name("a"), &old).is_ok());
        let new = both.seal(&name("a"), &value(b"v")).unwrap();
        let alone = both.forget_others().unwrap();
        assert_eq!(alone.open(&name("a"), &old), Err(NotOpened::NoKey));
        for ring in [alone, Keyring::in_dir(dir.path()).unwrap()] {
            assert_eq!(ring.open(&name("a"), &new).unwrap().expose(), b"v");
            assert_eq!(ring.keys.len(), 1);
        }
    }

    #[test]
    fn the_operators_file_is_read_and_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        assert!(Keyring::external(path.clone()).unwrap_err().to_string().contains("cannot be read by the server"));
        for (text, said) in [("", "has 0 keys"), ("# only\n12\n", "line 2"), (&"g".repeat(64), "line 1")] {
            write(text);
            let error = Keyring::external(path.clone()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let (old, new) = ("0A".repeat(32), "1b".repeat(32));
        write(&format!("# mine\n{old}\n"));
        let ring = Keyring::external(path.clone()).unwrap();
        let said = ring.rotated().unwrap_err().to_string();
        assert!(said.contains("put a new one on a line above it"), "{said}");
        write(&format!("{new}\n{old}\n"));
        let sealed = ring.seal(&name("a"), &value(b"v")).unwrap();
        assert!(ring.rotated().unwrap().open(&name("a"), &sealed).is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{new}\n{old}\n"));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_in_it_is_noticed(bytes in prop::collection::vec(any::<u8>(), 1..200), at in any::<usize>(), bit in 0..8u8) {
            let ring = Keyring { path: PathBuf::new(), external: true, keys: vec![Key::fresh().unwrap()] };
            let sealed = ring.seal(&name("a"), &value(&bytes)).unwrap();
            let opened = ring.open(&name("a"), &sealed).unwrap();
            prop_assert_eq!(opened.expose(), bytes.as_slice());
            if bytes.len() > 8 {
                prop_assert!(!sealed.bytes.windows(bytes.len()).any(|part| part == bytes.as_slice()));
            }
            let mut changed = sealed.clone();
            let at = at % (changed.bytes.len() + changed.nonce.len());
            match at.checked_sub(changed.bytes.len()) {
                None => changed.bytes[at] ^= 1 << bit,
                Some(at) => changed.nonce[at] ^= 1 << bit,
            }
            prop_assert_eq!(ring.open(&name("a"), &changed), Err(NotOpened::Damaged));
        }
    }
}
