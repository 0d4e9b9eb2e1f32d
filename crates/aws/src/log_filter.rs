//! CloudWatch Logs' filter patterns: which lines one matches.
//!
//! ```text
//! ""                              every line
//! ERROR "out of memory" -DEBUG    lines with both texts and without the third, as they are written
//! ?WARN ?ERROR                    lines with either
//! { $.user.id = 42 && ($.level = "err*" || $.took > 1.5) && $.retry IS TRUE }
//! ```
//!
//! Refused: regular expressions (`%…%`), patterns of columns (`[a, b]`), `[*]` in selectors, and `?` beside other terms,
//! of which AWS itself says that it does not mean what one thinks.

use serde_json::Value;

use crate::AwsError;

/// Nesting of parentheses at most.
const DEEPEST: usize = 16;

/// What a pattern means.
#[derive(Debug, Clone, PartialEq)]
pub enum LogFilter {
    Text { all: Vec<String>, none: Vec<String>, any: Vec<String> },
    Json(Expression),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Is { at: Vec<Step>, is: Test },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Equal(Literal),
    Unequal(Literal),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
    Null,
    True,
    False,
    NotExists,
}

/// A value as written: the pieces between its `*`, and the number that it is, if it has no quotes.
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    pieces: Vec<String>,
    number: Option<f64>,
}

struct Reader<'a> {
    text: &'a str,
    depth: usize,
}

// === impl LogFilter ===

impl LogFilter {
    pub fn parse(text: &str) -> Result<Self, AwsError> {
        let trimmed = text.trim();
        let read = match trimmed.chars().next() {
            Some('{') => json(trimmed),
            Some('[') => Err("patterns of columns, [a, b], are not supported here".into()),
            _ => terms(trimmed),
        };
        read.map_err(|why| AwsError::new(http::StatusCode::BAD_REQUEST, "InvalidParameterException", why).with_text())
    }

    pub fn matches(&self, line: &str) -> bool {
        match self {
            Self::Text { all, none, any } => {
                let has = |text: &String| line.contains(text.as_str());
                all.iter().all(has) && !none.iter().any(has) && (any.is_empty() || any.iter().any(has))
            }
            Self::Json(expression) => {
                let line = line.trim();
                line.starts_with('{') && serde_json::from_str(line).is_ok_and(|value| expression.holds(&value))
            }
        }
    }
}

impl AwsError {
    fn with_text(mut self) -> Self {
        self.message = format!("Invalid filter pattern: {}", self.message);
        self
    }
}

fn terms(text: &str) -> Result<LogFilter, String> {
    let (mut all, mut none, mut any) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let to = match rest.as_bytes()[0] {
            b'-' => &mut none,
            b'?' => &mut any,
            _ => &mut all,
        };
        rest = rest.strip_prefix(['-', '?']).unwrap_or(rest);
        let (term, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quote(quoted)?,
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let term = &rest[..end];
                if let Some(odd) = term.chars().find(|letter| !letter.is_alphanumeric() && *letter != '_') {
                    return Err(match odd {
                        '%' => "regular expressions, %…%, are not supported here".into(),
                        odd => format!("{odd:?} stands in no plain term: write {term:?} in double quotes"),
                    });
                }
                (term.to_owned(), &rest[end..])
            }
        };
        if term.is_empty() {
            return Err("a term is empty".into());
        }
        to.push(term);
        rest = behind.trim_start();
    }
    let others = !all.is_empty() || !none.is_empty();
    if !any.is_empty() && others {
        return Err("terms with ? stand beside no others".into());
    }
    Ok(LogFilter::Text { all, none, any })
}

/// What stands up to the closing quote, and what is behind it.
fn quote(text: &str) -> Result<(String, &str), String> {
    let mut found = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((found, &text[at + 1..])),
            '\\' => match letters.next() {
                Some((_, letter @ ('"' | '\\'))) => found.push(letter),
                Some((_, letter)) => found.extend(['\\', letter]),
                None => break,
            },
            letter => found.push(letter),
        }
    }
    Err("a double quote is not closed".into())
}

fn json(text: &str) -> Result<LogFilter, String> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or("{ is not closed by }")?;
    let mut reader = Reader { text: inner.trim(), depth: 0 };
    let expression = reader.or()?;
    if !reader.text.is_empty() {
        return Err(format!("expected && or || at {:?}", reader.shown()));
    }
    Ok(LogFilter::Json(expression))
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn shown(&self) -> String {
        self.text.chars().take(40).collect()
    }

    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.text.strip_prefix(token) else { return false };
        self.text = rest.trim_start();
        true
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut found = vec![self.and()?];
        while self.take("||") {
            found.push(self.and()?);
        }
        Ok(if found.len() == 1 { found.remove(0) } else { Expression::Or(found) })
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut found = vec![self.one()?];
        while self.take("&&") {
            found.push(self.one()?);
        }
        Ok(if found.len() == 1 { found.remove(0) } else { Expression::And(found) })
    }

    fn one(&mut self) -> Result<Expression, String> {
        if !self.take("(") {
            return self.test();
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("too many parentheses".into());
        }
        let inner = self.or()?;
        self.depth -= 1;
        if self.take(")") { Ok(inner) } else { Err(format!("expected ) at {:?}", self.shown())) }
    }

    fn test(&mut self) -> Result<Expression, String> {
        let at = self.selector()?;
        let is = if self.take("!=") {
            Test::Unequal(self.literal()?)
        } else if self.take("<=") {
            Test::LessOrEqual(self.number()?)
        } else if self.take(">=") {
            Test::GreaterOrEqual(self.number()?)
        } else if self.take("=") {
            Test::Equal(self.literal()?)
        } else if self.take("<") {
            Test::Less(self.number()?)
        } else if self.take(">") {
            Test::Greater(self.number()?)
        } else {
            let words = [
                ("IS NULL", Test::Null),
                ("IS TRUE", Test::True),
                ("IS FALSE", Test::False),
                ("NOT EXISTS", Test::NotExists),
            ];
            let found = words.into_iter().find(|(word, _)| self.words(word));
            found.map(|(_, test)| test).ok_or_else(|| {
                let expected = "=, !=, <, <=, >, >=, IS NULL, IS TRUE, IS FALSE or NOT EXISTS";
                format!("expected {expected} at {:?}", self.shown())
            })?
        };
        Ok(Expression::Is { at, is })
    }

    /// Two words, in any case, with any space between them.
    fn words(&mut self, words: &str) -> bool {
        let mut rest = self.text;
        for word in words.split(' ') {
            match rest.get(..word.len()) {
                Some(given) if given.eq_ignore_ascii_case(word) => rest = rest[word.len()..].trim_start(),
                _ => return false,
            }
        }
        self.text = rest;
        true
    }

    /// `$.a.b[0]['c d']`
    fn selector(&mut self) -> Result<Vec<Step>, String> {
        let Some(mut rest) = self.text.strip_prefix('$') else {
            return Err(format!("expected a selector like $.user.id at {:?}", self.shown()));
        };
        let mut steps = Vec::new();
        loop {
            if let Some(name) = rest.strip_prefix('.') {
                let letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '#' | '/' | ':');
                let end = name.find(|c| !letter(c)).unwrap_or(name.len());
                if end == 0 && name.starts_with('[') {
                    rest = name;
                    continue;
                }
                if end == 0 {
                    return Err(format!("a selector has an empty name: {:?}", self.shown()));
                }
                steps.push(Step::Key(name[..end].to_owned()));
                rest = &name[end..];
            } else if let Some(inner) = rest.strip_prefix('[') {
                let end = inner.find(']').ok_or("a selector's [ is not closed")?;
                let (key, behind) = (inner[..end].trim(), &inner[end + 1..]);
                let quoted = |q: char| key.strip_prefix(q).and_then(|key| key.strip_suffix(q));
                steps.push(match quoted('\'').or_else(|| quoted('"')) {
                    Some(name) => Step::Key(name.to_owned()),
                    None => {
                        Step::Index(key.parse().map_err(|_| format!("[{key}]: expected a number or a quoted name"))?)
                    }
                });
                rest = behind;
            } else {
                break;
            }
        }
        if steps.is_empty() {
            return Err("a selector names nothing: expected one like $.user.id".into());
        }
        self.text = rest.trim_start();
        Ok(steps)
    }

    fn word(&mut self) -> Result<&'a str, String> {
        let end = self.text.find(|c: char| c.is_whitespace() || matches!(c, ')' | '(' | '&' | '|'));
        let (word, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        if word.is_empty() {
            return Err(format!("expected a value at {:?}", self.shown()));
        }
        self.text = rest.trim_start();
        Ok(word)
    }

    fn literal(&mut self) -> Result<Literal, String> {
        if let Some(quoted) = self.text.strip_prefix('"') {
            let (text, rest) = quote(quoted)?;
            self.text = rest.trim_start();
            return Ok(Literal { pieces: text.split('*').map(str::to_owned).collect(), number: None });
        }
        let word = self.word()?;
        if word.starts_with('%') {
            return Err("regular expressions, %…%, are not supported here".into());
        }
        Ok(Literal { pieces: word.split('*').map(str::to_owned).collect(), number: word.parse().ok() })
    }

    fn number(&mut self) -> Result<f64, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("expected a number, got {word:?}"))
    }
}

// === impl Expression ===

impl Expression {
    fn holds(&self, line: &Value) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.holds(line)),
            Self::Or(any) => any.iter().any(|one| one.holds(line)),
            Self::Is { at, is } => {
                let step = |value: &'_ Value, step: &Step| match step {
                    Step::Key(name) => value.get(name).cloned(),
                    Step::Index(place) => value.get(place).cloned(),
                };
                let found = at.iter().try_fold(line.clone(), |value, one| step(&value, one));
                found.map_or(*is == Test::NotExists, |value| is.holds(&value))
            }
        }
    }
}

// === impl Test ===

impl Test {
    fn holds(&self, value: &Value) -> bool {
        let number = value.as_f64();
        match self {
            Self::Equal(literal) => literal.is(value) == Some(true),
            Self::Unequal(literal) => literal.is(value) == Some(false),
            Self::Less(bound) => number.is_some_and(|number| number < *bound),
            Self::LessOrEqual(bound) => number.is_some_and(|number| number <= *bound),
            Self::Greater(bound) => number.is_some_and(|number| number > *bound),
            Self::GreaterOrEqual(bound) => number.is_some_and(|number| number >= *bound),
            Self::Null => value.is_null(),
            Self::True => *value == Value::Bool(true),
            Self::False => *value == Value::Bool(false),
            Self::NotExists => false,
        }
    }
}

// === impl Literal ===

impl Literal {
    /// Whether a text or number is what was written; none for what is neither.
    fn is(&self, value: &Value) -> Option<bool> {
        match value {
            Value::String(text) => Some(self.fits(text)),
            Value::Number(number) => Some(match self.number {
                Some(wanted) => number.as_f64() == Some(wanted),
                None => self.fits(&number.to_string()),
            }),
            _ => None,
        }
    }

    fn fits(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces.iter().all(|one| one == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, line: &str) -> bool {
        LogFilter::parse(pattern).unwrap().matches(line)
    }

    #[test]
    fn terms_are_texts_as_they_are_written() {
        for (pattern, line, expected) in [
            ("", "anything", true),
            ("ERROR", "an ERROR here", true),
            ("ERROR", "an error here", false),
            ("ERROR timeout", "timeout: ERROR", true),
            ("ERROR timeout", "ERROR", false),
            ("ERROR -timeout", "ERROR timeout", false),
            ("ERROR -\"time out\"", "ERROR timeout", true),
            ("\"a \\\"b\\\"\"", "say a \"b\"", true),
            ("?WARN ?ERROR", "WARN", true),
            ("?WARN ?ERROR", "INFO", false),
        ] {
            assert_eq!(found(pattern, line), expected, "{pattern} in {line}");
        }
    }

    #[test]
    fn json_is_looked_into() {
        let line =
            r#"{"level":"error","user":{"id":42,"tags":["a","b"]},"took":1.75,"ok":false,"gone":null,"a b":"x"}"#;
        for (pattern, expected) in [
            ("{ $.level = \"error\" }", true),
            ("{ $.level = err* }", true),
            ("{ $.level = *r*r }", true),
            ("{ $.level = warn }", false),
            ("{ $.level != warn }", true),
            ("{ $.missing != warn }", false),
            ("{ $.user.id = 42 }", true),
            ("{ $.user.id = 42.0 }", true),
            ("{ $.user.tags[1] = \"b\" }", true),
            ("{ $.user.tags = \"b\" }", false),
            ("{ $.took > 1.5 && $.took <= 1.75 }", true),
            ("{ $.took < 1 || ($.ok IS FALSE && $.gone IS NULL) }", true),
            ("{ $.took < 1 || $.ok is  true }", false),
            ("{ $.nothing NOT EXISTS }", true),
            ("{ $.gone NOT EXISTS }", false),
            ("{ $['a b'] = \"x\" }", true),
            ("{$.level=\"error\"}", true),
        ] {
            assert_eq!(found(pattern, line), expected, "{pattern}");
        }
        assert!(!found("{ $.level = \"error\" }", "level error"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for pattern in [
            "[a, b]",
            "%x%",
            "a.b",
            "\"open",
            "?a b",
            "-",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = 1",
            "{ $ = 1 }",
            "{ a = 1 }",
            "{ $.a[*] = 1 }",
            "{ $.a > x }",
            "{ $.a = %x% }",
            "{ ($.a = 1 }",
            "{ $.a = 1 $.b = 2 }",
        ] {
            let error = LogFilter::parse(pattern).unwrap_err();
            assert_eq!(error.kind, "InvalidParameterException", "{pattern}");
        }
        assert!(LogFilter::parse(&format!("{{ {}$.a = 1 }}", "(".repeat(1000))).is_err());
    }
}
