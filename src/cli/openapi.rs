//! `roomward openapi`: the description of every call, on standard output.

use std::io::Write as _;
use std::process::ExitCode;

use roomward::api::openapi;

use super::Failure;

pub fn print() -> Result<ExitCode, Failure> {
    std::io::stdout().write_all(openapi::document().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
