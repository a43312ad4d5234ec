//! The marks by which a model tells apart what it thinks, what it says and what it calls: which ones it has, and what
//! follows for the answers to a request.

use crate::config::ToolCalls;
use crate::forms::{Form, Functions, Thought, constraint};
use crate::parts::{CallFormat, Callable, Splitter, THINKS};
use std::collections::BTreeSet;
use std::sync::Arc;
use tandem_proto::v1;
use tandem_text::ChatTemplate;

/// The marks of a model.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// How it writes calls of functions.
    calls: CallFormat,
    /// Whether it may think before it answers.
    may_think: bool,
}

impl Marks {
    /// Those that a model's chat template has, and of its calls those that are configured.
    pub fn new(template: Option<&ChatTemplate>, configured: ToolCalls) -> Self {
        let source = template.map_or("", |template| template.source());
        let calls = match configured {
            // The model is told of them in words, and of this form.
            _ if !template.is_some_and(|template| template.reads("tools")) => CallFormat::Hermes,
            ToolCalls::Auto => CallFormat::of_template(source),
            ToolCalls::Format(format) => format,
        };
        Self {
            calls,
            may_think: source.contains(THINKS.1),
        }
    }

    /// What the model thinks before its answer, whose prompt may have begun that.
    pub(crate) fn thought(self, begun: bool) -> Thought {
        match (begun, self.may_think) {
            (true, _) => Thought::Begun,
            (false, true) => Thought::Possible,
            (false, false) => Thought::None,
        }
    }

    /// What the cloud keeps an answer to.
    pub(crate) fn constraint(
        self,
        form: &Form,
        functions: &Functions,
        thought: Thought,
    ) -> Option<v1::Constraint> {
        constraint(form, functions, self.calls, thought)
    }

    /// What tells the parts apart of an answer that may call functions, behind what the model thinks.
    pub(crate) fn splitter(self, thought: Thought, functions: &Functions) -> Splitter {
        let mut parts = Splitter::new();
        if thought != Thought::None {
            parts = parts.with_reasoning(thought == Thought::Begun);
        }
        let names: BTreeSet<String> = functions.all.iter().map(|f| f.name.clone()).collect();
        if names.is_empty() {
            return parts;
        }
        parts.with_calls(Callable {
            format: self.calls,
            functions: Arc::new(names),
            only_one: functions.one_call(),
        })
    }
}
