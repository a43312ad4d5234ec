//! A safetensors file, written front to back: its header says where everything will be, so that no
//! more than a tensor is held.

use crate::error::{ModelError, Result};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Name, type and shape of a tensor that will be written.
pub(crate) type Planned = (String, Dtype, Vec<usize>);

/// A file whose tensors are written in the order of its header.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// Bytes that are still to come, tensor by tensor.
    left: VecDeque<usize>,
}

impl WeightsFile {
    /// Writes the header.
    pub(crate) fn create(path: &Path, planned: Vec<Planned>) -> Result<Self> {
        let bad = |problem: String| ModelError::Package {
            path: path.to_owned(),
            problem,
        };
        let mut offset = 0;
        let mut left = VecDeque::new();
        let mut tensors = Vec::new();
        for (name, dtype, shape) in planned {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let info = TensorInfo {
                dtype,
                shape,
                data_offsets: (offset, offset + bytes),
            };
            offset += bytes;
            left.push_back(bytes);
            tensors.push((name, info));
        }
        let metadata = Metadata::new(None, tensors).map_err(|e| bad(e.to_string()))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|e| bad(e.to_string()))?;
        // The format's own alignment.
        header.resize(header.len().next_multiple_of(8), b' ');
        let file = File::create(path).map_err(|source| ModelError::Write {
            path: path.to_owned(),
            source,
        })?;
        let mut this = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            left,
        };
        this.put(&(header.len() as u64).to_le_bytes())?;
        this.put(&header)?;
        Ok(this)
    }

    /// Writes more of the present tensor, or the next one's first bytes.
    ///
    /// # Errors
    /// When it has fewer bytes left, or the file cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        while self.left.front() == Some(&0) {
            self.left.pop_front();
        }
        match self.left.front_mut() {
            Some(left) if *left >= bytes.len() => *left -= bytes.len(),
            _ if bytes.is_empty() => {}
            _ => {
                return Err(ModelError::Package {
                    path: self.path.clone(),
                    problem: "more bytes than its header says".to_owned(),
                });
            }
        }
        self.put(bytes)
    }

    /// Ends the file, on disk.
    ///
    /// # Errors
    /// When bytes are missing, or the file cannot be written.
    pub(crate) fn finish(mut self) -> Result<()> {
        let missing: usize = self.left.iter().sum();
        if missing > 0 {
            return Err(ModelError::Package {
                path: self.path,
                problem: format!("{missing} bytes fewer than its header says"),
            });
        }
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|source| ModelError::Write {
            path: self.path,
            source,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|source| ModelError::Write {
                path: self.path.clone(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    #[test]
    fn tensors_are_where_the_header_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let planned = vec![
            ("b".to_owned(), Dtype::F32, vec![2, 1]),
            ("empty".to_owned(), Dtype::F32, vec![0]),
            ("a".to_owned(), Dtype::U8, vec![3]),
        ];
        let mut file = WeightsFile::create(&path, planned.clone()).unwrap();
        file.write(&1f32.to_le_bytes()).unwrap();
        file.write(&2f32.to_le_bytes()).unwrap();
        file.write(&[7, 8, 9]).unwrap();
        assert!(file.write(&[1]).is_err());
        file.finish().unwrap();
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        assert_eq!(&*checkpoint.bytes("a", Dtype::U8, &[3]).unwrap(), [7, 8, 9]);
        let mut values = Vec::new();
        let stored = checkpoint.tensor("b", &[2, 1]).unwrap();
        stored.append_row(0, 2, &mut values);
        assert_eq!(values, [1.0, 2.0]);

        let mut short = WeightsFile::create(&path, planned).unwrap();
        short.write(&[0; 7]).unwrap();
        let message = short.finish().unwrap_err().to_string();
        assert!(message.contains("4 bytes fewer"), "{message}");
    }
}
