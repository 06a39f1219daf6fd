//! The pairing code: short enough to type once, long enough that nobody guesses it in the few attempts allowed.
//!
//! 32 bits as two words of five letters, with alternating consonants and vowels (the proquints of Daniel S. Wilkerson,
//! arXiv:0901.4016): easy to read aloud, no letters that look alike, and no list of words.

use zeroize::Zeroizing;

use crate::error::PeerError;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// A code as it is compared: letters in lower case and nothing else. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Zeroizing<String>);

impl Code {
    /// A fresh one.
    pub fn random() -> Result<Self, PeerError> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes)
            .map_err(|_| PeerError::Protocol("the operating system gave no random numbers".to_owned()))?;
        Ok(Self::from_bits(u32::from_le_bytes(bytes)))
    }

    /// Understands what was typed: capitals, spaces and strokes make no difference.
    pub fn parse(text: &str) -> Self {
        Self(Zeroizing::new(
            text.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase()).take(64).collect(),
        ))
    }

    fn from_bits(bits: u32) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(10));
        for word in [bits >> 16, bits & 0xffff] {
            let consonant = |shift: u32| char::from(CONSONANTS[(word >> shift) as usize & 15]);
            let vowel = |shift: u32| char::from(VOWELS[(word >> shift) as usize & 3]);
            text.extend([consonant(12), vowel(10), consonant(6), vowel(4), consonant(0)]);
        }
        Self(text)
    }

    /// As it is shown: `lusab-babad`. For the person's eyes only.
    pub fn shown(&self) -> String {
        let (left, right) = self.0.split_at(self.0.len() / 2);
        format!("{left}-{right}")
    }

    /// What the exchange is computed from.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_published_examples_come_out() {
        // 127.0.0.1 and 63.84.220.193 of the proquint paper.
        assert_eq!(Code::from_bits(0x7f00_0001).shown(), "lusab-babad");
        assert_eq!(Code::from_bits(0x3f54_dcc1).shown(), "gutih-tugad");
    }

    #[test]
    fn how_it_is_typed_makes_no_difference() {
        let code = Code::from_bits(0x7f00_0001);
        for typed in ["lusab-babad", "LUSAB BABAD", " lusabbabad\n"] {
            assert!(Code::parse(typed) == code, "{typed:?}");
        }
        assert!(Code::parse("lusab-babab") != code);
    }

    #[test]
    fn codes_differ() {
        assert!(Code::random().unwrap() != Code::random().unwrap());
    }
}
