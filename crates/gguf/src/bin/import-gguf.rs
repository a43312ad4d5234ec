//! Imports a GGUF file into a Hugging Face model directory: import-gguf GGUF OUT_DIR [--dtype f32|bf16]

use std::io::{IsTerminal, Write, stderr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use tandem_gguf::{Dtype, GgufError, Progress, import};

/// Imports a GGUF file into a Hugging Face model directory that Tandem (or transformers) loads.
///
/// Llama, Mistral, Qwen2 and Qwen3 in every quantisation that PyPI's `gguf` can dequantise. What
/// cannot be carried over exactly is refused by name.
#[derive(Parser)]
#[command(name = "import-gguf", version)]
struct Arguments {
    /// The file to import.
    gguf: PathBuf,
    /// The directory to create; it must not exist yet.
    out_dir: PathBuf,
    /// How weights are written.
    #[arg(long, value_enum, default_value_t = Width::F32)]
    dtype: Width,
}

#[derive(Clone, Copy, ValueEnum)]
enum Width {
    F32,
    Bf16,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let (dtype, dtype_name) = match arguments.dtype {
        Width::F32 => (Dtype::F32, "f32"),
        Width::Bf16 => (Dtype::Bf16, "bf16"),
    };
    // So that being stopped by a signal, too, removes what is half-written.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut meter = Meter::new();
    let mut progress = |progress| {
        meter.show(progress);
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let out = arguments.out_dir;
    match import(&arguments.gguf, &out, dtype, &mut progress) {
        Ok(made) => {
            let (class, layers, hidden) = (made.class, made.layers, made.hidden);
            println!(
                "{}: {class}, {layers} layers, hidden size {hidden}, {dtype_name}",
                out.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            meter.end_line();
            eprintln!("import-gguf: {error}");
            Ok(ExitCode::from(if matches!(error, GgufError::Interrupted) {
                130
            } else {
                1
            }))
        }
    }
}

/// Bytes written: one line that is redrawn on a terminal, one line a quarter elsewhere.
struct Meter {
    terminal: bool,
    next_draw: Instant,
    next_quarter: u64,
    open_line: bool,
}

impl Meter {
    fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            next_draw: Instant::now(),
            next_quarter: 0,
            open_line: false,
        }
    }

    fn show(&mut self, progress: Progress) {
        let Progress::Writing { done, total } = progress else {
            return;
        };
        let message = format!(
            "import-gguf: {} of {} MiB of weights written",
            done >> 20,
            total >> 20
        );
        let whole = done >= total;
        if !self.terminal {
            let quarter = done.saturating_mul(4) / total.max(1);
            if quarter >= self.next_quarter && done > 0 {
                self.next_quarter = quarter + 1;
                eprintln!("{message}");
            }
        } else if whole || Instant::now() >= self.next_draw {
            self.next_draw = Instant::now() + Duration::from_millis(100);
            eprint!("\r{message}");
            // Standard error has no buffer to fail on; a closed terminal is no reason to stop.
            let _ = stderr().flush();
            self.open_line = true;
            if whole {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            eprintln!();
        }
    }
}
