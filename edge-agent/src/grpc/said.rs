//! The events of answers as gRPC's clients read them.

use crate::answer::AnswerEvent;
use crate::parts::{Part, Splitter};
use tandem_proto::v1;

/// Tells what is thought, said and called apart in the answers to one request.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Of each answer; none where all is told as it comes.
    of: Vec<Option<Splitter>>,
}

impl Parts {
    /// For so many answers.
    pub(crate) fn new(answers: usize, splitter: Option<Splitter>) -> Self {
        Self {
            of: vec![splitter; answers],
        }
    }

    /// The events that an event of that answer becomes.
    pub(crate) fn told(&mut self, answer: usize, event: AnswerEvent) -> Vec<AnswerEvent> {
        let Some(Some(splitter)) = self.of.get_mut(answer) else {
            return vec![event];
        };
        match event {
            AnswerEvent::Delta(mut delta) => {
                let text = std::mem::take(&mut delta.text);
                let parts = splitter.feed(&text);
                deltas(delta, parts)
            }
            AnswerEvent::Finished(finished) => {
                let cut = finished.finish_reason() == v1::FinishReason::Length;
                let rest = splitter.end(cut);
                let mut events = if rest.is_empty() {
                    Vec::new()
                } else {
                    deltas(v1::Delta::default(), rest)
                };
                events.push(AnswerEvent::Finished(finished));
                events
            }
            event @ (AnswerEvent::Started(_) | AnswerEvent::Step(_)) => vec![event],
        }
    }
}

impl From<AnswerEvent> for v1::chat_response::Event {
    fn from(event: AnswerEvent) -> Self {
        match event {
            AnswerEvent::Started(started) => Self::Started(started),
            AnswerEvent::Delta(delta) => Self::Delta(delta),
            AnswerEvent::Step(step) => Self::Step(*step),
            AnswerEvent::Finished(finished) => Self::Finished(finished),
        }
    }
}

/// Parts in their order, the first with what `delta` has besides text. One delta has several, as long as thoughts come
/// before words, and words before calls.
fn deltas(mut delta: v1::Delta, parts: Vec<Part>) -> Vec<AnswerEvent> {
    let mut events = Vec::new();
    for part in parts {
        let fits = match &part {
            Part::Reasoning(_) => delta.text.is_empty() && delta.tool_calls.is_empty(),
            Part::Content(_) => delta.tool_calls.is_empty(),
            Part::Call(_) | Part::CallPiece(_) => true,
        };
        if !fits {
            events.push(AnswerEvent::Delta(std::mem::take(&mut delta)));
        }
        match part {
            Part::Reasoning(text) => delta.reasoning += &text,
            Part::Content(text) => delta.text += &text,
            Part::Call(call) => delta.tool_calls.push(v1::ToolCall {
                id: call.id,
                name: call.name,
                arguments: call.arguments,
            }),
            // They come whole here.
            Part::CallPiece(_) => {}
        }
    }
    events.push(AnswerEvent::Delta(delta));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{CallFormat, Callable};
    use std::sync::Arc;

    fn parts() -> Parts {
        let callable = Callable {
            format: CallFormat::Hermes,
            functions: Arc::new(["add".to_owned()].into()),
            only_one: false,
        };
        let splitter = Splitter::new().with_reasoning(false).with_calls(callable);
        Parts::new(2, Some(splitter))
    }

    fn delta(text: &str, id: u32) -> AnswerEvent {
        AnswerEvent::Delta(v1::Delta {
            text: text.to_owned(),
            token_ids: vec![id],
            ..v1::Delta::default()
        })
    }

    /// What deltas have: ids, thoughts, words, and arguments of calls.
    fn read(events: Vec<AnswerEvent>) -> Vec<(Vec<u32>, String, String, Vec<String>)> {
        let deltas = events.into_iter().filter_map(|event| match event {
            AnswerEvent::Delta(delta) => Some(delta),
            _ => None,
        });
        let calls = |delta: v1::Delta| delta.tool_calls.into_iter().map(|call| call.arguments);
        deltas
            .map(|delta| {
                (
                    delta.token_ids.clone(),
                    delta.reasoning.clone(),
                    delta.text.clone(),
                    calls(delta).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn each_part_has_its_field_and_each_token_its_delta() {
        let mut parts = parts();
        let call = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        let thought = parts.told(0, delta("<think>Hm.</think>\n\nYes.", 1));
        let hm = (vec![1], "Hm.".to_owned(), "Yes.".to_owned(), vec![]);
        assert_eq!(read(thought), [hm]);
        // Of the other answer nothing is known to be of one part yet.
        let held = parts.told(1, delta("<thi", 9));
        assert_eq!(
            read(held),
            [(vec![9], String::new(), String::new(), vec![])]
        );
        let called = parts.told(0, delta(&format!(" And:\n{call}\n{call} Done."), 2));
        let arguments = || "{\"a\": 1}".to_owned();
        let expected = [
            (
                vec![2],
                String::new(),
                " And:".to_owned(),
                vec![arguments(), arguments()],
            ),
            (vec![], String::new(), " Done.".to_owned(), vec![]),
        ];
        assert_eq!(read(called), expected);
        let ended = parts.told(1, AnswerEvent::Finished(v1::Finished::default()));
        assert!(matches!(ended[1], AnswerEvent::Finished(_)));
        let rest = (vec![], String::new(), "<thi".to_owned(), vec![]);
        assert_eq!(read(ended), [rest]);
    }

    #[test]
    fn a_call_in_which_the_answer_ended_has_what_there_is_of_it() {
        let mut parts = parts();
        let begun = delta("<tool_call>{\"name\": \"add\", \"arguments\": {\"a\"", 1);
        let told = parts.told(0, begun);
        assert_eq!(
            read(told),
            [(vec![1], String::new(), String::new(), vec![])]
        );
        let cut = v1::Finished {
            finish_reason: v1::FinishReason::Length.into(),
            ..v1::Finished::default()
        };
        let told = parts.told(0, AnswerEvent::Finished(cut));
        let call = vec!["{\"a\"".to_owned()];
        assert_eq!(read(told), [(vec![], String::new(), String::new(), call)]);
    }

    #[test]
    fn an_answer_that_is_not_told_apart_stays_as_it_is() {
        let mut parts = Parts::new(1, None);
        let told = parts.told(0, delta("<think>", 1));
        assert_eq!(
            read(told),
            [(vec![1], String::new(), "<think>".to_owned(), vec![])]
        );
    }
}
