//! The end of the program, when something has to go on before it.

use jiff::Timestamp;

use super::{Service, State};
use crate::status::Failure;

impl Service {
    /// The program is to end, at that moment at the latest: nothing begins any more, and what runs goes on.
    pub fn leave(&self, by: Timestamp) {
        self.state().leaving = Some(by);
        (self.changed)();
    }
}

impl State {
    /// Refuses what would not begin any more.
    pub(super) fn refuse_when_leaving(&self) -> Result<(), Failure> {
        if self.leaving.is_none() {
            return Ok(());
        }
        Err(Failure {
            message: "Haul is being stopped, and begins nothing any more".to_owned(),
            hint: Some("do it again when it has been started again".to_owned()),
            passes: true,
        })
    }
}
