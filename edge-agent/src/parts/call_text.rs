//! The text of one call, as far as it has come: how it begins, and where its arguments end.

/// How far a JSON object has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JsonObject {
    /// Brackets that are open.
    depth: usize,
    in_text: bool,
    escapes: bool,
}

impl JsonObject {
    /// One whose beginning has come.
    pub(super) fn begun() -> Self {
        Self {
            depth: 1,
            ..Self::default()
        }
    }

    /// How many bytes of a text belong to it, and whether it ends there: a mark does not belong to it.
    pub(super) fn take(&mut self, text: &str) -> (usize, bool) {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'<' if !self.in_text => return (at, true),
                _ if self.escapes => self.escapes = false,
                b'\\' if self.in_text => self.escapes = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
        }
        (text.len(), false)
    }
}

/// What a text begins with, which may be a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning<'a> {
    /// The name of the function, and what follows from the beginning of its arguments on.
    Call(String, &'a str),
    /// It is too short to say.
    Open,
    /// No call, or one that is written otherwise.
    Other,
}

/// The longest beginning of a call that is waited for, in bytes.
const LONGEST_BEGINNING: usize = 512;

impl<'a> Beginning<'a> {
    /// Of a call in the form that models are asked to write: the name first, then an object of arguments.
    pub(super) fn of(text: &'a str) -> Self {
        match Self::read(text) {
            Ok((name, arguments)) => Self::Call(name, arguments),
            Err(Self::Open) if text.len() > LONGEST_BEGINNING => Self::Other,
            Err(other) => other,
        }
    }

    fn read(text: &'a str) -> Result<(String, &'a str), Self> {
        let mut rest = text;
        for mark in ["{", "\"name\"", ":"] {
            rest = Self::behind(rest, &[mark])?;
        }
        let text = rest.trim_start();
        let mut inside = text.char_indices().skip(1);
        let mut escapes = false;
        let end = inside.find_map(|(at, character)| {
            let ends = character == '"' && !escapes;
            escapes = character == '\\' && !escapes;
            ends.then_some(at + 1)
        });
        let name = match end {
            _ if !text.is_empty() && !text.starts_with('"') => return Err(Self::Other),
            None => return Err(Self::Open),
            Some(end) => serde_json::from_str(&text[..end]).map_err(|_| Self::Other)?,
        };
        rest = &text[end.unwrap_or(0)..];
        for marks in [&[","][..], &["\"arguments\"", "\"parameters\""], &[":"]] {
            rest = Self::behind(rest, marks)?;
        }
        let arguments = rest.trim_start();
        Self::behind(arguments, &["{"])?;
        Ok((name, arguments))
    }

    /// What follows the one of some marks that a text begins with.
    fn behind(text: &'a str, marks: &[&str]) -> Result<&'a str, Self> {
        let text = text.trim_start();
        let found = marks.iter().find_map(|mark| text.strip_prefix(mark));
        found.ok_or(if marks.iter().any(|mark| mark.starts_with(text)) {
            Self::Open
        } else {
            Self::Other
        })
    }
}
