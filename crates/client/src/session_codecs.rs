//! How the rows of one session may be written.

use tandem_codec::Codec;
use tandem_engine::FrameCodec;

/// The codecs that edge and cloud have in common.
#[derive(Debug, Clone)]
pub struct SessionCodecs {
    /// The best first, at least one.
    offered: Vec<Codec>,
    /// Whether the cloud reads what our profile writes.
    shared_profile: bool,
}

impl SessionCodecs {
    /// Of our `codecs`, the best first, those that the cloud knows by name; all where it knows none, which
    /// it says itself.
    pub fn new(codecs: &[Codec], known: &[String], shared_profile: bool) -> Self {
        let is_known = |codec: &Codec| known.iter().any(|name| name == codec.name());
        let offered: Vec<Codec> = codecs.iter().copied().filter(is_known).collect();
        Self {
            offered: if offered.is_empty() {
                codecs.to_vec()
            } else {
                offered
            },
            shared_profile,
        }
    }

    /// Their names, the best first.
    pub fn names(&self) -> Vec<String> {
        let names = self.offered.iter().map(|codec| codec.name().to_owned());
        names.collect()
    }

    /// Whether rows may be written by the profile of the cut.
    pub fn by_profile(&self) -> bool {
        self.shared_profile && self.offered.iter().any(|codec| codec.is_read_by_profile())
    }

    /// How rows are written that the link allows `codec` for: in the smallest codec of the session
    /// that is as large, or its best.
    pub fn written(&self, codec: Codec) -> FrameCodec {
        let as_large = |offered: &&Codec| offered.typical_bits() >= codec.typical_bits();
        let codec = self.offered.iter().rfind(as_large);
        let codec = codec.or(self.offered.first()).copied().unwrap_or_default();
        FrameCodec {
            codec,
            calibrated: self.shared_profile || !codec.is_read_by_profile(),
        }
    }
}
