//! The boot chain: what a board's firmware reads until the kernel runs, and what would keep it from starting.
//!
//! | module | what it does |
//! |---|---|
//! | [`model`] | what each model's firmware looks for |
//! | [`config_txt`] | reads `config.txt` as a model's firmware does |
//! | [`chain`] | follows the chain and collects what is wrong |
//! | [`media`] | what is read of an image |
//! | [`fault`] | what would keep a board from starting |
//! | [`kernel_image`] | tells kernels of each architecture by their first bytes |
//! | [`archive`] | lists an initramfs |
//!
//! Source, where nothing else is given: Raspberry Pi's documentation of `config.txt`
//! (<https://www.raspberrypi.com/documentation/computers/config_txt.html>).

pub mod archive;
pub mod chain;
pub mod config_txt;
pub mod fault;
pub mod kernel_image;
pub mod media;
pub mod model;
mod root;
