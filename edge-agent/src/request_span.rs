//! What the span of a request says of it. Its attributes have the names of OpenTelemetry's conventions
//! for generative AI where there are such; what is Tandem's own begins with `tandem.`.

use crate::answer::AnswerRequest;
use std::time::Instant;
use tandem_codec::Codec;
use tandem_proto::v1;
use tandem_status::error_type;
use tandem_telemetry::traces::{Span, TraceContext, Value};
use tonic::{Code, Status};

/// The span of a request that came at `began`, by what was called: `generate`, `chat` or `completions`.
pub fn request_span(
    called: &'static str,
    began: Instant,
    caller: impl FnOnce() -> Option<TraceContext>,
) -> Span {
    let mut span = Span::request(called, began, caller);
    if span.is_recording() {
        let operation = match called {
            "chat" => "chat",
            _ => "text_completion",
        };
        span.set("gen_ai.operation.name", operation);
        span.set("gen_ai.provider.name", "tandem");
    }
    span
}

/// What is said of the model that answers.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its name for people.
    pub model: String,
    /// Layers that run here.
    pub split: usize,
    /// How rows are written at best.
    pub codec: Codec,
}

/// What is asked for.
pub fn say_request(span: &mut Span, served: &Served, request: &AnswerRequest) {
    if !span.is_recording() {
        return;
    }
    span.set("gen_ai.request.model", served.model.as_str());
    if let Some(tokens) = request.max_tokens {
        span.set("gen_ai.request.max_tokens", u64::from(tokens));
    }
    span.set("gen_ai.usage.input_tokens", request.prompt.len());
    span.set("tandem.split", served.split);
    if served.split > 0 {
        span.set("tandem.codec", served.codec.name());
    }
}

/// What the answer came to, `reused` tokens of whose prompt were held already.
pub fn say_answer(span: &mut Span, reused: usize, finished: &v1::Finished) {
    if !span.is_recording() {
        return;
    }
    let tokens = u64::from(finished.completion_tokens);
    span.set("gen_ai.usage.output_tokens", tokens);
    let reason = tandem_wire::finish_name(finished.finish_reason());
    span.set("gen_ai.response.finish_reasons", Value::OneOf(reason));
    span.set("tandem.reused_tokens", reused);
    if let Some(wire) = &finished.wire {
        span.set("tandem.up_bytes", wire.up_bytes);
        span.set("tandem.down_bytes", wire.down_bytes);
    }
}

/// How a request failed. A caller that cancels has made no error.
pub fn say_failure(span: &mut Span, status: &Status) {
    let is_error = status.code() != Code::Cancelled;
    span.fail(&error_type(status), is_error.then(|| status.message()));
}
