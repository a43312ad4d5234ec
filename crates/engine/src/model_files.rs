//! A model directory, opened once, from which either half is loaded.

use crate::back::Back;
use crate::front::Front;
use crate::profiles::{Profiles, ProfilesError};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tandem_model::{
    Checkpoint, Embedding, EmbeddingType, Manifest, ModelError, ModelFile, Package, Preparation,
    Segment,
};
use tandem_shape::{
    BackendName, DeviceName, Fingerprint, Identity, KvType, LayerRange, ModelConfig, Place,
    Precision, ShapeError, UnknownBackend, UnknownDevice, WeightScheme, WeightType,
};

/// The files of a model: its shape is known and its tensors are found, but nothing is loaded.
#[derive(Debug)]
pub struct ModelFiles {
    /// The model's shape.
    pub config: ModelConfig,
    /// The identity of its weights.
    pub identity: Identity,
    /// The codec profiles beside it.
    pub profiles: Profiles,
    checkpoint: Checkpoint,
    package: Option<Package>,
    directory: PathBuf,
}

/// Why a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The model itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A codec profile beside it.
    #[error(transparent)]
    Profiles(#[from] ProfilesError),
}

impl From<ShapeError> for OpenError {
    fn from(error: ShapeError) -> Self {
        Self::Model(error.into())
    }
}

/// How a half computes.
#[derive(Debug, Clone, Default)]
pub struct Compute {
    /// Where, and by whose loops.
    pub place: Place,
    /// In which types its matrices are held; none for those of a package, and f32 of a model.
    pub weights: Option<WeightScheme>,
    /// In which type keys and values are held; none for f32 with weights in f32 and bf16 otherwise.
    pub kv: Option<KvType>,
}

impl Compute {
    /// What the configuration keys `backend`, `device`, `weights` and `kv` say; the last two may be `auto`.
    ///
    /// # Errors
    /// Each key whose value cannot be, and why.
    pub fn configured(
        [backend, device]: [&str; 2],
        weights: &str,
        kv: &str,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        let mut bad = Vec::new();
        let compute = Self {
            place: Place {
                backend: backend
                    .parse()
                    .map_err(|error: UnknownBackend| bad.push(("backend", error.to_string())))
                    .unwrap_or_default(),
                device: device
                    .parse()
                    .map_err(|error: UnknownDevice| bad.push(("device", error.to_string())))
                    .unwrap_or_default(),
            },
            weights: unless_auto("weights", weights, &mut bad),
            kv: unless_auto("kv", kv, &mut bad),
        };
        if cfg!(not(feature = "torch")) {
            bad.extend(compute.what_takes_libtorch());
        }
        if bad.is_empty() {
            Ok(compute)
        } else {
            Err(bad)
        }
    }
}

impl Compute {
    /// The keys whose values only libtorch can do.
    fn what_takes_libtorch(&self) -> Vec<(&'static str, String)> {
        let mut weights = self.weights.iter().flat_map(WeightScheme::types);
        let asked = [
            (
                "backend",
                self.place.backend == BackendName::Torch,
                "torch".to_owned(),
            ),
            (
                "device",
                self.place.device != DeviceName::Cpu,
                self.place.device.to_string(),
            ),
            (
                "weights",
                weights.any(|weights| weights == WeightType::Bf16),
                WeightType::Bf16.to_string(),
            ),
        ];
        let refused = asked.into_iter().filter(|(_, is_asked, _)| *is_asked);
        let said = |(key, _, what)| {
            (
                key,
                format!("{what} takes libtorch, which this program was built without"),
            )
        };
        refused.map(said).collect()
    }
}

/// A key's value; none for `auto`, and for what it cannot be, which `bad` then says.
fn unless_auto<T: FromStr<Err: Display>>(
    key: &'static str,
    value: &str,
    bad: &mut Vec<(&'static str, String)>,
) -> Option<T> {
    const AUTO: &str = "auto";
    if value == AUTO {
        return None;
    }
    let refused = |error: T::Err| bad.push((key, format!("{error}, or {AUTO}")));
    value.parse().map_err(refused).ok()
}

/// What a package is to hold.
#[derive(Debug)]
pub struct PackagePlan {
    /// Its layers.
    pub layers: std::ops::Range<usize>,
    /// Whether it has norm and head, if the layers end the model.
    pub head: bool,
    /// Types of its matrices.
    pub weights: WeightScheme,
    /// The type of the embedding's rows, in a package that begins the model.
    pub embedding: EmbeddingType,
    /// Chunks of token ids to calibrate 4-bit codes with, or nothing.
    pub calibration: Vec<Vec<u32>>,
    /// The tokenizer's fingerprint.
    pub tokenizer: Fingerprint,
}

impl ModelFiles {
    /// Opens a Hugging Face directory, or a package. Hashes a model's weights when no valid fingerprint
    /// is kept there.
    ///
    /// # Errors
    /// When a file is missing, malformed, or asks for what is not supported.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_as(directory, Checkpoint::open)
    }

    /// As [`ModelFiles::open`], of a directory that may lack the shards of layers that this side does
    /// not run: see [`Checkpoint::open_part`].
    ///
    /// # Errors
    /// As [`ModelFiles::open`].
    pub fn open_part(directory: &Path) -> Result<Self, OpenError> {
        Self::open_as(directory, Checkpoint::open_part)
    }

    fn open_as(
        directory: &Path,
        checkpoint: impl Fn(&Path) -> Result<Checkpoint, ModelError>,
    ) -> Result<Self, OpenError> {
        // First: what is damaged is not the model's fault.
        let package = Package::open(directory)?;
        let config = ModelConfig::load(directory)?;
        let checkpoint = match &package {
            Some(package) => package.checkpoint()?,
            None => checkpoint(directory)?,
        };
        if let Some(package) = &package
            && package.range.of() != config.layers
        {
            return Err(OpenError::Model(ModelError::Package {
                path: directory.to_owned(),
                problem: format!(
                    "is of a model of {} layers, its config.json of one of {}",
                    package.range.of(),
                    config.layers
                ),
            }));
        }
        let identity = match &package {
            Some(package) => Identity::whole(package.fingerprint, None),
            None => tandem_model::identity(directory, &config, &checkpoint)?,
        };
        Ok(Self {
            package,
            directory: directory.to_owned(),
            profiles: Profiles::load(directory, identity.weights())?,
            identity,
            config,
            checkpoint,
        })
    }

    /// Loads embedding and layers `0..split`. Call it on the thread that will compute.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the precision names a layer that is not loaded.
    pub fn front(
        &self,
        split: usize,
        compute: &Compute,
        on_layer: impl FnMut(usize),
    ) -> Result<Front, ModelError> {
        let range = LayerRange::new(0, split, self.config.layers)?.without_head();
        let segment = self.segment(range, compute, on_layer)?;
        Ok(Front::new(segment, self.profiles.of(split).cloned()))
    }

    /// Loads one layer alone, as a front that can do nothing but run it: see [`Front::layers`].
    ///
    /// # Errors
    /// As [`ModelFiles::front`].
    pub fn layer(&self, number: usize, compute: &Compute) -> Result<Front, ModelError> {
        let range = LayerRange::new(number, number + 1, self.config.layers)?.without_head();
        Ok(Front::new(self.segment(range, compute, |_| {})?, None))
    }

    /// Loads layers `first_layer..` and the head. Call it on the thread that will compute.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the precision names a layer that is not loaded.
    pub fn back(
        &self,
        first_layer: usize,
        compute: &Compute,
        on_layer: impl FnMut(usize),
    ) -> Result<Back, ModelError> {
        let range = LayerRange::new(first_layer, self.config.layers, self.config.layers)?;
        let segment = self.segment(range, compute, on_layer)?;
        Ok(Back::new(segment))
    }

    /// The fingerprint of the weights.
    ///
    /// # Errors
    /// When only a part of them is here.
    pub fn weights_fingerprint(&self) -> Result<Fingerprint, ModelError> {
        let in_part = || ModelError::InPart {
            path: self.directory.clone(),
        };
        self.identity.weights().ok_or_else(in_part)
    }

    /// The file that stays in use once a half with the first layers is loaded: its embedding lies there.
    ///
    /// # Errors
    /// When there is no embedding.
    pub fn embedding_file(&self) -> Result<ModelFile, ModelError> {
        Embedding::file(&self.checkpoint).cloned()
    }

    /// Where they lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The package, where the directory is one.
    pub fn package(&self) -> Option<&Package> {
        self.package.as_ref()
    }

    /// The hash of a package's weights whose codes were calibrated with some text; `None` where weights and types say
    /// what the codes are.
    pub(crate) fn calibrated_codes(&self) -> Option<&str> {
        let manifest = &self.package.as_ref()?.manifest;
        let is_calibrated = manifest.calibration_tokens > 0;
        is_calibrated.then(|| manifest.weights_hash())
    }

    /// What `compute` comes to with these files.
    ///
    /// # Errors
    /// When it names other types than a package has.
    pub fn precision(&self, compute: &Compute) -> Result<Precision, ModelError> {
        let stored = self.package.as_ref().map(|p| &p.weights);
        if let (Some(stored), Some(asked)) = (stored, &compute.weights)
            && stored != asked
        {
            return Err(ModelError::Package {
                path: self.directory.clone(),
                problem: format!("holds {stored}, and {asked} is asked for"),
            });
        }
        Ok(Precision {
            weights: compute
                .weights
                .as_ref()
                .or(stored)
                .cloned()
                .unwrap_or_default(),
            kv: compute.kv,
        })
    }

    /// Makes a package of some layers, of their weights in these types: see [`Preparation`].
    ///
    /// # Errors
    /// When this is a package itself, or one cannot be written.
    pub fn prepare(
        &self,
        out: &Path,
        plan: &PackagePlan,
        on_layer: impl FnMut(usize),
    ) -> Result<Manifest, ModelError> {
        let bad = |problem: &str| ModelError::Package {
            path: self.directory.clone(),
            problem: problem.to_owned(),
        };
        if self.package.is_some() {
            return Err(bad(
                "is a package: make another of the model it was made of",
            ));
        }
        let (start, end) = (plan.layers.start, plan.layers.end);
        let mut range = LayerRange::new(start, end, self.config.layers)?;
        if !plan.head {
            range = range.without_head();
        }
        let mut files = companions(&self.directory)?;
        // A front encodes behind its last layer; a back decodes behind any split that it serves.
        let cuts = self.profiles.iter().map(|p| p.split());
        let of_use =
            |&cut: &usize| (range.is_first() && cut <= end) || (range.is_last() && cut >= start);
        let profiles = cuts
            .filter(of_use)
            .map(|cut| Profiles::path(Path::new(""), cut));
        files.extend(profiles.filter(|file| self.directory.join(file).exists()));
        Preparation {
            directory: &self.directory,
            config: &self.config,
            checkpoint: &self.checkpoint,
            fingerprints: (self.weights_fingerprint()?, plan.tokenizer),
            range,
            weights: &plan.weights,
            embedding: plan.embedding,
            calibration: &plan.calibration,
            files: &files,
        }
        .write(out, on_layer)
    }

    fn segment(
        &self,
        range: LayerRange,
        compute: &Compute,
        on_layer: impl FnMut(usize),
    ) -> Result<Segment, ModelError> {
        let mut precision = self.precision(compute)?;
        if let Some(package) = &self.package {
            package.check_holds(range)?;
            precision.weights = precision.weights.within(range);
        }
        Segment::load(
            &self.checkpoint,
            &self.config,
            range,
            &precision,
            compute.place,
            on_layer,
        )
    }
}

/// The files of a model's directory that its servers read and its licence asks for, but for the
/// weights.
fn companions(directory: &Path) -> Result<Vec<PathBuf>, ModelError> {
    const READ: [&str; 7] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
    ];
    const LEGAL: [&str; 4] = ["licen", "notice", "copying", "use_policy"];
    let unreadable = |source| ModelError::Read {
        path: directory.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // Names that no manifest can hold are none of these.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let lower = name.to_lowercase();
        let is_legal = LEGAL.iter().any(|legal| lower.starts_with(legal));
        // Links are followed; one that leads nowhere is no file.
        if (READ.contains(&&*name) || is_legal) && entry.path().is_file() {
            files.push(PathBuf::from(name));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_libtorch_is_named_by_its_key() {
        let keys = |backend, device, weights| -> Vec<&'static str> {
            let compute = Compute {
                place: Place { backend, device },
                weights: Some(str::parse(weights).unwrap()),
                kv: None,
            };
            let refused = compute.what_takes_libtorch();
            refused.into_iter().map(|(key, _)| key).collect()
        };
        let (auto, cpu) = (BackendName::Auto, DeviceName::Cpu);
        assert!(keys(auto, cpu, "int4,0=int8,head=f32").is_empty());
        assert!(keys(BackendName::Plain, cpu, "f32").is_empty());
        assert_eq!(keys(auto, cpu, "int8,head=bf16"), ["weights"]);
        let all = keys(BackendName::Torch, DeviceName::Cuda(0), "int8,3=bf16");
        assert_eq!(all, ["backend", "device", "weights"]);
    }
}
