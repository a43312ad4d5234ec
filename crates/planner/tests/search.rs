//! The search against a plain one, on instances drawn at random; and against instances worked by hand.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what an instance lacks fails its test"
)]

mod instance;

use instance::{Knobs, hand_made, problem};
use proptest::prelude::*;
use tandem_planner::{
    Candidate, Constraint, Constraints, Curve, Estimate, Link, LinkProfile, Objective, Outcome,
    Plan, Problem, WeightChoice, breakdown, estimate, search,
};

/// Everything that may be chosen, spelled out: uniform types, and mixtures of two neighbours in which
/// no layer that stays small gains more than one that is made large.
fn all_candidates(problem: &Problem) -> Vec<Candidate> {
    let WeightChoice::Among(options) = &problem.space.weights else {
        panic!("only free choices are drawn");
    };
    let mut all = Vec::new();
    let last = problem.edge.layers - 1;
    for split in problem.cloud.first_layer..=last {
        if split == 0 {
            all.push(Candidate::cloud_only());
            continue;
        }
        for weights in weights_of(problem, options, split) {
            for &kv in &problem.space.kv {
                for &codec in &problem.space.codecs {
                    all.push(Candidate {
                        split,
                        weights: weights.clone(),
                        kv,
                        codec,
                    });
                }
            }
        }
    }
    all
}

fn weights_of(problem: &Problem, options: &[usize], split: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    // Every subset of the layers, for every pair: few enough for the small models that are drawn.
    for (number, &small) in options.iter().enumerate() {
        all.push(vec![small; split]);
        let Some(&large) = options.get(number + 1) else {
            continue;
        };
        let kl = |option: usize| problem.edge.weights[option].layer_kl.clone();
        let (small_kl, large_kl) = (kl(small), kl(large));
        let gain = |layer: usize| small_kl[layer] - large_kl[layer];
        for subset in 1..(1usize << split) - 1 {
            let is_large = |layer: usize| subset >> layer & 1 == 1;
            let in_order = (0..split)
                .all(|a| (0..split).all(|b| is_large(b) || !is_large(a) || gain(a) >= gain(b)));
            if in_order {
                let of = |layer| if is_large(layer) { large } else { small };
                all.push((0..split).map(of).collect());
            }
        }
    }
    all
}

fn holds(problem: &Problem, e: &Estimate) -> bool {
    let limits: &Constraints = &problem.constraints;
    limits.memory.is_none_or(|m| e.memory <= m)
        && limits.token_deadline.is_none_or(|d| e.late_token <= d)
        && limits.first_token.is_none_or(|d| e.late_first_token <= d)
        && limits.max_kl.is_none_or(|kl| e.kl <= kl)
        && problem.cloud.max_context >= limits.min_context
}

fn value(problem: &Problem, e: &Estimate) -> f64 {
    match problem.objective {
        Objective::Balanced | Objective::CloudSeconds => e.cloud,
        Objective::Latency => e.request,
        Objective::EdgeMemory => e.memory as f64,
        Objective::Quality => e.kl,
    }
}

/// Seconds of a token of the fastest plan.
fn fastest(plans: &[Plan]) -> f64 {
    let tokens = plans.iter().map(|plan| plan.estimate.token);
    tokens.fold(f64::INFINITY, f64::min)
}

/// The plans that are fast enough for the objective.
fn fast_enough(problem: &Problem, mut plans: Vec<Plan>) -> Vec<Plan> {
    if problem.objective == Objective::Balanced {
        let slowest = fastest(&plans) * problem.slowdown;
        plans.retain(|plan| plan.estimate.token <= slowest);
    }
    plans
}

fn costs(plan: &Plan) -> [f64; 4] {
    let e = &plan.estimate;
    [e.cloud, e.request, e.memory as f64, e.kl]
}

/// The longest session by trying every length.
fn longest(problem: &Problem, candidate: &Candidate) -> usize {
    let mut longest = 0;
    for context in 1..=problem.cloud.max_context {
        let mut asked = problem.clone();
        asked.constraints.min_context = context;
        let e = estimate(&asked, candidate);
        let limits = &problem.constraints;
        let memory = limits.memory.is_none_or(|m| e.memory <= m);
        if memory && limits.token_deadline.is_none_or(|d| e.late_token <= d) {
            longest = context;
        }
    }
    longest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_search_finds_what_a_plain_one_finds(knobs in Knobs::any()) {
        let problem = problem(&knobs);
        let plain: Vec<Plan> = all_candidates(&problem)
            .into_iter()
            .map(|candidate| Plan { estimate: estimate(&problem, &candidate), candidate })
            .filter(|plan| holds(&problem, &plan.estimate))
            .collect();
        let found = search(&problem);
        let enough = fast_enough(&problem, plain.clone());
        let least = enough
            .iter()
            .map(|plan| value(&problem, &plan.estimate))
            .fold(f64::INFINITY, f64::min);
        prop_assert_eq!(found.fastest_token.unwrap_or(f64::INFINITY), fastest(&plain));
        match &found.chosen {
            None => {
                prop_assert!(plain.is_empty());
                prop_assert!(!found.shortfalls.is_empty());
            }
            Some(plan) => {
                prop_assert!(holds(&problem, &plan.estimate));
                prop_assert_eq!(estimate(&problem, &plan.candidate), plan.estimate);
                let value = value(&problem, &plan.estimate);
                prop_assert!(value >= least * (1.0 - 1e-12), "{} beats all: {}", value, least);
                prop_assert!(value <= least * (1.0 + problem.indifference), "{} {}", value, least);
                prop_assert_eq!(plan.estimate.context, longest(&problem, &plan.candidate));
                if problem.objective == Objective::Balanced {
                    let good = least * (1.0 + problem.indifference);
                    let mut as_good: Vec<&Estimate> = enough.iter().map(|p| &p.estimate).collect();
                    as_good.retain(|e| e.cloud <= good);
                    let memory = as_good.iter().map(|e| e.memory).min().unwrap() as f64;
                    as_good.retain(|e| e.memory as f64 <= memory * (1.0 + problem.indifference));
                    let kl = as_good.iter().map(|e| e.kl).fold(f64::INFINITY, f64::min);
                    prop_assert_eq!(plan.estimate.kl, kl);
                    prop_assert!(plan.estimate.token <= fastest(&plain) * problem.slowdown);
                }
            }
        }
        // The front: nothing that holds the limits beats a plan of it, and each that is not of it is
        // beaten.
        let beats = |a: &Plan, b: &Plan| {
            let (a, b) = (costs(a), costs(b));
            a != b && a.iter().zip(&b).all(|(a, b)| a <= b)
        };
        for plan in &found.front {
            prop_assert!(!plain.iter().any(|other| beats(other, plan)));
        }
        for plan in &plain {
            let on_it = found.front.iter().any(|kept| costs(kept) == costs(plan));
            prop_assert!(on_it || found.front.iter().any(|kept| beats(kept, plan)));
        }
    }

    /// More memory, a later deadline, more loss allowed: never a worse plan. What a balanced plan is held
    /// against, the fastest candidate, may get faster then; it never gets slower.
    #[test]
    fn looser_limits_never_give_a_worse_plan(knobs in Knobs::any(), more in 1.0f64..3.0) {
        let tight = Problem { indifference: 0.0, ..problem(&knobs) };
        let best = |problem: &Problem| {
            let found = search(problem);
            match problem.objective {
                Objective::Balanced => found.fastest_token,
                _ => found.chosen.map(|p| value(problem, &p.estimate)),
            }
        };
        let before = best(&tight);
        let mut looser = vec![tight.clone(), tight.clone(), tight.clone(), tight.clone()];
        let scaled = |x: &mut Option<f64>| *x = x.map(|x| x * more);
        looser[0].constraints.memory = tight.constraints.memory.map(|m| (m as f64 * more) as u64);
        scaled(&mut looser[1].constraints.token_deadline);
        scaled(&mut looser[2].constraints.first_token);
        scaled(&mut looser[3].constraints.max_kl);
        for problem in &looser {
            let after = best(problem);
            match (before, after) {
                (Some(before), Some(after)) => prop_assert!(after <= before),
                (Some(_), None) => prop_assert!(false, "a looser limit shut everything out"),
                (None, _) => {}
            }
        }
    }

    /// What a limit is said to bind is better without it, and holds all the others.
    #[test]
    fn what_binds_is_told_with_what_it_costs(knobs in Knobs::any()) {
        let problem = problem(&knobs);
        let Outcome { chosen: Some(chosen), binding, .. } = search(&problem) else {
            return Ok(());
        };
        for binding in binding {
            let mut without = problem.clone();
            match binding.constraint {
                Constraint::Memory => without.constraints.memory = None,
                Constraint::TokenDeadline => without.constraints.token_deadline = None,
                Constraint::FirstToken => without.constraints.first_token = None,
                Constraint::Quality => without.constraints.max_kl = None,
                Constraint::Context => without.constraints.min_context = 0,
            }
            let free = search(&without).chosen.unwrap();
            prop_assert_eq!(value(&problem, &free.estimate), value(&problem, &binding.relaxed.estimate));
            prop_assert!(free.candidate != chosen.candidate);
        }
    }
}

/// Four layers of 10 bytes; the edge takes 2 s a layer and token, the cloud 1 s, its head 3 s; 1 s of
/// round trip; rows of 68 bytes and 32 around them at 100 bytes a second.
#[test]
fn a_hand_made_pair() {
    let problem = hand_made();
    let split = |split| Candidate {
        split,
        weights: vec![0; split],
        kv: 0,
        codec: 0,
    };
    // Nothing on the edge: 1 s of round trip, (3 + 32)/100 up, 32/100 down, 4 layers, the head.
    let token = estimate(&problem, &Candidate::cloud_only()).token;
    assert!(
        (token - (1.0 + 0.35 + 0.32 + 4.0 + 3.0)).abs() < 1e-9,
        "{token}"
    );
    // Two: 4 s there, (68 + 32)/100 up, 2 layers and the head in the cloud.
    let two = estimate(&problem, &split(2));
    assert!((two.token - (4.0 + 1.0 + 1.0 + 0.32 + 2.0 + 3.0)).abs() < 1e-9);
    // A prompt of 2 tokens, one a chunk: the rows reach the cloud at 4 + 1 + 0.5 and, the edge being
    // the slower, 4 s later. The cloud has run the first for 2 s by then. 5 s for the second.
    assert!(
        (two.first_token - (9.5 + 5.0 + 0.5 + 0.32)).abs() < 1e-9,
        "{two:?}"
    );
    // On one processor what runs at the same time takes twice as long. The second row is half a second from
    // done when the first one's two have become four; it leaves the edge at 10.
    let crowded = Problem {
        contention: 2.0,
        ..problem.clone()
    };
    let crowded = estimate(&crowded, &split(2));
    assert!(
        (crowded.first_token - (11.5 + 5.0 + 0.5 + 0.32)).abs() < 1e-9,
        "{crowded:?}"
    );
    assert_eq!(crowded.token, two.token);
    // The first row's 2 s were 4.
    assert!((crowded.cloud - 19.0 / 3.0).abs() < 1e-9, "{crowded:?}");
    // Three tokens of answer: the prompt's 2 + 5 s in the cloud, and twice 5 s.
    assert!((two.cloud - 17.0 / 3.0).abs() < 1e-9, "{two:?}");
    // 100 before a layer is loaded, 5 for the chunk, 20 of weights, 2 layers · 8 positions · 1 byte.
    assert_eq!(two.memory, 100 + 5 + 20 + 16);
    assert_eq!((two.kl, two.kl_is_bound), (2.0 * 0.25 + 0.125, false));
}

/// What is told of where it goes adds up to what is told of how much it is.
#[test]
fn the_terms_add_up() {
    let problem = hand_made();
    for candidate in all_candidates(&problem) {
        let whole = estimate(&problem, &candidate);
        let terms = breakdown(&problem, &candidate);
        assert!((terms.token_seconds.sum() - whole.token).abs() < 1e-9);
        assert_eq!(terms.memory_bytes.sum(), whole.memory);
        assert_eq!(terms.kl.sum(), whole.kl);
    }
}

/// By the cloud's time the deepest split is best; memory for two layers and their 8 positions is
/// 141 bytes, for three 159.
#[test]
fn memory_stops_a_split_from_being_deeper() {
    let mut problem = hand_made();
    problem.constraints.memory = Some(158);
    let found = search(&problem);
    let chosen = found.chosen.unwrap();
    assert_eq!(chosen.candidate.split, 2);
    // Two layers leave 158 − 125 = 33 bytes: 16 positions at 2 bytes each.
    assert_eq!(chosen.estimate.context, 16);
    assert_eq!(found.binding.len(), 1);
    assert_eq!(found.binding[0].constraint, Constraint::Memory);
    assert_eq!(found.binding[0].relaxed.candidate.split, 3);
    problem.constraints.memory = Some(159);
    let found = search(&problem);
    assert_eq!(found.chosen.unwrap().candidate.split, 3);
    assert_eq!(found.binding, []);
}

/// For latency the edge, twice as slow a layer, and the row's 0.65 s more, are a bad bargain.
#[test]
fn a_slow_edge_is_told_not_to_split() {
    let mut problem = hand_made();
    problem.objective = Objective::Latency;
    let found = search(&problem);
    assert_eq!(found.chosen.unwrap().candidate.split, 0);
    // The whole model there: 4 layers of 2 s and a head of 5 s a token.
    let whole = found.edge_only.unwrap();
    assert_eq!((whole.token, whole.memory), (13.0, 100 + 5 + 40 + 32));
    assert!(whole.fits);
    // A prompt token a chunk: 2 · 8 s and the head; then two tokens of 13 s.
    assert_eq!(whole.request, 16.0 + 5.0 + 26.0);
}

/// The least token takes 8.67 s; 105 bytes are not enough for a layer, but nothing needs one.
#[test]
fn what_cannot_be_held_is_named_with_by_how_much() {
    let mut problem = hand_made();
    problem.constraints.token_deadline = Some(8.0);
    problem.constraints.memory = Some(105);
    let found = search(&problem);
    assert_eq!(found.chosen, None);
    let [shortfall] = found.shortfalls[..] else {
        panic!("{:?}", found.shortfalls);
    };
    assert_eq!(shortfall.constraint, Constraint::TokenDeadline);
    assert!((shortfall.nearest - 8.67).abs() < 1e-9, "{shortfall:?}");
    assert_eq!((shortfall.limit, shortfall.alone), (8.0, shortfall.nearest));
}

/// A row's bytes do not depend on the split, but a better codec is worth more the slower the link.
#[test]
fn a_slow_link_calls_for_the_smaller_codec() {
    let mut problem = hand_made();
    let mut small = problem.codecs[0].clone();
    small.name = "small".to_owned();
    for cut in &mut small.cuts {
        (cut.decode_bytes, cut.prefill_bytes) = (18.0, 18.0);
        cut.encode_seconds = 0.3;
        cut.kl = 0.25;
    }
    problem.codecs.push(small);
    problem.space.codecs = vec![0, 1];
    // 50 bytes less are 0.5 s at 100 bytes a second, 0.05 s at 1,000; encoding takes 0.3 s.
    assert_eq!(search(&problem).chosen.unwrap().candidate.codec, 1);
    problem.link = LinkProfile::known(Link {
        round_trip: 1.0,
        up: 1000.0,
        down: 100.0,
    });
    assert_eq!(search(&problem).chosen.unwrap().candidate.codec, 0);
}

/// Large weights cost 0.05 a layer less than the small ones' 0.25 but for layer 1, which gains most.
#[test]
fn the_most_sensitive_layer_is_the_first_to_get_more_bits() {
    let mut problem = hand_made();
    let mut large = problem.edge.weights[0].clone();
    large.name = "large".to_owned();
    large.layer_bytes = 20;
    large.layer_kl = vec![0.2, 0.05, 0.2, 0.2];
    large.times.layer = Curve::constant(2.5);
    problem.edge.weights.push(large);
    problem.space.weights = WeightChoice::Among(vec![0, 1]);
    // Three layers and the codec cost 0.875 with small weights; 0.7 is to be held: layer 1 suffices.
    problem.constraints.max_kl = Some(0.7);
    let plan = search(&problem).chosen.unwrap();
    assert_eq!(plan.candidate.weights, [0, 1, 0]);
    assert_eq!(plan.candidate.scheme(&problem), "small,1=large");
    let named = |weights, codec| Candidate::named(&problem, 3, (weights, "plain", codec));
    assert_eq!(named("small,1=large", "plain").unwrap(), plan.candidate);
    assert_eq!(
        named("large,1-2=small", "plain").unwrap().weights,
        [1, 0, 0]
    );
    for (weights, codec) in [
        ("medium", "plain"),
        ("small,3=large", "plain"),
        ("small,1", "plain"),
        ("small", "zip"),
    ] {
        assert_eq!(named(weights, codec), None, "{weights}, {codec}");
    }
    assert!((plan.estimate.kl - 0.675).abs() < 1e-9);
    assert!(!plan.estimate.kl_is_bound);
    // Bounds say nothing of which layer gains: all layers have one type then.
    problem.edge.weights[1].kl_is_bound = true;
    let plan = search(&problem).chosen.unwrap();
    assert_eq!(plan.candidate.weights, [1, 1, 1]);
    assert!(plan.estimate.kl_is_bound);
}

/// A token takes 8.67 s without a split, 11.32 s with two layers on the edge, 12.32 s with three.
#[test]
fn a_balanced_plan_spares_the_cloud_as_far_as_a_token_may_be_slower() {
    let mut problem = hand_made();
    problem.objective = Objective::Balanced;
    let mut split = |slowdown: f64| {
        problem.slowdown = slowdown;
        let found = search(&problem);
        assert!((found.fastest_token.unwrap() - 8.67).abs() < 1e-9);
        found.chosen.unwrap().candidate.split
    };
    assert_eq!(split(1.0), 0);
    assert_eq!(split(1.35), 2);
    assert_eq!(split(2.0), 3);
    // Each split has a best plan, however slow: that of whoever asks for it.
    let by_split = search(&problem).by_split;
    let splits: Vec<usize> = by_split.iter().map(|p| p.candidate.split).collect();
    assert_eq!(splits, [0, 1, 2, 3]);
}

/// Of plans that spare the cloud as much, those with the least memory; of those, the one closest to the exact
/// model.
#[test]
fn a_balanced_plan_takes_no_more_memory_than_it_must() {
    let mut problem = hand_made();
    problem.objective = Objective::Balanced;
    problem.slowdown = 2.0;
    problem.indifference = 0.0;
    let mut small = problem.edge.weights[0].clone();
    small.name = "smaller".to_owned();
    small.layer_bytes = 9;
    small.layer_kl = vec![0.3; 4];
    problem.edge.weights.push(small);
    problem.space.weights = WeightChoice::Among(vec![0, 1]);
    let mut exact = problem.codecs[0].clone();
    exact.name = "exact".to_owned();
    for cut in &mut exact.cuts {
        (cut.decode_bytes, cut.prefill_bytes, cut.kl) = (80.0, 80.0, 0.0);
    }
    problem.codecs.push(exact);
    problem.space.codecs = vec![0, 1];
    let plan = search(&problem).chosen.unwrap().candidate;
    assert_eq!((plan.weights.as_slice(), plan.codec), (&[1, 1, 1][..], 1));
}

/// What is written for another program to read is the same problem.
#[test]
fn a_problem_is_read_as_it_is_written() {
    let problem = hand_made();
    let text = serde_json::to_string(&problem).unwrap();
    assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
}

/// A package holds two layers in given types: nothing else can be chosen.
#[test]
fn a_packages_weights_are_taken_as_they_are() {
    let mut problem = hand_made();
    problem.space.weights = WeightChoice::Given(vec![0, 0]);
    let found = search(&problem);
    assert_eq!(found.chosen.unwrap().candidate.split, 2);
    assert_eq!(found.edge_only, None);
    problem.cloud.first_layer = 2;
    problem.constraints.memory = Some(120);
    let found = search(&problem);
    assert_eq!(found.chosen, None);
    assert_eq!(found.shortfalls[0].constraint, Constraint::Memory);
    assert_eq!(found.shortfalls[0].nearest, 141.0);
}
