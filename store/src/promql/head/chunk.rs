//! Samples of one series, packed: times as differences of differences, values as whole numbers in the same way, or as what changed of
//! their bits. Exact: every bit of a value comes back. In: samples in order of time; out: bytes, and the samples again. Pure.

/// A run of samples that no longer grows.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The time of the first sample, in milliseconds.
    pub first: i64,
    /// The time of the last one.
    pub last: i64,
    /// How many samples.
    pub len: u32,
    /// Whether the values are whole numbers.
    whole: bool,
    bytes: Box<[u8]>,
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Numbers near zero, of either sign, become small.
fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Numbers of a steady pace cost a byte each.
#[derive(Default)]
struct Pace {
    last: i64,
    step: i64,
}

impl Pace {
    fn put(&mut self, bytes: &mut Vec<u8>, number: i64) {
        let step = number.wrapping_sub(self.last);
        put(bytes, fold(step.wrapping_sub(self.step)));
        (self.last, self.step) = (number, step);
    }
    fn next(&mut self, change: u64) -> i64 {
        self.step = self.step.wrapping_add(unfold(change));
        self.last = self.last.wrapping_add(self.step);
        self.last
    }
}

/// The whole number that a value is, bit by bit.
fn whole(value: f64) -> Option<i64> {
    let number = value as i64;
    ((number as f64).to_bits() == value.to_bits()).then_some(number)
}

impl Chunk {
    /// Packs samples; `times` is in order, `values` as long. `None` of no samples.
    pub fn pack(times: &[i64], values: &[f64]) -> Option<Chunk> {
        let (first, last) = (*times.first()?, *times.last()?);
        let mut bytes = Vec::with_capacity(times.len() * 4);
        let mut pace = Pace { last: first, step: 0 };
        times.iter().skip(1).for_each(|time| pace.put(&mut bytes, *time));
        let mut numbers = Pace::default();
        let all_whole = values.iter().all(|value| whole(*value).is_some());
        if all_whole {
            values.iter().filter_map(|value| whole(*value)).for_each(|number| numbers.put(&mut bytes, number));
        } else {
            let mut before = 0u64;
            for value in values {
                let bits = value.to_bits();
                put_changed(&mut bytes, bits ^ before);
                before = bits;
            }
        }
        Some(Chunk { first, last, len: times.len() as u32, whole: all_whole, bytes: bytes.into_boxed_slice() })
    }

    /// Appends the samples.
    pub fn unpack(&self, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let count = self.len as usize;
        let mut bytes = Bytes(&self.bytes);
        let mut pace = Pace { last: self.first, step: 0 };
        times.push(self.first);
        times.extend((1..count).map(|_| pace.next(bytes.number())));
        if self.whole {
            let mut numbers = Pace::default();
            values.extend((0..count).map(|_| numbers.next(bytes.number()) as f64));
        } else {
            let mut bits = 0u64;
            values.extend((0..count).map(|_| {
                bits ^= bytes.changed();
                f64::from_bits(bits)
            }));
        }
    }

    /// What it takes of memory, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Chunk>() + 16
    }
}

/// The bytes of a word that are not zero at its ends, after a byte that says where they stand.
fn put_changed(bytes: &mut Vec<u8>, word: u64) {
    if word == 0 {
        bytes.push(0);
        return;
    }
    let (zeros, shift) = (word.leading_zeros() / 8, word.trailing_zeros() / 8);
    let count = 8 - zeros - shift;
    bytes.push((shift << 4 | count) as u8);
    bytes.extend_from_slice(&(word >> (shift * 8)).to_le_bytes()[..count as usize]);
}

/// Reads what was written here; zeros past the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    #[inline]
    fn byte(&mut self) -> u8 {
        match self.0 {
            [byte, rest @ ..] => {
                self.0 = rest;
                *byte
            }
            [] => 0,
        }
    }
    #[inline]
    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }
    #[inline]
    fn changed(&mut self) -> u64 {
        let control = u32::from(self.byte());
        let mut word = [0u8; 8];
        for place in word.iter_mut().take((control & 0xf) as usize) {
            *place = self.byte();
        }
        u64::from_le_bytes(word).wrapping_shl((control >> 4) * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn survives(times: &[i64], values: &[f64]) -> usize {
        let chunk = Chunk::pack(times, values).unwrap();
        let (mut again, mut back) = (vec![], vec![]);
        chunk.unpack(&mut again, &mut back);
        assert_eq!(again, times);
        assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        chunk.bytes.len()
    }

    #[test]
    fn a_counter_that_is_scraped_steadily_costs_few_bytes() {
        let times: Vec<i64> = (0..120).map(|at| 1_772_323_200_000 + at * 15_000).collect();
        let values: Vec<f64> = (0..120).map(|at| (1_000_000 + at * 37 + at * at % 11) as f64).collect();
        assert!(survives(&times, &values) < 120 * 3);
        assert!(survives(&times, &[1.5; 120]) < 120 * 2 + 8, "a value that stays costs a byte");
        assert_eq!(Chunk::pack(&[], &[]), None);
    }

    #[test]
    fn odd_values_come_back_bit_by_bit() {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::from_bits(1), 9.3e18, -9.3e18, 0.1];
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let values: Vec<f64> = odd.into_iter().chain([stale, 5.0, i64::MAX as f64, i64::MIN as f64]).collect();
        survives(&(0..values.len() as i64).collect::<Vec<_>>(), &values);
        for value in &values {
            survives(&[i64::MIN], &[*value]);
        }
        survives(&[i64::MIN, 0, i64::MAX], &[i64::MIN as f64, 3.0, i64::MAX as f64]);
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_back(mut times in prop::collection::vec(any::<i64>(), 1..200), bits in prop::collection::vec(any::<u64>(), 200)) {
            times.sort_unstable();
            survives(&times, &bits[..times.len()].iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>());
            survives(&times, &bits[..times.len()].iter().map(|bits| (*bits >> 12) as f64 - 1e6).collect::<Vec<_>>());
        }
    }
}
