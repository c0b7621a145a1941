//! `impart` in scripts.

use crate::common::person::texts;
use crate::common::tools::said;
use crate::people::People;
