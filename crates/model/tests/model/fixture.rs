//! A checkpoint of `tests/fixtures/models` and what transformers computes for it.

use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use tandem_model::{Checkpoint, ComputeThread, Segment};
use tandem_shape::{BackendName, KvType, LayerRange, ModelConfig, Place, Precision, WeightType};

/// The largest error allowed in f32, in every row of every hidden state and of the logits.
pub(crate) const BOUND: f64 = 1e-4;

pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) config: ModelConfig,
    /// Where the weights and the reference lie.
    pub(crate) directory: PathBuf,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) reference: Reference,
    _computing: ComputeThread,
}

/// transformers' results for positions 0.. of `tokens`, in float32.
pub(crate) struct Reference {
    pub(crate) tokens: Vec<u32>,
    /// The embedding, and the residual after each layer: `[tokens, hidden]` each.
    pub(crate) hidden: Vec<Vec<f32>>,
    /// `[tokens, vocabulary]`.
    pub(crate) logits: Vec<f32>,
}

pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models")
}

impl Fixture {
    /// Every checkpoint there is, so that a new one is tested without being listed here.
    pub(crate) fn all() -> Vec<Self> {
        let mut names: Vec<String> = std::fs::read_dir(models())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(names.len() >= 8, "fixtures are missing: {names:?}");
        names.iter().map(|name| Self::open(name)).collect()
    }

    pub(crate) fn open(name: &str) -> Self {
        // The shapes are tiny, and the test harness has threads of its own.
        let directory = models().join(name.strip_suffix("-v5").unwrap_or(name));
        Self {
            name: name.to_owned(),
            config: ModelConfig::load(&models().join(name)).unwrap(),
            checkpoint: Checkpoint::open(&directory).unwrap(),
            reference: Reference::read(&directory.join("reference.safetensors")),
            directory,
            _computing: ComputeThread::begin(1),
        }
    }

    /// The layers `start..end`, in f32.
    pub(crate) fn segment(&self, start: usize, end: usize) -> Segment {
        self.segment_in(WeightType::F32, start, end)
    }

    pub(crate) fn segment_in(&self, weights: WeightType, start: usize, end: usize) -> Segment {
        self.segment_with(weights.into(), start, end)
    }

    /// The layers `start..end`, in f32 but for keys and values.
    pub(crate) fn segment_with_kv(&self, kv: KvType, start: usize, end: usize) -> Segment {
        let mut precision = Precision::from(WeightType::F32);
        precision.kv = Some(kv);
        self.segment_with(precision, start, end)
    }

    fn segment_with(&self, precision: Precision, start: usize, end: usize) -> Segment {
        self.segment_by(BackendName::Auto, &precision, start, end)
    }

    /// The layers `start..end`, by one backend.
    pub(crate) fn segment_by(
        &self,
        backend: BackendName,
        precision: &Precision,
        start: usize,
        end: usize,
    ) -> Segment {
        let range = self.range(start, end);
        let (checkpoint, config) = (&self.checkpoint, &self.config);
        let place = Place {
            backend,
            ..Place::default()
        };
        Segment::load(checkpoint, config, range, precision, place, |_| {}).unwrap()
    }

    /// The whole model, in f32.
    pub(crate) fn whole(&self) -> Segment {
        self.segment(0, self.config.layers)
    }

    pub(crate) fn range(&self, start: usize, end: usize) -> LayerRange {
        LayerRange::new(start, end, self.config.layers).unwrap()
    }
}

impl Reference {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let f32s = |name: &str| -> Option<Vec<f32>> {
            let data = stored.tensor(name).ok()?.data();
            let values = data.chunks_exact(4);
            Some(
                values
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                    .collect(),
            )
        };
        let ids = stored.tensor("input_ids").unwrap().data().chunks_exact(8);
        Self {
            tokens: ids
                .map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
                .collect(),
            hidden: (0..)
                .map_while(|layer| f32s(&format!("hidden.{layer}")))
                .collect(),
            logits: f32s("logits").unwrap(),
        }
    }
}
