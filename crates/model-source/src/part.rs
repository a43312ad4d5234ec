//! Which tensors a side's layers are in.

/// The layers that a side runs of a model, and what it needs besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    first: usize,
    /// One past the last; none for the model's own.
    end: Option<usize>,
    embedding: bool,
}

impl Part {
    /// Embedding and layers `0..split`; nothing for split 0, where token ids go to the cloud.
    pub fn front(split: usize) -> Self {
        Self {
            first: 0,
            end: Some(split),
            embedding: split > 0,
        }
    }

    /// Layers from `first` on, norm and head, and the embedding where that is asked for or the head is
    /// the embedding.
    pub fn back(first: usize, embedding: bool) -> Self {
        Self {
            first,
            end: None,
            embedding: embedding || first == 0,
        }
    }

    /// Whether a tensor is of this part, by the names that all families of models use; `has` tells which
    /// others there are. What has none of those names is: it may be anything.
    pub(crate) fn has(&self, tensor: &str, has: &dyn Fn(&str) -> bool) -> bool {
        const HEAD: &str = "lm_head.weight";
        if let Some(rest) = tensor.strip_prefix("model.layers.") {
            let number = rest
                .split_once('.')
                .and_then(|(number, _)| number.parse().ok());
            return number.is_none_or(|number: usize| {
                number >= self.first && self.end.is_none_or(|end| number < end)
            });
        }
        let has_end = self.end.is_none();
        match tensor.split_once('.') {
            Some(("model", rest)) if rest.starts_with("embed_tokens.") => {
                self.embedding || (has_end && !has(HEAD))
            }
            Some(("model", rest)) if rest.starts_with("norm.") => has_end,
            Some(("lm_head", _)) => has_end,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIED: [&str; 6] = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.10.self_attn.q_proj.bias",
        "model.norm.weight",
        "model.layers.x",
    ];

    fn of(part: &Part, names: &[&str]) -> String {
        let has = |name: &str| names.contains(&name);
        let letter = |name: &&str| if part.has(name, &has) { 'x' } else { '.' };
        names.iter().map(letter).collect()
    }

    #[test]
    fn each_side_takes_its_layers_and_its_end_of_the_model() {
        let untied = [&TIED[..], &["lm_head.weight", "something.else"]].concat();
        assert_eq!(of(&Part::front(1), &untied), "xx...x.x");
        assert_eq!(of(&Part::front(0), &untied), ".....x.x");
        assert_eq!(of(&Part::back(0, false), &untied), "xxxxxxxx");
        assert_eq!(of(&Part::back(2, false), &untied), "...xxxxx");
        assert_eq!(of(&Part::back(2, true), &untied), "x..xxxxx");
        // The embedding is the head.
        assert_eq!(of(&Part::back(2, false), &TIED), "x..xxx");
    }
}
