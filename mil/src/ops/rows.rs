//! The list of all tables.

use super::OpDef;

/// Every family's rows.
pub(super) static TABLES: &[&[OpDef]] = &[
    super::constant::ROWS,
    super::linear::ROWS,
    super::conv::ROWS,
    super::norm::ROWS,
    super::activation::ROWS,
    super::unary::ROWS,
    super::binary::ROWS,
    super::reduce::ROWS,
    super::gather::ROWS,
    super::shape::ROWS,
    super::slice::ROWS,
    super::join::ROWS,
    super::generate::ROWS,
    super::order::ROWS,
    super::quantize::ROWS,
    super::classify::ROWS,
    super::constexpr_attributes::ROWS,
    super::constexpr::ROWS,
];
