//! The list of all tables.

use super::OpDef;

/// Every family's rows.
pub(super) static TABLES: &[&[OpDef]] = &[super::nn::ROWS];
