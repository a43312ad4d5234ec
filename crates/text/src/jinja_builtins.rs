//! The filters and tests that mean something else in minijinja than in Jinja,
//! with Jinja's meaning. Found by rendering some 300 published templates with both.

use minijinja::value::{Kwargs, Rest, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, State, Value, filters};

/// Puts Jinja's meanings in place of minijinja's.
pub(crate) fn install(environment: &mut Environment<'_>) {
    environment.add_test("iterable", is_iterable);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
}

/// minijinja takes none for an empty list; templates ask `tools is iterable` to
/// learn whether there are any.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && (value.is_undefined() || value.try_iter().is_ok())
}

/// `x | default(default_value='', boolean=false)`, where both have names too.
fn default(value: Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (other, boolean, kwargs): (Option<Value>, Option<bool>, Kwargs) = from_args(&arguments)?;
    let other = named(other, &kwargs, "default_value")?.unwrap_or_else(|| Value::from(""));
    let boolean = match boolean {
        Some(boolean) => boolean,
        None => kwargs.get::<Option<bool>>("boolean")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let missing = value.is_undefined() || (boolean && !value.is_true());
    Ok(if missing { other } else { value })
}

/// `x | int(default=0, base=10)`: what is no number is the default, not an error.
fn int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = named(default, &kwargs, "default")?.unwrap_or_else(|| Value::from(0));
    filters::int(state, value, Some(default), base, kwargs)
}

/// `x | float(default=0.0)`: likewise.
fn float(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = named(default, &kwargs, "default")?.unwrap_or_else(|| Value::from(0.0));
    filters::float(state, value, Some(default), kwargs)
}

/// An argument that may come by position or by name.
fn named(positional: Option<Value>, kwargs: &Kwargs, name: &str) -> Result<Option<Value>, Error> {
    match positional {
        Some(value) => Ok(Some(value)),
        None if kwargs.has(name) => kwargs.get::<Value>(name).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each expected text is what Jinja 3.1 gives.
    #[test]
    fn the_meanings_are_jinjas() {
        let mut environment = Environment::new();
        install(&mut environment);
        for (expression, expected) in [
            ("none is iterable", "False"),
            ("1 is iterable", "False"),
            ("true is iterable", "False"),
            ("missing is iterable", "True"),
            ("'' is iterable", "True"),
            ("[] is iterable", "True"),
            ("{} is iterable", "True"),
            ("missing | default('a')", "a"),
            ("missing | default", ""),
            ("none | default('a')", "None"),
            ("'' | d('a')", ""),
            ("'' | default('a', true)", "a"),
            ("0 | default('a', boolean=true)", "a"),
            ("missing | default(default_value=none)", "None"),
            ("1 | default('a', boolean=true)", "1"),
            ("'12' | int + 1", "13"),
            ("'2.7' | int", "2"),
            ("2.7 | int", "2"),
            ("true | int", "1"),
            ("none | int", "0"),
            ("[] | int(default=5)", "5"),
            ("'x' | int", "0"),
            ("'x' | int(-1)", "-1"),
            ("'1.5' | float", "1.5"),
            ("2 | float", "2.0"),
            ("'x' | float", "0.0"),
            ("'x' | float('y')", "y"),
            ("'ff' | int(base=16)", "255"),
        ] {
            let template = format!("{{{{ {expression} }}}}");
            assert_eq!(
                environment.render_str(&template, ()).unwrap(),
                expected,
                "{expression}"
            );
        }
        let unknown = environment.render_str("{{ 1 | default(bolean=true) }}", ());
        assert!(unknown.is_err());
    }
}
