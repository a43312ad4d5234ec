//! Problems: one made by hand, and others drawn at random.

#![allow(
    clippy::unwrap_used,
    reason = "an instance that cannot be made fails its test"
)]

use proptest::prelude::*;
use tandem_planner::{
    AttentionTimes, CloudProfile, CodecCost, CodecOption, Constraints, Curve, EdgeProfile,
    KvOption, LayerTimes, Link, LinkProfile, Objective, Problem, Quantiles, Space, WeightChoice,
    WeightOption, Workload,
};

fn times(fixed: f64, layer: f64, of_rows: f64) -> LayerTimes {
    let curve = |one: f64| Curve::new(vec![(1.0, one), (4.0, one * of_rows)]).unwrap();
    LayerTimes {
        fixed: curve(fixed),
        layer: curve(layer),
    }
}

fn attention(decode: f64) -> AttentionTimes {
    let curve = |slope: f64| Curve::new(vec![(0.0, 0.0), (10.0, 10.0 * slope)]).unwrap();
    AttentionTimes {
        decode: curve(decode),
        prefill: curve(decode * 0.5),
    }
}

/// Round numbers, so that a person can check them.
pub(crate) fn hand_made() -> Problem {
    let cost = CodecCost {
        decode_bytes: 68.0,
        prefill_bytes: 68.0,
        encode_seconds: 0.0,
        decode_seconds: 0.0,
        kl: 0.125,
        kl_is_bound: false,
    };
    Problem {
        edge: EdgeProfile {
            layers: 4,
            weights: vec![WeightOption {
                name: "small".to_owned(),
                layer_bytes: 10,
                times: times(0.0, 2.0, 1.0),
                layer_kl: vec![0.25; 4],
                kl_is_bound: false,
            }],
            kv: vec![KvOption {
                name: "plain".to_owned(),
                layer_position_bytes: 1,
                attention: attention(0.0),
                layer_kl: 0.0,
                kl_is_bound: false,
            }],
            kv_positions: 8,
            head_seconds: Some(5.0),
            base_bytes: 100,
            chunk_bytes: 5,
        },
        cloud: CloudProfile {
            first_layer: 0,
            max_context: 64,
            times: times(0.0, 1.0, 1.0),
            attention: attention(0.0),
            head_seconds: 3.0,
            queue_seconds: 0.0,
            running: 0,
            merged_rows: 128,
        },
        link: LinkProfile::known(Link {
            round_trip: 1.0,
            up: 100.0,
            down: 100.0,
        }),
        codecs: vec![CodecOption {
            name: "plain".to_owned(),
            cuts: vec![cost; 3],
        }],
        workload: Workload {
            prompt_tokens: 2,
            output_tokens: 3,
            sessions: 1,
            chunk_rows: 1,
            frame_bytes: 1000,
        },
        constraints: Constraints {
            memory: None,
            token_deadline: None,
            first_token: None,
            min_context: 8,
            max_kl: None,
            outage: 0.1,
        },
        objective: Objective::CloudSeconds,
        space: Space {
            splits: 0..=3,
            weights: WeightChoice::Among(vec![0]),
            kv: vec![0],
            codecs: vec![0],
        },
        indifference: 0.01,
        slowdown: 1.25,
        contention: 1.0,
        drafts: None,
    }
}

/// What a random problem is made of.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    layers: usize,
    draws: Vec<f64>,
    objective: usize,
    limits: [Option<f64>; 4],
    first_layer: usize,
    indifference: f64,
    slowdown: f64,
}

impl Knobs {
    /// Any.
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let limit = || proptest::option::of(0.05f64..1.2);
        (
            2usize..7,
            proptest::collection::vec(0.01f64..1.0, 64),
            0usize..5,
            [limit(), limit(), limit(), limit()],
            0usize..3,
            prop_oneof![Just(0.0), Just(0.01), Just(0.1)],
            prop_oneof![Just(1.0), Just(1.25), Just(2.0)],
        )
            .prop_map(
                |(layers, draws, objective, limits, first, indifference, slowdown)| Self {
                    layers,
                    draws,
                    objective,
                    limits,
                    first_layer: first.min(layers - 1),
                    indifference,
                    slowdown,
                },
            )
    }
}

/// The problem that they make. Limits are shares of what is about in the middle, so that each of them
/// holds now and then.
pub(crate) fn problem(knobs: &Knobs) -> Problem {
    let layers = knobs.layers;
    let mut draws = knobs.draws.iter().copied().cycle();
    let mut draw = || draws.next().unwrap();
    let weights = (0..3)
        .map(|option| WeightOption {
            name: format!("w{option}"),
            layer_bytes: 100 + 70 * option as u64 + (draw() * 50.0) as u64,
            times: times(draw() * 0.3, draw() * 2.0, 1.0 + draw() * 3.0),
            layer_kl: (0..layers)
                .map(|_| draw() * 0.1 / (1.0 + option as f64))
                .collect(),
            kl_is_bound: false,
        })
        .collect();
    let kv = (0..2)
        .map(|option| KvOption {
            name: format!("kv{option}"),
            layer_position_bytes: 1 + option as u64 * 2,
            attention: attention(draw() * 0.02),
            layer_kl: draw() * 0.01,
            kl_is_bound: false,
        })
        .collect();
    let codecs = (0..3)
        .map(|codec| CodecOption {
            name: format!("c{codec}"),
            cuts: (1..layers)
                .map(|_| CodecCost {
                    decode_bytes: 20.0 + draw() * 100.0,
                    prefill_bytes: 20.0 + draw() * 90.0,
                    encode_seconds: draw() * 0.2,
                    decode_seconds: draw() * 0.2,
                    kl: draw() * 0.05,
                    kl_is_bound: false,
                })
                .collect(),
        })
        .collect();
    let rates = |of: [f64; 3]| Quantiles::of(of.map(|x| 50.0 + x * 300.0).to_vec());
    let edge = EdgeProfile {
        layers,
        weights,
        kv,
        kv_positions: 8,
        head_seconds: Some(draw()),
        base_bytes: 200,
        chunk_bytes: 20,
    };
    Problem {
        cloud: CloudProfile {
            first_layer: knobs.first_layer,
            max_context: 48,
            times: times(draw() * 0.3, draw(), 1.0 + draw() * 2.0),
            attention: attention(draw() * 0.01),
            head_seconds: draw(),
            queue_seconds: draw() * 0.2,
            running: 0,
            merged_rows: 8,
        },
        link: LinkProfile {
            round_trip: Quantiles::of(vec![draw(), draw(), draw()]).unwrap(),
            up: rates([draw(), draw(), draw()]),
            down: None,
        },
        codecs,
        workload: Workload {
            prompt_tokens: 9,
            output_tokens: 5,
            sessions: 1,
            chunk_rows: 4,
            frame_bytes: 200,
        },
        constraints: Constraints {
            memory: knobs.limits[0].map(|x| 200 + (x * 200.0 * layers as f64) as u64),
            token_deadline: knobs.limits[1].map(|x| x * (1.0 + layers as f64)),
            first_token: knobs.limits[2].map(|x| x * (8.0 + 4.0 * layers as f64)),
            min_context: 16,
            max_kl: knobs.limits[3].map(|x| x * 0.05 * layers as f64),
            outage: 0.1,
        },
        objective: Objective::ALL[knobs.objective],
        space: Space {
            splits: 0..=layers - 1,
            weights: WeightChoice::Among(vec![0, 1, 2]),
            kv: vec![0, 1],
            codecs: vec![0, 1, 2],
        },
        edge,
        indifference: knobs.indifference,
        slowdown: knobs.slowdown,
        contention: 1.0 + knobs.draws[0],
        drafts: None,
    }
}
