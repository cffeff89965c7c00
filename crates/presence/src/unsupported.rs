//! Operating systems without a sensor.

use crate::signals::Start;
use crate::{Diagnosis, OnEvent, Options, Unavailable};

/// Every sensor of signs beside input.
pub(crate) const SENSORS: &[Start] = &[];

/// There is never one.
#[derive(Debug)]
pub(crate) enum Watch {}

impl Watch {
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        match *self {}
    }
}

pub(crate) fn watch(_options: Options, _on_event: OnEvent) -> Result<Watch, Unavailable> {
    Err(Unavailable::Platform)
}
