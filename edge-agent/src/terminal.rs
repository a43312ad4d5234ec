//! What people see on terminals: [`ask`] puts one question to a running edge, [`chat`] is a conversation with it or with
//! an edge of its own, and [`top`] shows what an edge is doing.
//!
//! Of a conversation, `prompt` reads what is typed and keeps its `history`, `message` puts lines together, `commands`
//! tells commands from messages, `answerer` asks, over `running_edge` or in the process, and `transcript` is its file. Of an
//! answer, `figures` says in a line how it comes, and `answer_view` shows both; `device` is the terminal itself.

mod answer_view;
mod answerer;
pub mod ask;
pub mod chat;
mod commands;
mod device;
mod figures;
mod history;
mod message;
mod prompt;
mod running_edge;
pub mod top;
mod transcript;
