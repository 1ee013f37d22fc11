//! ClickHouse's error codes: reading one from a message, the HTTP status that goes with it, and whether the same statement may
//! succeed later. Pure.

/// The number in `Code: 60. DB::Exception: ...`.
pub fn error_code(message: &str) -> Option<u32> {
    let rest = &message[message.find("Code: ")? + 6..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// The HTTP status that ClickHouse's own server answers with for an error code.
pub fn http_status(code: u32) -> u16 {
    match code {
        // REQUIRED_PASSWORD
        194 => 401,
        // UNKNOWN_USER, WRONG_PASSWORD, AUTHENTICATION_FAILED, SET_NON_GRANTED_ROLE
        192 | 193 | 516 | 512 => 403,
        // CANNOT_PARSE_*, columns that are not as they should be, BAD_ARGUMENTS, TYPE_MISMATCH, SYNTAX_ERROR, the shape of a query,
        // INCORRECT_DATA, VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE, CANNOT_COMPILE_REGEXP
        6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167 | 168 | 223 | 321 | 376 | 427 | 441 | 675
        | 676 => 400,
        // UNKNOWN_ FUNCTION, IDENTIFIER, TYPE, STORAGE, TABLE, AGGREGATE_FUNCTION, DIRECTION_OF_SORTING, FORMAT, TYPE_OF_QUERY,
        // DATABASE, SETTING, DATABASE_ENGINE, ROLE
        46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => 404,
        // QUERY_IS_TOO_LARGE
        229 => 413,
        // NOT_IMPLEMENTED
        48 => 501,
        // CANNOT_OPEN_FILE, SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK
        76 | 209 | 439 => 503,
        // HTTP_LENGTH_REQUIRED
        381 => 411,
        // TIMEOUT_EXCEEDED
        159 => 408,
        _ => 500,
    }
}

/// Why something failed, as far as a caller must know to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// No answer: the connection broke, or ClickHouse is (re)starting.
    Unreachable,
    /// It is short of something that comes back: memory, time, merges, statements at once, disk.
    Overloaded,
    /// The statement or its data are wrong: the same will fail again.
    Final,
    /// A code that says neither; the same may succeed later.
    Unknown,
}

impl ErrorClass {
    /// Of an error with this code; without a code nobody answered.
    pub fn of(code: Option<u32>) -> Self {
        match code {
            None => ErrorClass::Unreachable,
            // TIMEOUT_EXCEEDED, QUOTA_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, SOCKET_TIMEOUT, NETWORK_ERROR, MEMORY_LIMIT_EXCEEDED,
            // NOT_ENOUGH_SPACE, TOO_MANY_PARTS, ALL_REPLICAS_ARE_STALE, TABLE_IS_READ_ONLY, QUERY_WAS_CANCELLED, CANNOT_SCHEDULE_TASK,
            // KEEPER_EXCEPTION, CANNOT_ALLOCATE_MEMORY, UNKNOWN_STATUS_OF_INSERT, TOO_FEW_LIVE_REPLICAS, ALL_CONNECTION_TRIES_FAILED,
            // TOO_SLOW, CANNOT_WRITE_TO_FILE_DESCRIPTOR (the disk is full)
            Some(159 | 201 | 202 | 209 | 210 | 241 | 243 | 252 | 279 | 369 | 242 | 394 | 439 | 999 | 173 | 319 | 285 | 160 | 75) => {
                ErrorClass::Overloaded
            }
            // What cannot be parsed, what is not there as a column, wrong types and arguments, syntax, access.
            Some(
                6 | 7 | 8 | 10 | 15 | 16 | 20 | 25 | 26 | 27 | 32 | 33 | 34 | 35 | 36 | 38 | 41 | 42 | 43 | 44 | 46 | 47 | 48 | 50 | 53
                | 62 | 69 | 70 | 72 | 73 | 115 | 117 | 130 | 131 | 164 | 192 | 193 | 194 | 349 | 376 | 395 | 441 | 456 | 497 | 516,
            ) => ErrorClass::Final,
            Some(_) => ErrorClass::Unknown,
        }
    }

    /// Whether the same may succeed later. If in doubt, yes.
    pub fn is_retryable(self) -> bool {
        match self {
            ErrorClass::Unreachable | ErrorClass::Overloaded | ErrorClass::Unknown => true,
            ErrorClass::Final => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_from_messages() {
        assert_eq!(error_code("bad response: Code: 60. DB::Exception: Unknown table"), Some(60));
        assert_eq!(error_code("Code: 394"), Some(394));
        assert_eq!(error_code("all is well"), None);
        assert_eq!(error_code("Code: x"), None);
    }

    #[test]
    fn codes_say_whether_to_try_again() {
        for (code, class) in [
            (None, ErrorClass::Unreachable),
            (Some(241), ErrorClass::Overloaded),
            (Some(252), ErrorClass::Overloaded),
            (Some(62), ErrorClass::Final),
            (Some(33), ErrorClass::Final),
            (Some(60), ErrorClass::Unknown),
        ] {
            assert_eq!(ErrorClass::of(code), class, "{code:?}");
        }
        assert!(ErrorClass::of(Some(60)).is_retryable(), "a table may still be made");
    }

    #[test]
    fn statuses_are_those_of_clickhouse() {
        for (code, status) in [(60, 404), (47, 404), (62, 400), (159, 408), (241, 500), (48, 501), (516, 403), (164, 500)] {
            assert_eq!(http_status(code), status, "{code}");
        }
    }
}
