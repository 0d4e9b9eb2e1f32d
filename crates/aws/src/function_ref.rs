//! What a caller may write where AWS takes a function name: the name, a partial ARN or a full one, each with
//! a qualifier or without.
//!
//! Region and account of an ARN are read and not compared: there is one of each here, and code that names
//! the ARN it had on AWS shall work.

use model::FunctionName;

/// A function as named in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRef {
    pub name: FunctionName,
    /// Version or alias, if the name carried one.
    pub qualifier: Option<String>,
}

/// The text names no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "function name {given:?} is not valid: expected NAME, ACCOUNT:function:NAME or \
     arn:aws:lambda:REGION:ACCOUNT:function:NAME, each with :QUALIFIER or without"
)]
pub struct InvalidFunctionRef {
    pub given: String,
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_qualifier(text: &str) -> bool {
    let plain = text.strip_prefix('$').unwrap_or(text);
    (1..=128).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl std::str::FromStr for FunctionRef {
    type Err = InvalidFunctionRef;

    fn from_str(text: &str) -> Result<Self, InvalidFunctionRef> {
        let refuse = || InvalidFunctionRef { given: text.chars().take(80).collect() };
        // AWS's longest ARN is 256 characters; beyond that nothing is worth splitting.
        if text.len() > 256 {
            return Err(refuse());
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (name, qualifier) = match parts[..] {
            ["arn", partition, "lambda", _region, account, "function", name, ref rest @ ..]
                if partition.starts_with("aws") && is_account(account) =>
            {
                (name, rest)
            }
            [account, "function", name, ref rest @ ..] if is_account(account) => (name, rest),
            ["function", name, ref rest @ ..] => (name, rest),
            [name, ref rest @ ..] => (name, rest),
            [] => return Err(refuse()),
        };
        let qualifier = match qualifier {
            [] => None,
            [one] if is_qualifier(one) => Some((*one).to_owned()),
            _ => return Err(refuse()),
        };
        Ok(Self { name: name.parse().map_err(|_| refuse())?, qualifier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_aws_takes_is_read() {
        for (text, name, qualifier) in [
            ("hello", "hello", None),
            ("hello:$LATEST", "hello", Some("$LATEST")),
            ("hello:prod", "hello", Some("prod")),
            ("123456789012:function:hello", "hello", None),
            ("123456789012:function:hello:7", "hello", Some("7")),
            ("arn:aws:lambda:eu-central-1:123456789012:function:hello", "hello", None),
            ("arn:aws-cn:lambda:cn-north-1:123456789012:function:hello:prod", "hello", Some("prod")),
            ("function:hello", "hello", None),
        ] {
            let read: FunctionRef = text.parse().unwrap();
            assert_eq!((read.name.as_str(), read.qualifier.as_deref()), (name, qualifier), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_in_few_words() {
        let long = "x".repeat(100_000);
        for bad in [
            "",
            ":",
            "a:",
            "a:b:c",
            "a/b",
            "arn:aws:s3:::bucket",
            "arn:aws:lambda:r:1:function:f",
            "a:b c",
            "a:$",
            "../etc",
            &long,
        ] {
            let error = bad.parse::<FunctionRef>().unwrap_err();
            assert!(error.to_string().len() < 400, "{bad}");
        }
    }
}
