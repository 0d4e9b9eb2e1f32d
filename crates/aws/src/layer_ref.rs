//! A version of a layer, as a caller may write it: `NAME:VERSION`, or an ARN. Region and account of an ARN are read and
//! not compared.

use model::LayerName;

/// A layer as named in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    pub name: LayerName,
    /// None: the layer, not one of its versions.
    pub version: Option<u64>,
}

/// The text names no layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "layer {given:?} is not valid: expected NAME, or arn:aws:lambda:REGION:ACCOUNT:layer:NAME, each with :VERSION or without"
)]
pub struct InvalidLayerRef {
    pub given: String,
}

impl std::str::FromStr for LayerRef {
    type Err = InvalidLayerRef;

    fn from_str(text: &str) -> Result<Self, InvalidLayerRef> {
        let refuse = || InvalidLayerRef { given: text.chars().take(80).collect() };
        if text.len() > 256 {
            return Err(refuse());
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (name, version) = match parts[..] {
            ["arn", partition, "lambda", _region, _account, "layer", name, ref rest @ ..]
                if partition.starts_with("aws") =>
            {
                (name, rest)
            }
            [name, ref rest @ ..] => (name, rest),
            [] => return Err(refuse()),
        };
        let version = match version {
            [] => None,
            [number] => Some(number.parse().ok().filter(|number| *number > 0).ok_or_else(refuse)?),
            _ => return Err(refuse()),
        };
        Ok(Self { name: name.parse().map_err(|_| refuse())?, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_aws_takes_is_read() {
        for (text, name, version) in [
            ("deps", "deps", None),
            ("deps:3", "deps", Some(3)),
            ("arn:aws:lambda:eu-central-1:123456789012:layer:deps", "deps", None),
            ("arn:aws:lambda:eu-central-1:123456789012:layer:deps:12", "deps", Some(12)),
        ] {
            let read: LayerRef = text.parse().unwrap();
            assert_eq!((read.name.as_str(), read.version), (name, version), "{text}");
        }
        for bad in ["", ":", "a:0", "a:b", "a:1:2", "../etc", "arn:aws:lambda:r:1:function:f"] {
            assert!(bad.parse::<LayerRef>().is_err(), "{bad}");
        }
    }
}
