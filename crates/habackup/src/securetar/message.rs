//! Opening one secretstream message by its number and nonce, in place. The stream library only opens messages in
//! order, from a state it does not let us build; this is the same construction, spelled out, so that any message can
//! be opened by itself. Sealing stays with the library.
//!
//! Message `i` (from 0) uses ChaCha20 (IETF) with `subkey = HChaCha20(key, header[..16])` and the nonce
//! `counter ‖ inonce`, counter = i + 1 as a little-endian u32. `inonce` starts as `header[16..24]`; after each message
//! the first eight bytes of its MAC are xored into it. Keystream block 0 keys Poly1305, block 1 encrypts the tag byte,
//! the message starts at block 2. Source: libsodium, `crypto_secretstream_xchacha20poly1305.c`.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use dryoc::classic::crypto_core::crypto_core_hchacha20;
use dryoc::classic::crypto_onetimeauth::{crypto_onetimeauth_final, crypto_onetimeauth_init, crypto_onetimeauth_update};
use zeroize::{Zeroize, Zeroizing};

use super::MESSAGE_OVERHEAD;

pub(super) const TAG_MESSAGE: u8 = 0;
pub(super) const TAG_FINAL: u8 = 3;
const MAC: usize = 16;
const CIPHER_BLOCK: usize = 64;

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

    /// Checks message number `index` and only then decrypts it in place: on success its plaintext stands in
    /// `sealed[1..sealed.len() - 16]`, and the tag and the nonce of the next message are returned. `None`, with
    /// `sealed` as it was, when it is not authentic.
    pub(super) fn open(&self, index: u64, inonce: [u8; 8], sealed: &mut [u8]) -> Option<(u8, [u8; 8])> {
        let body_len = sealed.len().checked_sub(MESSAGE_OVERHEAD)?;
        // The counter would wrap, and the stream rekey, after 4 PiB.
        let counter = u32::try_from(index + 1).ok()?;
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&counter.to_le_bytes());
        nonce[4..].copy_from_slice(&inonce);
        let mut cipher = ChaCha20::new((&*self.0).into(), &nonce.into());

        let mut first_blocks = Zeroizing::new([0; 2 * CIPHER_BLOCK]);
        cipher.apply_keystream(&mut *first_blocks);
        let (mac_key, tag_block) = first_blocks.split_at_mut(CIPHER_BLOCK);
        let tag = sealed[0] ^ tag_block[0];
        tag_block[0] = sealed[0];

        let (content, mac) = sealed.split_at_mut(1 + body_len);
        let body = &mut content[1..];
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&mac_key[..32]);
        let computed = mac_of(&key, tag_block, body);
        if !equal(&computed, mac) {
            return None;
        }
        cipher.apply_keystream(body);
        Some((tag, next_nonce(inonce, mac)))
    }
}

/// Poly1305 over the tag block, the ciphertext, its padding and the lengths. libsodium pads the ciphertext by
/// `(16 - 64 + len) % 16` bytes instead of what would complete a block; the format keeps that.
fn mac_of(key: &[u8; 32], tag_block: &[u8], body: &[u8]) -> [u8; MAC] {
    let mut lengths = [0; 16];
    lengths[8..].copy_from_slice(&((CIPHER_BLOCK + body.len()) as u64).to_le_bytes());
    let mut state = crypto_onetimeauth_init(key);
    crypto_onetimeauth_update(&mut state, tag_block);
    crypto_onetimeauth_update(&mut state, body);
    crypto_onetimeauth_update(&mut state, &[0; 16][..body.len() % 16]);
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
                let mut sealed = vec![0; message.len() + MESSAGE_OVERHEAD];
                crypto_secretstream_xchacha20poly1305_push(&mut state, &mut sealed, message, None, *tag).unwrap();
                let untouched = sealed.clone();
                prop_assert!(ours.open(index as u64 + 1, inonce, &mut sealed).is_none());
                prop_assert_eq!(&sealed, &untouched);
                let (opened, next) = ours.open(index as u64, inonce, &mut sealed).unwrap();
                prop_assert_eq!(opened, *tag);
                prop_assert_eq!(&sealed[1..=message.len()], &message[..]);
                inonce = next;
            }
        }
    }

    #[test]
    fn something_shorter_than_a_message_is_not_one() {
        let key = MessageKey::new(&[1; 32], &[2; 24]);
        for len in 0..MESSAGE_OVERHEAD {
            assert!(key.open(0, [0; 8], &mut vec![0; len]).is_none());
        }
    }
}
