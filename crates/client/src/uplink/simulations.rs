//! Uploads through simulated links, which change on the way.

use super::Window;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const FRAME: usize = 16_128;
const MBIT: f64 = 125_000.0;

/// A link for a while.
#[derive(Clone, Copy)]
struct Phase {
    seconds: f64,
    /// Bytes a second.
    rate: f64,
    round_trip: f64,
}

fn phase(seconds: f64, mbit: f64, round_trip_ms: f64) -> Phase {
    Phase {
        seconds,
        rate: mbit * MBIT,
        round_trip: round_trip_ms / 1e3,
    }
}

/// How late the cloud acknowledges, a draw from a fixed sequence.
#[derive(Clone, Copy)]
enum Jitter {
    None,
    /// Up to so many seconds.
    Uniform(f64),
    /// So many seconds, one frame in 20.
    Spikes(f64),
}

/// What an upload made of a phase.
#[derive(Debug)]
struct Outcome {
    utilisation: f64,
    /// Seconds that a byte waited in front of the link at worst.
    queue: f64,
    /// The same after the first third.
    settled_queue: f64,
    /// Seconds until 37 frames had arrived: a prompt of 256 tokens of 2,304 bytes.
    prompt: f64,
}

struct Simulation {
    window: Window,
    start: Instant,
    now: f64,
    link_free: f64,
    last_ack: f64,
    in_flight: usize,
    /// Sent, acknowledged, load.
    on_the_way: VecDeque<(f64, f64, usize)>,
    draws: u32,
}

impl Simulation {
    fn new() -> Self {
        Self {
            window: Window::new(FRAME),
            start: Instant::now(),
            now: 0.0,
            link_free: 0.0,
            last_ack: 0.0,
            in_flight: 0,
            on_the_way: VecDeque::new(),
            draws: 0,
        }
    }

    fn jitter(&mut self, jitter: Jitter) -> f64 {
        self.draws = self
            .draws
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let draw = f64::from(self.draws >> 8) / f64::from(1 << 24);
        match jitter {
            Jitter::None => 0.0,
            Jitter::Uniform(most) => most * draw,
            Jitter::Spikes(late) => {
                if draw < 0.05 {
                    late
                } else {
                    0.0
                }
            }
        }
    }

    /// Uploads without a pause.
    fn upload(&mut self, phase: Phase, jitter: Jitter) -> Outcome {
        let began = self.now;
        let (mut frames, mut queue, mut settled_queue) = (0, 0.0f64, 0.0f64);
        let mut prompt = f64::INFINITY;
        while self.now < began + phase.seconds {
            while self.window.admits(self.in_flight, FRAME) {
                self.window.sent(self.in_flight);
                self.in_flight += FRAME;
                let reaches = self.now + phase.round_trip / 2.0;
                let waits = (self.link_free - reaches).max(0.0);
                queue = queue.max(waits);
                if self.now > began + phase.seconds / 3.0 {
                    settled_queue = settled_queue.max(waits);
                }
                self.link_free = reaches.max(self.link_free) + FRAME as f64 / phase.rate;
                let ack = self.link_free + phase.round_trip / 2.0 + self.jitter(jitter);
                self.last_ack = self.last_ack.max(ack);
                self.on_the_way
                    .push_back((self.now, self.last_ack, self.in_flight));
            }
            let (sent, acknowledged, load) = self.on_the_way.pop_front().unwrap();
            self.now = acknowledged;
            self.in_flight -= FRAME;
            frames += 1;
            if frames == 37 {
                prompt = self.now - began;
            }
            let taken = Duration::from_secs_f64(self.now - sent);
            let now = self.start + Duration::from_secs_f64(self.now);
            self.window.acknowledged(FRAME, load, taken, now);
        }
        Outcome {
            utilisation: (frames * FRAME) as f64 / phase.rate / (self.now - began),
            queue,
            settled_queue,
            prompt,
        }
    }

    /// Nothing is sent until all has arrived, and for a second more.
    fn pause(&mut self) {
        while let Some((sent, acknowledged, load)) = self.on_the_way.pop_front() {
            self.now = acknowledged;
            self.in_flight -= FRAME;
            let taken = Duration::from_secs_f64(self.now - sent);
            let now = self.start + Duration::from_secs_f64(self.now);
            self.window.acknowledged(FRAME, load, taken, now);
        }
        self.now += 1.0;
    }
}

const ALL_JITTER: [Jitter; 4] = [
    Jitter::None,
    Jitter::Uniform(0.005),
    Jitter::Uniform(0.02),
    Jitter::Spikes(0.03),
];

/// A round trip and the transmission of a prompt of 37 frames.
fn least(phase: Phase) -> f64 {
    phase.round_trip + (37 * FRAME) as f64 / phase.rate
}

#[test]
fn a_long_link_is_filled_from_the_first_prompt_on() {
    let link = phase(10.0, 10.0, 80.0);
    for jitter in ALL_JITTER {
        let outcome = Simulation::new().upload(link, jitter);
        assert!(outcome.utilisation > 0.8, "{outcome:?}");
        // A prefill chunk of 64 rows: 118 ms.
        assert!(outcome.queue < 0.12, "{outcome:?}");
    }
    let outcome = Simulation::new().upload(link, Jitter::None);
    assert!(outcome.prompt < least(link) + 0.1, "{outcome:?}");
}

#[test]
fn a_fat_link_is_opened_in_a_few_round_trips() {
    let outcome = Simulation::new().upload(phase(3.0, 100.0, 80.0), Jitter::Uniform(0.002));
    assert!(outcome.utilisation > 0.6, "{outcome:?}");
    assert!(outcome.queue < 0.1, "{outcome:?}");
}

#[test]
fn a_slow_link_holds_half_a_chunk_and_never_idles() {
    for jitter in ALL_JITTER {
        let outcome = Simulation::new().upload(phase(20.0, 1.0, 20.0), jitter);
        assert!(outcome.utilisation > 0.97, "{outcome:?}");
        assert!(outcome.queue < 0.59, "{outcome:?}");
    }
}

#[test]
fn a_round_trip_that_has_risen_between_prompts_costs_the_next_one_a_round_trip() {
    let far = phase(1.0, 10.0, 80.0);
    for before in [phase(1.0, 800.0, 0.2), phase(1.0, 10.0, 20.0)] {
        for jitter in ALL_JITTER {
            let mut simulation = Simulation::new();
            simulation.upload(before, jitter);
            simulation.pause();
            let outcome = simulation.upload(far, jitter);
            assert!(outcome.prompt < least(far) + 0.3, "{outcome:?}");
            assert!(outcome.queue < 0.14, "{outcome:?}");
        }
        let mut simulation = Simulation::new();
        simulation.upload(before, Jitter::None);
        simulation.pause();
        let outcome = simulation.upload(far, Jitter::None);
        assert!(outcome.prompt < least(far) + 0.1, "{outcome:?}");
    }
}

#[test]
fn a_round_trip_that_rises_during_an_upload_is_found_out() {
    for before in [phase(2.0, 800.0, 0.2), phase(2.0, 10.0, 0.2)] {
        for jitter in ALL_JITTER {
            let mut simulation = Simulation::new();
            simulation.upload(before, jitter);
            let found = simulation.upload(phase(2.0, 10.0, 80.0), jitter);
            let then = simulation.upload(phase(5.0, 10.0, 80.0), jitter);
            assert!(found.utilisation > 0.5, "{found:?}");
            assert!(then.utilisation > 0.8, "{then:?}");
            assert!(then.queue < 0.13, "{then:?}");
        }
    }
}

#[test]
fn a_rate_that_falls_during_an_upload_closes_the_window() {
    for round_trip in [20.0, 80.0] {
        for jitter in ALL_JITTER {
            let mut simulation = Simulation::new();
            simulation.upload(phase(5.0, 10.0, round_trip), jitter);
            let outcome = simulation.upload(phase(20.0, 1.0, round_trip), jitter);
            assert!(outcome.utilisation > 0.9, "{outcome:?}");
            assert!(outcome.settled_queue < 0.59, "{outcome:?}");
        }
    }
}

#[test]
fn a_rate_that_rises_during_an_upload_is_used() {
    let mut simulation = Simulation::new();
    simulation.upload(phase(10.0, 1.0, 20.0), Jitter::None);
    simulation.upload(phase(1.0, 10.0, 20.0), Jitter::None);
    let outcome = simulation.upload(phase(5.0, 10.0, 20.0), Jitter::None);
    assert!(outcome.utilisation > 0.9, "{outcome:?}");
    assert!(outcome.queue < 0.12, "{outcome:?}");
}
