//! `bootstrap`: a base image out of a distribution's packages.

use crate::grammar::{Call, Outcome};

pub(crate) async fn command(_call: Call<'_>) -> Outcome {
    Err("not yet".into())
}
