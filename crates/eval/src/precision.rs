//! The files that both sides are loaded from, and the types they are held in.

use crate::cli::{ModelArgs, PrecisionArgs};
use crate::error::{EvalError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tandem_codec::Profile;
use tandem_engine::{Compute, ModelFiles};
use tandem_shape::{Fingerprint, Place, Precision};

/// Both sides of a model.
#[derive(Debug)]
pub struct Sides {
    /// The model as it is.
    pub model: ModelFiles,
    /// The fingerprint of its weights.
    pub weights: Fingerprint,
    front: Side,
    back: Side,
    place: Place,
}

/// One of them.
#[derive(Debug)]
struct Side {
    package: Option<ModelFiles>,
    compute: Compute,
    precision: Precision,
}

impl Sides {
    /// Opens the model, and the packages that take the place of its parts.
    ///
    /// # Errors
    /// When one cannot be opened, or a package was made of another model.
    pub fn open(args: &ModelArgs, precision: &PrecisionArgs) -> Result<Self> {
        let model = ModelFiles::open(&args.model)?;
        let own = model.weights_fingerprint()?;
        if model.package().is_some() {
            return Err(EvalError::PackageAsModel(args.model.clone()));
        }
        let side = |package: &Option<PathBuf>, weights, kv| -> Result<Side> {
            let package = match package {
                None => None,
                Some(directory) => {
                    let files = ModelFiles::open(directory)?;
                    if files.weights_fingerprint()? != own {
                        return Err(EvalError::OtherModel {
                            package: directory.clone(),
                            model: args.model.clone(),
                        });
                    }
                    Some(files)
                }
            };
            let compute = Compute {
                place: args.place(),
                weights,
                kv,
            };
            Ok(Side {
                precision: package.as_ref().unwrap_or(&model).precision(&compute)?,
                package,
                compute,
            })
        };
        let p = precision;
        Ok(Self {
            front: side(&p.front_package, p.front_weights.clone(), p.front_kv)?,
            back: side(&p.back_package, p.back_weights.clone(), p.back_kv)?,
            model,
            weights: own,
            place: args.place(),
        })
    }

    /// What to load the front from, and how.
    pub fn front(&self) -> (&ModelFiles, &Compute) {
        (self.front.files(&self.model), &self.front.compute)
    }

    /// What to load the back from, and how.
    pub fn back(&self) -> (&ModelFiles, &Compute) {
        (self.back.files(&self.model), &self.back.compute)
    }

    /// The model as it is, in f32.
    pub fn exact(&self) -> (&ModelFiles, Compute) {
        let place = self.place;
        let compute = Compute {
            place,
            ..Compute::default()
        };
        (&self.model, compute)
    }

    /// The profile that the front encodes by at a cut.
    pub fn profile(&self, split: usize) -> Option<Arc<Profile>> {
        self.front().0.profiles.of(split).cloned()
    }

    /// True where both sides are f32 throughout.
    pub fn are_exact(&self) -> bool {
        [&self.front, &self.back]
            .iter()
            .all(|side| side.package.is_none() && side.precision.is_exact())
    }

    /// What results say of them.
    pub fn report(&self) -> PrecisionReport {
        PrecisionReport {
            front_weights: self.front.weights(),
            front_kv: self.front.precision.kv().to_string(),
            back_weights: self.back.weights(),
            back_kv: self.back.precision.kv().to_string(),
        }
    }
}

impl Side {
    fn files<'a>(&'a self, model: &'a ModelFiles) -> &'a ModelFiles {
        self.package.as_ref().unwrap_or(model)
    }

    fn weights(&self) -> String {
        let package = self.package.as_ref().and_then(ModelFiles::package);
        let scheme = &self.precision.weights;
        match package {
            None => scheme.to_string(),
            Some(package) => format!("{scheme} of package {:.8}", package.hash()),
        }
    }
}

/// The types of both sides, as they are named on the command line. Without a front the back's are
/// those of the whole model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionReport {
    /// The front's matrices.
    pub front_weights: String,
    /// The front's keys and values.
    pub front_kv: String,
    /// The back's matrices.
    pub back_weights: String,
    /// The back's keys and values.
    pub back_kv: String,
}

impl fmt::Display for PrecisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "front {} (keys and values {}), back {} ({})",
            self.front_weights, self.front_kv, self.back_weights, self.back_kv
        )
    }
}
