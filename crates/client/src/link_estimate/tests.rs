//! What single measurements teach. Whole answers through links are among `adaptation`'s tests.

use super::*;

fn ms(milliseconds: f64) -> Duration {
    Duration::from_secs_f64(milliseconds / 1e3)
}

/// Pinged, at 20 ms.
fn pinged() -> LinkEstimate {
    let mut link = LinkEstimate::default();
    for _ in 0..3 {
        link.ping_returned(ms(20.0));
    }
    link
}

#[test]
fn nothing_is_said_before_it_is_known() {
    let now = Instant::now();
    let mut link = LinkEstimate::default();
    assert!(link.ping_due(now));
    for _ in 0..5 {
        link.row_taken(1000, ms(100.0));
    }
    assert_eq!((link.round_trip(), link.rate(now)), (None, None));
    let mut link = pinged();
    assert_eq!(link.round_trip(), Some(ms(20.0)));
    for _ in 0..2 {
        link.row_taken(1000, ms(100.0));
        assert_eq!(link.rate(now), None);
    }
    link.row_taken(1000, ms(100.0));
    // 80 ms, give or take 2.
    let rate = link.rate(now).unwrap();
    assert!((rate.likely - 12_500.0).abs() < 1.0, "{rate:?}");
    assert!((rate.at_least - 1000.0 / 0.082).abs() < 1.0, "{rate:?}");
    assert!((rate.at_most - 1000.0 / 0.078).abs() < 1.0, "{rate:?}");
}

#[test]
fn rows_below_the_noise_give_a_lower_bound_and_a_large_message_a_higher_one() {
    let now = Instant::now();
    let mut link = pinged();
    for _ in 0..5 {
        link.row_taken(400, ms(20.5));
    }
    let rate = link.rate(now).unwrap();
    assert_eq!(rate.at_most, f64::INFINITY);
    assert_eq!(rate.at_least, rate.likely);
    assert!((rate.at_least - 400.0 / 0.0025).abs() < 1.0, "{rate:?}");
    link.probe_returned(8000, ms(24.0), now);
    for _ in 0..6 {
        link.row_taken(400, ms(20.5));
    }
    let rate = link.rate(now).unwrap();
    assert!((rate.at_least - 8000.0 / 0.006).abs() < 1.0, "{rate:?}");
    // It is forgotten when it is old, or when rows say otherwise.
    let later = now + Duration::from_secs(61);
    assert!(link.rate(later).unwrap().at_least < 200_000.0);
    for _ in 0..6 {
        link.row_taken(400, ms(60.0));
    }
    for _ in 0..6 {
        link.row_taken(400, ms(20.5));
    }
    assert!(link.rate(now).unwrap().at_least < 200_000.0);
}

#[test]
fn four_late_rows_say_nothing_and_five_do() {
    let now = Instant::now();
    let mut link = pinged();
    for _ in 0..6 {
        link.row_taken(1000, ms(21.0));
    }
    for late in 1..=5 {
        link.row_taken(1000, ms(120.0));
        let at_most = link.rate(now).unwrap().at_most;
        assert_eq!(at_most.is_finite(), late == 5, "{late}: {at_most}");
    }
}

#[test]
fn frames_that_queue_are_counted_with_what_is_before_them() {
    let now = Instant::now();
    let mut link = pinged();
    // 16 KiB a second and a quarter each, four on the way.
    for _ in 0..5 {
        link.bulk_taken(16_384, 65_536, ms(5_020.0), now);
    }
    let rate = link.rate(now).unwrap();
    assert!(
        rate.at_least < 13_107.0 && 13_107.0 < rate.at_most * 1.001,
        "{rate:?}"
    );
    assert!((rate.likely - 13_107.0).abs() < 10.0, "{rate:?}");
}

#[test]
fn a_surprise_asks_for_a_ping_at_once() {
    let start = Instant::now();
    let mut link = LinkEstimate::default();
    let mut now = start;
    for _ in 0..3 {
        assert!(link.ping_due(now));
        link.ping_sent(now);
        assert!(!link.ping_due(now + ms(500.0)), "one is on its way");
        link.ping_returned(ms(20.0));
        now += ms(50.0);
    }
    for _ in 0..5 {
        link.row_taken(1000, ms(21.0));
    }
    assert!(!link.ping_due(now + ms(2_000.0)));
    assert!(link.ping_due(now + ms(3_000.0)));
    for odd in [80.0, 5.0] {
        link.row_taken(1000, ms(odd));
        assert!(link.ping_due(now));
        link.ping_sent(now);
        now += ms(50.0);
        link.ping_returned(ms(20.0));
        assert!(!link.ping_due(now));
    }
    // An answer that never comes does not end the pinging.
    link.ping_sent(now);
    assert!(!link.ping_due(now + ms(9_000.0)));
    assert!(link.ping_due(now + ms(10_001.0)));
}

#[test]
fn a_round_trip_that_has_changed_is_believed_at_the_second_ping() {
    for changed in [120.0, 2.0] {
        let mut link = pinged();
        link.ping_returned(ms(changed));
        assert_eq!(link.round_trip(), Some(ms(20.0)));
        link.ping_returned(ms(changed));
        assert_eq!(link.round_trip(), Some(ms(changed)));
        assert!(link.noise() < 0.003);
    }
}
