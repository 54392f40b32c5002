//! Stages of one's own: made, built, checked, in Rust and in another language.

mod author;
