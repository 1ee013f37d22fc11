//! Functions of a moment, in UTC.

use chrono::{DateTime, Datelike, Timelike};

/// A part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are PromQL's
pub enum DatePart {
    Minute,
    Hour,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Month,
    Year,
}

impl DatePart {
    /// The function with a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "minute" => DatePart::Minute,
            "hour" => DatePart::Hour,
            "day_of_month" => DatePart::DayOfMonth,
            "day_of_week" => DatePart::DayOfWeek,
            "day_of_year" => DatePart::DayOfYear,
            "days_in_month" => DatePart::DaysInMonth,
            "month" => DatePart::Month,
            "year" => DatePart::Year,
            _ => return None,
        })
    }

    /// Of seconds since the epoch, fractions cut off; NaN outside of the years that can be written.
    pub fn of(self, seconds: f64) -> f64 {
        if !seconds.is_finite() {
            return f64::NAN;
        }
        let Some(date) = DateTime::from_timestamp(seconds as i64, 0) else { return f64::NAN };
        match self {
            DatePart::Minute => f64::from(date.minute()),
            DatePart::Hour => f64::from(date.hour()),
            DatePart::DayOfMonth => f64::from(date.day()),
            DatePart::DayOfWeek => f64::from(date.weekday().num_days_from_sunday()),
            DatePart::DayOfYear => f64::from(date.ordinal()),
            DatePart::DaysInMonth => f64::from(date.num_days_in_month()),
            DatePart::Month => f64::from(date.month()),
            DatePart::Year => f64::from(date.year()),
        }
    }
}
