//! Whether an exception of ClickHouse means "never" or "not now". Pure. If in doubt: not now, because waiting loses nothing.

/// ClickHouse's exception codes for data that no repetition makes storable.
const FINAL: [(u32, &str); 16] = [
    (6, "CANNOT_PARSE_TEXT"),
    (26, "CANNOT_PARSE_QUOTED_STRING"),
    (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
    (32, "ATTEMPT_TO_READ_AFTER_EOF"),
    (33, "CANNOT_READ_ALL_DATA"),
    (53, "TYPE_MISMATCH"),
    (70, "CANNOT_CONVERT_TYPE"),
    (72, "CANNOT_PARSE_NUMBER"),
    (117, "INCORRECT_DATA"),
    (128, "TOO_LARGE_ARRAY_SIZE"),
    (131, "TOO_LARGE_STRING_SIZE"),
    (190, "SIZES_OF_ARRAYS_DONT_MATCH"),
    (349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN"),
    (407, "DECIMAL_OVERFLOW"),
    (469, "VIOLATED_CONSTRAINT"),
    (691, "UNKNOWN_ELEMENT_OF_ENUM"),
];

/// The code in `Code: 241. DB::Exception: ...`.
pub fn exception_code(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("Code: ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

/// Whether the same insert may succeed later, by what ClickHouse or the connection said.
pub fn is_retryable(message: &str) -> bool {
    exception_code(message).is_none_or(|code| FINAL.iter().all(|(known, _)| *known != code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bad_data_is_final() {
        for (message, retryable) in [
            ("Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)", true),
            ("Code: 252. DB::Exception: Too many parts. Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)", true),
            ("Code: 60. DB::Exception: Table w.spans does not exist. (UNKNOWN_TABLE)", true),
            ("bad response: Code: 53. DB::Exception: Type mismatch (TYPE_MISMATCH)", false),
            ("Code: 691. DB::Exception: Unexpected value 77 in enum: (UNKNOWN_ELEMENT_OF_ENUM)", false),
            ("network error: connection refused", true),
            ("Code: ", true),
            ("Code: x", true),
            ("", true),
        ] {
            assert_eq!(is_retryable(message), retryable, "{message}");
        }
    }
}
