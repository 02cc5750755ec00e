//! `classify`: probabilities and class labels to the best label and a dictionary.

use super::call::Call;
use super::dims;
use super::{OpDef, Outputs, Param, TypeRule};
use crate::dtype::DataType;
use crate::types::{TensorType, ValueType};
use crate::value::Data;

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[OpDef::new(
    "classify",
    &[
        Param::new("probabilities", TypeRule::OneOf(&[DataType::Fp32])),
        Param::new("classes", TypeRule::Labels).constant(),
    ],
    classify,
)
.results(Outputs::Exactly(2))];

fn classify(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let probabilities = call.tensor("probabilities")?;
    let classes = call.get("classes").ok_or("`classes` is missing")?;
    let ValueType::List(element, _) = classes.ty else {
        return Err("`classes` must be a list".into());
    };
    if let (Some(Data::List(labels)), Some(count)) = (
        classes.value.map(|value| &value.data),
        dims::count(probabilities)?,
    ) && labels.len() as u64 != count
    {
        return Err(format!("has {count} probabilities for {} classes", labels.len()));
    }
    let probability = TensorType::scalar(DataType::Fp64);
    Ok(vec![
        (**element).clone(),
        ValueType::Dictionary(element.clone(), Box::new(probability.into())),
    ])
}
