//! A structural check of a database image in one streaming pass.

use crate::header::{HEADER_LEN, Header};

/// Takes an image in pieces of any size and says, at the end, what is wrong with it.
#[derive(Debug, Default)]
pub struct ImageChecker {
    head: Vec<u8>,
    len: u64,
}

impl ImageChecker {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the image.
    pub fn push(&mut self, bytes: &[u8]) {
        let wanted = HEADER_LEN.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..wanted]);
        self.len += bytes.len() as u64;
    }

    /// Problems in plain words; empty for a sound database.
    pub fn finish(self) -> Vec<String> {
        match Header::parse(&self.head) {
            Err(error) => vec![error.to_string()],
            Ok(header) => {
                let declared = header.pages(self.len / u64::from(header.page_size)) * u64::from(header.page_size);
                if declared == self.len { Vec::new() } else { vec![format!("the header declares {declared} bytes, but there are {}", self.len)] }
            }
        }
    }
}
