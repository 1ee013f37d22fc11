//! Severities as loggers write them, as OTLP's numbers (1 to 24). Pure.

/// OTLP's number of a word such as `warn`, `E`, `Critical` or `notice`; `None` for a word that is none.
pub(crate) fn of_word(word: &str) -> Option<i32> {
    let mut lower = [0u8; 16];
    let word = word.trim().as_bytes();
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"trace" | b"t" | b"verbose" | b"v" | b"silly" | b"finest" | b"finer" => 1,
        b"debug" | b"d" | b"dbug" | b"fine" | b"dbg" => 5,
        b"info" | b"i" | b"information" | b"informational" | b"inf" | b"http" | b"log" => 9,
        b"notice" | b"n" | b"note" => 10,
        b"warn" | b"w" | b"warning" | b"wrn" => 13,
        b"error" | b"e" | b"err" | b"eror" | b"severe" | b"failure" => 17,
        b"critical" | b"crit" | b"c" => 18,
        b"alert" | b"a" => 19,
        b"fatal" | b"f" | b"emerg" | b"emergency" | b"panic" | b"ftl" | b"dpanic" => 21,
        _ => return None,
    })
}

/// OTLP's number of a level as pino and bunyan number them (10 trace to 60 fatal); `None` for another number.
pub(crate) fn of_number(level: i64) -> Option<i32> {
    match level {
        10 => Some(1),
        20 => Some(5),
        30 => Some(9),
        40 => Some(13),
        50 => Some(17),
        60 => Some(21),
        _ => None,
    }
}

/// OTLP's number of a syslog severity (0 emergency to 7 debug), as OpenTelemetry's logs data model maps it.
pub(crate) fn of_syslog(severity: u8) -> i32 {
    match severity {
        0 => 21,
        1 => 19,
        2 => 18,
        3 => 17,
        4 => 13,
        5 => 10,
        6 => 9,
        _ => 5,
    }
}

/// The name of a syslog severity.
pub(crate) fn syslog_name(severity: u8) -> &'static str {
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"][usize::from(severity & 7)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_common_loggers_are_known() {
        for (word, number) in [
            ("TRACE", 1),
            ("Debug", 5),
            (" info ", 9),
            ("INFORMATION", 9),
            ("notice", 10),
            ("W", 13),
            ("WARNING", 13),
            ("err", 17),
            ("ERROR", 17),
            ("CRITICAL", 18),
            ("fatal", 21),
            ("panic", 21),
        ] {
            assert_eq!(of_word(word), Some(number), "{word}");
        }
        for word in ["", "loud", "a very long word that is none", "é"] {
            assert_eq!(of_word(word), None, "{word}");
        }
        assert_eq!((of_number(30), of_number(60), of_number(3)), (Some(9), Some(21), None));
    }

    #[test]
    fn syslog_maps_as_the_data_model_says() {
        let all: Vec<_> = (0..8).map(|severity| (syslog_name(severity), of_syslog(severity))).collect();
        assert_eq!(
            all,
            [("emerg", 21), ("alert", 19), ("crit", 18), ("err", 17), ("warning", 13), ("notice", 10), ("info", 9), ("debug", 5)]
        );
    }
}
