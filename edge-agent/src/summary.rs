//! What an answer took and where it ran, in a few lines for people.

use std::fmt;
use tandem_proto::v1;

/// An answer and the deployment that made it.
#[derive(Debug)]
pub struct Summary<'a> {
    /// What runs where.
    pub model: &'a v1::GetModelResponse,
    /// How the answer ended and what it cost.
    pub finished: &'a v1::Finished,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layers(f)?;
        self.speed(f)?;
        self.wire(f)?;
        self.advice(f)
    }
}

impl Summary<'_> {
    fn layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let described = self.model.model.clone().unwrap_or_default();
        writeln!(f, "{}, {} layers", described.name, described.layers)?;
        match &self.model.edge {
            Some(edge) => writeln!(
                f,
                "  edge:   layers {} to {} in {}, {}",
                edge.first,
                edge.end,
                edge.weights,
                megabytes(edge.weight_bytes)
            )?,
            None => writeln!(f, "  edge:   no layers; token ids go up")?,
        }
        if let Some(cloud) = &self.model.cloud {
            let first = self.model.split.max(cloud.first);
            write!(
                f,
                "  cloud:  layers {first} to {} in {}",
                cloud.end, cloud.weights
            )?;
            if first == cloud.first {
                writeln!(f, ", {}", megabytes(cloud.weight_bytes))?
            } else {
                writeln!(
                    f,
                    ", of {} for layers {} to {}",
                    megabytes(cloud.weight_bytes),
                    cloud.first,
                    cloud.end
                )?
            }
        }
        Ok(())
    }

    fn speed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v1::Finished {
            completion_tokens,
            prompt_tokens,
            ..
        } = *self.finished;
        let timings = self.finished.timings.unwrap_or_default();
        writeln!(
            f,
            "  speed:  {completion_tokens} tokens at {:.1} tokens/s, the first after {:.0} ms ({prompt_tokens} of prompt)",
            timings.tokens_per_second,
            1e3 * timings.ttft_seconds
        )?;
        let whole = timings.ttft_seconds + timings.decode_seconds;
        let (edge, cloud) = (timings.edge_compute_seconds, timings.cloud_compute_seconds);
        // The chunks of a long prompt wait for each other, all at once: their sum is no part of the whole.
        let queue = timings
            .cloud_queue_seconds
            .min((whole - edge - cloud).max(0.0));
        let rest = (whole - edge - cloud - queue).max(0.0);
        let share = |part: f64| 100.0 * part / whole.max(1e-9);
        writeln!(
            f,
            "  time:   edge {:.0}%, cloud {:.0}%, waiting in the cloud {:.0}%, link and the rest {:.0}%",
            share(edge),
            share(cloud),
            share(queue),
            share(rest)
        )
    }

    fn wire(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.finished.wire.clone().unwrap_or_default();
        let hidden = self
            .model
            .model
            .as_ref()
            .map_or(0, |model| u64::from(model.hidden_size));
        let tokens = u64::from(self.finished.completion_tokens).max(1);
        if wire.rows == 0 {
            return writeln!(
                f,
                "  link:   {} bytes down a token, no hidden rows up",
                wire.down_bytes / tokens
            );
        }
        let row = wire.frame_bytes / wire.rows;
        writeln!(
            f,
            "  link:   {row} bytes a hidden row in {}, {:.1} bits a value ({} in bf16, {} in f32); {} bytes down a token",
            self.model.codec,
            wire.bits_per_value,
            2 * hidden,
            4 * hidden,
            wire.down_bytes / tokens
        )
    }

    fn advice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = match &*self.model.codec {
            "f32" | "bf16" | "int8" => "--codec high for a smaller row",
            "high" => "--codec balanced for a smaller row",
            _ => "--codec high for a more exact one",
        };
        writeln!(
            f,
            "  next:   --preset exact for the reference, {codec}, --split L or --split auto, edge-agent plan for why"
        )
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_ran_where_and_what_it_took() {
        let held = |first, end, weights: &str, weight_bytes| v1::HeldLayers {
            first,
            end,
            weights: weights.to_owned(),
            kv: "f32".to_owned(),
            weight_bytes,
        };
        let model = v1::GetModelResponse {
            model: Some(v1::ModelDescription {
                name: "smol".to_owned(),
                layers: 30,
                hidden_size: 576,
                ..v1::ModelDescription::default()
            }),
            split: 10,
            codec: "high".to_owned(),
            edge: Some(held(0, 10, "int8", 36_000_000)),
            cloud: Some(held(0, 30, "f32", 540_000_000)),
            ..v1::GetModelResponse::default()
        };
        let finished = v1::Finished {
            prompt_tokens: 30,
            completion_tokens: 101,
            timings: Some(v1::Timings {
                ttft_seconds: 0.2,
                decode_seconds: 3.8,
                tokens_per_second: 26.3,
                edge_compute_seconds: 1.0,
                cloud_compute_seconds: 2.0,
                cloud_queue_seconds: 0.2,
            }),
            wire: Some(v1::WireUsage {
                rows: 130,
                frame_bytes: 130 * 360,
                bits_per_value: 5.0,
                down_bytes: 101 * 29,
                ..v1::WireUsage::default()
            }),
            ..v1::Finished::default()
        };
        let text = Summary {
            model: &model,
            finished: &finished,
        }
        .to_string();
        let expected = "smol, 30 layers\n  edge:   layers 0 to 10 in int8, 36 MB\n  \
            cloud:  layers 10 to 30 in f32, of 540 MB for layers 0 to 30\n  \
            speed:  101 tokens at 26.3 tokens/s, the first after 200 ms (30 of prompt)\n  \
            time:   edge 25%, cloud 50%, waiting in the cloud 5%, link and the rest 20%\n  \
            link:   360 bytes a hidden row in high, 5.0 bits a value (1152 in bf16, 2304 in f32); 29 bytes down a token\n  \
            next:   --preset exact for the reference, --codec balanced for a smaller row, --split L or --split auto, edge-agent plan for why\n";
        assert_eq!(text, expected);
    }
}
