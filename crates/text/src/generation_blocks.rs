//! `{% generation %}`: transformers' extension to Jinja. Templates for training
//! put it around the model's own words; when a prompt is rendered its contents
//! are rendered plainly, in a scope of their own. That is what Jinja's `with`
//! does, so the tags are renamed before the template engine, which cannot be
//! taught new tags, sees them.

/// The template with every `generation` block turned into a `with` block, white
/// space control kept. Comments, raw blocks and strings are left as they are. A
/// tag that never ends is left for the template engine to report.
pub(crate) fn rename(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    let mut in_raw = false;
    while let Some(start) = rest.find('{') {
        let (text, tail) = rest.split_at(start);
        out.push_str(text);
        let length = match tail.as_bytes().get(1) {
            Some(b'%') => {
                let name = tag_name(tail);
                let renamed = match name {
                    "generation" if !in_raw => Some("with"),
                    "endgeneration" if !in_raw => Some("endwith"),
                    _ => None,
                };
                if let Some(renamed) = renamed {
                    let at = tail.len() - tail[2..].trim_start_matches(is_before_name).len();
                    out.push_str(&tail[..at]);
                    out.push_str(renamed);
                    rest = &tail[at + name.len()..];
                    continue;
                }
                in_raw = name == "raw" || (in_raw && name != "endraw");
                if in_raw { 2 } else { code_length(tail, "%}") }
            }
            Some(b'{') if !in_raw => code_length(tail, "}}"),
            Some(b'#') if !in_raw => tail.find("#}").map_or(tail.len(), |end| end + 2),
            _ => 1,
        };
        out.push_str(&tail[..length]);
        rest = &tail[length..];
    }
    out.push_str(rest);
    out
}

fn is_before_name(character: char) -> bool {
    matches!(character, '-' | '+') || character.is_whitespace()
}

/// The first word of the tag that `tail` begins with.
fn tag_name(tail: &str) -> &str {
    let name = tail[2..].trim_start_matches(is_before_name);
    let end = name.find(|character: char| !character.is_alphanumeric() && character != '_');
    &name[..end.unwrap_or(name.len())]
}

/// How far the code at the start of `tail` reaches, its `close` included. The
/// same characters in a string or inside brackets do not close it.
fn code_length(tail: &str, close: &str) -> usize {
    let bytes = tail.as_bytes();
    let mut depth = 0_usize;
    let mut quote = None;
    let mut at = 2;
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, _) if depth == 0 && bytes[at..].starts_with(close.as_bytes()) => {
                return at + close.len();
            }
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{' | b'[' | b'(') => depth += 1,
            (None, b'}' | b']' | b')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        at += 1;
    }
    tail.len()
}

#[cfg(test)]
mod tests {
    use super::rename;

    #[test]
    fn the_tags_become_with_and_keep_their_white_space_control() {
        assert_eq!(
            rename("a {%- generation -%} b {%+ endgeneration %}\nc"),
            "a {%- with -%} b {%+ endwith %}\nc"
        );
        assert_eq!(
            rename("{%generation%}x{%endgeneration%}"),
            "{%with%}x{%endwith%}"
        );
    }

    #[test]
    fn everything_else_is_left_alone() {
        for template in [
            "no tags, {just} braces { {",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{{ {# {% endraw %}",
            "{{ '{% generation %}' }}{{ \"}} {% generation %}\" }}",
            "{{ '\\'}} {% generation %}' }}",
            "{{ {'a': {'b': '{% generation %}'}} }}",
            "{% if add_generation_prompt %}generation{% endif %}",
            "{% set generation = 1 %}{% generations %}",
            "{% generatio",
            "{{ 'never closed {% generation %}",
            "{",
            "{%",
            "é{{ 'é' }}",
        ] {
            assert_eq!(rename(template), template);
        }
    }

    #[test]
    fn a_block_after_tricky_code_is_still_found() {
        for code in [
            "{{ {'a': {}} }}",
            "{{ '}}' }}",
            "{% set x = '%}' %}",
            "{# ' #}",
            "{% raw %}'{{{% endraw %}",
        ] {
            let template = format!("{code}{{% generation %}}");
            assert_eq!(rename(&template), format!("{code}{{% with %}}"));
        }
    }
}
