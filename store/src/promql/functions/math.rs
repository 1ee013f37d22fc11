//! Functions of one value.

/// The function with a name, if it maps a value to a value.
pub fn by_name(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => sign,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => degrees,
        "rad" => radians,
        _ => return None,
    })
}

/// -1, 1, or the value itself if it is zero or NaN.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

fn degrees(value: f64) -> f64 {
    value * 180.0 / std::f64::consts::PI
}

fn radians(value: f64) -> f64 {
    value * std::f64::consts::PI / 180.0
}

/// Rounds to the nearest multiple, ties upwards.
pub fn round(value: f64, nearest: f64) -> f64 {
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// The smaller of two as Go's `math.Min` has it: -Inf before NaN, NaN before all else.
pub fn least(left: f64, right: f64) -> f64 {
    if left == f64::NEG_INFINITY || right == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if left.is_nan() || right.is_nan() {
        f64::NAN
    } else {
        left.min(right)
    }
}

/// The greater of two as Go's `math.Max` has it: +Inf before NaN, NaN before all else.
pub fn greatest(left: f64, right: f64) -> f64 {
    -least(-left, -right)
}

/// Bounds a value.
pub fn clamp(value: f64, min: f64, max: f64) -> f64 {
    greatest(min, least(max, value))
}
