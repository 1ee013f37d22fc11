//! The messages of Prometheus's remote write 1.0 as its published proto has them, for the senders' side.

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// Series with their samples.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// A series.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// In order of time.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// A label.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    /// `__name__` is the metric's.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

impl Label {
    /// Of a name and a value.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Label { name: name.to_owned(), value: value.into() }
    }
}

/// A sample.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// What.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// When, in milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

impl WriteRequest {
    /// The body that is sent.
    pub fn body(&self) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(&prost::Message::encode_to_vec(self)).unwrap_or_else(|error| panic!("{error}"))
    }
}
