//! The table of targets.

use crate::targets::{
    chat_template, configuration, constraint, decode, gguf, openai, package, profile, round_trip,
    safetensors, stream, text, tokenizer,
};

/// What is tried with any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its module, of its program and of its seeds' directory.
    pub name: &'static str,
    /// Runs it with some bytes. Panics when a property does not hold.
    pub run: fn(&[u8]),
    /// Files of other tests that are its seeds too.
    pub seed_files: &'static [SeedFiles],
    /// How many edited seeds the tests run: one to three seconds on one core.
    pub cases: u32,
}

/// The files of a directory whose names end alike.
#[derive(Debug, Clone, Copy)]
pub struct SeedFiles {
    /// Below the root of the workspace.
    pub directory: &'static str,
    /// The end of their names.
    pub suffix: &'static str,
}

const fn files(directory: &'static str, suffix: &'static str) -> SeedFiles {
    SeedFiles { directory, suffix }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "chat_template",
        run: chat_template::run,
        seed_files: &[files("tests/fixtures/generator/chat_templates", ".jinja")],
        cases: 5_000,
    },
    Target {
        name: "configuration",
        run: configuration::run,
        seed_files: &[],
        cases: 1_000,
    },
    Target {
        name: "constraint",
        run: constraint::run,
        seed_files: &[],
        cases: 300,
    },
    Target {
        name: "decode",
        run: decode::run,
        seed_files: &[files("crates/codec/tests/golden", ".frame")],
        cases: 20_000,
    },
    Target {
        name: "gguf",
        run: gguf::run,
        seed_files: &[
            files("crates/gguf/tests/golden/models/llama", ".gguf"),
            files("crates/gguf/tests/golden/models/qwen3", ".gguf"),
        ],
        cases: 1_500,
    },
    Target {
        name: "openai",
        run: openai::run,
        seed_files: &[],
        cases: 20_000,
    },
    Target {
        name: "package",
        run: package::run,
        seed_files: &[],
        cases: 4_000,
    },
    Target {
        name: "profile",
        run: profile::run,
        seed_files: &[files("crates/codec/tests/golden", ".profile")],
        cases: 5_000,
    },
    Target {
        name: "round_trip",
        run: round_trip::run,
        seed_files: &[],
        cases: 3_000,
    },
    Target {
        name: "safetensors",
        run: safetensors::run,
        seed_files: &[],
        cases: 3_000,
    },
    Target {
        name: "stream",
        run: stream::run,
        seed_files: &[],
        cases: 1_000,
    },
    Target {
        name: "text",
        run: text::run,
        seed_files: &[],
        cases: 3_000,
    },
    Target {
        name: "tokenizer",
        run: tokenizer::run,
        seed_files: &[files("tests/fixtures/models/llama-bf16", "tokenizer.json")],
        cases: 3_000,
    },
];
