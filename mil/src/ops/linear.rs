//! Products of matrices: `linear`, `matmul`, `einsum`, `scaled_dot_product_attention`.

use super::call::{Call, broadcast, one};
use super::domain::{BOOL, LIKE_X, NUMBER, STRING};
use super::{OpDef, Param, TypeRule, dims};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, ValueType};

const TRANSPOSE_X: Param = Param::new("transpose_x", BOOL).constant().optional();
const TRANSPOSE_Y: Param = Param::new("transpose_y", BOOL).constant().optional();

/// The rows of this family. From iOS 17 on weights may have another element type than activations.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "linear",
        &[
            Param::new("x", NUMBER),
            Param::new("weight", LIKE_X).constant(),
            Param::new("bias", LIKE_X).constant().optional(),
        ],
        linear,
    ),
    OpDef::new(
        "linear",
        &[
            Param::new("x", NUMBER),
            Param::new("weight", NUMBER).constant(),
            Param::new("bias", TypeRule::SameAs("weight"))
                .constant()
                .optional(),
        ],
        linear,
    )
    .since(Opset::CoreMl7),
    OpDef::new(
        "matmul",
        &[
            Param::new("x", NUMBER),
            Param::new("y", LIKE_X),
            TRANSPOSE_X,
            TRANSPOSE_Y,
        ],
        matmul,
    ),
    OpDef::new(
        "matmul",
        &[
            Param::new("x", NUMBER),
            Param::new("y", NUMBER),
            TRANSPOSE_X,
            TRANSPOSE_Y,
        ],
        matmul,
    )
    .since(Opset::CoreMl7),
    OpDef::new(
        "einsum",
        &[
            Param::new("values", TypeRule::Any).variadic(),
            Param::new("equation", STRING).constant(),
        ],
        einsum,
    ),
    OpDef::new(
        "scaled_dot_product_attention",
        &[
            Param::new("query", TypeRule::Float),
            Param::new("key", TypeRule::SameAs("query")),
            Param::new("value", TypeRule::SameAs("query")),
            Param::new(
                "attn_mask",
                TypeRule::OneOf(&[DataType::Bool, DataType::Fp16, DataType::Fp32]),
            )
            .optional(),
        ],
        attention,
    )
    .since(Opset::CoreMl8),
];

/// `x[.., I] · weight[O, I]ᵀ + bias[O]`.
fn linear(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    let [rows, columns] = weight.shape[..] else {
        return Err(format!("`weight` must have rank 2, is {weight}"));
    };
    let Some((last, front)) = x.shape.split_last() else {
        return Err("`x` must have rank 1 or more".into());
    };
    if !last.compatible(columns) {
        return Err(format!("`x` ends in size {last}, `weight` takes {columns}"));
    }
    if call.get("bias").is_some() {
        let bias = call.tensor("bias")?;
        if bias.rank() != 1 || !bias.shape[0].compatible(rows) {
            return Err(format!("`bias` must have shape [{rows}], is {bias}"));
        }
    }
    one(x.dtype, [front, &[rows]].concat())
}

/// numpy's `matmul`, after the optional swaps of the last two axes.
fn matmul(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let operand = |name: &str, flag: &str, shape: &[Dim]| {
        let mut shape = shape.to_vec();
        let rank = shape.len();
        if rank == 0 {
            return Err(format!("`{name}` must have rank 1 or more"));
        }
        if call.bool_or(flag, false)? {
            if rank == 1 {
                return Err(format!("`{flag}` can't be true: `{name}` has rank 1"));
            }
            shape.swap(rank - 1, rank - 2);
        }
        Ok(shape)
    };
    let fixed = |name| call.get(name).is_some_and(|arg| arg.fixed);
    if x.dtype != y.dtype && fixed("x") == fixed("y") {
        return Err(format!(
            "operands of which none or both are constants must have one type, are {x} and {y}"
        ));
    }
    let mut left = operand("x", "transpose_x", &x.shape)?;
    let mut right = operand("y", "transpose_y", &y.shape)?;
    let (left_vector, right_vector) = (left.len() == 1, right.len() == 1);
    if left_vector {
        left.insert(0, Dim::Known(1));
    }
    if right_vector {
        right.push(Dim::Known(1));
    }
    let (left_batch, left_matrix) = left.split_at(left.len() - 2);
    let (right_batch, right_matrix) = right.split_at(right.len() - 2);
    if !left_matrix[1].compatible(right_matrix[0]) {
        return Err(format!(
            "inner sizes {} and {} differ ({x} times {y})",
            left_matrix[1], right_matrix[0]
        ));
    }
    let mut shape = broadcast(left_batch, right_batch)?;
    if !left_vector {
        shape.push(left_matrix[0]);
    }
    if !right_vector {
        shape.push(right_matrix[1]);
    }
    // A constant operand takes the type of the other.
    one(if fixed("x") { y.dtype } else { x.dtype }, shape)
}

/// Numbers the letters of an einsum term list in order of appearance, so that equations that differ in letters
/// alone become equal.
fn canonical(equation: &str) -> String {
    let mut seen: Vec<char> = Vec::new();
    equation
        .chars()
        .map(|letter| match letter {
            ',' | '-' | '>' => letter,
            _ => {
                let index = seen.iter().position(|known| *known == letter).unwrap_or_else(|| {
                    seen.push(letter);
                    seen.len() - 1
                });
                char::from(b'a' + u8::try_from(index.min(25)).unwrap_or_default())
            }
        })
        .collect()
}

/// `nchw,nwhu->nchu` and `chw,whu->chu`: the only equations MIL has. N and H broadcast.
fn einsum(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let equation = call.str_or("equation", "")?;
    let rank = match canonical(equation).as_str() {
        "abcd,adce->abce" => 4,
        "abc,cbd->abd" => 3,
        _ => {
            return Err(format!(
                "equation `{equation}` is not one of MIL's two: `nchw,nwhu->nchu`, `chw,whu->chu`"
            ));
        }
    };
    let [left, right] = call.all("values") else {
        return Err(format!("takes two values, has {}", call.all("values").len()));
    };
    let (Some(x), Some(y)) = (left.ty.as_tensor(), right.ty.as_tensor()) else {
        return Err("`values` must be tensors".into());
    };
    if x.dtype != y.dtype || !x.dtype.is_float() {
        return Err(format!(
            "`values` must be of one float type, are {} and {}",
            x.dtype, y.dtype
        ));
    }
    if x.rank() != rank || y.rank() != rank {
        return Err(format!("`{equation}` takes rank {rank}, values are {x} and {y}"));
    }
    if !x.shape[rank - 1].compatible(y.shape[rank - 3]) {
        return Err(format!(
            "sizes {} and {} of the summed axis differ",
            x.shape[rank - 1],
            y.shape[rank - 3]
        ));
    }
    let mut shape = broadcast(&x.shape[..rank - 3], &y.shape[..rank - 3])?;
    shape.push(x.shape[rank - 3]);
    shape.extend(broadcast(
        &x.shape[rank - 2..rank - 1],
        &y.shape[rank - 2..rank - 1],
    )?);
    shape.push(y.shape[rank - 1]);
    one(x.dtype, shape)
}

/// softmax(query · keyᵀ / √E + mask) · value over `[B, .., L, E]`, `[B, .., S, E]`, `[B, .., S, EV]`.
fn attention(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (query, key, value) = (call.tensor("query")?, call.tensor("key")?, call.tensor("value")?);
    let rank = query.rank();
    if rank < 3 || key.rank() != rank || value.rank() != rank {
        return Err(format!(
            "query, key and value must have one rank of 3 or more, are {query}, {key} and {value}"
        ));
    }
    let batch = dims::unify_shapes(&query.shape[..rank - 2], &key.shape[..rank - 2])
        .and_then(|batch| dims::unify_shapes(&batch, &value.shape[..rank - 2]))
        .ok_or_else(|| format!("batch sizes of {query}, {key} and {value} differ"))?;
    if !query.shape[rank - 1].compatible(key.shape[rank - 1]) {
        return Err(format!(
            "query and key have embedding sizes {} and {}",
            query.shape[rank - 1],
            key.shape[rank - 1]
        ));
    }
    if !key.shape[rank - 2].compatible(value.shape[rank - 2]) {
        return Err(format!(
            "key and value have lengths {} and {}",
            key.shape[rank - 2],
            value.shape[rank - 2]
        ));
    }
    if call.get("attn_mask").is_some() {
        let mask = call.tensor("attn_mask")?;
        let scores = [&batch[..], &[query.shape[rank - 2], key.shape[rank - 2]]].concat();
        let Some((columns, _)) = mask.shape.split_last() else {
            return Err("`attn_mask` must have rank 1 or more".into());
        };
        // The reader asks for the key length itself: the last axis doesn't broadcast.
        if !columns.compatible(scores[rank - 1]) {
            return Err(format!(
                "`attn_mask` ends in {columns}, the keys have length {}",
                scores[rank - 1]
            ));
        }
        let fits = mask.rank() <= rank
            && mask
                .shape
                .iter()
                .rev()
                .zip(scores.iter().rev())
                .all(|(mask, score)| *mask == Dim::Known(1) || mask.compatible(*score));
        if !fits {
            return Err(format!(
                "`attn_mask` {mask} does not broadcast to {}",
                dims::show(&scores)
            ));
        }
    }
    one(
        query.dtype,
        [&batch[..], &[query.shape[rank - 2], value.shape[rank - 1]]].concat(),
    )
}
