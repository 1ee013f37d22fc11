//! How much memory a JSON body will take once decoded, told without decoding it: its records are all in memory at once, unlike
//! those of protobuf. In: the body. Out: bytes, an upper estimate.

/// Vectors double when they grow, and the columns are built beside the records.
const SLACK: u64 = 2;
/// What a JSON object becomes at most, roughly the largest struct.
const JSON_OBJECT: u64 = 400;
/// What a number in a list becomes.
const JSON_ITEM: u64 = 8;

/// What a key with its value becomes in a list of attributes.
const JSON_PAIR: u64 = size_of::<crate::record::Attribute<'_>>() as u64;

/// The estimate in bytes.
pub(crate) fn weight(body: &[u8]) -> u64 {
    (json_weight(body, JSON_ITEM) + body.len() as u64) * SLACK
}

/// The estimate in bytes for JSON whose objects may be attributes.
pub(crate) fn weight_of_maps(body: &[u8]) -> u64 {
    (json_weight(body, JSON_PAIR) + body.len() as u64) * SLACK
}

/// What the list items of a JSON text become at most, strings skipped. An object that is the value of a field lies inside its
/// parent's struct, so only objects in lists weigh.
fn json_weight(body: &[u8], item: u64) -> u64 {
    let (mut weight, mut in_string, mut escaped, mut before) = (0u64, false, false, b' ');
    for byte in body {
        match (in_string, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{') if before != b':' => weight += JSON_OBJECT,
            (false, b',') => weight += item,
            _ => {}
        }
        if !in_string && !byte.is_ascii_whitespace() {
            before = *byte;
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countless_empty_objects_weigh_what_they_will_take() {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(100_000));
        assert!(weight(json.as_bytes()) >= 100_000 * size_of::<crate::record::Span<'_>>() as u64);
    }

    #[test]
    fn braces_in_strings_do_not_weigh() {
        assert_eq!(json_weight(br#"{"a":"{{\"{,,","b": {}}"#, JSON_ITEM), JSON_OBJECT + JSON_ITEM);
        assert_eq!(json_weight(br#"{"a":[{"v":{"v":{}}}, {}]}"#, JSON_ITEM), 3 * JSON_OBJECT + JSON_ITEM);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            weight(&body);
        }
    }
}
