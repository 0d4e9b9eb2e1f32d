//! Region and account of all that is named in AWS's way: one of each, chosen once for the whole process, since they are in
//! every name that is told.

use std::sync::OnceLock;

/// Where nobody chose others.
pub const DEFAULT_PLACE: (&str, &str) = ("us-east-1", "000000000000");

static CHOSEN: OnceLock<(&str, &str)> = OnceLock::new();

/// Region and account.
pub fn place() -> (&'static str, &'static str) {
    *CHOSEN.get_or_init(|| DEFAULT_PLACE)
}

/// Chooses them, before anything is named. What was chosen first stays.
pub fn choose_place(region: &str, account: &str) {
    let _ = CHOSEN.set((region.to_owned().leak(), account.to_owned().leak()));
}

/// Reads a region as AWS's are written: `eu-central-1`.
pub fn parse_region(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(text.to_owned()) } else { Err("expected a region like eu-central-1: 1 to 32 of a-z 0-9 -".to_owned()) }
}

/// Reads an account id: 12 digits.
pub fn parse_account(text: &str) -> Result<String, String> {
    let fits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(text.to_owned()) } else { Err("expected an account id: 12 digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_accounts_are_as_aws_writes_them() {
        assert!(parse_region("eu-central-1").is_ok() && parse_account("123456789012").is_ok());
        for bad in ["", "EU", "eu central", "eu/1", &"x".repeat(33)] {
            assert!(parse_region(bad).is_err(), "{bad}");
        }
        for bad in ["", "12345678901", "1234567890123", "12345678901a"] {
            assert!(parse_account(bad).is_err(), "{bad}");
        }
    }
}
