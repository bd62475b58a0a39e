//! A container is called otherwise: its networks' names follow.

use base::ContainerId;

use super::{ControlError, Controller};

impl Controller {
    /// Lets names of a container's runs follow its own. One that is being
    /// attached has it already: what renames it comes before its start.
    ///
    /// # Errors
    /// When a lease cannot be written; the DNS has the new name all the same.
    pub fn rename(&self, container: &ContainerId, name: &str) -> Result<(), ControlError> {
        let written = {
            // Held over the writing: a release that begins would move the file.
            let mut state = self.state();
            let renamed = state.rename(container, name);
            let mut leases = renamed
                .iter()
                .map(|run| self.store.rewrite(&state.runs[run].lease));
            leases.try_for_each(std::convert::identity)
        };
        self.publish_names();
        Ok(written?)
    }
}
