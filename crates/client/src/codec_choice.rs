//! The codec of the next step, for all sessions of a link: [`LinkEstimate`] and [`Adaptation`]
//! behind one lock, with what they are told, what they ask of the link, and what people see of it.

use crate::adaptation::{Adaptation, Switch};
use crate::link_estimate::LinkEstimate;
use crate::metrics::{CODEC_SWITCHES, LINK_RATE, LINK_ROUND_TRIP};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tandem_codec::Codec;
use tandem_proto::v1;

/// Pings that may be unanswered; older ones belong to sessions that have ended.
const PINGS_OUT: usize = 8;

/// Chooses the codec of each step.
#[derive(Debug, Clone)]
pub struct CodecChoice {
    /// The best first.
    codecs: Arc<[Codec]>,
    /// `None` where there is nothing to choose.
    state: Option<Arc<Mutex<State>>>,
    /// What the choice began with.
    begins: Option<Adaptation>,
}

#[derive(Debug)]
struct State {
    link: LinkEstimate,
    adaptation: Adaptation,
    pings: Vec<PingOut>,
    next_nonce: u64,
}

#[derive(Debug, Clone, Copy)]
struct PingOut {
    nonce: u64,
    sent: Instant,
    padding: usize,
}

impl CodecChoice {
    /// Always the same one. Nothing is measured.
    pub fn fixed(codec: Codec) -> Self {
        Self {
            codecs: Arc::new([codec]),
            state: None,
            begins: None,
        }
    }

    /// What the link allows.
    pub fn adaptive(adaptation: Adaptation) -> Self {
        let begins = Some(adaptation.clone());
        let state = State {
            link: LinkEstimate::default(),
            adaptation,
            pings: Vec::new(),
            next_nonce: 1,
        };
        Self {
            codecs: state.adaptation.codecs().collect(),
            state: Some(Arc::new(Mutex::new(state))),
            begins,
        }
    }

    /// The same choice for another link, of which nothing is known yet.
    pub fn afresh(&self) -> Self {
        let begins = self.begins.clone();
        begins.map_or_else(|| self.clone(), Self::adaptive)
    }

    /// All that may be chosen, the best first.
    pub fn codecs(&self) -> &[Codec] {
        &self.codecs
    }

    /// The codec of a step that begins now.
    pub fn step(&self) -> Codec {
        let Some(mut state) = self.lock() else {
            return self.codecs[0];
        };
        let State {
            link, adaptation, ..
        } = &mut *state;
        let now = Instant::now();
        let switch = adaptation.step(link, now);
        if let Some(round_trip) = link.round_trip() {
            LINK_ROUND_TRIP.gauge(&[]).set(round_trip.as_secs_f64());
        }
        if let Some(rate) = link.rate(now) {
            LINK_RATE.gauge(&[]).set(rate.likely);
        }
        let codec = adaptation.codec();
        drop(state);
        if let Some(switch) = switch {
            tell(&switch);
        }
        codec
    }

    /// The link's round trip, and the bytes that go up a second, as far as they are known.
    pub fn link_now(&self) -> (Option<Duration>, Option<f64>) {
        let Some(state) = self.lock() else {
            return (None, None);
        };
        let rate = state.link.rate(Instant::now());
        (state.link.round_trip(), rate.map(|rate| rate.likely))
    }

    /// A decode row with a frame of `frame` bytes was answered after `link`, without the `computed`
    /// that edge and cloud took for its token.
    pub fn row_answered(&self, codec: Codec, frame: usize, link: Duration, computed: Duration) {
        if let Some(mut state) = self.lock() {
            state.adaptation.row_written(codec, frame);
            state.adaptation.token_computed(computed);
            state.link.row_taken(Adaptation::row_bytes(frame), link);
        }
    }

    /// A frame of several rows of an answer was answered after `link`, without what edge and cloud took.
    pub fn rows_answered(&self, frame: usize, link: Duration) {
        if let Some(mut state) = self.lock() {
            state.link.row_taken(Adaptation::row_bytes(frame), link);
        }
    }

    /// A prompt's frame was acknowledged after `taken`; `load` bytes were on the way when it was
    /// sent, its own included.
    pub fn frame_acknowledged(&self, bytes: usize, load: usize, taken: Duration) {
        if let Some(mut state) = self.lock() {
            state.link.bulk_taken(bytes, load, taken, Instant::now());
        }
    }

    /// The ping to send now on a link that nothing else is on, if one is due.
    pub fn ping(&self) -> Option<v1::Ping> {
        let mut state = self.lock()?;
        let State {
            link, adaptation, ..
        } = &mut *state;
        let now = Instant::now();
        let padding = match link.ping_due(now) {
            true => 0,
            false if link.is_pinging() => return None,
            false => adaptation.probe(link, now)?,
        };
        link.ping_sent(now);
        let nonce = state.next_nonce;
        state.next_nonce += 1;
        if state.pings.len() == PINGS_OUT {
            state.pings.remove(0);
        }
        state.pings.push(PingOut {
            nonce,
            sent: now,
            padding,
        });
        Some(v1::Ping {
            nonce,
            padding: vec![0; padding],
            ..v1::Ping::default()
        })
    }

    /// A ping came back.
    pub fn pong(&self, nonce: u64) {
        let now = Instant::now();
        let Some(mut state) = self.lock() else {
            return;
        };
        let Some(at) = state.pings.iter().position(|ping| ping.nonce == nonce) else {
            return;
        };
        let ping = state.pings.remove(at);
        let taken = now.duration_since(ping.sent);
        match ping.padding {
            0 => state.link.ping_returned(taken),
            padding => state.link.probe_returned(padding, taken, now),
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.as_ref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tell(switch: &Switch) {
    let labels = [switch.from.name(), switch.to.name()];
    CODEC_SWITCHES.counter(&labels).increment(1);
    tracing::info!(
        from = %switch.from,
        to = %switch.to,
        reason = switch.reason,
        bytes_per_second = switch.rate.likely,
        at_least = switch.rate.at_least,
        at_most = switch.rate.at_most,
        round_trip_seconds = switch.round_trip.as_secs_f64(),
        "the codec was changed"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adaptation::Target;

    #[test]
    fn pings_are_one_at_a_time_and_only_where_there_is_a_choice() {
        let fixed = CodecChoice::fixed(Codec::Bf16);
        assert_eq!(fixed.ping(), None);
        assert_eq!(
            (fixed.step(), fixed.codecs()),
            (Codec::Bf16, &[Codec::Bf16][..])
        );
        let target = Target::Share(0.2);
        let choice = CodecChoice::adaptive(Adaptation::new(Codec::Bf16, Codec::High, 64, target));
        assert_eq!(choice.codecs(), [Codec::Bf16, Codec::High]);
        let first = choice.ping().unwrap();
        assert!(first.padding.is_empty());
        assert_eq!(choice.ping(), None);
        choice.pong(first.nonce + 1);
        assert_eq!(choice.ping(), None);
        choice.pong(first.nonce);
        assert!(choice.ping().unwrap().nonce > first.nonce);
    }
}
