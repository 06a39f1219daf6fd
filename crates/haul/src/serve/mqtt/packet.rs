//! MQTT 3.1.1 on the wire, as far as a client needs it that publishes and subscribes with quality of service 0: whoever
//! sends everything again after each connection needs no acknowledgements.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Nothing that we subscribe to is longer; a longer packet is passed over.
const LONGEST: usize = 64 << 10;
/// A packet's length has at most so many bytes.
const LENGTH_BYTES: usize = 4;

pub(super) const PING: &[u8] = &[0xC0, 0];
pub(super) const DISCONNECT: &[u8] = &[0xE0, 0];

/// How a connection begins.
pub(super) struct Connect<'a> {
    pub(super) client: &'a str,
    pub(super) keep_alive: u16,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    /// Topic and payload of what the broker says when the connection breaks; retained.
    pub(super) will: Option<(&'a str, &'a str)>,
}

/// What a broker sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// It takes us, or why not.
    ConnAck(u8),
    /// A message.
    Publish { topic: String, payload: Bytes, is_retained: bool },
    /// What became of each subscription.
    SubAck(Vec<u8>),
    /// It is still there.
    Pong,
    /// Nothing that matters to us.
    Other,
}

/// Not MQTT.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn connect(connect: &Connect<'_>) -> Vec<u8> {
    const CLEAN: u8 = 0b10;
    const WILL_RETAINED: u8 = 0b10_0100;
    const PASSWORD: u8 = 0b100_0000;
    const USERNAME: u8 = 0b1000_0000;
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.push(4);
    let logins = [connect.username.map(|_| USERNAME), connect.password.map(|_| PASSWORD)];
    let will = connect.will.map(|_| WILL_RETAINED);
    body.push(logins.into_iter().chain([will]).flatten().fold(CLEAN, |flags, flag| flags | flag));
    body.put_u16(connect.keep_alive);
    put_text(&mut body, connect.client);
    for text in connect.will.into_iter().flat_map(|(topic, payload)| [topic, payload]) {
        put_text(&mut body, text);
    }
    for text in connect.username.into_iter().chain(connect.password) {
        put_text(&mut body, text);
    }
    packet(0x10, &body)
}

pub(super) fn publish(topic: &str, payload: &str, is_retained: bool) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, topic);
    body.extend_from_slice(payload.as_bytes());
    packet(0x30 | u8::from(is_retained), &body)
}

pub(super) fn subscribe(filters: &[String]) -> Vec<u8> {
    // The number of the request: there is only one at a time.
    let mut body = vec![0, 1];
    for filter in filters {
        put_text(&mut body, filter);
        body.push(0);
    }
    packet(0x82, &body)
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    // Topics and logins are bounded; a longer one would be cut, not change what follows.
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    body.put_u16(bytes.len() as u16);
    body.extend_from_slice(bytes);
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// Packets out of bytes that arrive in any pieces.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) buffer: BytesMut,
    // Bytes of a packet that is passed over.
    skipping: usize,
}

impl Frames {
    /// The next whole packet, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Malformed> {
        loop {
            let skipped = self.skipping.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skipping -= skipped;
            if self.skipping > 0 {
                return Ok(None);
            }
            let Some((head, length)) = length(&self.buffer)? else { return Ok(None) };
            if length > LONGEST {
                self.skipping = head + length;
                continue;
            }
            if self.buffer.len() < head + length {
                return Ok(None);
            }
            let kind = self.buffer[0];
            self.buffer.advance(head);
            return parsed(kind, self.buffer.split_to(length).freeze()).map(Some);
        }
    }
}

/// How long the head of a packet is, and what follows it. `None`: it is not there yet.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for at in 0..LENGTH_BYTES {
        let Some(digit) = bytes.get(1 + at) else { return Ok(None) };
        length |= usize::from(digit & 0x7F) << (7 * at);
        if digit & 0x80 == 0 {
            return Ok(Some((2 + at, length)));
        }
    }
    Err(Malformed)
}

fn parsed(kind: u8, mut body: Bytes) -> Result<Packet, Malformed> {
    Ok(match kind >> 4 {
        2 => Packet::ConnAck(*body.get(1).ok_or(Malformed)?),
        3 => {
            let length = usize::from(body.try_get_u16().map_err(|_| Malformed)?);
            if body.len() < length {
                return Err(Malformed);
            }
            let topic = String::from_utf8(body.split_to(length).to_vec()).map_err(|_| Malformed)?;
            // What was asked for without acknowledgement has no number.
            if kind & 0b110 != 0 {
                body.try_get_u16().map_err(|_| Malformed)?;
            }
            Packet::Publish { topic, payload: body, is_retained: kind & 1 != 0 }
        }
        9 => Packet::SubAck(body.get(2..).ok_or(Malformed)?.to_vec()),
        13 => Packet::Pong,
        4..=8 | 10..=12 | 14 => Packet::Other,
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn all(frames: &mut Frames) -> Result<Vec<Packet>, Malformed> {
        std::iter::from_fn(|| frames.next().transpose()).collect()
    }

    #[test]
    fn what_is_sent_is_what_the_standard_says() {
        let login = Connect {
            client: "c",
            keep_alive: 180,
            username: Some("u"),
            password: Some("p"),
            will: Some(("haul/status", "offline")),
        };
        let mut expected = vec![0x10, 41, 0, 4];
        expected
            .extend_from_slice(b"MQTT\x04\xE6\x00\xB4\x00\x01c\x00\x0Bhaul/status\x00\x07offline\x00\x01u\x00\x01p");
        assert_eq!(connect(&login), expected);
        let nobody = connect(&Connect { username: None, password: None, ..login });
        assert_eq!((nobody[1], nobody[9]), (35, 0x26));
        let tried = connect(&Connect { username: None, password: None, will: None, ..login });
        assert_eq!(tried, b"\x10\x0D\x00\x04MQTT\x04\x02\x00\xB4\x00\x01c");
        assert_eq!(publish("a/b", "ON", true), b"\x31\x07\x00\x03a/bON");
        assert_eq!(publish("a", "", false), b"\x30\x03\x00\x01a");
        assert_eq!(subscribe(&["a/+".to_owned()]), b"\x82\x08\x00\x01\x00\x03a/+\x00");
        let long = publish("a", &"x".repeat(300), false);
        assert_eq!((&long[1..3], long.len()), (&[0xAF, 0x02][..], 306));
    }

    #[test]
    fn packets_arrive_in_any_pieces() {
        let mut stream = vec![0x20, 2, 0, 0, 0x90, 4, 0, 1, 0, 0x80, 0xD0, 0];
        stream.extend(publish("homeassistant/status", "online", true));
        // With a number, which nobody asked for.
        stream.extend_from_slice(b"\x32\x06\x00\x01a\x00\x07x\x40\x02\x00\x07");
        let expected = [
            Packet::ConnAck(0),
            Packet::SubAck(vec![0, 0x80]),
            Packet::Pong,
            Packet::Publish {
                topic: "homeassistant/status".to_owned(),
                payload: Bytes::from_static(b"online"),
                is_retained: true,
            },
            Packet::Publish { topic: "a".to_owned(), payload: Bytes::from_static(b"x"), is_retained: false },
            Packet::Other,
        ];
        for size in [1, 2, 3, 7, 1000] {
            let mut frames = Frames::default();
            let mut packets = Vec::new();
            for piece in stream.chunks(size) {
                frames.buffer.extend_from_slice(piece);
                packets.extend(all(&mut frames).unwrap());
            }
            assert_eq!(packets, expected, "{size}");
        }
    }

    #[test]
    fn a_long_message_is_passed_over_without_being_held() {
        let mut frames = Frames::default();
        let mut stream = publish("a", &"x".repeat(LONGEST * 3), false);
        stream.extend_from_slice(&[0xD0, 0]);
        let mut packets = Vec::new();
        for piece in stream.chunks(4096) {
            frames.buffer.extend_from_slice(piece);
            packets.extend(all(&mut frames).unwrap());
            assert!(frames.buffer.len() < 8192);
        }
        assert_eq!(packets, [Packet::Pong]);
    }

    #[test]
    fn what_is_no_mqtt_is_said_to_be_none_and_nothing_panics() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"\x30\xFF\xFF\xFF\xFF\x01",
            b"\x20\x01\x00",
            b"\x30\x01\x00",
            b"\x30\x03\x00\x09a",
            b"\x30\x04\x00\x02\xFF\xFE",
            b"\x90\x01\x00",
            b"\xF0\x00",
            b"\x00\x00",
        ] {
            let mut frames = Frames { buffer: BytesMut::from(bytes), skipping: 0 };
            // Text may look like a long packet, of which the rest never comes.
            let found = all(&mut frames);
            assert!(found.is_err() || found.unwrap().is_empty(), "{bytes:?}");
        }
        let mut seed = 1_u32;
        for _ in 0..20_000 {
            let mut frames = Frames::default();
            for _ in 0..16 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                frames.buffer.put_u8((seed >> 24) as u8);
                if frames.next().is_err() {
                    break;
                }
            }
        }
    }
}
