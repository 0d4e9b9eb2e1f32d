//! "Did you mean": the nearest of the known names, by edit distance.

/// The known name that `given` most likely meant, if any is near enough to be worth saying.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    // A third of the name may be wrong, and always one letter.
    let budget = (given.len() / 3).max(1);
    let near = known.into_iter().map(|name| (distance(&given, name), name));
    near.filter(|(distance, _)| *distance <= budget).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Turns serde's "unknown field `x`, expected one of `a`, `b`" into a sentence that names the nearest key.
/// Other messages come back as they are.
pub fn explain_unknown(message: &str) -> String {
    let Some(rest) = message.split_once("unknown field `").map(|(_, rest)| rest) else {
        return message.to_owned();
    };
    let Some((given, rest)) = rest.split_once('`') else { return message.to_owned() };
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let given: String = given.chars().take(80).collect();
    match nearest(&given, known.iter().copied()) {
        Some(near) => format!("unknown key {given:?}: did you mean {near:?}?"),
        None if known.is_empty() => format!("unknown key {given:?}: none is expected here"),
        None => format!("unknown key {given:?}: known are {}", known.join(", ")),
    }
}

/// Damerau–Levenshtein distance (optimal string alignment), the known name in any case.
fn distance(given: &[char], known: &str) -> usize {
    let known: Vec<char> = known.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut before = vec![0; known.len() + 1];
    let mut last: Vec<usize> = (0..=known.len()).collect();
    for i in 1..=given.len() {
        let mut row = vec![i; known.len() + 1];
        for j in 1..=known.len() {
            let swap = usize::from(given[i - 1] != known[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + swap);
            let turned = i > 1 && j > 1 && given[i - 1] == known[j - 2] && given[i - 2] == known[j - 1];
            if turned {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[known.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_a_stranger_is_not() {
        let known = ["memory", "timeout", "handler", "env"];
        assert_eq!(nearest("memroy", known), Some("memory"));
        assert_eq!(nearest("Timeout", known), Some("timeout"));
        assert_eq!(nearest("handlers", known), Some("handler"));
        assert_eq!(nearest("envs", known), Some("env"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn serde_s_message_becomes_a_sentence() {
        let said = explain_unknown("unknown field `memroy`, expected one of `name`, `memory` at line 1");
        assert_eq!(said, r#"unknown key "memroy": did you mean "memory"?"#);
        let said = explain_unknown("unknown field `x`, expected `sha256`");
        assert_eq!(said, r#"unknown key "x": known are sha256"#);
        assert_eq!(explain_unknown("invalid type"), "invalid type");
    }
}
