//! The hugetlb controller of v2.

use oci_spec::runtime::LinuxHugepageLimit;

use super::{ControlWrite, Controller, PlanError};
use crate::resources::plan::{hugetlb_files, hugetlb_limit};

/// Returns the writes: of the limit and, where the kernel has it, the same for
/// reservations.
pub(super) fn plan(limit: &LinuxHugepageLimit) -> Result<[ControlWrite; 2], PlanError> {
    let [used, reserved] = hugetlb_files(limit.page_size(), "max")?;
    let value = hugetlb_limit(limit)?.map_or_else(|| "max".to_owned(), |value| value.to_string());
    Ok([
        ControlWrite::new(Controller::Hugetlb, used, &value),
        ControlWrite::new(Controller::Hugetlb, reserved, &value).or_skip(),
    ])
}
