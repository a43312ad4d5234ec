//! Methods of Python's strings that chat templates call and that
//! minijinja-contrib, which has the others, does not have.

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Calls `value.method(*arguments)` as Python would.
pub(crate) fn unknown_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let ours = match value.as_str() {
        Some(text) if value.kind() == ValueKind::String => string_method(text, method, arguments)?,
        _ => None,
    };
    match ours {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, arguments),
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
    use minijinja::Environment;

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
}
