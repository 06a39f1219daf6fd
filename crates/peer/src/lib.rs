//! Two machines of the same user: pairing by a short code, mutual TLS with pinned keys, and the protocol between them.
