//! Any text is a chat template that writes a prompt for any messages, or fails: in bounded time and memory.
//!
//! The messages stand behind a zero byte, as JSON or else as what one user says.

use std::time::{Duration, Instant};
use tandem_text::{ChatMessage, ChatTemplate, Clock, RenderOptions, SpecialTokens, TemplateValue};

/// How long a rendering may take, with other work on the machine: its fuel is less than a second's.
const TAKES: Duration = Duration::from_secs(5);

/// Bytes of a prompt: what the fuel of a rendering is enough for.
const MOST: usize = 320 << 20;

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == 0);
    let (template, messages) = data.split_at(end.unwrap_or(data.len()));
    let template = String::from_utf8_lossy(template);
    let messages = String::from_utf8_lossy(messages.get(1..).unwrap_or_default());
    let special = SpecialTokens {
        bos: Some("<s>".to_owned()),
        eos: Some("</s>".to_owned()),
        ..SpecialTokens::default()
    };
    let began = Instant::now();
    let Ok(template) = ChatTemplate::new(&template, special) else {
        return;
    };
    let clock = Clock::fixed("2024-07-06T15:04:05").expect("a time");
    let template = template.with_clock(clock);
    let options = RenderOptions::default();
    let rendered = match serde_json::from_str::<Vec<TemplateValue>>(&messages) {
        Ok(values) => template.render(&values, &options),
        Err(_) => {
            let said = [
                ChatMessage::new("system", "Be brief."),
                ChatMessage::new("user", messages),
            ];
            template.render(&said, &options)
        }
    };
    match rendered {
        Ok(prompt) => assert!(prompt.len() <= MOST),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let took = began.elapsed();
    assert!(took < TAKES, "it took {took:?}");
}
