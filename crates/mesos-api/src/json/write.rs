//! JSON text, as compact as can be.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Json;

/// Builds JSON text. Commas are its own business; that every `begin` meets its `end`, and that a
/// member has a name and one value, is the caller's.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
    comma: bool,
    sink: Option<Sink>,
}

/// Where a text goes that is not kept.
struct Sink {
    /// From which length on a text is a piece.
    piece: usize,
    take: Box<dyn FnMut(String) + Send>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("piece", &self.piece).finish_non_exhaustive()
    }
}

/// Room in a piece for the value that ends it.
const LAST_VALUE: usize = 8 * 1024;

impl Writer {
    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty text with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ..Self::default() }
    }

    /// An empty text that is handed on in pieces of about so many bytes as they are written, the last
    /// one by [`Writer::finish`].
    pub fn in_pieces(bytes: usize, take: impl FnMut(String) + Send + 'static) -> Self {
        let text = String::with_capacity(bytes + LAST_VALUE);
        let sink = Some(Sink { piece: bytes, take: Box::new(take) });
        Self { text, sink, ..Self::default() }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.into_string().into_bytes()
    }

    /// What was written, and not handed on.
    pub fn into_string(self) -> String {
        self.text
    }

    /// Hands on what is left of a text in pieces.
    pub fn finish(mut self) {
        if let Some(sink) = &mut self.sink {
            (sink.take)(self.text);
        }
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.separate();
        self.text.push('{');
        self.comma = false;
    }

    /// Closes an object.
    pub fn end_object(&mut self) {
        self.text.push('}');
        self.comma = true;
    }

    /// Opens an array.
    pub fn begin_array(&mut self) {
        self.separate();
        self.text.push('[');
        self.comma = false;
    }

    /// Closes an array.
    pub fn end_array(&mut self) {
        self.text.push(']');
        self.comma = true;
    }

    /// Names the next value.
    pub fn name(&mut self, name: &str) {
        self.separate();
        quote(&mut self.text, name);
        self.text.push(':');
        self.comma = false;
    }

    /// A member whose value is an object.
    pub fn object(&mut self, name: &str, members: impl FnOnce(&mut Self)) {
        self.name(name);
        self.begin_object();
        members(self);
        self.end_object();
    }

    /// A member whose value is an array.
    pub fn array(&mut self, name: &str, elements: impl FnOnce(&mut Self)) {
        self.name(name);
        self.begin_array();
        elements(self);
        self.end_array();
    }

    /// A member whose value is an array of messages.
    pub fn messages<'a, T: Json + 'a>(
        &mut self,
        name: &str,
        messages: impl IntoIterator<Item = &'a T>,
    ) {
        self.array(name, |to| messages.into_iter().for_each(|message| message.write_json(to)));
    }

    /// A string.
    pub fn string(&mut self, value: &str) {
        self.separate();
        quote(&mut self.text, value);
        self.comma = true;
    }

    /// Bytes, as a string in base64.
    pub fn bytes(&mut self, value: &[u8]) {
        self.separate();
        self.text.push('"');
        STANDARD.encode_string(value, &mut self.text);
        self.text.push('"');
        self.comma = true;
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.raw("null");
    }

    /// A whole number.
    pub fn i64(&mut self, value: i64) {
        self.separate();
        self.text.push_str(itoa::Buffer::new().format(value));
        self.comma = true;
    }

    /// A whole number that is not negative.
    pub fn u64(&mut self, value: u64) {
        self.separate();
        self.text.push_str(itoa::Buffer::new().format(value));
        self.comma = true;
    }

    /// A number with a fraction, which is printed even where it is zero. Infinity, for which JSON
    /// has no number, is the string that readers of this dialect understand; not-a-number is null.
    pub fn f64(&mut self, value: f64) {
        self.separate();
        double(&mut self.text, value);
        self.comma = true;
    }

    /// Text that is JSON already.
    pub fn raw(&mut self, json: &str) {
        self.separate();
        self.text.push_str(json);
        self.comma = true;
    }

    fn separate(&mut self) {
        if self.comma {
            self.text.push(',');
        }
        if let Some(sink) = self.sink.as_mut().filter(|sink| self.text.len() >= sink.piece) {
            let next = String::with_capacity(sink.piece + LAST_VALUE);
            (sink.take)(std::mem::replace(&mut self.text, next));
        }
    }
}

/// The shortest digits that read back as the same number, in the notation of Mesos' writer.
fn double(text: &mut String, value: f64) {
    // Writing to a string does not fail.
    if let Some(thousandths) = thousandths(value) {
        decimal(text, thousandths);
    } else if value.is_nan() {
        text.push_str("null");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        let _ = write!(text, "{value:?}");
    } else if (1e-6..1e-4).contains(&value.abs()) || (1e16..1e21).contains(&value.abs()) {
        let _ = write!(text, "{value}");
        if value.abs() >= 1.0 {
            text.push_str(".0");
        }
    } else {
        let _ = write!(text, "{value:e}");
    }
}

/// The number in thousandths, if it is one that a few digits say. Amounts are, and there are
/// hundreds of thousands of them in the state of a large cluster.
#[expect(clippy::cast_possible_truncation, reason = "the number is small enough")]
fn thousandths(value: f64) -> Option<i64> {
    // Up to fifteen digits name one number and no other.
    const MOST: f64 = 1e15;
    let thousandths = (value * 1000.0).round();
    let exact = thousandths.abs() < MOST && thousandths / 1000.0 == value;
    (exact && (value != 0.0 || value.is_sign_positive())).then_some(thousandths as i64)
}

fn decimal(text: &mut String, thousandths: i64) {
    if thousandths < 0 {
        text.push('-');
    }
    let thousandths = thousandths.unsigned_abs();
    text.push_str(itoa::Buffer::new().format(thousandths / 1000));
    text.push('.');
    let mut fraction = thousandths % 1000;
    loop {
        text.push(char::from(b'0' + u8::try_from(fraction / 100).unwrap_or_default()));
        fraction = fraction % 100 * 10;
        if fraction == 0 {
            return;
        }
    }
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    // Looked at as a whole: that takes many bytes at once, and almost every text is plain.
    let plain = value.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    if plain {
        text.push_str(value);
    } else {
        escape(text, value);
    }
    text.push('"');
}

const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

fn escape(text: &mut String, value: &str) {
    let mut plain = 0;
    for (at, byte) in value.bytes().enumerate() {
        if is_plain(byte) {
            continue;
        }
        text.push_str(&value[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            8 => text.push_str("\\b"),
            12 => text.push_str("\\f"),
            // Writing to a string does not fail.
            _ => drop(write!(text, "\\u{byte:04X}")),
        }
    }
    text.push_str(&value[plain..]);
}
