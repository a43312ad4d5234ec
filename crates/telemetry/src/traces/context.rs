//! W3C Trace Context: what a caller says of the trace that its request belongs to
//! (<https://www.w3.org/TR/trace-context/>). What cannot be read is as if it were not there: a trace
//! is no reason to refuse a request.

use tonic::codegen::http::HeaderMap;

/// The most bytes of `tracestate` that are passed on; a longer one is left out, the trace goes on.
const MAX_STATE: usize = 512;

/// The bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The caller's place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not all zeros.
    pub trace: [u8; 16],
    /// The caller's span; not all zeros.
    pub span: [u8; 8],
    /// Whether the caller records this trace.
    pub sampled: bool,
    /// What tracing systems add, as it came.
    pub state: String,
}

impl TraceContext {
    /// Reads the headers `traceparent` and `tracestate` of HTTP, or the metadata of gRPC.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all("traceparent").iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else {
            return None;
        };
        let states = headers.get_all("tracestate").iter();
        let states: Vec<&str> = states.filter_map(|state| state.to_str().ok()).collect();
        Self::parse(parent.to_str().ok()?, &states.join(","))
    }

    /// Reads the two values themselves.
    pub fn parse(parent: &str, state: &str) -> Option<Self> {
        let parent = parent.trim().as_bytes();
        let (known, rest) = parent.split_at_checked(LENGTH)?;
        let [version] = hex(&known[..2])?;
        // Later versions may say more behind what is known today.
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let dashes = [2, 35, 52].into_iter().all(|at| known[at] == b'-');
        if !fits || !dashes {
            return None;
        }
        let trace: [u8; 16] = hex(&known[3..35])?;
        let span: [u8; 8] = hex(&known[36..52])?;
        let [flags] = hex(&known[53..])?;
        if trace == [0; 16] || span == [0; 8] {
            return None;
        }
        let state = state.trim();
        Some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
            state: if state.len() <= MAX_STATE {
                state.to_owned()
            } else {
                String::new()
            },
        })
    }
}

/// Exactly `N` bytes in small hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = 16 * digit(pair[0])? + digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_specifications_example_is_read() {
        let context = TraceContext::parse(PARENT, " congo=t61rcWkgMzE ").unwrap();
        assert_eq!(context.trace[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(context.span[..3], [0xb7, 0xad, 0x6b]);
        assert!(context.sampled);
        assert_eq!(context.state, "congo=t61rcWkgMzE");
    }

    #[test]
    fn only_the_lowest_flag_says_whether_the_caller_records() {
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let parent = format!("{}{flags}", &PARENT[..53]);
            let context = TraceContext::parse(&parent, "").unwrap();
            assert_eq!(context.sampled, sampled, "{flags}");
        }
    }

    #[test]
    fn later_versions_may_say_more_and_this_one_may_not() {
        let later = PARENT.replacen("00", "cc", 1);
        assert!(TraceContext::parse(&later, "").is_some());
        assert!(TraceContext::parse(&format!("{later}-what-comes"), "").is_some());
        assert!(TraceContext::parse(&format!("{later}.what"), "").is_none());
        assert!(TraceContext::parse(&format!("{PARENT}-more"), "").is_none());
    }

    #[test]
    fn what_is_malformed_is_not_there() {
        let bad = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ];
        for parent in bad {
            assert_eq!(TraceContext::parse(parent, ""), None, "{parent}");
        }
    }

    #[test]
    fn headers_say_it_once_and_states_are_joined() {
        let once = headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]);
        assert_eq!(TraceContext::of(&once).unwrap().state, "a=1,b=2");
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(TraceContext::of(&twice), None);
        assert_eq!(TraceContext::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out() {
        let long = "k=".repeat(300);
        assert_eq!(TraceContext::parse(PARENT, &long).unwrap().state, "");
    }

    proptest! {
        #[test]
        fn no_text_panics(parent in ".*", state in ".*") {
            let _ = TraceContext::parse(&parent, &state);
        }

        #[test]
        fn what_is_written_is_read(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), flags in any::<u8>()) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let digits = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
            let parent = format!("00-{}-{}-{flags:02x}", digits(&trace), digits(&span));
            let context = TraceContext::parse(&parent, "").unwrap();
            prop_assert_eq!((context.trace, context.span, context.sampled), (trace, span, flags & 1 == 1));
        }
    }
}
