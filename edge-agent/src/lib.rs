//! edge-agent: the front layers of a split model and everything that is text, behind gRPC.
//!
//! The way of a prompt: [`service`] takes the call, or [`openai`] for clients of that API, [`door`]
//! begins its answer, [`request`] checks it and makes it token ids, [`answer`] drives it, [`pool`]
//! finds the conversation it goes on with, [`session`] keeps both halves in step, [`split_stream`]
//! is the session's stream to the cloud, [`uplink`] decides when a frame may go, and [`link`] is the
//! connection under all of them. [`edge`] is what all answers share; [`serve`] starts and ends it
//! all; [`generate`], [`chat`] and [`ask`] are commands.

pub mod answer;
pub mod ask;
pub mod chat;
pub mod cli;
pub mod config;
pub mod door;
pub mod edge;
pub mod generate;
pub mod link;
pub mod metrics;
pub mod openai;
pub mod pool;
pub mod request;
pub mod serve;
pub mod service;
pub mod session;
pub mod split_stream;
pub mod uplink;
