//! Opens one secretstream message by its number and nonce, in place. The stream library opens messages only in order,
//! from a state that it does not let us build; this is the same construction, written out, so that any message can be
//! opened separately. The library encrypts.
//!
//! Message `i` (from 0) uses ChaCha20 (IETF) with `subkey = HChaCha20(key, header[..16])` and the nonce
//! `counter ‖ inonce`, counter = i + 1 as a little-endian u32. `inonce` starts as `header[16..24]`; after each message
//! the first eight bytes of its MAC are xored into it. Keystream block 0 keys Poly1305, block 1 encrypts the tag byte,
//! the message starts at block 2. Source: libsodium, `crypto_secretstream_xchacha20poly1305.c`.
//!
//! The MAC covers the whole of block 1 (the tag byte and 63 zeros, encrypted), the ciphertext, padding and lengths.
//! That is the ChaCha20-Poly1305 AEAD of RFC 8439 over `tag ‖ 63 zeros ‖ message`, but for one thing: libsodium pads by
//! `(16 - 64 + len) % 16` bytes instead of what completes a block. Both agree where `len` is a multiple of 16, as in
//! every message but the last, so those go through the stream library's AEAD, which is nearly twice as fast.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use dryoc::classic::crypto_aead_chacha20poly1305_ietf::crypto_aead_chacha20poly1305_ietf_decrypt_detached_inplace;
use dryoc::classic::crypto_core::crypto_core_hchacha20;
use dryoc::classic::crypto_onetimeauth::{
    crypto_onetimeauth_final, crypto_onetimeauth_init, crypto_onetimeauth_update,
};
use std::ops::Range;
use zeroize::{Zeroize, Zeroizing};

use super::MESSAGE_OVERHEAD;

pub(super) const TAG_MESSAGE: u8 = 0;
pub(super) const TAG_FINAL: u8 = 3;
/// Space that a buffer leaves before an encrypted message: its tag byte grows to a block of the cipher.
pub(super) const HEADROOM: usize = CIPHER_BLOCK - 1;
const MAC: usize = 16;
const CIPHER_BLOCK: usize = 64;

/// The range of the plaintext in a buffer of `len` bytes after [`MessageKey::open`].
pub(super) fn plaintext(len: usize) -> Range<usize> {
    CIPHER_BLOCK..len - MAC
}

/// The key all messages of one stream share.
#[derive(Clone)]
pub(super) struct MessageKey(Zeroizing<[u8; 32]>);

impl MessageKey {
    pub(super) fn new(key: &[u8; 32], header: &[u8; 24]) -> Self {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&header[..16]);
        let mut subkey = Zeroizing::new([0; 32]);
        crypto_core_hchacha20(&mut subkey, &prefix, key, None);
        Self(subkey)
    }

    /// Checks message number `index` and only then decrypts it in place. `buf` is [`HEADROOM`] bytes of any content,
    /// then the encrypted message. On success the plaintext is at [`plaintext`], and the tag and the nonce of the next
    /// message are returned. `None`, with the encrypted message unchanged, if it is not authentic.
    pub(super) fn open(&self, index: u64, inonce: [u8; 8], buf: &mut [u8]) -> Option<(u8, [u8; 8])> {
        buf.len().checked_sub(HEADROOM + MESSAGE_OVERHEAD)?;
        // The counter would wrap, and the stream rekey, after 4 PiB.
        let counter = u32::try_from(index + 1).ok()?;
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&counter.to_le_bytes());
        nonce[4..].copy_from_slice(&inonce);
        let mut cipher = ChaCha20::new((&*self.0).into(), &nonce.into());
        let mut first_blocks = Zeroizing::new([0; 2 * CIPHER_BLOCK]);
        cipher.apply_keystream(&mut *first_blocks);
        let (mac_key, tag_block) = first_blocks.split_at_mut(CIPHER_BLOCK);

        let (content, mac) = buf.split_at_mut(buf.len() - MAC);
        let sealed_tag = content[HEADROOM];
        let tag = sealed_tag ^ tag_block[0];
        tag_block[0] = sealed_tag;
        content[..CIPHER_BLOCK].copy_from_slice(tag_block);
        let authentic = if content.len().is_multiple_of(16) {
            let mut expected = [0; MAC];
            expected.copy_from_slice(mac);
            crypto_aead_chacha20poly1305_ietf_decrypt_detached_inplace(content, &expected, None, &nonce, &self.0)
                .is_ok()
        } else {
            let authentic = equal(&mac_of(mac_key, content), mac);
            if authentic {
                cipher.apply_keystream(&mut content[CIPHER_BLOCK..]);
            }
            authentic
        };
        if !authentic {
            content[HEADROOM] = sealed_tag;
            return None;
        }
        Some((tag, next_nonce(inonce, mac)))
    }
}

/// Poly1305 over the tag block and the ciphertext, libsodium's padding and the lengths.
fn mac_of(mac_key: &[u8], content: &[u8]) -> [u8; MAC] {
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&mac_key[..32]);
    let mut lengths = [0; 16];
    lengths[8..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    let mut state = crypto_onetimeauth_init(&key);
    crypto_onetimeauth_update(&mut state, content);
    crypto_onetimeauth_update(&mut state, &[0; 16][..content.len() % 16]);
    crypto_onetimeauth_update(&mut state, &lengths);
    let mut mac = [0; MAC];
    crypto_onetimeauth_final(state, &mut mac);
    mac
}

/// In time that does not depend on where the first difference is.
fn equal(a: &[u8; MAC], b: &[u8]) -> bool {
    let mut difference = u8::from(b.len() != MAC);
    for (a, b) in a.iter().zip(b) {
        difference |= a ^ b;
    }
    let equal = std::hint::black_box(difference) == 0;
    difference.zeroize();
    equal
}

/// The nonce part for the message after one that ends with `mac`.
pub(super) fn next_nonce(mut inonce: [u8; 8], mac: &[u8]) -> [u8; 8] {
    for (nonce, mac) in inonce.iter_mut().zip(mac) {
        *nonce ^= mac;
    }
    inonce
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use dryoc::classic::crypto_secretstream_xchacha20poly1305::{
        State, crypto_secretstream_xchacha20poly1305_init_pull, crypto_secretstream_xchacha20poly1305_push,
    };
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_opened_alone_are_those_the_library_sealed_in_order(
            key: [u8; 32], header: [u8; 24],
            messages in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), 0u8..2), 1..6),
        ) {
            let mut state = State::new();
            crypto_secretstream_xchacha20poly1305_init_pull(&mut state, &header, &key);
            let ours = MessageKey::new(&key, &header);
            let mut inonce: [u8; 8] = header[16..].try_into().unwrap();
            for (index, (message, tag)) in messages.iter().enumerate() {
                let mut buf = vec![0xEE; HEADROOM + message.len() + MESSAGE_OVERHEAD];
                let sealed = &mut buf[HEADROOM..];
                crypto_secretstream_xchacha20poly1305_push(&mut state, sealed, message, None, *tag).unwrap();
                let untouched = sealed.to_vec();
                prop_assert!(ours.open(index as u64 + 1, inonce, &mut buf).is_none());
                prop_assert_eq!(&buf[HEADROOM..], &untouched);
                let (opened, next) = ours.open(index as u64, inonce, &mut buf).unwrap();
                prop_assert_eq!(opened, *tag);
                prop_assert_eq!(&buf[plaintext(buf.len())], &message[..]);
                inonce = next;
            }
        }
    }

    #[test]
    fn something_shorter_than_a_message_is_not_one() {
        let key = MessageKey::new(&[1; 32], &[2; 24]);
        for len in 0..HEADROOM + MESSAGE_OVERHEAD {
            assert!(key.open(0, [0; 8], &mut vec![0; len]).is_none());
        }
    }
}
