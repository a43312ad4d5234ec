//! What can be wrong with a form.

/// Why no answer can be made to keep a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It cannot be compiled.
    #[error("cannot be kept: {0}")]
    Refused(String),
    /// Its brackets are nested too deeply.
    #[error("has brackets within brackets more than {most} deep")]
    TooDeep {
        /// How deep they may be.
        most: usize,
    },
    /// The tokens that an answer has already do not keep it.
    #[error("the tokens that were answered do not keep it")]
    Answered,
}

impl FormError {
    /// Of what llguidance says, which may hold the trace of a panic.
    pub(crate) fn of(message: &str) -> Self {
        const LONGEST: usize = 400;
        let message = match message.lines().next() {
            Some(line) if !line.starts_with("panic") => line.trim(),
            _ => "it is too much for the compiler",
        };
        Self::Refused(message.chars().take(LONGEST).collect())
    }
}
