//! The sets of element types that MIL's operations share.

use super::TypeRule;
use crate::dtype::DataType::{
    Bool, Fp16, Fp32, Int4, Int8, Int16, Int32, String, UInt1, UInt2, UInt3, UInt4, UInt6, UInt8, UInt16,
};
use crate::opset::Opset;

/// int32: axes, sizes, flags with more than two values.
pub(super) const INT32: TypeRule = TypeRule::OneOf(&[Int32]);
/// Mode names.
pub(super) const STRING: TypeRule = TypeRule::OneOf(&[String]);
/// Flags.
pub(super) const BOOL: TypeRule = TypeRule::OneOf(&[Bool]);
/// What arithmetic takes.
pub(super) const NUMBER: TypeRule = TypeRule::OneOf(&[Fp16, Fp32, Int32]);
/// What data movement took before iOS 17, and some operations still do.
pub(super) const PLAIN: TypeRule = TypeRule::OneOf(&[Fp16, Fp32, Int32, Bool]);
/// What data movement takes: iOS 17 added the small integers.
pub(super) const MOVABLE: TypeRule = TypeRule::Widened(
    &[Fp16, Fp32, Int32, Bool],
    Opset::CoreMl7,
    &[Int8, Int16, UInt8, UInt16],
);
/// What is gathered from: as [`MOVABLE`], without booleans.
pub(super) const GATHERABLE: TypeRule = TypeRule::Widened(
    &[Fp16, Fp32, Int32],
    Opset::CoreMl7,
    &[Int8, Int16, UInt8, UInt16],
);
/// Indices of gathers from iOS 16 on.
pub(super) const INDICES: TypeRule =
    TypeRule::Widened(&[Int32, Int16, UInt16], Opset::CoreMl7, &[Int8, UInt8]);
/// Shapes, begins and sizes: iOS 17 takes smaller signed integers too.
pub(super) const EXTENT: TypeRule = TypeRule::Widened(&[Int32], Opset::CoreMl7, &[Int8, Int16]);
/// Eight-bit integers.
pub(super) const BYTE: TypeRule = TypeRule::OneOf(&[Int8, UInt8]);
/// What iOS 18 decompresses by scale and offset.
pub(super) const SCALABLE: TypeRule = TypeRule::OneOf(&[Int4, UInt4, Int8, UInt8, Fp16, Fp32]);
/// Palette indices, one type per palette size.
pub(super) const PALETTE_INDEX: TypeRule = TypeRule::OneOf(&[UInt1, UInt2, UInt3, UInt4, UInt6, UInt8]);
/// Palette entries and the values of sparse tensors before iOS 18.
pub(super) const ENTRY: TypeRule = TypeRule::OneOf(&[Int8, UInt8, Fp16, Fp32]);
/// Like `x` of the same call.
pub(super) const LIKE_X: TypeRule = TypeRule::SameAs("x");
