//! Head sampling: which spans and log records are stored, and how many each stands for. Spans are decided as OpenTelemetry's consistent
//! probability sampling says: a trace's 56 bits of randomness against a threshold, so that every collector decides alike and whole
//! traces stay together; what a sender sampled already is multiplied. Pure.

use std::borrow::Cow;

use xxhash_rust::xxh3::Xxh3;

use super::condition::Condition;

/// One more than the greatest threshold.
const ALL: u64 = 1 << 56;

/// The most records that one stands for, whoever says so: a trace state may come from anybody.
pub(crate) const MOST: f64 = 1e6;

/// A compiled entry.
pub(crate) struct Entry {
    /// Which records.
    pub(crate) condition: Condition,
    /// The share of them.
    pub(crate) ratio: f64,
}

/// The sampling fields of a span's trace state (`ot=th:...;rv:...`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// How many of 2^56 random numbers are rejected.
    threshold: Option<u64>,
    /// The randomness, where the trace id is not to be taken.
    random: Option<u64>,
}

impl State {
    /// Of a trace state.
    pub(crate) fn of(trace_state: &str) -> Self {
        let mut state = State::default();
        if !trace_state.contains("ot=") {
            return state;
        }
        let fields = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot=")).unwrap_or("");
        for field in fields.split(';') {
            if let Some(digits) = field.strip_prefix("th:").filter(|digits| (1..=14).contains(&digits.len())) {
                state.threshold = hex(&format!("{digits:0<14}"));
            }
            if let Some(digits) = field.strip_prefix("rv:").filter(|digits| digits.len() == 14) {
                state.random = hex(digits);
            }
        }
        state
    }
    /// How many spans one stands for, at most [`MOST`].
    pub(crate) fn weight(self) -> f64 {
        self.threshold.map_or(1.0, |threshold| ALL as f64 / (ALL - threshold).max(1) as f64).min(MOST)
    }
}

fn hex(digits: &str) -> Option<u64> {
    // `from_str_radix` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// 56 bits out of some bytes.
fn mixed(bytes: &[u8], seed: u64) -> u64 {
    let mut hasher = Xxh3::with_seed(seed);
    hasher.update(bytes);
    hasher.digest() >> 8
}

/// A whole number of which the mean is `weight`: the same one for all records of a trace.
pub(crate) fn whole(weight: f64, identity: &[u8]) -> u32 {
    let weight = weight.min(MOST);
    let floor = weight.floor();
    let part = weight - floor;
    // What binary fractions leave over is no share.
    if part < 1e-9 {
        return floor as u32;
    }
    if part > 1.0 - 1e-9 || (mixed(identity, 1) as f64) < part * ALL as f64 { floor as u32 + 1 } else { floor as u32 }
}

/// A span that is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// How many spans it stands for.
    pub(crate) weight: u32,
    /// Its trace state.
    pub(crate) trace_state: String,
}

/// Whether a span is stored, of which `ratio` is; `before` is the weight that it came with, and `trace_state` what it says.
pub(crate) fn span(ratio: f64, trace_state: &str, trace_id: &[u8], before: f64) -> Option<Kept> {
    let state = State::of(trace_state);
    let random = state
        .random
        .unwrap_or_else(|| trace_id.iter().skip(trace_id.len().saturating_sub(7)).fold(0, |bits, byte| bits << 8 | u64::from(*byte)));
    let weight = || whole(before / ratio, trace_id);
    match state.threshold {
        // The sender did not decide by this randomness: then another one must decide, or what is kept would lean to one side.
        Some(threshold) if random < threshold => {
            let kept = (mixed(trace_id, 0) as f64) < ratio * ALL as f64;
            kept.then(|| Kept { weight: weight(), trace_state: with_threshold(trace_state, None) })
        }
        threshold => {
            let accepted = ((ALL - threshold.unwrap_or(0)) as f64 * ratio).round() as u64;
            let kept = accepted > 0 && random >= ALL - accepted.min(ALL);
            // A weight that came by another way than the trace state is not in its threshold.
            let known = (threshold.is_some() || before <= 1.0).then_some(ALL - accepted.min(ALL));
            kept.then(|| Kept { weight: weight(), trace_state: with_threshold(trace_state, known) })
        }
    }
}

/// The trace state with another threshold in it.
fn with_threshold(trace_state: &str, threshold: Option<u64>) -> String {
    let mut fields: Vec<Cow<'_, str>> = Vec::new();
    let mut others: Vec<&str> = Vec::new();
    for member in trace_state.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        match member.strip_prefix("ot=") {
            Some(ours) => fields.extend(ours.split(';').filter(|field| !field.starts_with("th:") && !field.is_empty()).map(Cow::Borrowed)),
            None => others.push(member),
        }
    }
    if let Some(threshold) = threshold {
        let digits = format!("{threshold:014x}");
        let digits = digits.trim_end_matches('0');
        fields.insert(0, format!("th:{}", if digits.is_empty() { "0" } else { digits }).into());
    }
    let ours = if fields.is_empty() { String::new() } else { format!("ot={}", fields.join(";")) };
    std::iter::once(ours.as_str()).filter(|member| !member.is_empty()).chain(others).collect::<Vec<_>>().join(",")
}

/// How many log records this one stands for, where `ratio` of them are stored; `None` where it is not. Records of a trace share their
/// fate with its spans; others are decided by what they are and where in the request they stand, so that a resend is decided alike.
pub(crate) fn log(ratio: f64, trace_id: &[u8], body: &str, time: u64, at: u64) -> Option<u32> {
    if trace_id.len() == 16 && trace_id.iter().any(|byte| *byte != 0) {
        return span(ratio, "", trace_id, 1.0).map(|kept| kept.weight);
    }
    let mut hasher = Xxh3::with_seed(2);
    hasher.update(&time.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(body.as_bytes());
    let identity = hasher.digest().to_le_bytes();
    ((mixed(&identity, 0) as f64) < ratio * ALL as f64).then(|| whole(1.0 / ratio, &identity))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_state_is_read() {
        for (text, weight, random) in [
            ("", 1.0, None),
            ("ot=th:0", 1.0, None),
            ("ot=th:8", 2.0, None),
            ("vendor=x, ot=rv:0123456789abcd;th:c", 4.0, Some(0x0001_2345_6789_abcd)),
            ("ot=th:zz", 1.0, None),
            ("ot=th:+8", 1.0, None),
            ("ot=th:", 1.0, None),
            ("ot=th:123456789012345;rv:12", 1.0, None),
        ] {
            let state = State::of(text);
            assert_eq!((state.weight(), state.random), (weight, random), "{text}");
        }
        assert_eq!(State::of("ot=th:e6666666666666").weight().round(), 10.0);
    }

    /// The examples of the specification: half of all is threshold 8, a quarter is c.
    #[test]
    fn thresholds_are_written_and_multiplied() {
        let high = [0xFF; 16];
        let kept = |ratio, state: &str, before| span(ratio, state, &high, before).unwrap();
        assert_eq!(kept(0.5, "", 1.0), Kept { weight: 2, trace_state: "ot=th:8".into() });
        assert_eq!(
            kept(0.5, "ot=th:8;rv:ffffffffffffff,a=b", 2.0),
            Kept { weight: 4, trace_state: "ot=th:c;rv:ffffffffffffff,a=b".into() }
        );
        assert_eq!(kept(1.0, "", 1.0), Kept { weight: 1, trace_state: "ot=th:0".into() });
        assert_eq!(kept(0.5, "a=b", 10.0), Kept { weight: 20, trace_state: "a=b".into() }, "a weight from elsewhere is in no threshold");
        assert_eq!(span(0.0, "", &high, 1.0), None);
        let low = [0; 16];
        assert_eq!(span(0.5, "", &low, 1.0), None);
        assert_eq!(span(0.5, "ot=rv:80000000000000", &low, 1.0).unwrap().weight, 2, "the explicit randomness counts");
    }

    #[test]
    fn a_sender_that_decided_otherwise_is_not_decided_twice_by_the_same_bits() {
        // Thresholds that these trace ids do not pass: the sender used something else.
        let kept: Vec<u32> = (0..4_000u64)
            .filter_map(|at| {
                let mut id = [1u8; 16];
                id[..8].copy_from_slice(&at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
                span(0.5, "ot=th:8", &id, 2.0)
            })
            .map(|kept| {
                assert_eq!(kept.trace_state, "");
                kept.weight
            })
            .collect();
        assert!((1_800..2_200).contains(&kept.len()) && kept.iter().all(|weight| *weight == 4), "{}", kept.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// What is stored stands for about as much as came, whatever the shares of sender and collector.
        #[test]
        fn weights_add_up(ratio in 0.05f64..=1.0, sent in 0.2f64..=1.0, seed in any::<u64>()) {
            const SPANS: u64 = 20_000;
            let threshold = ALL - (ALL as f64 * sent) as u64;
            let mut sum = 0u64;
            for at in 0..SPANS {
                let mut id = [0u8; 16];
                id[..8].copy_from_slice(&mixed(&at.to_le_bytes(), seed).to_be_bytes());
                id[8..].copy_from_slice(&mixed(&at.to_le_bytes(), seed ^ 1).wrapping_mul(257).to_be_bytes());
                // The sender samples by the same randomness.
                let random = id[9..].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
                if random >= threshold {
                    let state = with_threshold("", Some(threshold));
                    let before = State::of(&state).weight();
                    sum += span(ratio, &state, &id, before).map_or(0, |kept| u64::from(kept.weight));
                }
            }
            // Five standard deviations of the number that is kept.
            let share = ratio * sent;
            let deviation = 5.0 * ((1.0 - share + 0.25) / share * SPANS as f64).sqrt();
            prop_assert!((sum as f64 - SPANS as f64).abs() < deviation.max(1.0), "{} of {}", sum, SPANS);
        }

        #[test]
        fn logs_add_up(ratio in 0.05f64..=1.0, seed in any::<u32>()) {
            let sum: u64 = (0..20_000u64).filter_map(|at| log(ratio, &[], "same line", u64::from(seed), at)).map(u64::from).sum();
            let deviation = 5.0 * ((1.25 - ratio) / ratio * 20_000.0).sqrt();
            prop_assert!((sum as f64 - 20_000.0).abs() < deviation, "{}", sum);
        }

        #[test]
        fn hostile_states_never_panic(state in ".{0,40}", id in proptest::collection::vec(any::<u8>(), 0..20), ratio in 0.0f64..=1.0) {
            let before = State::of(&state).weight();
            let _ = span(ratio, &state, &id, before);
        }
    }
}
