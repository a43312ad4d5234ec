//! Measures what the loops of a decode step cost on our workers and on rayon's: a step is a few hundred loops of 10 to
//! 200 µs, one behind the other, with a pause behind each step in which another process may run. Both take turns, and
//! medians are reported.
#![allow(clippy::print_stdout, reason = "the table is its result")]

use anyhow::Result;
use clap::Parser;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tandem_model::{ComputeThread, for_each};
use tandem_tests::statistics::median;

/// Our workers and rayon's.
#[derive(Debug, Parser)]
struct Arguments {
    /// Threads, the one that calls included
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Loops of a step
    #[arg(long, default_value_t = 200)]
    loops: usize,
    /// Pieces that a loop is cut into
    #[arg(long, default_value_t = 16)]
    pieces: usize,
    /// Microseconds of a loop on one thread
    #[arg(long, value_delimiter = ',', default_value = "20,50,200")]
    micros: Vec<u32>,
    /// Milliseconds between two steps
    #[arg(long, default_value_t = 2)]
    pause: u64,
    /// Steps of each kind, in turn
    #[arg(long, default_value_t = 31)]
    repeats: usize,
}

/// Who runs the loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OneThread,
    Workers,
    Rayon,
}

const KINDS: [Kind; 3] = [Kind::OneThread, Kind::Workers, Kind::Rayon];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let _computing = ComputeThread::begin(arguments.threads);
    // As rayon's users have it: the thread that calls is one of the pool's.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .use_current_thread()
        .build()?;
    println!(
        "| a loop on one thread, µs | a step on one thread, ms | our workers, ms | rayon, ms | ours ÷ rayon | process time: ours, ms | rayon, ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for &micros in &arguments.micros {
        let rounds = rounds_of(f64::from(micros) / arguments.pieces as f64);
        let mut took: [Vec<(f64, f64)>; 3] = Default::default();
        // One more of each kind before those that count.
        for repeat in 0..=arguments.repeats {
            for (kind, took) in KINDS.into_iter().zip(&mut took) {
                std::thread::sleep(Duration::from_millis(arguments.pause));
                let (began, used) = (Instant::now(), process_time());
                for _ in 0..arguments.loops {
                    run(kind, &pool, arguments.pieces, rounds);
                }
                let seconds = began.elapsed().as_secs_f64();
                std::thread::sleep(Duration::from_millis(arguments.pause));
                if repeat > 0 {
                    took.push((seconds, process_time() - used));
                }
            }
        }
        let [one, ours, rayon] = took.each_ref().map(|took| {
            let milliseconds = |of: fn(&(f64, f64)) -> f64| 1e3 * median(took.iter().map(of));
            (milliseconds(|took| took.0), milliseconds(|took| took.1))
        });
        let in_turn = took[1].iter().zip(&took[2]);
        let ratio = median(in_turn.map(|(ours, rayon)| ours.0 / rayon.0));
        println!(
            "| {micros} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            one.0, ours.0, rayon.0, ratio, ours.1, rayon.1
        );
    }
    Ok(())
}

/// One loop.
fn run(kind: Kind, pool: &rayon::ThreadPool, pieces: usize, rounds: u32) {
    match kind {
        Kind::OneThread => (0..pieces).for_each(|_| piece(rounds)),
        Kind::Workers => for_each(pieces, &|_| piece(rounds)),
        Kind::Rayon => pool.install(|| (0..pieces).into_par_iter().for_each(|_| piece(rounds))),
    }
}

/// Work of a piece.
fn piece(rounds: u32) {
    let mut sums = black_box([0.5f32; 16]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * 0.75 + 0.125;
        }
    }
    black_box(sums);
}

/// Rounds that a piece of so many microseconds has.
fn rounds_of(micros: f64) -> u32 {
    const TRIED: u32 = 100_000;
    let time = |_| {
        let began = Instant::now();
        piece(TRIED);
        began.elapsed().as_secs_f64() * 1e6
    };
    let least = (0..20).map(time).fold(f64::INFINITY, f64::min);
    (micros * f64::from(TRIED) / least).max(1.0) as u32
}

/// Seconds that this process has computed, on all its threads.
fn process_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
