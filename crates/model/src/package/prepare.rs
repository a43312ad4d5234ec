//! Makes a [`Package`](crate::Package) of a part of a model.

use crate::checkpoint::Checkpoint;
use crate::error::{ModelError, Result};
use crate::package::tensors::package_tensors;
use crate::package::weights_file::{Planned, WeightsFile};
use crate::package::{FileEntry, MANIFEST, Manifest, Source, WEIGHTS};
use crate::quantise::calibrator::Calibrator;
use crate::quantise::input_squares::{InputSquares, SquaresOfLayers};
use serde::{Deserialize, Serialize};
use std::fs::File;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tandem_shape::{Fingerprint, LayerRange, ModelConfig, WeightScheme};

/// Where a model's codec profiles lie.
const PROFILES: &str = "codec";

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
    /// Writes the package. It is whole or not there: a run that is killed leaves a directory of another
    /// name behind, `.tandem-package-…`. Call it on a thread that holds a
    /// [`crate::ComputeThread`].
    ///
    /// # Errors
    /// When `out` is there already, the model cannot be read or a file written.
    pub fn write(&self, out: &Path, on_layer: impl FnMut(usize)) -> Result<Manifest> {
        self.weights.check_within(self.range)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::Write { path, source }
        };
        if out.symlink_metadata().is_ok() {
            return Err(ModelError::Package {
                path: out.to_owned(),
                problem: "is there already".to_owned(),
            });
        }
        if !self.calibration.is_empty() && !self.weights.has_int4(self.range) {
            return Err(ModelError::NothingToCalibrate {
                scheme: self.weights.to_string(),
            });
        }
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        // Goes when this fails.
        let mut folder = tempfile::Builder::new();
        folder.prefix(".tandem-package-");
        #[cfg(unix)]
        folder.permissions(std::fs::Permissions::from_mode(0o755));
        let partial = folder.tempdir_in(parent).map_err(failed(parent))?;
        let into = partial.path();
        self.write_weights(&into.join(WEIGHTS), on_layer)?;
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
            let (from, to) = (self.directory.join(file), into.join(file));
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).map_err(failed(folder))?;
            }
            std::fs::copy(&from, &to).map_err(failed(&to))?;
            sync(&to).map_err(failed(&to))?;
        }
        let files = self.files.iter().map(PathBuf::as_path);
        for file in files.chain([Path::new(WEIGHTS)]) {
            // Profiles have a check of their own, and may be added or made anew.
            if !file.starts_with(PROFILES) {
                let entry = FileEntry::of(&into.join(file), u64::MAX)?;
                manifest.files.insert(file.to_string_lossy().into(), entry);
            }
        }
        let path = into.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| ModelError::Package {
            path: path.clone(),
            problem: e.to_string(),
        })?;
        std::fs::write(&path, text)
            .and_then(|()| sync(&path))
            .map_err(failed(&path))?;
        std::fs::rename(into, out).map_err(failed(out))?;
        // Nothing is there to go any more.
        drop(partial.keep());
        sync(parent).map_err(failed(parent))?;
        Ok(manifest)
    }

    fn write_weights(&self, path: &Path, mut on_layer: impl FnMut(usize)) -> Result<()> {
        let pieces = package_tensors(self)?;
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
        let mut squares_of_layers = SquaresOfLayers::new(self.checkpoint, self.config);
        let (mut coded, mut squares, mut layer) = (None, InputSquares::default(), None);
        for piece in &pieces {
            if let (Some(number), true) = (piece.layer, piece.layer != layer) {
                if let Some(done) = layer.replace(number) {
                    on_layer(done);
                }
                let weights = self.weights.of_layer(number);
                match &mut calibrator {
                    Some(calibrator) => coded = calibrator.advance(number, weights)?,
                    None => squares = squares_of_layers.of_layer(number, weights)?,
                }
            }
            piece.write(self.checkpoint, coded.as_ref(), &squares, &mut file)?;
        }
        if let Some(done) = layer {
            on_layer(done);
        }
        file.finish()
    }
}

/// A file's or folder's content on disk.
fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}
