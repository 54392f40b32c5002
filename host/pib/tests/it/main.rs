//! Integration tests of the real binary and its adapters: one binary, one module per area.
mod base;
mod disk;
mod engine;
mod main_job;
