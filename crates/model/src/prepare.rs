//! Makes a [`Package`](crate::Package) of a part of a model.

use crate::calibrator::Calibrator;
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::fingerprint::Fingerprint;
use crate::layer_range::LayerRange;
use crate::package::{FileEntry, MANIFEST, Manifest, Source, WEIGHTS};
use crate::pieces::pieces;
use crate::weight_scheme::WeightScheme;
use crate::weights_file::{Planned, WeightsFile};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the embedding's rows are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingType {
    /// As in the model.
    #[default]
    AsStored,
    /// 8-bit integers, one scale a row.
    Int8,
}

/// What a package is made of.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// The model's directory.
    pub directory: &'a Path,
    /// Its shape.
    pub config: &'a ModelConfig,
    /// Its weights.
    pub checkpoint: &'a Checkpoint,
    /// Its fingerprints.
    pub fingerprints: (Fingerprint, Fingerprint),
    /// The layers to pack.
    pub range: LayerRange,
    /// In which types.
    pub weights: &'a WeightScheme,
    /// The type of the embedding's rows.
    pub embedding: EmbeddingType,
    /// Chunks of token ids to calibrate 4-bit codes with, or nothing.
    pub calibration: &'a [Vec<u32>],
    /// Files of the model's directory to take along, by their relative paths.
    pub files: &'a [PathBuf],
}

impl Preparation<'_> {
    /// Writes the package. It is whole or not there: an interrupted run leaves a directory of another
    /// name behind. Call it on a thread that holds [`crate::no_grad`]'s guard.
    ///
    /// # Errors
    /// When `out` is there already, the model cannot be read or a file written.
    pub fn write(&self, out: &Path, on_layer: impl FnMut(usize)) -> Result<Manifest> {
        self.weights.check_within(self.range)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::Write { path, source }
        };
        if out.exists() {
            return Err(ModelError::Package {
                path: out.to_owned(),
                problem: "is there already".to_owned(),
            });
        }
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = out.with_file_name(name);
        std::fs::create_dir_all(&partial).map_err(failed(&partial))?;
        self.write_weights(&partial.join(WEIGHTS), on_layer)?;
        let mut manifest = Manifest::new(
            self.range,
            self.weights,
            Source {
                weights: self.fingerprints.0.to_string(),
                tokenizer: self.fingerprints.1.to_string(),
            },
        );
        if self.range.is_first() {
            manifest.embedding = Some(self.embedding);
        }
        manifest.calibration_tokens = self.calibration.iter().map(Vec::len).sum();
        for file in self.files {
            let (from, to) = (self.directory.join(file), partial.join(file));
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).map_err(failed(folder))?;
            }
            std::fs::copy(&from, &to).map_err(failed(&to))?;
        }
        for file in self
            .files
            .iter()
            .map(PathBuf::as_path)
            .chain([Path::new(WEIGHTS)])
        {
            let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
            let entry = FileEntry::of(&partial.join(file))?;
            manifest.files.insert(parts.join("/"), entry);
        }
        let path = partial.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| ModelError::Package {
            path: path.clone(),
            problem: e.to_string(),
        })?;
        std::fs::write(&path, text).map_err(failed(&path))?;
        std::fs::rename(&partial, out).map_err(failed(out))?;
        Ok(manifest)
    }

    fn write_weights(&self, path: &Path, mut on_layer: impl FnMut(usize)) -> Result<()> {
        let pieces = pieces(self)?;
        let planned = pieces.iter().map(|p| p.planned(self.checkpoint));
        let planned: Vec<Vec<Planned>> = planned.collect::<Result<_>>()?;
        let mut file = WeightsFile::create(path, planned.concat())?;
        let mut calibrator = match self.calibration {
            [] => None,
            chunks => {
                let start = self.range.start();
                let (checkpoint, config) = (self.checkpoint, self.config);
                Some(Calibrator::new(checkpoint, config, chunks, start)?)
            }
        };
        let (mut coded, mut layer) = (None, None);
        for piece in &pieces {
            if let (Some(number), true) = (piece.layer, piece.layer != layer) {
                if let Some(done) = layer.replace(number) {
                    on_layer(done);
                }
                if let Some(calibrator) = &mut calibrator {
                    coded = calibrator.advance(number, self.weights.of_layer(number))?;
                }
            }
            piece.write(self.checkpoint, coded.as_ref(), &mut file)?;
        }
        if let Some(done) = layer {
            on_layer(done);
        }
        file.finish()
    }
}
