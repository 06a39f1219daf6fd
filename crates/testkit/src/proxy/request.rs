//! Finds where an HTTP/1.1 request begins and where its body ends. Pure: nothing here reads or sends.

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The method, in capitals.
    pub method: String,
    /// Path and query, as they were sent.
    pub target: String,
    /// All headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value; the first, if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) =
            (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        Self { method, target, headers }
    }
}

/// Where in a stream of requests we are.
#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Between,
    Body(u64),
    // Reading a chunk's length, of which this much is there.
    ChunkLength(String),
    // A chunk's bytes and its line end.
    Chunk(u64),
    // The lines after the last chunk; how long the present one is.
    Trailer(u64),
}

/// What some bytes were.
#[derive(Debug)]
pub(super) enum Event {
    /// The head of the next request, complete; these are its bytes.
    Head(Head, Vec<u8>),
    /// Bytes of a body.
    Body,
    /// More is needed.
    More,
}

/// Follows requests as their bytes come.
#[derive(Debug, Default)]
pub(super) struct Follower {
    state: State,
    head: Vec<u8>,
}

impl Follower {
    /// Looks at the next bytes; says what the first of them are and how many that concerns. To be called with the rest
    /// until nothing is left.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (usize, Event) {
        match &mut self.state {
            State::Between => self.head(bytes),
            State::Body(left) => {
                let taken = (bytes.len() as u64).min(*left);
                *left -= taken;
                if *left == 0 {
                    self.state = State::Between;
                }
                (taken as usize, Event::Body)
            }
            State::Chunk(left) => {
                let taken = (bytes.len() as u64).min(*left);
                *left -= taken;
                if *left == 0 {
                    self.state = State::ChunkLength(String::new());
                }
                (taken as usize, Event::Body)
            }
            State::ChunkLength(text) => {
                let Some(&byte) = bytes.first() else { return (0, Event::More) };
                if byte == b'\n' {
                    let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
                    self.state = match u64::from_str_radix(&digits, 16).unwrap_or(0) {
                        0 => State::Trailer(0),
                        length => State::Chunk(length + 2),
                    };
                } else if text.len() < 100 {
                    text.push(char::from(byte));
                }
                (1, Event::Body)
            }
            State::Trailer(length) => {
                match bytes.first() {
                    None => return (0, Event::More),
                    Some(b'\n') if *length == 0 => self.state = State::Between,
                    Some(b'\n') => *length = 0,
                    Some(b'\r') => {}
                    Some(_) => *length += 1,
                }
                (1, Event::Body)
            }
        }
    }

    /// Whether the last request is complete.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.state, State::Between) && self.head.is_empty()
    }

    fn head(&mut self, bytes: &[u8]) -> (usize, Event) {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4)
        else {
            return (bytes.len(), Event::More);
        };
        let mut raw = std::mem::take(&mut self.head);
        raw.truncate(end);
        let head = Head::parse(&raw);
        self.state = if head.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            State::ChunkLength(String::new())
        } else {
            match head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0) {
                0 => State::Between,
                length => State::Body(length),
            }
        };
        (end - before, Event::Head(head, raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_finds_the_same_requests() {
        let stream = b"PUT /a?x=1 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloPOST /b HTTP/1.1\r\nTransfer-Encoding: \
            chunked\r\n\r\n3;q=1\r\nabc\r\n0\r\nt: 1\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
        for step in 1..stream.len() {
            let (mut follower, mut heads, mut bytes) = (Follower::default(), Vec::new(), 0);
            for mut piece in stream.chunks(step) {
                while !piece.is_empty() {
                    let (used, event) = follower.next(piece);
                    piece = &piece[used..];
                    match event {
                        Event::Head(head, raw) => {
                            bytes += raw.len();
                            heads.push(format!("{} {}", head.method, head.target));
                        }
                        Event::Body => bytes += used,
                        Event::More => {}
                    }
                }
            }
            assert_eq!(heads, ["PUT /a?x=1", "POST /b", "GET /c"], "in steps of {step}");
            assert_eq!(bytes, stream.len());
            assert!(follower.is_between());
        }
    }
}
