//! What can go wrong between a model directory, a prompt and text: one type, so
//! that a caller maps it to a status in one place.

use std::path::PathBuf;

/// Everything this crate refuses, with the values a person needs to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file of the model directory could not be read (missing, or no permission).
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A file of the model directory is not the JSON it should be.
    #[error("{} is not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and how the parser stopped.
        source: serde_json::Error,
    },

    /// A field has another type or value than the format gives it.
    #[error("{}: field `{field}`: expected {expected}, found {found}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field's name.
        field: &'static str,
        /// What the format allows.
        expected: &'static str,
        /// What the file says, shortened.
        found: String,
    },

    /// `tokenizer.json` is JSON, but not a tokenizer that can be run here.
    #[error("{} is not a usable tokenizer: {detail}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The tokenizers library's own words.
        detail: String,
    },

    /// A text does not fill one chunk.
    #[error("the text has {found} tokens, one chunk takes {needed}")]
    TooShort {
        /// Tokens of the text.
        found: usize,
        /// Tokens of a chunk.
        needed: usize,
    },

    /// A special token that the model needs is not in its vocabulary.
    #[error("the {role} token `{token}` of {} is not in the tokenizer's vocabulary", dir.display())]
    UnknownSpecialToken {
        /// The model directory.
        dir: PathBuf,
        /// `bos` or `eos`.
        role: &'static str,
        /// The token's text.
        token: String,
    },

    /// Text could not be turned into token ids.
    #[error("cannot tokenise the text: {detail}")]
    Encode {
        /// The tokenizers library's own words.
        detail: String,
    },

    /// Token ids could not be turned into text.
    #[error("cannot decode token ids: {detail}")]
    Decode {
        /// The tokenizers library's own words.
        detail: String,
    },

    /// The model has no chat template, so messages cannot become a prompt.
    #[error(
        "{} has no chat template: neither a `chat_template` in tokenizer_config.json nor a \
         chat_template.jinja; send a plain prompt, or add the template of the model you fine-tuned",
        dir.display()
    )]
    NoChatTemplate {
        /// The model directory.
        dir: PathBuf,
    },

    /// The model has several named chat templates, none of them called `default`.
    #[error(
        "{} names its chat templates {}, and none is called `default`",
        path.display(),
        names.join(", ")
    )]
    NoDefaultChatTemplate {
        /// The file that lists them.
        path: PathBuf,
        /// The names it lists.
        names: Vec<String>,
    },

    /// The chat template is not a template: a fault of the model, found when it is loaded.
    #[error("the chat template of {origin} does not compile: {detail}")]
    ChatTemplateSyntax {
        /// The file that holds the template.
        origin: String,
        /// The template engine's own words, with the line.
        detail: String,
    },

    /// The template called `raise_exception`: the messages are not a conversation
    /// this model knows (roles that do not alternate, a system message it does not take).
    #[error("the model's chat template refuses these messages: {message}")]
    ChatTemplateRaised {
        /// The template's own words.
        message: String,
    },

    /// The template failed while it ran, other than by `raise_exception`.
    #[error("the chat template failed: {detail}")]
    ChatTemplateRender {
        /// The template engine's own words, with the line.
        detail: String,
    },

    /// A fixed clock was given a time that is not `YYYY-MM-DDTHH:MM:SS`.
    #[error("`{found}` is not a civil date and time (YYYY-MM-DDTHH:MM:SS): {detail}")]
    Time {
        /// What was given.
        found: String,
        /// The parser's own words.
        detail: String,
    },

    /// A stop string is empty: it would stop every answer before its first character.
    #[error("stop string {index} is empty")]
    StopStringEmpty {
        /// Its place in the request, from 0.
        index: usize,
    },

    /// A stop string is longer than the text an answer may hold back for it.
    #[error("stop string {index} has {bytes} bytes; at most {limit} are allowed")]
    StopStringTooLong {
        /// Its place in the request, from 0.
        index: usize,
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The most that is allowed, in bytes.
        limit: usize,
    },

    /// More stop strings than a request may carry.
    #[error("{count} stop strings; at most {limit} are allowed")]
    TooManyStopStrings {
        /// How many were given.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// A result whose error is [`TextError`].
pub type Result<T> = std::result::Result<T, TextError>;
