//! The `tojson` filter as transformers defines it for chat templates: Python's
//! `json.dumps` with `ensure_ascii=False`. Models were trained on its exact
//! spacing (`", "` and `": "`), so another JSON writer changes the prompt; and
//! Jinja's own filter would escape `<`, `>`, `&` and `'` for HTML.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper nesting than any message has; Python too stops, at its recursion limit.
const MAX_DEPTH: usize = 128;

/// More spaces, or bytes of another text, than any document is indented by.
const MAX_INDENT: usize = 64;

/// Bytes that a step of a template's fuel is enough for.
const BYTES_A_STEP: usize = 64;

/// How a document is laid out: `json.dumps`'s arguments.
struct Layout {
    ensure_ascii: bool,
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sort_keys: bool,
}

/// `x | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`,
/// the arguments by position or by name.
///
/// A value that is met in many places is written in each of them, so a short template can ask for a text without an end:
/// every value and every byte takes of the template's fuel.
pub(crate) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    arguments: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let layout = Layout::from_arguments(&arguments.into_values())?;
    let mut out = Document {
        state,
        text: String::new(),
        paid: 0,
    };
    layout.write(value, 0, &mut out)?;
    Ok(out.text)
}

/// What is written, and what of it has taken fuel.
struct Document<'a> {
    state: &'a State<'a, 'a>,
    text: String,
    paid: usize,
}

impl Document<'_> {
    /// Pays for what was written and for another value.
    fn pay(&mut self) -> Result<(), Error> {
        let steps = (self.text.len() - self.paid) / BYTES_A_STEP;
        self.paid += steps * BYTES_A_STEP;
        self.state.consume_fuel(1 + steps as u64)
    }
}

impl Layout {
    fn from_arguments(arguments: &[Value]) -> Result<Self, Error> {
        let (positional, kwargs): (&[Value], Kwargs) = from_args(arguments)?;
        let argument = |position: usize, name: &str| -> Result<Option<Value>, Error> {
            let value = match positional.get(position) {
                Some(value) => Some(value.clone()),
                None => kwargs.get::<Option<Value>>(name)?,
            };
            Ok(value.filter(|value| !value.is_none()))
        };
        let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let ensure_ascii = flag(argument(0, "ensure_ascii")?);
        let indent = match argument(1, "indent")? {
            None => None,
            Some(value) => Some(match value.as_str() {
                Some(text) if text.len() > MAX_INDENT => return Err(too_wide()),
                Some(text) => text.to_owned(),
                None => match usize::try_from(i64::try_from(value)?.max(0)) {
                    Ok(spaces @ 0..=MAX_INDENT) => " ".repeat(spaces),
                    _ => return Err(too_wide()),
                },
            }),
        };
        let (between_items, after_key) = match argument(2, "separators")? {
            Some(pair) => {
                let parts: Vec<Value> = pair.try_iter()?.take(3).collect();
                match &*parts {
                    [item, key] if item.as_str().is_some() && key.as_str().is_some() => {
                        (item.to_string(), key.to_string())
                    }
                    _ => return Err(invalid("tojson: separators are two strings".into())),
                }
            }
            // An indented document has no space at the end of its lines.
            None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            None => (", ".to_owned(), ": ".to_owned()),
        };
        let sort_keys = flag(argument(3, "sort_keys")?);
        kwargs.assert_all_used()?;
        Ok(Self {
            ensure_ascii,
            indent,
            between_items,
            after_key,
            sort_keys,
        })
    }

    fn write(&self, value: &Value, depth: usize, out: &mut Document<'_>) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid("tojson: nested too deeply".into()));
        }
        out.pay()?;
        let text = &mut out.text;
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => text.push_str(&number(value)?),
            ValueKind::String => self.write_string(value.as_str().unwrap_or_default(), text),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.write_items(b"[]", items.len(), depth, out, |index, out| {
                    self.write(&items[index], depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut fields = Vec::new();
                for key in value.try_iter()? {
                    fields.push((key_text(&key)?, value.get_item(&key)?));
                }
                if self.sort_keys {
                    fields.sort_by(|(left, _), (right, _)| left.cmp(right));
                }
                self.write_items(b"{}", fields.len(), depth, out, |index, out| {
                    let (key, value) = &fields[index];
                    self.write_string(key, &mut out.text);
                    out.text.push_str(&self.after_key);
                    self.write(value, depth + 1, out)
                })?;
            }
            kind => {
                let message = format!("tojson: an object of kind {kind} has no JSON form");
                return Err(invalid(message));
            }
        }
        Ok(())
    }

    /// Brackets around `count` items; empty ones stay together even when indented.
    fn write_items(
        &self,
        brackets: &[u8; 2],
        count: usize,
        depth: usize,
        out: &mut Document<'_>,
        mut write_item: impl FnMut(usize, &mut Document<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.text.push(char::from(brackets[0]));
        for index in 0..count {
            if index > 0 {
                out.text.push_str(&self.between_items);
            }
            self.new_line(depth + 1, &mut out.text);
            write_item(index, out)?;
        }
        if count > 0 {
            self.new_line(depth, &mut out.text);
        }
        out.text.push(char::from(brackets[1]));
        Ok(())
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            for _ in 0..depth {
                out.push_str(indent);
            }
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                ' '..='~' => out.push(character),
                _ if !self.ensure_ascii && character >= ' ' => out.push(character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing to a String cannot fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
        out.push('"');
    }
}

/// A number as Python writes it: integers plainly, floats as `repr` does.
fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let float = f64::try_from(value.clone())?;
    if float.is_nan() {
        return Ok("NaN".to_owned());
    }
    if float.is_infinite() {
        return Ok(if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned());
    }
    // Rust's Debug has Python's digits and Python's limits for the exponent form
    // (below 1e-4, from 1e16), but writes `1e16` where Python writes `1e+16`.
    let text = format!("{float:?}");
    Ok(match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
    })
}

/// Python turns the keys it can into strings and refuses the others.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.to_string()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => number(key),
        kind => Err(invalid(format!("tojson: a key cannot be of kind {kind}"))),
    }
}

fn too_wide() -> Error {
    invalid(format!("tojson: indent is more than {MAX_INDENT} wide"))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    use super::*;

    fn render(template: &str) -> Result<String, Error> {
        let mut env = Environment::new();
        env.add_filter("tojson", tojson);
        env.render_str(template, ())
    }

    /// Each expected text is what Python 3.11's `json.dumps` gives.
    #[test]
    fn the_spelling_is_pythons() {
        for (template, expected) in [
            (
                "{{ {'b': [1, 2.5, none], 'a': true} | tojson }}",
                r#"{"b": [1, 2.5, null], "a": true}"#,
            ),
            (
                "{{ \"<a href='x'>&é\\n\\t\\u0001\\u007f\" | tojson }}",
                "\"<a href='x'>&é\\n\\t\\u0001\u{7f}\"",
            ),
            (
                "{{ 'é🦀' | tojson(ensure_ascii=true) }}",
                r#""\u00e9\ud83e\udd80""#,
            ),
            (
                "{{ [1e16, 1e15, 0.0001, 0.00001, 1e100, 1.0, -0.0] | tojson }}",
                "[1e+16, 1000000000000000.0, 0.0001, 1e-05, 1e+100, 1.0, -0.0]",
            ),
            ("{{ [[], {}] | tojson(indent=2) }}", "[\n  [],\n  {}\n]"),
            (
                "{{ {'a': [1, 2]} | tojson(indent=4) }}",
                "{\n    \"a\": [\n        1,\n        2\n    ]\n}",
            ),
            ("{{ [1] | tojson(indent=0) }}", "[\n1\n]"),
            ("{{ [1] | tojson(indent='\t') }}", "[\n\t1\n]"),
            ("{{ [1, 2] | tojson(false, none, (',', ':')) }}", "[1,2]"),
            (
                "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}",
                r#"{"a":2,"b":1}"#,
            ),
            (
                "{{ {2: 'x', none: 'y', true: 'z', 0.5: 'w'} | tojson }}",
                r#"{"2": "x", "null": "y", "true": "z", "0.5": "w"}"#,
            ),
            ("{{ (1, 'a') | tojson }}", r#"[1, "a"]"#),
        ] {
            assert_eq!(render(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn what_has_no_json_form_is_refused() {
        assert!(render("{{ missing | tojson }}").is_err());
        assert!(render("{{ 1 | tojson(intend=2) }}").is_err());
        assert!(render("{{ 1 | tojson(separators=(',',)) }}").is_err());
    }

    #[test]
    fn a_document_takes_no_more_than_its_templates_fuel() {
        for template in [
            "{{ [1] | tojson(indent=9000000000000000) }}",
            "{{ [1] | tojson(indent=' ' * 65) }}",
        ] {
            assert!(render(template).is_err(), "{template}");
        }
        let doubled = "{% set ns = namespace(x=[1]) %}\
            {% for _ in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}";
        let mut env = Environment::new();
        env.set_fuel(Some(100_000));
        env.add_filter("tojson", tojson);
        let error = env.render_str(doubled, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfFuel);
    }
}
