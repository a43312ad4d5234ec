//! The comparison with transformers can fail: each mistake that an implementation is likely to
//! make, put into a copy of a checkpoint or its config, exceeds the bound at least 20-fold.
//! `tests/fixtures/mutations.md` has the same mistakes made in transformers.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::{Errors, Pipeline};
use crate::rewritten::{Tensors, load_layers, load_whole};
use tandem_shape::{Architecture, ModelConfig, RopeScaling};

const VISIBLE: f64 = 20.0 * BOUND;

/// What runs a copy of a fixture that `change` was done to gets wrong.
fn outcome(fixture: &Fixture, change: impl Fn(&mut ModelConfig, &mut Tensors)) -> Errors {
    let mut config = fixture.config.clone();
    let mut tensors = Tensors::of(fixture);
    change(&mut config, &mut tensors);
    let directory = tempfile::tempdir().unwrap();
    tensors.write(directory.path());
    let segment = load_whole(directory.path(), &config).unwrap();
    let mut pipeline = Pipeline::layer_by_layer(fixture, &segment);
    pipeline.step(&fixture.reference.tokens);
    pipeline.errors(&fixture.reference)
}

/// The mistake is visible, in the hidden states and in the logits, in each fixture that has what
/// it is a mistake about.
fn shows(
    mistake: &str,
    concerned: impl Fn(&ModelConfig) -> bool,
    change: impl Fn(&mut ModelConfig, &mut Tensors),
) {
    let fixtures: Vec<Fixture> = Fixture::all()
        .into_iter()
        .filter(|f| concerned(&f.config))
        .collect();
    assert!(!fixtures.is_empty(), "no fixture for {mistake}");
    for fixture in fixtures {
        let errors = outcome(&fixture, &change);
        let (hidden, logits) = (errors.hidden / BOUND, errors.logits / BOUND);
        println!(
            "| {} | {mistake} | {hidden:.0} | {logits:.0} |",
            fixture.name
        );
        assert!(
            errors.hidden >= VISIBLE,
            "{mistake}: {}: {errors}",
            fixture.name
        );
        assert!(
            errors.logits >= VISIBLE,
            "{mistake}: {}: {errors}",
            fixture.name
        );
    }
}

fn any(_: &ModelConfig) -> bool {
    true
}

fn llama3(config: &ModelConfig) -> bool {
    matches!(config.rope.scaling, RopeScaling::Llama3 { .. })
}

fn grouped(config: &ModelConfig) -> bool {
    config.group() > 1
}

fn zeroed(end: &'static str) -> impl Fn(&mut ModelConfig, &mut Tensors) {
    move |_, tensors| tensors.ending(end).for_each(|values| values.fill(0.0))
}

fn ones(end: &'static str) -> impl Fn(&mut ModelConfig, &mut Tensors) {
    move |_, tensors| tensors.ending(end).for_each(|values| values.fill(1.0))
}

/// For each head of `heads`, `order` of its rows.
fn in_each_head(heads: usize, order: &[usize]) -> Vec<usize> {
    let head = |h: usize| order.iter().map(move |i| h * order.len() + i);
    (0..heads).flat_map(head).collect()
}

/// For each head in the order of `heads`, its rows.
fn whole_heads(heads: &[usize], head_dim: usize) -> Vec<usize> {
    let head = |&h: &usize| h * head_dim..(h + 1) * head_dim;
    heads.iter().flat_map(head).collect()
}

/// The copies are sound: what shows below is the mistake and not the copying.
#[test]
fn a_copy_without_a_mistake_is_the_same_model() {
    for fixture in Fixture::all() {
        let errors = outcome(&fixture, |_, _| {});
        assert!(errors.worst() <= BOUND, "{}: {errors}", fixture.name);
    }
}

/// Rotating halves of rows that were put in the order of pairs is rotating pairs: what a GGUF
/// import gives that does not un-permute.
#[test]
fn interleaved_rope() {
    shows("interleaved RoPE", any, |config, tensors| {
        let dim = config.head_dim;
        let pairs: Vec<usize> = (0..dim).step_by(2).chain((1..dim).step_by(2)).collect();
        for (part, heads) in [("q", config.heads), ("k", config.kv_heads)] {
            for (name, values) in &mut tensors.0 {
                if name.contains(&format!("self_attn.{part}_proj.")) {
                    values.permute_rows(&in_each_head(heads, &pairs));
                } else if name.contains(&format!("self_attn.{part}_norm.")) {
                    values.permute_rows(&pairs);
                }
            }
        }
    });
}

#[test]
fn another_theta() {
    shows("theta × 10", any, |config, _| config.rope.theta *= 10.0);
    shows("theta × 0.1", any, |config, _| config.rope.theta *= 0.1);
    let not_the_default = |config: &ModelConfig| config.rope.theta != 10_000.0;
    shows("theta 10,000", not_the_default, |config, _| {
        config.rope.theta = 10_000.0
    });
}

#[test]
fn rope_scaling_dropped_or_of_another_kind() {
    let scaled = |config: &ModelConfig| config.rope.scaling != RopeScaling::Default;
    shows("RoPE scaling dropped", scaled, |config, _| {
        config.rope.scaling = RopeScaling::Default;
    });
    shows("linear scaling for llama3", llama3, |config, _| {
        config.rope.scaling = RopeScaling::Linear { factor: 8.0 };
    });
    shows("llama3 without its blended band", llama3, |config, _| {
        if let RopeScaling::Llama3 {
            low_freq_factor, ..
        } = &mut config.rope.scaling
        {
            *low_freq_factor = 3.999;
        }
    });
    shows("llama3 with original × 2", llama3, |config, _| {
        if let RopeScaling::Llama3 {
            original_context, ..
        } = &mut config.rope.scaling
        {
            *original_context *= 2.0;
        }
    });
}

/// Query head h reads key head h mod `kv_heads` instead of h / group: the query heads are dealt
/// out so that the right division pairs them like that, and the output's columns follow.
#[test]
fn swapped_groups() {
    shows("swapped GQA groups", grouped, |config, tensors| {
        let (group, dim) = (config.group(), config.head_dim);
        let slots = 0..config.heads;
        let heads: Vec<usize> = slots
            .map(|s| s % group * config.kv_heads + s / group)
            .collect();
        let order = whole_heads(&heads, dim);
        for (name, values) in &mut tensors.0 {
            if name.contains("self_attn.q_proj.") {
                values.permute_rows(&order);
            } else if name.ends_with("self_attn.o_proj.weight") {
                values.permute_columns(&order);
            }
        }
    });
}

#[test]
fn a_dropped_bias_of_any_kind() {
    let qkv = |config: &ModelConfig| config.qkv_bias;
    shows("q_proj bias dropped", qkv, zeroed("q_proj.bias"));
    shows("k_proj bias dropped", qkv, zeroed("k_proj.bias"));
    shows("v_proj bias dropped", qkv, zeroed("v_proj.bias"));
    shows("all three dropped", qkv, |config, _| {
        config.qkv_bias = false
    });
    let output = |config: &ModelConfig| config.output_bias;
    shows("o_proj bias dropped", output, |config, _| {
        config.output_bias = false
    });
    let mlp = |config: &ModelConfig| config.mlp_bias;
    shows("gate_proj bias dropped", mlp, zeroed("gate_proj.bias"));
    shows("up_proj bias dropped", mlp, zeroed("up_proj.bias"));
    shows("down_proj bias dropped", mlp, zeroed("down_proj.bias"));
    shows("all three of the MLP dropped", mlp, |config, _| {
        config.mlp_bias = false
    });
}

#[test]
fn a_dropped_norm_of_queries_and_keys() {
    let normed = |config: &ModelConfig| config.architecture == Architecture::Qwen3;
    shows("QK norm dropped", normed, |config, _| {
        config.qk_norm = false
    });
    shows("q_norm weight dropped", normed, ones("q_norm.weight"));
    shows("k_norm weight dropped", normed, ones("k_norm.weight"));
}

#[test]
fn dropped_norm_weights() {
    shows("norm weights dropped", any, ones("norm.weight"));
    shows(
        "input norm weight dropped",
        any,
        ones("input_layernorm.weight"),
    );
    shows(
        "MLP norm weight dropped",
        any,
        ones("post_attention_layernorm.weight"),
    );
}

#[test]
fn ten_times_eps() {
    shows("eps × 10", any, |config, _| config.rms_norm_eps *= 10.0);
}

/// Mistakes behind the last layer leave the hidden states as they are.
#[test]
fn mistakes_in_the_head_alone() {
    /// Makes the mistake; false where it would be none.
    type Change = fn(&mut ModelConfig) -> bool;
    let mistakes: [(&str, Change); 2] = [
        ("head tied", |config| {
            !std::mem::replace(&mut config.tied_head, true)
        }),
        ("eps × 10 in the final norm only", |config| {
            config.rms_norm_eps *= 10.0;
            // Smaller ones do not show against a grown residual.
            config.rms_norm_eps >= 1e-2
        }),
    ];
    for (mistake, change) in mistakes {
        let mut shown = 0;
        for fixture in Fixture::all() {
            let mut config = fixture.config.clone();
            if !change(&mut config) {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            Tensors::of(&fixture).write(directory.path());
            let layers = config.layers;
            let front = fixture.segment(0, layers);
            let head = load_layers(directory.path(), &config, layers, layers).unwrap();
            let parts = [(&front, front.range()), (&head, head.range())];
            let mut pipeline = Pipeline::new(&parts, fixture.reference.tokens.len());
            pipeline.step(&fixture.reference.tokens);
            let errors = pipeline.errors(&fixture.reference);
            println!("| {} | {mistake} | {errors} |", fixture.name);
            assert!(
                errors.hidden <= BOUND,
                "{mistake}: {}: {errors}",
                fixture.name
            );
            assert!(
                errors.logits >= VISIBLE,
                "{mistake}: {}: {errors}",
                fixture.name
            );
            shown += 1;
        }
        assert!(shown >= 2, "{mistake}");
    }
}
