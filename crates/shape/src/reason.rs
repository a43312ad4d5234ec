//! Why a request or a session is refused or fails: the reasons of all statuses of both servers.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// A reason, part of the interface: it travels by its name in capitals (`PROMPT_TOO_LONG`), in the
/// `ErrorInfo` of a gRPC status. Names are kept like field numbers; docs/protocol.md has when each comes and
/// what to do about it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray, strum::Display,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    // A session's first message.
    /// The first message is no `Open`.
    NotOpen,
    /// A second `Open`.
    OpenTwice,
    /// A session is to be taken up without the feature for it.
    Resume,
    /// No `Open` came in time.
    OpenTimeout,
    /// No common version of the protocol.
    Version,
    /// A feature that is not served.
    Feature,
    /// No common codec.
    Codec,
    /// A codec profile is not known, not accepted or damaged.
    Profile,
    /// A fingerprint has not its 32 bytes.
    Fingerprint,
    /// The weights differ.
    Model,
    /// The tokenizers differ.
    Tokenizer,
    /// The split is not served.
    Split,
    /// A session's id has not its 16 bytes, or is in use.
    SessionId,
    /// Names of pages to begin with that cannot be.
    Pages,

    // A session's other messages.
    /// A message of no known kind.
    Message,
    /// Rows, ids and frame disagree.
    Rows,
    /// A frame's payload is refused.
    Frame,
    /// A frame does not match its checksum.
    Checksum,
    /// Rows leave a gap.
    OutOfOrder,
    /// An epoch that has not begun.
    Epoch,
    /// An edge asks for the token after rows that it had sent without asking for one.
    NotSampled,
    /// Sampling needs ids that the cloud does not have.
    TokenIdsUnknown,
    /// A `Run` that cannot be.
    Run,
    /// An edge asks for a token before it has sent a `Run`.
    NoRun,
    /// What an answer has to keep cannot be kept, or is not served.
    Constraint,
    /// A ping with too much padding.
    Ping,

    // A session's end.
    /// Rows past the context.
    ContextFull,
    /// No memory for keys and values.
    KvMemory,
    /// As many sessions or answers run as may.
    Sessions,
    /// Nothing was heard for too long.
    Idle,
    /// Another session needed the room.
    Evicted,
    /// The engine has lost the session.
    SessionGone,
    /// A step failed.
    StepFailed,
    /// The engine has ended.
    EngineStopped,
    /// The server shuts down.
    Draining,

    // The edge's link.
    /// No connection to the cloud, or it broke.
    CloudUnreachable,
    /// The cloud refuses the edge's token.
    CloudRefused,
    /// The cloud ended the session without a word.
    CloudGone,
    /// The cloud answered what was not asked.
    CloudAnswer,
    /// The cloud granted less than it had described.
    GrantedLess,
    /// The cloud holds its layers in other types than when an answer began.
    CloudChanged,
    /// The cloud sent no token where it had to.
    NoToken,

    // A client's request.
    /// No bearer token, or none that is known.
    Token,
    /// The client's certificate has a name that is not listed.
    Certificate,
    /// No prompt.
    Prompt,
    /// Nothing to tokenise.
    Input,
    /// No messages, or the chat template refuses them.
    Messages,
    /// The model has no usable chat template.
    ChatTemplate,
    /// A token id outside the vocabulary.
    TokenId,
    /// The prompt leaves no room in the context.
    PromptTooLong,
    /// Too many prompts wait to be tokenised.
    Prompts,
    /// `max_tokens` is 0.
    MaxTokens,
    /// Stop strings that cannot be.
    Stop,
    /// Sampling parameters out of range.
    Sampling,
    /// `grpc-timeout` is malformed.
    Timeout,
    /// A body that is not a JSON object.
    Body,
    /// A field of a body that cannot be, or is not served.
    Field,
    /// Another model's name.
    ModelNotFound,

    // A client's answer.
    /// The edge plans its split.
    Planning,
    /// The edge loads its model.
    Loading,
    /// The client's deadline passed.
    Deadline,
    /// The client did not read.
    NotRead,
    /// The tokenizer failed.
    Text,
    /// The answer ended before its end.
    EndedEarly,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name, in capitals.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
    const OPENAI: &str = include_str!("../../../docs/openai.md");

    #[test]
    fn every_reason_has_its_name_and_is_documented() {
        for &reason in Reason::ALL {
            let name = reason.name();
            assert_eq!(name.parse(), Ok(reason));
            let openai = format!("`{}`", name.to_ascii_lowercase());
            assert!(
                PROTOCOL.contains(&format!("`{name}`")) || OPENAI.contains(&openai),
                "{name}"
            );
        }
        assert_eq!(Reason::PromptTooLong.name(), "PROMPT_TOO_LONG");
        assert!("OF_A_LATER_VERSION".parse::<Reason>().is_err());
    }
}
