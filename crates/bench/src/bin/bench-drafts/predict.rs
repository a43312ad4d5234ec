//! What a plan predicts for a row, from how the drafts of its edge fared.

use crate::Arguments;
use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tandem_tests::process::{Binary, Server};
use tempfile::TempDir;

/// How long an edge may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What was predicted.
#[derive(Debug, Serialize)]
pub(crate) struct Predicted {
    /// Milliseconds of a token.
    without_ms: f64,
    /// The rest is not known of few round trips.
    with_ms: Option<f64>,
    tokens_a_round_trip: Option<f64>,
}

impl Predicted {
    /// The end of a table's line.
    pub(crate) fn columns(&self) -> String {
        let figure = |figure: Option<f64>, digits: usize| {
            figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.digits$}"))
        };
        format!(
            " {:.1}, {} | {} |",
            self.without_ms,
            figure(self.with_ms, 1),
            figure(self.tokens_a_round_trip, 2)
        )
    }
}

/// Where edges keep what plans are made from.
#[derive(Debug)]
pub(crate) struct Predictions(TempDir);

impl Predictions {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Forgets how drafts fared.
    fn forget(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.folder())? {
            let entry = entry?;
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("edge-drafts")
            {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Ends a row's edges, the second of which drafts, and plans what they have done, behind prompts of so many tokens.
    pub(crate) async fn of(
        &self,
        (arguments, model, cloud): (&Arguments, &Path, &str),
        servers: [Server; 2],
        prompt: usize,
    ) -> Result<Predicted> {
        for mut server in servers {
            server.terminate()?;
            server.wait(ENDS_WITHIN).await?;
        }
        let mut command = Command::new(Binary::EdgeAgent.path());
        command
            .args(["plan", "--json", "--preset", "exact", "--max-kl", "0"])
            .args(["--weights", &arguments.weights])
            .args(["--codec", &arguments.codec])
            .args(["--split", &arguments.split.to_string()])
            .args(["--drafts", &arguments.max.to_string()])
            .args(["--draft-weights", &arguments.draft_weights])
            .args(["--prompt-tokens", &prompt.to_string()])
            .args(["--output-tokens", &arguments.tokens.to_string()])
            .args(["--cloud", cloud, "--model"])
            .arg(model)
            .arg("--plan-cache")
            .arg(self.folder());
        if let Some(small) = &arguments.draft_model {
            command.arg("--draft-model").arg(small);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        // What the next row's edge does not write is not to be this one's.
        self.forget()?;
        ensure!(
            output.status.success(),
            "no plan: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let plan: Value = serde_json::from_slice(&output.stdout)?;
        let chosen = &plan["chosen"];
        let with = &chosen["drafts"];
        let token = chosen["token_seconds"].as_f64();
        Ok(Predicted {
            without_ms: 1e3 * token.context("a plan has a token's time")?,
            with_ms: with["token_seconds"].as_f64().map(|seconds| 1e3 * seconds),
            tokens_a_round_trip: with["tokens_per_round_trip"].as_f64(),
        })
    }
}
