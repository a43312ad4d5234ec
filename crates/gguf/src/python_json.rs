//! JSON as Python's `json.dump(…, indent=2, ensure_ascii=False)` writes it.
//!
//! The directories that transformers and other Python tools write have this form, and a tokenizer's
//! fingerprint is taken over the file: so its bytes are a format of their own. What differs from
//! other writers is how floating-point numbers are spelt.

use std::borrow::Cow;

/// A JSON document whose maps keep the order they were made in.
#[derive(Clone, Debug)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Map(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// A map with keys that are known when this is compiled.
    pub(crate) fn map<const N: usize>(entries: [(&'a str, Json<'a>); N]) -> Self {
        Self::Map(
            entries
                .map(|(key, value)| (Cow::Borrowed(key), value))
                .into(),
        )
    }

    /// The document with a line feed at its end.
    pub(crate) fn to_document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&float(*value)),
            Self::Text(text) => write_text(text, out),
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    new_line(out, place, depth + 1);
                    item.write(out, depth + 1);
                }
                new_line(out, 0, depth);
                out.push(']');
            }
            Self::Map(entries) if entries.is_empty() => out.push_str("{}"),
            Self::Map(entries) => {
                out.push('{');
                for (place, (key, value)) in entries.iter().enumerate() {
                    new_line(out, place, depth + 1);
                    write_text(key, out);
                    out.push_str(": ");
                    value.write(out, depth + 1);
                }
                new_line(out, 0, depth);
                out.push('}');
            }
        }
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<bool> for Json<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Json<'_> {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<i128> for Json<'_> {
    fn from(value: i128) -> Self {
        Self::Int(value)
    }
}

impl From<usize> for Json<'_> {
    fn from(value: usize) -> Self {
        Self::Int(value as i128)
    }
}

impl<'a, T: Into<Json<'a>>> From<Option<T>> for Json<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

fn new_line(out: &mut String, place: usize, depth: usize) {
    if place > 0 {
        out.push(',');
    }
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number as Python's `repr` spells it: the shortest decimal that reads back as the same number,
/// with an exponent of at least two digits below 1e-4 and from 1e16 on.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    // "-1.25e-7"
    let scientific = rounded_to_even(value, format!("{value:e}"), |digits| {
        digits.parse() == Ok(value)
    });
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..16).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", power.abs())
        }
        Ok(power) => positional(mantissa, power),
        Err(_) => scientific,
    }
}

/// A text as Python's `repr` quotes it, for messages.
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            same if same == quote => {
                out.push('\\');
                out.push(same);
            }
            control if control < ' ' || control == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push(quote);
    out
}

/// A mantissa's digits with the point moved by a small power of ten: 1.25 and 3 are 1250.0.
fn positional(mantissa: &str, power: i32) -> String {
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |digits| ("-", digits));
    let mut digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let before = if power < 0 {
        digits.insert_str(0, &"0".repeat(power.unsigned_abs() as usize));
        1
    } else {
        power as usize + 1
    };
    while digits.len() <= before {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(before);
    format!("{sign}{whole}.{fraction}")
}

/// The shortest decimal of `value` as Python chooses it, given the one that Rust chooses.
///
/// Where two are equally near, Rust takes the larger one and Python the one whose last digit is even.
/// Rust takes the even one, too, when it is told how many digits there are to be.
fn rounded_to_even(value: f64, shortest: String, reads_back: impl Fn(&str) -> bool) -> String {
    let digits = shortest
        .split('e')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .count();
    let even = format!("{value:.*e}", digits.saturating_sub(1));
    if reads_back(&even) { even } else { shortest }
}

/// The shortest decimal that reads back as the same 32-bit number: 1e-05, not 9.999999747378752e-06.
pub(crate) fn decimal(value: f64) -> f64 {
    let narrow = value as f32;
    let digits = rounded_to_even(f64::from(narrow), format!("{narrow:e}"), |digits| {
        digits.parse() == Ok(narrow)
    });
    // A number's own decimal always parses; the fallback is what it would have been without it.
    digits.parse().unwrap_or(f64::from(narrow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelt_as_python_spells_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.25e-7, "1.25e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e200, "-2.5e+200"),
            (500000.0, "500000.0"),
            (5e-324, "5e-324"),
            (0.001, "0.001"),
            (-1234.5, "-1234.5"),
            (9007199254740991.0, "9007199254740991.0"),
            (2_f64.powi(47) + 0.125, "140737488355328.12"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn a_32_bit_number_is_widened_by_its_decimal() {
        assert_eq!(decimal(f64::from(1e-5_f32)), 1e-5);
        assert_eq!(decimal(f64::from(1e-6_f32)), 1e-6);
        assert_eq!(decimal(0.1), 0.1);
        // Halfway between .12 and .13.
        assert_eq!(decimal(343126.125), 343126.12);
        assert_eq!(decimal(-0.0).to_bits(), (-0.0_f64).to_bits());
        assert_eq!(decimal(1e300), f64::INFINITY);
    }

    #[test]
    fn a_document_is_indented_and_keeps_its_order() {
        let document = Json::map([
            (
                "b",
                Json::List(vec![1_i128.into(), Json::Null, Json::List(vec![])]),
            ),
            (
                "a",
                Json::map([("\u{120}\"\u{1}\n", "\u{2581}\u{7f}".into())]),
            ),
            ("c", Json::map([])),
        ]);
        let expected = "{\n  \"b\": [\n    1,\n    null,\n    []\n  ],\n  \"a\": {\n    \
            \"\u{120}\\\"\\u0001\\n\": \"\u{2581}\u{7f}\"\n  },\n  \"c\": {}\n}\n";
        assert_eq!(document.to_document(), expected);
    }

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        assert_eq!(quoted("b a"), "'b a'");
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("\n\\'\""), "'\\n\\\\\\'\"'");
    }
}
