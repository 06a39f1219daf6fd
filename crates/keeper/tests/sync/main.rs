//! What destinations lack and have too much: cases by name, and ten years of a world in which everything goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod faults;
mod scene;
mod world;
mod years;
