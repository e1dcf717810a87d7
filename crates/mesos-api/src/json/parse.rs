//! JSON text into values, with the error texts clients of Mesos know.
//!
//! An own parser, and a small one, for three reasons: what an error says depends on how far the
//! original's parser had read; whole numbers keep all their 64 bits; and of a key given twice the
//! last counts.

use std::borrow::Cow;
use std::collections::HashMap;

/// Deeper nesting is refused: no message is nested half as deeply.
const DEPTH_MAX: usize = 100;

/// Up to so many members, looking for an equal key means looking at all of them.
const FEW: usize = 24;

/// A JSON value. Strings borrow from the text where they hold no escapes.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits.
    Signed(i64),
    /// A whole number that is too big to be signed.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object, in the order of the text, each key once.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Value<'a> {
    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Value::Object(members) => {
                members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The value as a string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Parses a text that holds one value.
///
/// # Errors
/// What is wrong, in the words of Mesos.
pub fn parse(text: &[u8]) -> Result<Value<'_>, String> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            return Err(format!("the text is not UTF-8 from byte {}", error.valid_up_to()));
        }
    };
    let mut parser = Parser { text, at: 0, refused: None };
    match parser.value(DEPTH_MAX) {
        Some(value) => {
            let rest = text[parser.at..].trim_end_matches([' ', '\t', '\n', '\r']);
            if rest.is_empty() {
                Ok(value)
            } else {
                Err(format!("Parsed JSON included non-whitespace trailing characters: {rest}"))
            }
        }
        None => Err(parser.refused.take().unwrap_or_else(|| parser.syntax_error())),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Set where the text is JSON and yet not accepted.
    refused: Option<String>,
}

impl<'a> Parser<'a> {
    fn syntax_error(&self) -> String {
        let bytes = self.text.as_bytes();
        let read = self.at.min(bytes.len().saturating_sub(1));
        let line = 1 + bytes[..read].iter().filter(|byte| **byte == b'\n').count();
        // Inside a character of several bytes nothing readable begins.
        let rest = (self.at..).find_map(|at| self.text.get(at..)).unwrap_or_default();
        let near: String =
            rest.chars().take_while(|c| *c != '\n').filter(|c| *c >= ' ').take(200).collect();
        format!("syntax error at line {line} near: {near}")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads as far as the text agrees with `word`.
    fn word(&mut self, word: &str) -> Option<()> {
        for byte in word.bytes() {
            if self.peek() != Some(byte) {
                return None;
            }
            self.at += 1;
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth == 0 {
            self.refused = Some(format!("nested more than {DEPTH_MAX} deep"));
            return None;
        }
        self.skip_space();
        match self.peek()? {
            b'n' => self.word("null").map(|()| Value::Null),
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'"' => {
                self.at += 1;
                self.string().map(Value::String)
            }
            b'[' => {
                self.at += 1;
                self.array(depth)
            }
            b'{' => {
                self.at += 1;
                self.object(depth)
            }
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value<'a>> {
        let mut elements = Vec::new();
        if self.expect(b']') {
            return Some(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth - 1)?);
            if !self.expect(b',') {
                return self.expect(b']').then_some(Value::Array(elements));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value<'a>> {
        let mut members: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
        if self.expect(b'}') {
            return Some(Value::Object(members));
        }
        let mut by_key: HashMap<Cow<'a, str>, usize> = HashMap::new();
        loop {
            if !self.expect(b'"') {
                return None;
            }
            let key = self.string()?;
            if !self.expect(b':') {
                return None;
            }
            let value = self.value(depth - 1)?;
            if members.len() == FEW {
                by_key.extend(members.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)));
            }
            let known = if members.len() < FEW {
                members.iter().position(|(other, _)| *other == key)
            } else {
                by_key.get(&key).copied()
            };
            match known {
                Some(at) => members[at].1 = value,
                None => {
                    if members.len() >= FEW {
                        by_key.insert(key.clone(), members.len());
                    }
                    members.push((key, value));
                }
            }
            if !self.expect(b',') {
                return self.expect(b'}').then_some(Value::Object(members));
            }
        }
    }

    /// The rest of a string after its opening quote.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(Cow::Borrowed(&self.text[start..self.at - 1]));
                }
                b'\\' => return self.escaped(start),
                byte if byte < b' ' => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escaped(&mut self, start: usize) -> Option<Cow<'a, str>> {
        let mut text = self.text[start..self.at].to_owned();
        let mut plain = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    text.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Some(Cow::Owned(text));
                }
                b'\\' => {
                    text.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    text.push(self.escape()?);
                    plain = self.at;
                }
                byte if byte < b' ' => return None,
                _ => self.at += 1,
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return None,
        })
    }

    fn code_point(&mut self) -> Option<char> {
        let first = self.quad()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.word("\\u")?;
        let second = self.quad()?;
        if !(0xdc00..0xe000).contains(&second) {
            return None;
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn quad(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        if let Ok(value) = digits.parse() {
            return Some(Value::Signed(value));
        }
        if let Ok(value) = digits.parse() {
            return Some(Value::Unsigned(value));
        }
        let value: f64 = digits.parse().ok()?;
        if !value.is_finite() {
            self.refused = Some("Value out of range".to_owned());
            return None;
        }
        Some(Value::Float(value))
    }
}
