//! placeholder
use std::path::Path;
pub(super) fn mend(_: &Path, _: &Path) -> std::io::Result<Vec<(String, String)>> {
    Ok(Vec::new())
}
