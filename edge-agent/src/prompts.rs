//! Text and messages to token ids, off the threads that move bytes.
//!
//! Tokenising a long text takes seconds and hundreds of bytes of memory for each of its own. So a text
//! that cannot fit the context is refused by a glance at its bytes, and the others take turns on a
//! thread of their own.

use crate::conversation::Conversation;
use crate::error::{AnswerError, RequestError};
use std::sync::Arc;
use tandem_text::{ChatTemplate, TextError, Tokenizer};
use tokio::sync::{Semaphore, TryAcquireError};

/// Prompts that are made at once: one, for the processors are the engine's.
const AT_ONCE: usize = 1;

/// Prompts that may wait for their turn. Their texts lie in memory.
const WAITING: usize = 64;

/// Makes prompts.
#[derive(Debug)]
pub struct Prompts {
    text: Arc<Text>,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Text {
    tokenizer: Tokenizer,
    /// Messages to text, or why the model cannot chat.
    template: Result<ChatTemplate, Arc<TextError>>,
}

/// A conversation's prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompted {
    /// Its token ids.
    pub ids: Vec<u32>,
    /// Whether it ends with the mark behind which the model thinks.
    pub thinks: bool,
}

/// The mark behind which a model thinks.
const THINKS: &str = "<think>";

/// Where a text comes from, as its refusals name it.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    /// A plain prompt.
    Prompt,
    /// Messages, as their template wrote them.
    Messages,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Messages => "messages",
        }
    }
}

impl Prompts {
    /// Prompts for a model.
    pub fn new(tokenizer: Tokenizer, template: Result<ChatTemplate, TextError>) -> Self {
        Self {
            text: Arc::new(Text {
                tokenizer,
                template: template.map_err(Arc::new),
            }),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
        }
    }

    /// The model's chat template, where it has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.text.template.as_ref().ok()
    }

    /// The ids of a plain prompt, with the special tokens the model puts around one or without them.
    ///
    /// # Errors
    /// It cannot fit `context` positions, too many prompts wait, or the tokenizer fails.
    pub async fn of_text(
        &self,
        text: String,
        special_tokens: bool,
        context: usize,
    ) -> Result<Vec<u32>, AnswerError> {
        self.text.check(&text, Field::Prompt, context)?;
        self.in_turn(move |own| own.encode(&text, special_tokens))
            .await
    }

    /// The text of ids, with special tokens or without them.
    ///
    /// # Errors
    /// More than `context` ids, too many prompts wait, or the tokenizer fails.
    pub async fn of_ids(
        &self,
        ids: Vec<u32>,
        special_tokens: bool,
        context: usize,
    ) -> Result<String, AnswerError> {
        if ids.len() > context {
            let why = format!("has {} tokens", ids.len());
            return Err(too_long(Field::Prompt, &why, context));
        }
        self.in_turn(move |own| {
            let text = own.tokenizer.decode(&ids, !special_tokens);
            text.map_err(|error| text_error(Arc::new(error)))
        })
        .await
    }

    /// The text of each of these ids by itself.
    ///
    /// # Errors
    /// Too many prompts wait.
    pub async fn of_each(&self, ids: Vec<u32>) -> Result<Vec<String>, AnswerError> {
        self.in_turn(move |own| {
            let spell = |id| own.tokenizer.decode(&[id], false).unwrap_or_default();
            Ok(ids.into_iter().map(spell).collect())
        })
        .await
    }

    /// The prompt of a conversation, opened for an answer.
    ///
    /// # Errors
    /// As [`Prompts::of_text`]; or the template refuses the messages, or the model has none.
    pub async fn of_conversation(
        &self,
        conversation: Conversation,
        context: usize,
    ) -> Result<Prompted, AnswerError> {
        if conversation.messages.is_empty() {
            return Err(RequestError::NoMessages.into());
        }
        let bytes = conversation.bytes();
        self.text.check_bytes(bytes, Field::Messages, context)?;
        self.in_turn(move |own| {
            let template = own
                .template
                .as_ref()
                .map_err(|error| text_error(Arc::clone(error)))?;
            let text = conversation
                .render(template)
                .map_err(|error| text_error(Arc::new(error)))?;
            own.check(&text, Field::Messages, context)?;
            Ok(Prompted {
                // The template has written the special tokens.
                ids: own.encode(&text, false)?,
                thinks: text.trim_end().ends_with(THINKS),
            })
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Text) -> Result<T, AnswerError> + Send + 'static,
    ) -> Result<T, AnswerError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits) => {
                return Err(AnswerError::TooManyPrompts { waiting: WAITING });
            }
            Err(TryAcquireError::Closed) => return Err(AnswerError::Tokenising),
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| AnswerError::Tokenising)?;
        let text = Arc::clone(&self.text);
        let done = tokio::task::spawn_blocking(move || {
            // Held to the end, also when nobody waits for it any more.
            let _held = (place, turn);
            work(&text)
        });
        done.await.map_err(|_| AnswerError::Tokenising)?
    }
}

impl Text {
    fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, AnswerError> {
        let ids = self.tokenizer.encode(text, add_special_tokens);
        ids.map_err(|error| text_error(Arc::new(error)))
    }

    /// Refuses a text that takes more tokens than the context has positions, before it is tokenised.
    fn check(&self, text: &str, field: Field, context: usize) -> Result<(), AnswerError> {
        self.check_bytes(text.len(), field, context)?;
        let least = self.tokenizer.least_tokens(text);
        if least > context {
            return Err(too_long(
                field,
                &format!("has at least {least} tokens"),
                context,
            ));
        }
        Ok(())
    }

    fn check_bytes(&self, bytes: usize, field: Field, context: usize) -> Result<(), AnswerError> {
        let most = self.tokenizer.longest_token_bytes().saturating_mul(context);
        if bytes > most {
            let why =
                format!("has {bytes} bytes, more than the {most} that {context} tokens can have");
            return Err(too_long(field, &why, context));
        }
        Ok(())
    }
}

fn too_long(field: Field, why: &str, context: usize) -> AnswerError {
    let error = RequestError::PromptTooLong {
        field: field.name(),
        problem: format!("{why}; the context is {context} tokens"),
    };
    error.into()
}

fn text_error(error: Arc<TextError>) -> AnswerError {
    match *error {
        TextError::ChatTemplateRaised { .. } | TextError::ChatTemplateRender { .. } => {
            RequestError::Messages(error).into()
        }
        TextError::NoChatTemplate { .. }
        | TextError::NoDefaultChatTemplate { .. }
        | TextError::ChatTemplateSyntax { .. } => RequestError::ChatTemplate(error).into(),
        _ => AnswerError::Text(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[tokio::test]
    async fn so_many_prompts_wait_and_no_more() {
        let model =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models/llama-bf16");
        let tokenizer = Tokenizer::load(&model).unwrap();
        let prompts = Arc::new(Prompts::new(tokenizer, ChatTemplate::load(&model)));
        let ask =
            |prompts: Arc<Prompts>| async move { prompts.of_text("a".to_owned(), true, 100).await };
        let turn = Arc::clone(&prompts.turns).acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..AT_ONCE + WAITING)
            .map(|_| tokio::spawn(ask(Arc::clone(&prompts))))
            .collect();
        while prompts.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = ask(Arc::clone(&prompts)).await.unwrap_err();
        assert!(
            matches!(refused, AnswerError::TooManyPrompts { .. }),
            "{refused}"
        );
        drop(turn);
        for answer in waiting {
            assert!(!answer.await.unwrap().unwrap().is_empty());
        }
        ask(prompts).await.unwrap();
    }
}
