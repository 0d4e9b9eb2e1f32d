//! What a person calls an image: `[registry/]name[:tag|@sha256:…]`.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, ImageError};

/// A valid reference, spelled out: `alpine` is `docker.io/library/alpine:latest`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference(oci_client::Reference);

// === impl Reference ===

impl Reference {
    /// Host, with its port if it has one, as written: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// The digest that it pins, if it does.
    pub fn digest(&self) -> Option<Digest> {
        self.0.digest().and_then(|digest| digest.parse().ok())
    }

    pub(crate) fn oci(&self) -> &oci_client::Reference {
        &self.0
    }

    pub(crate) fn repository(&self) -> &str {
        self.0.repository()
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let given = || text.chars().take(300).collect::<String>();
        let parsed: oci_client::Reference = text.parse().map_err(|error: oci_client::ParseError| {
            ImageError::BadReference { given: given(), why: error.to_string() }
        })?;
        // The parser takes them for a host, and then does not.
        if parsed.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ImageError::BadReference { given: given(), why: "names are in lower case".into() });
        }
        if let Some(digest) = parsed.digest() {
            digest.parse::<Digest>()?;
        }
        Ok(Self(parsed))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_spelled_out() {
        let named = |text: &str| text.parse::<Reference>().map(|reference| reference.to_string());
        assert_eq!(named("alpine").as_deref(), Ok("docker.io/library/alpine:latest"));
        assert_eq!(named("localhost:5000/a/b:v1").as_deref(), Ok("localhost:5000/a/b:v1"));
        let digest = Digest::of(b"");
        assert_eq!(named(&format!("ghcr.io/a/b@{digest}")), Ok(format!("ghcr.io/a/b@{digest}")));
    }

    #[test]
    fn a_bad_reference_is_told_what_is_expected() {
        for bad in ["", "UPPER/case", "a b", "https://x/y", "../x", "a@sha256:12", "a:tag:tag"] {
            let error = bad.parse::<Reference>().expect_err(bad).to_string();
            assert!(error.contains("expected `[registry/]name[:tag|@sha256:…]`"), "{error}");
        }
        let upper = format!("a@sha256:{}", "A".repeat(64));
        assert!(upper.parse::<Reference>().is_err());
    }
}
