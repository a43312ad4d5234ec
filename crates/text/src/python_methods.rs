//! Methods of Python's strings that chat templates call and that
//! minijinja-contrib, which has the others, does not have.

use std::fmt::Write;

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Bytes that a step of a template's fuel is enough for.
const BYTES_A_STEP: usize = 64;

/// Calls `value.method(*arguments)` as Python would.
pub(crate) fn unknown_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let text = value.as_str();
    let text = text.filter(|_| value.kind() == ValueKind::String);
    let Some(text) = text else {
        return unknown_method_callback(state, value, method, arguments);
    };
    pay(
        state,
        text.len()
            .saturating_add(most_added(text, method, arguments)),
    )?;
    if method == "join" {
        return join(state, text, arguments);
    }
    if method == "format" {
        let arguments = printed(state, arguments)?;
        return unknown_method_callback(state, value, method, &arguments);
    }
    let ours = string_method(text, method, arguments)?;
    match ours {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, arguments),
    }
}

/// Takes what some bytes cost of the template's fuel. The engine counts what comes of a method when it is there, of a list
/// not its texts, and not what the method has read.
fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_A_STEP) as u64)
}

/// Bytes that a method may add to a text.
fn most_added(text: &str, method: &str, arguments: &[Value]) -> usize {
    match (method, arguments) {
        ("replace", [old, new, ..]) => match (old.as_str(), new.as_str()) {
            (Some(old), Some(new)) => text.matches(old).count().saturating_mul(new.len()),
            _ => 0,
        },
        // Every number in it may be a width.
        ("format", _) => {
            let numbers = text.split(|character: char| !character.is_ascii_digit());
            let numbers = numbers.filter(|digits| !digits.is_empty());
            numbers.fold(0, |sum: usize, digits| {
                sum.saturating_add(digits.parse().unwrap_or(usize::MAX))
            })
        }
        _ => 0,
    }
}

/// As `str.join`, of items that need not be texts.
fn join(state: &State<'_, '_>, text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (items,): (&Value,) = from_args(arguments)?;
    let mut joined = String::new();
    for (number, item) in items.try_iter()?.enumerate() {
        if number > 0 {
            joined.push_str(text);
        }
        let printed = print(state, &item)?;
        pay(state, BYTES_A_STEP + text.len() + printed.len())?;
        joined.push_str(&printed);
    }
    Ok(Value::from(joined))
}

/// Arguments whose lists and dictionaries are printed.
fn printed(state: &State<'_, '_>, arguments: &[Value]) -> Result<Vec<Value>, Error> {
    let printed = arguments.iter().map(|value| match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if !value.is_kwargs() => {
            print(state, value).map(Value::from)
        }
        _ => Ok(value.clone()),
    });
    printed.collect()
}

/// A value as text. What a list has in it may be in many places of it, so it is paid for piece by piece.
pub(crate) fn print(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut printed = Printed {
        state,
        text: String::new(),
        failed: None,
    };
    // It fails where the fuel is short, and says so below.
    let _ = write!(printed, "{value}");
    match printed.failed {
        None => Ok(printed.text),
        Some(error) => Err(error),
    }
}

struct Printed<'a> {
    state: &'a State<'a, 'a>,
    text: String,
    failed: Option<Error>,
}

impl Write for Printed<'_> {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        match pay(self.state, BYTES_A_STEP + piece.len()) {
            Ok(()) => {
                self.text.push_str(piece);
                Ok(())
            }
            Err(error) => {
                self.failed = Some(error);
                Err(std::fmt::Error)
            }
        }
    }
}

fn string_method(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let parts = text.split_once(non_empty(separator)?);
            let (before, after) = parts.unwrap_or((text, ""));
            let found = if parts.is_some() { separator } else { "" };
            tuple([before, found, after])
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let parts = text.rsplit_once(non_empty(separator)?);
            let (before, after) = parts.unwrap_or(("", text));
            let found = if parts.is_some() { separator } else { "" };
            tuple([before, found, after])
        }
        "rsplit" => {
            let (separator, limit): (Option<&str>, Option<i64>) = from_args(arguments)?;
            // A negative limit is Python's word for none.
            let limit = limit.and_then(|limit| usize::try_from(limit).ok());
            let mut parts = match separator {
                Some(separator) => rsplit_at(text, non_empty(separator)?, limit),
                None => rsplit_white_space(text, limit),
            };
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        _ => return Ok(None),
    }))
}

fn tuple(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}

fn non_empty(separator: &str) -> Result<&str, Error> {
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    Ok(separator)
}

/// At most `limit` cuts, from the end; the last part first.
fn rsplit_at<'a>(text: &'a str, separator: &str, limit: Option<usize>) -> Vec<&'a str> {
    match limit {
        Some(limit) => text.rsplitn(limit.saturating_add(1), separator).collect(),
        None => text.rsplit(separator).collect(),
    }
}

/// The same at runs of white space, which also disappear at both ends.
fn rsplit_white_space(text: &str, limit: Option<usize>) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        let cut = match limit {
            Some(limit) if parts.len() >= limit => None,
            _ => rest.rsplit_once(char::is_whitespace),
        };
        let (before, part) = cut.unwrap_or(("", rest));
        parts.push(part);
        rest = before.trim_end();
    }
    parts
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, ErrorKind};

    /// Each expected text is what Python 3.11 gives.
    #[test]
    fn the_methods_do_what_pythons_do() {
        let mut env = Environment::new();
        env.set_unknown_method_callback(super::unknown_method);
        for (expression, expected) in [
            ("'<s>a'.removeprefix('<s>')", "a"),
            ("'a</s>'.removesuffix('</s>')", "a"),
            ("'a'.removeprefix('<s>')", "a"),
            ("'a=b=c'.partition('=')[2]", "b=c"),
            ("'a=b=c'.rpartition('=')[0]", "a=b"),
            ("'abc'.partition('=')|join('|')", "abc||"),
            ("'abc'.rpartition('=')|join('|')", "||abc"),
            ("'a.b.c'.rsplit('.', 1)|join('|')", "a.b|c"),
            ("'a.b.c'.rsplit('.')|join('|')", "a|b|c"),
            ("'a.b.c'.rsplit('.', -1)|join('|')", "a|b|c"),
            ("' a  b c '.rsplit()|join('|')", "a|b|c"),
            ("' a  b c '.rsplit(none, 1)|join('|')", " a  b|c"),
            ("' a '.strip().upper()", "A"),
            ("'-'.join(['a', 1, none])", "a-1-None"),
            ("''.join('abc')", "abc"),
            ("'aXbX'.replace('X', 'yy')", "ayybyy"),
            ("'{:>4}|{}'.format('a', [1, 'b'])", "   a|[1, 'b']"),
        ] {
            let template = format!("{{{{ {expression} }}}}");
            assert_eq!(
                env.render_str(&template, ()).unwrap(),
                expected,
                "{expression}"
            );
        }
        assert!(env.render_str("{{ 'a'.rsplit('') }}", ()).is_err());
        assert!(env.render_str("{{ 'a'.nonsense() }}", ()).is_err());
    }

    #[test]
    fn what_methods_make_takes_of_the_fuel_before_it_is_made() {
        let mut env = Environment::new();
        env.set_fuel(Some(100_000));
        env.set_unknown_method_callback(super::unknown_method);
        let long = "{% set a = 'a' * 1000000 %}";
        let doubled = "{% set ns = namespace(x=[1]) %}\
            {% for _ in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
        for template in [
            format!("{long}{{{{ a.replace('a', a) | length }}}}"),
            format!("{long}{{{{ a.replace('', a) | length }}}}"),
            format!("{long}{{{{ a.join(range(100000)) | length }}}}"),
            format!(
                "{long}{{% for _ in range(9000) %}}{{% set b = a.partition('b') %}}{{% endfor %}}"
            ),
            format!("{doubled}{{{{ '-'.join(ns.x) }}}}"),
            format!("{doubled}{{{{ '{{}}'.format(ns.x) | length }}}}"),
            "{{ '{:>9000000000}'.format(1) }}".to_owned(),
            "{{ '{:>99999999999999999999999}'.format(1) }}".to_owned(),
        ] {
            let error = env.render_str(&template, ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfFuel, "{template}: {error}");
        }
    }
}
