//! A route in one line, as `hearth deploy --route` takes it: the pattern, then what stands before the function.

use std::str::FromStr;

use super::{Cors, HttpRoute};
use crate::quantity::parse_duration;

/// What may follow the pattern.
const KEYS: &str = "auth=, rate=, burst=, max-body=, timeout=, cors=";

/// `POST /hooks auth=github:hook-key rate=10/s`.
impl FromStr for HttpRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_setting = |word: &&str| word.split_once('=').is_some_and(|(key, _)| !key.contains('/'));
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let pattern: Vec<&str> = words.iter().copied().take_while(|word| !is_setting(word)).collect();
        let mut route = Self::new(pattern.join(" ").parse().map_err(|error: super::InvalidRoute| error.to_string())?);
        for word in &words[pattern.len()..] {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: expected one of {KEYS}"))?;
            let said = |error: &dyn std::fmt::Display| format!("{key}: {error}");
            match key {
                "auth" => route.auth = value.parse()?,
                "rate" => route.rate = Some(value.parse().map_err(|error| said(&error))?),
                "burst" => route.burst = Some(value.parse().map_err(|_| said(&format!("{value:?} is no number")))?),
                "max-body" => route.max_body = Some(value.parse().map_err(|error| said(&error))?),
                "timeout" => route.timeout = Some(parse_duration(value).map_err(|error| said(&error))?),
                "cors" => {
                    let allow_origins = value.split(',').map(str::to_owned).collect();
                    route.cors = Some(Cors { allow_origins, ..Cors::default() });
                }
                _ => return Err(format!("{key:?} is not known: expected one of {KEYS}")),
            }
        }
        route.check().map_err(|why| format!("route {:?}: {why}", route.route.to_string()))?;
        Ok(route)
    }
}
