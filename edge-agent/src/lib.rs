//! edge-agent: the front layers of a split model and everything that is text, behind gRPC.
//!
//! The way of a prompt: [`service`] takes the call, or [`openai`] for clients of that API, [`door`]
//! begins its answer, [`request`] checks it and makes it token ids, [`answer`] drives it, [`pool`]
//! finds the conversation it goes on with, [`session`] keeps both halves in step, [`split_stream`]
//! is the session's stream to the cloud, [`uplink`] decides when a frame may go, and [`link`] is the
//! connection under all of them. What a request's trace says of it is in [`request_span`] and
//! [`prompt_trace`]. [`codec_choice`] picks the codec of each step by what [`adaptation`]
//! makes of what [`link_estimate`] learns. [`events`] carries an answer to its client, [`answer_log`]
//! writes how it ended, and [`cloud_watch`] whether the cloud answers and [fits](fit). [`edge`] is what all answers share; [`plan`] says how to
//! deploy it and [`serve`] starts and ends it all; [`generate`], [`chat`] and [`ask`] are commands.

pub mod adaptation;
pub mod answer;
pub mod answer_log;
pub mod ask;
pub mod chat;
pub mod cli;
pub mod cloud_watch;
pub mod codec_choice;
pub mod config;
pub mod door;
pub mod edge;
pub mod events;
pub mod fit;
pub mod gate;
pub mod generate;
pub mod link;
pub mod link_estimate;
pub mod metrics;
pub mod openai;
pub mod plan;
pub mod pool;
pub mod prompt_trace;
pub mod prompts;
pub mod request;
pub mod request_span;
pub mod sampling_defaults;
pub mod serve;
pub mod service;
pub mod session;
pub mod split_stream;
pub mod summary;
pub mod uplink;
pub mod usage;
