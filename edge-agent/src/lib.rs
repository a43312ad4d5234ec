//! edge-agent: the front layers of a split model and everything that is text, behind gRPC.
//!
//! The way of a prompt: a door takes the call, [`grpc`] or [`openai`], once the edge has [opened](opening);
//! [`answer_service`] begins its answer, [`prompts`] makes it token ids, [`request`] checks its terms, and
//! [`answer`] drives it over a session of `tandem-client`. [`events`] carries the answer to its client and
//! [`answer_log`] writes how it ended; what goes wrong is an [`error`], which [`status`] makes a gRPC status.
//! What a request's trace says of it is in [`request_span`].
//!
//! Of what a model writes, `marks` says how it marks thoughts and calls of functions, `parts` tells them apart, and `forms`
//! is what an answer has to be; [`several`] makes more than one answer to a request.
//!
//! [`edge`] is what is loaded, [`cloud_watch`] says whether the cloud answers and fits, [`plan`] how to deploy
//! it, and [`serve`] starts and ends it all; [`generate`] is a command, and [`terminal`] has those for people.

pub mod answer;
pub mod answer_log;
pub mod answer_service;
pub mod cli;
pub mod cloud_watch;
pub mod config;
pub mod conversation;
mod draft_model;
pub mod edge;
pub mod error;
pub mod events;
mod forms;
pub mod generate;
pub mod grpc;
mod marks;
pub mod metrics;
pub mod openai;
pub mod opening;
mod parts;
pub mod plan;
pub mod prompts;
pub mod request;
pub mod request_span;
mod run;
pub mod sampling_defaults;
pub mod serve;
pub mod several;
pub mod status;
pub mod summary;
pub mod terminal;
