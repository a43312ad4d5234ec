//! Any bytes are a GGUF file that is imported, or are refused and leave nothing; and no more is written than they hold.

use crate::scratch;
use std::fs;
use std::ops::ControlFlow;
use tandem_gguf::{Dtype, Progress, import};

/// Bytes of 32-bit values for each byte of the file: no type is smaller than 50 bytes for 256 values.
const GROWTH: u64 = 21;

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let directory = scratch::directory(&[("model.gguf", data)]);
    let (file, out) = (
        directory.path().join("model.gguf"),
        directory.path().join("out"),
    );
    let mut written = 0;
    let mut hear = |progress| {
        if let Progress::Writing { total, .. } = progress {
            written = total;
        }
        ControlFlow::Continue(())
    };
    let outcome = import(&file, &out, Dtype::F32, &mut hear);
    assert_eq!(outcome.is_ok(), out.exists());
    let entries = fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(entries, 1 + usize::from(outcome.is_ok()));
    assert!(written <= GROWTH * data.len() as u64, "{written} bytes");
    if let Err(error) = outcome {
        assert!(!error.to_string().is_empty());
    }
}
