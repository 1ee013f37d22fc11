//! Syslog: messages of RFC 5424 and 3164 become log records. In: a batch of messages, each with its arrival and its sender. Out:
//! rows; hostname and app name are the resource, facility, process, message id and structured data attributes. Nothing is
//! rejected, since no sender would hear of it: a message without a readable header is kept as its text, a time of another age
//! gives way to the time of arrival; both are counted. Fails: only for want of memory.

pub(crate) mod framing;
mod message;
mod rfc3164;
mod rfc5424;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use model::time::Timestamp;

use crate::decode::DecodeError;
use crate::record::{Attribute, LogRecord, Resource, Value};
use crate::rows::Builder;
use crate::rows::tally::Part;
use crate::severity;
use message::Message;

/// Bytes before each message of a batch: arrival, sender, length.
const HEADER: usize = 8 + 16 + 4;

/// Appends a message to a batch. Bytes that are not UTF-8 become replacement characters; ends of lines around it are left out.
pub(crate) fn append(to: &mut BytesMut, arrived: Timestamp, peer: IpAddr, message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    let text = text.trim_matches(['\n', '\r', '\0']);
    if text.is_empty() {
        return;
    }
    to.put_i64_le(arrived.nanos());
    let address = match peer {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    to.put_slice(&address.octets());
    to.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
    to.put_slice(text.as_bytes());
}

/// Takes the next message off a batch.
fn next<'a>(batch: &mut &'a [u8]) -> Option<(Timestamp, IpAddr, &'a [u8])> {
    let (header, rest) = batch.split_first_chunk::<HEADER>()?;
    let (arrived, address, length) = (header[..8].try_into().ok()?, header[8..24].try_into().ok()?, header[24..].try_into().ok()?);
    let (message, rest) = rest.split_at_checked(u32::from_le_bytes(length) as usize)?;
    *batch = rest;
    let peer = IpAddr::V6(Ipv6Addr::from_octets(address)).to_canonical();
    Some((Timestamp::from_nanos(i64::from_le_bytes(arrived)), peer, message))
}

/// Reads a batch into the builder's rows; `offset` is how many seconds east of UTC senders are that name no zone.
pub(crate) fn read<'a>(offset: i32, body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let (mut rest, mut record, mut around) = (body, LogRecord::default(), None);
    while let Some((arrived, peer, bytes)) = next(&mut rest) {
        let message = Message::read(std::str::from_utf8(bytes)?, arrived, offset, to.limits().attributes);
        let here = (message.host, message.app, peer);
        if around != Some(here) {
            to.enter_resource(resource(&message, peer));
            around = Some(here);
        }
        record.clear();
        if message.malformed {
            to.tally().cut(Part::SyslogHeader, 1);
        }
        fill(&mut record, message, arrived, peer, to);
        to.log(&mut record)?;
    }
    Ok(())
}

/// The host as it calls itself, else its address; the app as the service.
fn resource<'a>(message: &Message<'a>, peer: IpAddr) -> Resource<'a> {
    let host = message.host.map_or_else(|| Attribute::text("host.name", peer.to_string()), |host| Attribute::text("host.name", host));
    let mut list = vec![host];
    list.extend(message.app.map(|app| Attribute::text("service.name", app)));
    Resource { attributes: list.into(), ..Resource::default() }
}

fn fill<'a>(record: &mut LogRecord<'a>, message: Message<'a>, arrived: Timestamp, peer: IpAddr, to: &mut Builder<'a, '_>) {
    let arrived = u64::try_from(arrived.nanos()).unwrap_or(0);
    let limit = to.limits().attributes;
    record.observed = arrived;
    record.severity = severity::of_syslog(message.severity);
    record.severity_text = Cow::Borrowed(severity::syslog_name(message.severity));
    record.attributes = message.data;
    let number = |key, number: u8| Attribute { key: Cow::Borrowed(key), value: Value::Int(i64::from(number)) };
    let text = |key: &'static str, text: Option<&'a str>| text.map(|text| Attribute::text(key, text));
    let own = [
        Some(number("syslog.facility", message.facility)),
        message.version.map(|version| number("syslog.version", version)),
        text("syslog.procid", message.process),
        text("syslog.msgid", message.id),
        Some(Attribute::text("network.peer.address", peer.to_string())),
    ];
    for attribute in own.into_iter().flatten() {
        record.attributes.push(attribute, limit.saturating_add(8));
    }
    record.time = match message.time {
        Some(time) if to.keeps_log_of(time) => time,
        Some(_) => {
            to.tally().cut(Part::SyslogTime, 1);
            record.attributes.push(Attribute::text("syslog.timestamp", message.time_text), limit.saturating_add(8));
            arrived
        }
        None => arrived,
    };
    record.body = Value::Text(Cow::Borrowed(message.text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_what_was_put_in() {
        let mut batch = BytesMut::new();
        let (v4, v6): (IpAddr, IpAddr) = ("10.1.2.3".parse().unwrap(), "fe80::1".parse().unwrap());
        append(&mut batch, Timestamp::from_nanos(5), v4, b"<13>a\r\n");
        append(&mut batch, Timestamp::from_nanos(6), v6, b"b\xff");
        append(&mut batch, Timestamp::from_nanos(7), v6, b"\n\0");
        let mut rest = &batch[..];
        assert_eq!(next(&mut rest), Some((Timestamp::from_nanos(5), v4, &b"<13>a"[..])));
        assert_eq!(next(&mut rest), Some((Timestamp::from_nanos(6), v6, "b\u{fffd}".as_bytes())));
        assert_eq!(next(&mut rest), None);
    }

    proptest::proptest! {
        #[test]
        fn no_batch_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut rest = &bytes[..];
            while next(&mut rest).is_some() {}
        }
    }
}
