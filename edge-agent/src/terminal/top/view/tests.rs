use super::*;

const BEFORE: &str = include_str!("before.txt");
const NOW: &str = include_str!("now.txt");

fn seen(now: &str, before: &str, seconds: u64) -> Vec<String> {
    let (now, before) = (Reading::parse(now), Reading::parse(before));
    lines(
        "127.0.0.1:9500",
        &now,
        &before,
        Duration::from_secs(seconds),
    )
}

/// Two pages of an edge that was answering, 6 s apart.
#[test]
fn what_happened_is_said_in_a_line_each() {
    let expected = "\
smollm2-135m-instruct   edge-agent 0.1.0 at 127.0.0.1:9500
split 10, weights int8, keys and values bf16, codec high

answers  1 under way, 5 kept   9 done   2 failed: 1 cancelled, 1 invalid_argument
tokens   35.3/s out   18.0/s in   0.0/s of them known
latency  first token p50 212 ms, p99 492 ms   between tokens p50 41.9 ms, p99 86.9 ms
a token  40.7 ms: edge 3.7 ms, link 0.7 ms, cloud and the rest 36.2 ms
link     25.8 kB/s up   762 B/s down   5.6 bits a value   0 changes of codec   carries 2.9 MB/s   round trip 2.9 ms
drafts   11.8/s sent   27% of them right   1.1 tokens a round trip
clouds   1 serve this edge, 0 do not fit, 0 away
lost     0 replays   0 sessions taken up again
memory   35.8 MB of weights   5.2 MB of beginnings";
    assert_eq!(seen(NOW, BEFORE, 6).join("\n"), expected);
}

#[test]
fn nothing_that_happened_is_said_as_such() {
    let lines = seen(BEFORE, BEFORE, 1);
    for (row, line) in [
        (3, "answers  0 under way"),
        (4, "tokens   0.0/s out   0.0/s in   0.0/s of them known"),
        (
            5,
            "latency  first token p50 -, p99 -   between tokens p50 -, p99 -",
        ),
        (6, "a token  -"),
        (7, "link     0 B/s up   0 B/s down   - bits a value"),
        (8, "drafts   0.0/s sent"),
    ] {
        assert!(lines[row].starts_with(line), "{}", lines[row]);
    }
    // A first reading has no time before it.
    assert!(seen(NOW, NOW, 0)[4].starts_with("tokens   -/s out"));
    // Another server's page, or none.
    assert_eq!(seen("", "", 1)[0], "?   edge-agent ? at 127.0.0.1:9500");
}

/// A histogram's page: counts of what is at most as large as each bound.
fn histogram(counts: [u32; 4]) -> Reading {
    let name = "tandem_edge_time_to_first_token_seconds";
    let bounds = ["0.1", "0.2", "0.4", "+Inf"];
    let lines = bounds.iter().zip(counts);
    let lines = lines.map(|(bound, count)| format!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
    Reading::parse(&lines.collect::<String>())
}

#[test]
fn quantiles_lie_between_the_bounds_of_new_values() {
    let of = |now, before, share| {
        let view = View {
            now: &histogram(now),
            before: &histogram(before),
            seconds: 1.0,
        };
        let quantile = view.quantile("time_to_first_token_seconds", share);
        quantile.map(|seconds| (1e3 * seconds).round())
    };
    let none = [0; 4];
    assert_eq!(of([0, 10, 10, 10], none, 0.5), Some(150.0));
    assert_eq!(of([10, 10, 10, 10], none, 0.99), Some(99.0));
    assert_eq!(of([1, 2, 4, 4], none, 0.75), Some(300.0));
    // Beyond the last bound there is nothing to go by.
    assert_eq!(of([0, 0, 0, 4], none, 0.5), Some(400.0));
    // Those of before do not count, unless the edge began anew.
    assert_eq!(of([90, 90, 100, 100], [90; 4], 0.5), Some(300.0));
    assert_eq!(of([90; 4], [90; 4], 0.5), None);
    assert_eq!(of([0, 10, 10, 10], [90; 4], 0.5), Some(150.0));
}

#[test]
fn a_counter_that_fell_began_anew() {
    assert_eq!(grown(5.0, 3.0), 2.0);
    assert_eq!(grown(2.0, 30.0), 2.0);
    let page = |tokens| format!("tandem_edge_generation_tokens_total {tokens}\n");
    let line = &seen(&page(40), &page(1000), 2)[4];
    assert!(line.starts_with("tokens   20.0/s out"), "{line}");
}
