//! One way to deploy the pair.

use crate::problem::{Problem, WeightChoice};

/// Layers on the edge, and how everything there is held and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Layers on the edge. With 0, token ids go up, and the rest says nothing.
    pub split: usize,
    /// The type of each layer's weights, by its number in the edge's profile.
    pub weights: Vec<usize>,
    /// The type of keys and values, by its number in the edge's profile.
    pub kv: usize,
    /// The codec, by its number.
    pub codec: usize,
}

impl Candidate {
    /// The pair with everything in the cloud.
    pub fn cloud_only() -> Self {
        Self {
            split: 0,
            weights: Vec::new(),
            kv: 0,
            codec: 0,
        }
    }

    /// The candidate with these settings, as configurations write them; `None` where one of them is none
    /// of the problem's.
    pub fn named(
        problem: &Problem,
        split: usize,
        (weights, kv, codec): (&str, &str, &str),
    ) -> Option<Self> {
        if split == 0 {
            return Some(Self::cloud_only());
        }
        let option = |name: &str| problem.edge.weights.iter().position(|o| o.name == name);
        let mut parts = weights.split(',');
        let mut types = vec![option(parts.next()?)?; split];
        for part in parts {
            let (layers, name) = part.split_once('=')?;
            let (first, last) = layers.split_once('-').unwrap_or((layers, layers));
            let range = first.parse().ok()?..=last.parse().ok()?;
            types.get_mut(range)?.fill(option(name)?);
        }
        Some(Self {
            split,
            weights: types,
            kv: problem.edge.kv.iter().position(|o| o.name == kv)?,
            codec: problem.codecs.iter().position(|o| o.name == codec)?,
        })
    }

    /// The types of its weights as configurations write them: the one of most layers, then the
    /// others by layer, such as `int4:64,2=int8,11=int8`. Of two as common, the smaller comes first.
    pub fn scheme(&self, problem: &Problem) -> String {
        let options = &problem.edge.weights;
        let count = |option: usize| self.weights.iter().filter(|&&w| w == option).count();
        let most = (0..options.len())
            .rev()
            .max_by_key(|&option| count(option))
            .unwrap_or(0);
        let mut text = options.get(most).map_or(String::new(), |o| o.name.clone());
        let mut layers = self.weights.iter().enumerate().peekable();
        while let Some((first, &option)) = layers.next() {
            let mut last = first;
            while let Some((next, _)) = layers.next_if(|&(_, &other)| other == option) {
                last = next;
            }
            if option == most {
                continue;
            }
            let name = options.get(option).map_or("", |o| o.name.as_str());
            if first == last {
                text.push_str(&format!(",{first}={name}"))
            } else {
                text.push_str(&format!(",{first}-{last}={name}"))
            }
        }
        text
    }
}

/// All ways to hold the weights of `split` layers.
pub(crate) fn weight_choices(problem: &Problem, split: usize) -> Vec<Vec<usize>> {
    match &problem.space.weights {
        WeightChoice::Given(layers) => match layers.get(..split) {
            Some(layers) => vec![layers.to_vec()],
            None => Vec::new(),
        },
        WeightChoice::Among(options) => among(problem, options, split),
    }
}

fn among(problem: &Problem, options: &[usize], split: usize) -> Vec<Vec<usize>> {
    let mut by_size = options.to_vec();
    by_size.sort_by_key(|&option| problem.edge.weights[option].layer_bytes);
    let mut choices: Vec<Vec<usize>> = by_size.iter().map(|&o| vec![o; split]).collect();
    for pair in by_size.windows(2) {
        // Bounds do not tell which layer gains by the larger type.
        if pair.iter().any(|&o| problem.edge.weights[o].kl_is_bound) {
            continue;
        }
        let order = by_gain(problem, pair[0], pair[1], split);
        let mut mixed = vec![pair[0]; split];
        // All of them in the larger type is a choice already.
        for layer in order.into_iter().take(split.saturating_sub(1)) {
            mixed[layer] = pair[1];
            choices.push(mixed.clone());
        }
    }
    choices
}

/// The layers from the one that gains most by the larger type to the one that gains least.
fn by_gain(problem: &Problem, small: usize, large: usize, split: usize) -> Vec<usize> {
    let kl = |option: usize, layer: usize| {
        let layers = &problem.edge.weights[option].layer_kl;
        layers.get(layer).copied().unwrap_or(0.0)
    };
    let gain = |layer: usize| kl(small, layer) - kl(large, layer);
    let mut layers: Vec<usize> = (0..split).collect();
    layers.sort_by(|&a, &b| gain(b).total_cmp(&gain(a)));
    layers
}
