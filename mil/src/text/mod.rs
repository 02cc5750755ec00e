//! MIL as text: a form to read, to diff and to write by hand, that parses back to the same program.
//!
//! ```text
//! program(1.0)
//! {
//!     func main<ios17>(tensor<int32, [1, 128]> ids) {
//!         tensor<fp16, [30522, 384]> table = const()[name = string("table"), val = tensor<fp16, [30522, 384]>(weight(0, bytes = 23440896))];
//!         tensor<fp16, [1, 128, 384]> x = gather(indices = ids, x = table)[name = string("x")];
//!     } -> (x);
//! }
//! ```
//!
//! It follows the text Apple's tools show, with what is needed for every program to have a form:
//!
//! - a value is its type and its data: `fp16(0.5)`, `tensor<int32, [2]>([1, -1])`, `string("EXACT")`; a rank-0
//!   tensor's type is its element type alone;
//! - a weight is a reference, `weight(index, bytes = length)`, into a list kept beside the text;
//! - lists, tuples and dictionaries hold values: `items(..)`, `tuple(..)`, `pairs(key: value, ..)`;
//! - data that does not fill its type is written as it is: `hex("00ff")`, `strings("a", "b")`;
//! - floats are the shortest decimals that give the same bits back; `nan` has its bits where they are not the
//!   usual ones: `nan(7e01)`;
//! - a symbolic size is `?0`, `?1`, …; names that are no identifiers stand in quotes;
//! - `//` starts a comment.

mod lex;
mod listing;
mod number;
mod parse;
mod print;

use std::fmt;
use std::sync::Arc;

pub use listing::print_listing;
pub use parse::parse;
pub use print::print;

use crate::weight::WeightSource;

/// A program as text, with the weights the text refers to.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Weights by the index the text uses; one that several constants share is listed once.
    pub weights: Vec<Arc<dyn WeightSource>>,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was found and what would be right.
    pub message: String,
}
