//! What must hold for any bytes, one function for each place at which bytes from outside come in.
//!
//! The fuzzer calls these with what it makes up, and `tests/it/fuzz_seeds.rs` with the seeds and with
//! mutations of them. Inputs are texts, so that seeds can be read and written by hand. What this
//! deliberately cannot do: say whether a body is read rightly; that is for the tests beside the readers.

mod bodies;
mod inputs;
mod pan_oracle;

pub use bodies::{gateway, redactor};
pub use inputs::{names, request, webhook};

/// The first line of an input and the rest.
fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&[], data),
    }
}
